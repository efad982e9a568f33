//! JSON values as YAML text that every reader takes for the same values, whether it speaks YAML 1.1 or 1.2.
//!
//! A text is written bare only when no version of YAML could see anything but a text in it; texts of several lines
//! stand as blocks, where people can read them; all others are quoted as in JSON.

use std::fmt::Write;

use serde_json::{Map, Value};

/// One document without its `---`, ended by a line feed.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, &mut text),
        Value::Array(items) if !items.is_empty() => sequence(items, 0, &mut text),
        scalar => {
            text.push_str(&inline(scalar));
            text.push('\n');
        }
    }
    text
}

fn mapping(map: &Map<String, Value>, indent: usize, text: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            pad(indent, text);
        }
        text.push_str(&string(key));
        text.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                text.push('\n');
                pad(indent + 2, text);
                mapping(map, indent + 2, text);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                pad(indent, text);
                sequence(items, indent, text);
            }
            Value::String(lines) if is_block(lines) => block(lines, indent + 2, text),
            scalar => {
                text.push(' ');
                text.push_str(&inline(scalar));
                text.push('\n');
            }
        }
    }
}

fn sequence(items: &[Value], indent: usize, text: &mut String) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(indent, text);
        }
        text.push('-');
        match item {
            Value::Object(map) if !map.is_empty() => {
                text.push(' ');
                mapping(map, indent + 2, text);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push(' ');
                sequence(items, indent + 2, text);
            }
            Value::String(lines) if is_block(lines) => block(lines, indent + 2, text),
            scalar => {
                text.push(' ');
                text.push_str(&inline(scalar));
                text.push('\n');
            }
        }
    }
}

fn pad(indent: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', indent));
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(content) => string(content),
        // Without a dot YAML 1.1 sees no number in an exponent's notation.
        Value::Number(number) => {
            let text = number.to_string();
            match text.split_once('e') {
                Some((mantissa, exponent)) if !mantissa.contains('.') => {
                    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
                    format!("{mantissa}.0e{sign}{exponent}")
                }
                _ => text,
            }
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn string(content: &str) -> String {
    if is_plain(content) { content.to_owned() } else { quoted(content) }
}

/// Words that some version of YAML takes for something else, in lower case.
const RESERVED: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];

/// Whether a text begins with a letter or `/` and holds only characters without any meaning, so that it can be no
/// number, date, anchor, tag or comment.
fn is_plain(content: &str) -> bool {
    let mut characters = content.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '/')
        && characters.all(|other| other.is_ascii_alphanumeric() || matches!(other, '/' | '.' | '_' | '-'))
        && !RESERVED.contains(&content.to_ascii_lowercase().as_str())
}

/// Quotes as in JSON, with every character escaped that a reader might refuse or fold.
fn quoted(content: &str) -> String {
    let mut text = String::with_capacity(content.len() + 2);
    text.push('"');
    for character in content.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            other if is_printable(other) => text.push(other),
            other => {
                // A `String` takes whatever is written. YAML, unlike JSON, has no pairs of surrogates.
                let _ = write!(text, "\\U{:08x}", u32::from(other));
            }
        }
    }
    text.push('"');
    text
}

fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~' | '\u{a1}'..='\u{2027}' | '\u{2030}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether a text of several lines can stand as a block and be read back unchanged.
fn is_block(content: &str) -> bool {
    let first_line = content.lines().next().unwrap_or_default();
    content.trim_end_matches('\n').contains('\n')
        && !first_line.is_empty()
        && !first_line.starts_with([' ', '\t'])
        && content.chars().all(|character| character == '\n' || character == '\t' || is_printable(character))
}

fn block(content: &str, indent: usize, text: &mut String) {
    let body = content.trim_end_matches('\n');
    let ends = content.len() - body.len();
    text.push_str(match ends {
        0 => " |-\n",
        1 => " |\n",
        _ => " |+\n",
    });
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(indent, text);
            text.push_str(line);
        }
        text.push('\n');
    }
    text.extend(std::iter::repeat_n('\n', ends.saturating_sub(1)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};

    fn read_back(text: &str) -> Vec<Value> {
        let decoded = decode(text.as_bytes(), &YamlLimits::default(), DuplicateKeys::Refuse).expect(text);
        decoded.documents.into_iter().map(|document| document.value).collect()
    }

    #[test]
    fn objects_look_as_people_write_them() {
        let object = json!({
            "apiVersion": "v1", "data": {"a.conf": "one\n  two\n", "b": "no"}, "empty": {}, "list": [{"a": 1, "b": ["x"]}, [], "y"],
        });
        assert_eq!(
            document(&object),
            "apiVersion: v1\ndata:\n  a.conf: |\n    one\n      two\n  b: \"no\"\nempty: {}\nlist:\n- a: 1\n  b:\n  - x\n- []\n- \"y\"\n"
        );
    }

    #[test]
    fn what_yaml_1_1_would_read_otherwise_is_read_back_the_same() {
        let texts = [
            "yes",
            "no",
            "on",
            "OFF",
            "y",
            "0644",
            "0o7",
            "1e3",
            "12:30:45",
            "12",
            "1_000",
            "0x1F",
            "null",
            "~",
            "",
            "2026-01-01",
            "true",
            "a\n  b\n\n",
            "  a\nb",
            "a\tb",
            "a: b",
            "a #b",
            "- a",
            "<<",
            ".inf",
            "ü\u{2028}\u{7f}\u{feff}\u{1f600}",
            "=",
            "!x",
            "*x",
            "a\r\nb\n",
            "a\nb",
            "a\nb\n\n\n",
            "a\n\nb\n",
            "\n",
            "\na\n",
            "a\n \nb",
            "---\na",
            "a\n---\nb\n",
            "a\n...\n",
        ];
        let keys: Map<String, Value> = texts.iter().map(|text| ((*text).to_owned(), Value::from(*text))).collect();
        let value = json!({
            "keys": keys,
            "list": texts.as_slice(),
            "numbers": [1, -1, 1.5, 1e21, 1e-7, 0, 9_007_199_254_740_993_i64],
            "others": [true, null, {}, [], [[1], [2, [3]]], {"a": {"b": [{"c": "d"}]}}],
        });
        assert_eq!(read_back(&document(&value)), [value]);
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![any::<String>(), "[a-z \\n\\t#:'\"-]{0,12}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_is_read_back_the_same(value in any_value()) {
            let object = json!({"value": value});
            prop_assert_eq!(read_back(&document(&object)), [object]);
        }
    }
}

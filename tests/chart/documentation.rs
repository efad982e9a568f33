//! `values.yaml` is the one place where a value is described: the README's table and the schema's descriptions are made from
//! its comments, and each value is in all three.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::{all_right, golden, read, root};

const CHARTS: [&str; 2] = ["charts/tidelock", "charts/tidelock-crds"];
const BEGIN: &str = "<!-- made from values.yaml: UPDATE_GOLDEN=1 cargo test --test chart -->\n";
const END: &str = "<!-- end of what is made -->\n";
/// Longer defaults would make the table unreadable.
const SHOWN: usize = 120;
/// Comes from the chart that this one is a part of, where it is.
const FREE: [&str; 1] = ["/global"];

/// A value with its path (`cache.sizeLimit`) and what it means.
struct Described {
    path: Vec<String>,
    meaning: String,
}

/// The values that `# --` comments describe, in their order. What lies inside of a described value needs no comment.
fn described(values: &str) -> Vec<Described> {
    let mut all = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    // Lines that are indented more than this belong to a described value.
    let mut inside: Option<usize> = None;
    for line in values.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if content.is_empty() {
            continue;
        }
        if inside.is_some_and(|outer| indent > outer || (indent == outer && content.starts_with("- "))) {
            continue;
        }
        inside = None;
        if let Some(text) = content.strip_prefix("# -- ") {
            comment = Some(text.to_owned());
            continue;
        }
        assert!(!content.starts_with('#'), "a comment that describes no value: {line}");
        let (key, _) = content.split_once(':').unwrap_or_else(|| panic!("neither a comment nor a value: {line}"));
        path.retain(|(outer, _)| *outer < indent);
        path.push((indent, key.to_owned()));
        if let Some(meaning) = comment.take() {
            all.push(Described { path: path.iter().map(|(_, key)| key.clone()).collect(), meaning });
            inside = Some(indent);
        }
    }
    all
}

fn pointer(path: &[String]) -> String {
    path.iter().fold(String::new(), |pointer, key| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")))
}

/// Pointers to the values that hold no further ones, as far as none above them is described.
fn leaves(value: &Value, at: &str, described: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() && !described.contains(at) => {
            for (key, value) in map {
                leaves(value, &format!("{at}/{key}"), described, found);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

fn table(values: &Value, described: &[Described]) -> String {
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for value in described {
        let default = values.pointer(&pointer(&value.path)).unwrap().to_string();
        let default =
            if default.chars().count() > SHOWN { "see `values.yaml`".to_owned() } else { format!("`{default}`") };
        let cell = |text: &str| text.replace('|', "\\|");
        writeln!(table, "| `{}` | {} | {} |", value.path.join("."), cell(&default), cell(&value.meaning)).unwrap();
    }
    table
}

#[test]
fn every_value_is_described_once() {
    for chart in CHARTS {
        let text = read(&format!("{chart}/values.yaml"));
        let values: Value = serde_yaml::from_str(&text).unwrap();
        let described = described(&text);
        let pointers: BTreeSet<String> = described.iter().map(|value| pointer(&value.path)).collect();
        assert_eq!(pointers.len(), described.len(), "{chart}: a value is described twice");
        let mut found = BTreeSet::new();
        leaves(&values, "", &pointers, &mut found);
        assert_eq!(found, pointers, "{chart}/values.yaml: write `# -- what it means` above each value");
        for value in described {
            assert!(value.meaning.ends_with('.'), "{chart}: {}: a meaning is a sentence", value.path.join("."));
        }
    }
}

#[test]
fn the_table_in_the_readme_is_that_of_the_values() {
    let mut wrong = Vec::new();
    for chart in CHARTS {
        let text = read(&format!("{chart}/values.yaml"));
        let table = table(&serde_yaml::from_str(&text).unwrap(), &described(&text));
        let readme = read(&format!("{chart}/README.md"));
        let (before, rest) =
            readme.split_once(BEGIN).unwrap_or_else(|| panic!("{chart}/README.md lacks the line {BEGIN}"));
        let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{chart}/README.md lacks the line {END}"));
        let file = root().join(chart).join("README.md");
        wrong.extend(golden(&file, &format!("{before}{BEGIN}{table}{END}{after}")));
    }
    all_right(&wrong);
}

/// Follows `$ref` into `$defs`.
fn resolved<'a>(schema: &'a Value, whole: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => whole.pointer(pointer).unwrap_or_else(|| panic!("nothing is at {pointer}")),
        None => schema,
    }
}

/// Pointers to the values that a schema knows by name: through objects, not into lists.
fn known(schema: &Value, whole: &Value, at: &str, found: &mut BTreeMap<String, bool>) {
    let schema = resolved(schema, whole);
    let closed = schema["additionalProperties"] != Value::Null || schema["type"] != "object";
    let properties = schema["properties"].as_object();
    found.insert(at.to_owned(), closed);
    for (key, inner) in properties.into_iter().flatten() {
        known(inner, whole, &format!("{at}/{key}"), found);
    }
}

#[test]
fn the_schema_knows_the_values_that_there_are_and_no_other() {
    for chart in CHARTS {
        let text = read(&format!("{chart}/values.yaml"));
        let values: Value = serde_yaml::from_str(&text).unwrap();
        let schema: Value = serde_json::from_str(&read(&format!("{chart}/values.schema.json"))).unwrap();
        let mut found = BTreeMap::new();
        known(&schema, &schema, "", &mut found);
        for value in described(&text) {
            let mut at = String::new();
            for key in &value.path {
                at = format!("{at}/{key}");
                assert!(found.contains_key(&at), "{chart}/values.schema.json lacks {at}");
            }
        }
        for (at, closed) in &found {
            // Fields inside of a described value may be absent from its default.
            let within = described(&text).iter().any(|value| at.starts_with(&format!("{}/", pointer(&value.path))));
            let is_free = FREE.contains(&at.as_str());
            assert!(
                within || is_free || values.pointer(at).is_some(),
                "{chart}/values.yaml lacks {at}, which the schema knows"
            );
            let parent = described(&text).iter().any(|value| pointer(&value.path) == *at);
            assert!(*closed || within || is_free || parent, "{chart}/values.schema.json: {at} takes any property");
        }
    }
}

fn describe(schema: &mut Value, path: &[String], meaning: &str) {
    let mut at = schema;
    for key in path {
        at = at.get_mut("properties").and_then(|properties| properties.get_mut(key)).unwrap();
    }
    at["description"] = meaning.into();
}

#[test]
fn the_schema_describes_the_values_as_they_are_described() {
    let mut wrong = Vec::new();
    for chart in CHARTS {
        let file = root().join(chart).join("values.schema.json");
        let mut schema: Value = serde_json::from_str(&read(&format!("{chart}/values.schema.json"))).unwrap();
        for value in described(&read(&format!("{chart}/values.yaml"))) {
            describe(&mut schema, &value.path, &value.meaning);
        }
        wrong.extend(golden(&file, &format!("{schema:#}\n")));
    }
    all_right(&wrong);
}

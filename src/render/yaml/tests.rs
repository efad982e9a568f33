use std::fmt::Write;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn decode_one(text: &str) -> Result<Value, YamlError> {
    let decoded = decode(text.as_bytes(), &YamlLimits::default(), DuplicateKeys::Refuse)?;
    let mut documents = decoded.documents;
    assert!(documents.len() <= 1, "{text:?} holds several documents");
    Ok(documents.pop().map_or(Value::Null, |document| document.value))
}

fn refused(text: &[u8]) -> (Reason, u32, u32, String) {
    let error = decode(text, &YamlLimits::default(), DuplicateKeys::Refuse).expect_err("must be refused");
    (error.reason, error.line, error.column, error.message)
}

#[test]
fn scalars_mean_what_they_mean_to_the_kubernetes_tools() {
    for (text, expected) in [
        ("0644", json!(420)),
        ("0o17", json!(15)),
        ("0O7", json!(7)),
        ("-0o17", json!(-15)),
        ("0x1F", json!(31)),
        ("0X1f", json!(31)),
        ("+0x10", json!(16)),
        ("0x", json!("0x")),
        ("0b101", json!(5)),
        ("-0b101", json!(-5)),
        ("0b2", json!("0b2")),
        ("1_000", json!(1000)),
        ("1_000.5", json!(1000.5)),
        ("_1", json!("_1")),
        ("08", json!(8)),
        ("0_8", json!(8)),
        ("1e3", json!(1000)),
        ("1e+3", json!(1000)),
        ("12e03", json!(12000)),
        ("1.5e3", json!(1500)),
        ("1.e5", json!(100_000)),
        (".e5", json!(".e5")),
        ("1e400", json!("1e400")),
        (".5", json!(0.5)),
        ("5.", json!(5)),
        ("+5", json!(5)),
        ("+", json!("+")),
        ("-0", json!(0)),
        ("-0.0", json!(0)),
        ("1.0", json!(1)),
        ("1e21", json!(1e21)),
        ("1e20", json!(1e20)),
        ("1e17", json!(100_000_000_000_000_000_i64)),
        ("123456789012345678", json!(123_456_789_012_345_678_i64)),
        ("-0x8000000000000000", json!(i64::MIN)),
        ("18446744073709551615", json!(1.844_674_407_370_955_2e19)),
        ("18446744073709551616", json!(1.844_674_407_370_955_2e19)),
        ("99999999999999999999", json!(1e20)),
        ("1:30", json!("1:30")),
        ("1.2.3", json!("1.2.3")),
        ("1Gi", json!("1Gi")),
        ("on", json!(true)),
        ("Off", json!(false)),
        ("y", json!(true)),
        ("N", json!(false)),
        ("Yes", json!(true)),
        ("oN", json!("oN")),
        ("\"yes\"", json!("yes")),
        ("'0644'", json!("0644")),
        ("=", json!("=")),
        ("2001-01-01", json!("2001-01-01")),
        ("2001-01-01T00:00:00Z", json!("2001-01-01T00:00:00Z")),
        ("!!binary aGVsbG8=", json!("hello")),
        ("!!binary |\n  aGVs\n  bG8=\n", json!("hello")),
        ("!!str 5", json!("5")),
        ("!!str ~", json!("~")),
        ("!!str", json!("")),
        ("!!int \"5\"", json!(5)),
        ("!!float 1", json!(1)),
        ("!!float 0x10", json!(16)),
        ("!!bool yes", json!(true)),
        ("!foo 5", json!("5")),
        ("! 5", json!("5")),
        ("!!set {a, b}", json!({"a": null, "b": null})),
    ] {
        assert_eq!(decode_one(&format!("v: {text}")), Ok(json!({ "v": expected })), "{text}");
    }
    for null in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(decode_one(&format!("v: {null}")), Ok(json!({ "v": null })), "{null}");
    }
}

#[test]
fn keys_become_strings_as_the_kubernetes_tools_print_them() {
    let text = "{1: a, 1.5: b, true: c, 0x10: d, 1e10: e, 1234567.0: f, -5: h, 1e-7: i, 0.0001: j, 2001-01-01: k, \
                !!binary aGVsbG8=: l, 18446744073709551616: m, 1e3: o}";
    let expected = json!({"1": "a", "1.5": "b", "true": "c", "16": "d", "1e+10": "e", "1.234567e+06": "f", "-5": "h",
        "1e-07": "i", "0.0001": "j", "2001-01-01": "k", "hello": "l", "1.8446744e+19": "m", "1000": "o"});
    assert_eq!(decode_one(text), Ok(expected));
    for (text, complaint) in [("{~: a}", "null"), ("{[a]: b}", "a sequence"), ("? {a: b}\n: c", "a mapping")] {
        let (reason, line, _, message) = refused(text.as_bytes());
        assert_eq!((reason, line), (Reason::InvalidYaml, 1));
        assert_eq!(message, format!("{complaint} can't be a key in a Kubernetes object"));
    }
}

#[test]
fn merge_keys_merge_with_the_precedence_of_the_go_library() {
    for (text, expected) in [
        ("{<<: {a: 2, b: 3}, a: 1}", json!({"a": 1, "b": 3})),
        ("{a: 1, <<: {a: 2, b: 3}}", json!({"a": 2, "b": 3})),
        ("{<<: [{a: 2, b: 3}, {a: 4, c: 5}], a: 1}", json!({"a": 1, "b": 3, "c": 5})),
        ("{\"<<\": 3}", json!({"<<": 3})),
        (
            "base: &b {a: 1}\nx:\n  <<: *b\n  c: 2\nz:\n- *b\n",
            json!({"base": {"a": 1}, "x": {"a": 1, "c": 2}, "z": [{"a": 1}]}),
        ),
    ] {
        assert_eq!(decode_one(text), Ok(expected), "{text}");
    }
    let (reason, line, column, message) = refused(b"a: 1\n<<: 3\n");
    assert_eq!((reason, line, column), (Reason::InvalidYaml, 2, 5));
    assert_eq!(message, "a merge key `<<` wants a mapping or a sequence of mappings");
}

#[test]
fn a_key_that_appears_twice_is_an_error_with_its_line_or_a_warning() {
    let text = b"data:\n  user: topsecret\n  user: hunter2\n";
    let (reason, line, column, message) = refused(text);
    assert_eq!((reason, line, column), (Reason::DuplicateKey, 3, 3));
    assert_eq!(message, "the key `user` appears twice in one mapping");
    let decoded = decode(text, &YamlLimits::default(), DuplicateKeys::Warn).unwrap();
    assert_eq!(decoded.documents, [Document { value: json!({"data": {"user": "hunter2"}}), line: 1 }]);
    assert_eq!(decoded.warnings, ["line 3: the key `user` appears twice in one mapping; the last one counts"]);
    assert_eq!(refused(b"{\"a\": 1,\n \"a\": 2}").0, Reason::DuplicateKey);
    assert_eq!(refused(b"{1: a, \"1\": b}").0, Reason::DuplicateKey);
}

#[test]
fn documents_carry_the_line_of_their_content_and_empty_ones_are_left_out() {
    let text = b"# top\n---\n# nothing\n---\na: 1\n---\n\n\nb: 2\n...\n---\n~\n---\n- 3\n";
    let decoded = decode(text, &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
    let expected = [
        Document { value: json!({"a": 1}), line: 5 },
        Document { value: json!({"b": 2}), line: 9 },
        Document { value: json!([3]), line: 14 },
    ];
    assert_eq!(decoded.documents, expected);
    let json_text = b" {\"a\": 1}\n{\"b\": 1e2}\n";
    let decoded = decode(json_text, &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
    let expected = [Document { value: json!({"a": 1}), line: 1 }, Document { value: json!({"b": 100}), line: 2 }];
    assert_eq!(decoded.documents, expected);
}

#[test]
fn encodings_and_line_ends_are_read_as_their_authors_meant() {
    assert_eq!(decode_one("\u{feff}a: 1"), Ok(json!({"a": 1})));
    assert_eq!(decode_one("a: |\r\n  x\r\n  y\r\nb: 1\r\n"), Ok(json!({"a": "x\ny\n", "b": 1})));
    assert_eq!(decode_one("a: |\n  x"), Ok(json!({"a": "x\n"})));
    assert_eq!(decode_one("a: |-\n  x"), Ok(json!({"a": "x"})));
    assert_eq!(decode_one("a: |+\n  x\n\n"), Ok(json!({"a": "x\n\n"})));
    for little in [true, false] {
        let encode = |unit: u16| if little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        let bytes: Vec<u8> = "\u{feff}a: é😀".encode_utf16().flat_map(encode).collect();
        let decoded = decode(&bytes, &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
        assert_eq!(decoded.documents, [Document { value: json!({"a": "é😀"}), line: 1 }]);
    }
}

#[test]
fn broken_text_is_refused_with_its_place_and_without_its_content() {
    for (text, line, column, message) in [
        (&b"a: 1\nb: \xff\n"[..], 2, 4, "the text is not valid UTF-8 here"),
        (b"a: 1\nb: x\0y\n", 2, 5, "control character U+0000 is not allowed in YAML"),
        (b"\xff\xfea\0\n\0b", 2, 1, "the text is not valid UTF-16 here"),
        (b"a: [1\nb: 2\n", 2, 2, "did not find expected ',' or ']' while parsing a flow sequence"),
        (b"a: *secret\n", 1, 4, "unknown anchor `secret`"),
        (b"a: &x [*x]\n", 1, 8, "the value of anchor `x` contains itself"),
        (b"a: !!int hunter2\n", 1, 4, "the value does not fit its tag !!int"),
        (b"a: .inf\n", 1, 4, "infinity and NaN have no place in a Kubernetes object"),
        (b"a: 1\nb: [!!str, c]\n", 2, 5, "a tag must be followed by a space or a line break"),
        (b"{a: !<x>, b: 1}\n", 1, 5, "a tag must be followed by a space or a line break"),
        (b"[!, b]\n", 1, 2, "a tag must be followed by a space or a line break"),
        (b"a: !!binary '?'\n", 1, 4, "the value of tag !!binary is not valid base64"),
    ] {
        let found = refused(text);
        assert_eq!(found, (Reason::InvalidYaml, line, column, message.to_owned()), "{}", text.escape_ascii());
    }
    assert_eq!(refused(b"a: !!binary /w==").0, Reason::InvalidYaml);
}

#[test]
fn an_exclamation_mark_before_a_comma_is_fine_where_it_is_no_tag() {
    for (text, expected) in [
        ("[a!, 'b !c, d', \"!e, f\", g !h, i] # !j, k", json!(["a!", "b !c, d", "!e, f", "g !h", "i"])),
        ("a: |\n  if (!b, !c, 'd') !!e, f\n", json!({"a": "if (!b, !c, 'd') !!e, f\n"})),
        ("a: hey !you, there\nb: ['x!',!!str y]\n", json!({"a": "hey !you, there", "b": ["x!", "y"]})),
    ] {
        assert_eq!(decode_one(text), Ok(expected), "{text}");
    }
}

#[test]
fn every_budget_has_its_own_refusal() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        writeln!(laughs, "a{level}: &a{level} [{}]", [alias.as_str(); 10].join(", ")).unwrap();
    }
    assert_eq!(refused(laughs.as_bytes()).0, Reason::YamlBudget);
    for deep in ["[".repeat(200), "- ".repeat(200), "{\"a\":".repeat(200), "a: {".repeat(5000)] {
        let (reason, line, ..) = refused(deep.as_bytes());
        assert_eq!((reason, line), (Reason::YamlBudget, 1));
    }
    // Depth that only an alias reaches.
    let low = YamlLimits { depth: 5, ..YamlLimits::default() };
    let error = decode(b"a: &x [[[1]]]\nb: [[*x]]\n", &low, DuplicateKeys::Refuse).unwrap_err();
    assert_eq!((error.reason, error.line), (Reason::YamlBudget, 2));
    // Nested anchors copy the same text again and again.
    let long = format!("{}{}{}", "&a [".repeat(90), "x".repeat(200_000), "]".repeat(90));
    assert_eq!(refused(long.as_bytes()).0, Reason::YamlBudget);
    let few = YamlLimits { nodes: 5, documents: 2, bytes: 40, ..YamlLimits::default() };
    let reason = |text: &[u8]| decode(text, &few, DuplicateKeys::Refuse).map(|_| ()).map_err(|error| error.reason);
    assert_eq!(reason(b"[1, 2, 3, 4]"), Ok(()));
    assert_eq!(reason(b"[1, 2, 3, 4, 5]"), Err(Reason::YamlBudget));
    assert_eq!(reason(b"{\"a\": [1, 2, 3, 4, 5]}"), Err(Reason::YamlBudget));
    assert_eq!(reason(b"--- 1\n--- 2\n--- 3\n"), Err(Reason::YamlBudget));
    assert_eq!(reason(&[b'x'; 41]), Err(Reason::InputTooLarge));
}

/// Pieces of YAML's grammar, so that random texts reach its corners.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        prop::sample::select(vec![
            "- ",
            "? ",
            ": ",
            "a",
            "a: ",
            "\n",
            "\n  ",
            "\n    ",
            "|",
            "|+\n",
            ">-\n",
            ">2",
            "&a ",
            "*a",
            "!!binary ",
            "!",
            "!<",
            "!!",
            "%YAML 1.1",
            "%TAG ! tag:x,2000:",
            "---",
            "...",
            "'",
            "\"",
            "\\x4",
            "\\u12",
            "\\",
            "[",
            "]",
            "{",
            "}",
            ",",
            "#",
            "\t",
            "\r",
            "\r\n",
            "<<: ",
            "0x",
            "1_0",
            "%",
            "@",
            "`",
            "\u{feff}",
            "\u{85}",
            "\u{2028}",
            "é",
            "😀",
            "\0",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,4}",
    ];
    prop::collection::vec(fragment, 0..40).prop_map(|pieces| pieces.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(|number| Value::from(number.floor() + 0.5)),
        "\\PC{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_the_decoder_panic(text in fragments()) {
        let _ = decode(text.as_bytes(), &YamlLimits::default(), DuplicateKeys::Warn);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &YamlLimits::default(), DuplicateKeys::Refuse);
    }

    #[test]
    fn json_is_yaml_and_means_the_same(value in json_value(), pretty: bool) {
        let value = json!({ "v": value });
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(decode_one(&text), Ok(value.clone()));
        // Behind a comment it is the YAML reader that reads it. `serde_json` writes some characters raw that are control
        // characters or line breaks to YAML 1.1.
        let raw = |character| matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
        if !text.chars().any(raw) {
            prop_assert_eq!(decode_one(&format!("# yaml\n{text}")), Ok(value));
        }
    }
}

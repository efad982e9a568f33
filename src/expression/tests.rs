use serde_json::json;

use super::*;

fn holds(text: &str, object: &Value) -> Result<bool, ExpressionError> {
    Predicate::compile(text)?.holds_for(object)
}

fn certificate() -> Value {
    json!({
        "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": {"name": "web", "generation": 3, "labels": {"app": "web"}},
        "spec": {"replicas": 2},
        "status": {
            "observedGeneration": 3, "phase": "Running", "ratio": 0.5,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Issuing", "status": "False"}],
        },
    })
}

#[test]
fn fields_are_variables_and_the_whole_object_has_two_names() {
    for text in [
        "status.phase == 'Running'",
        "status.conditions.exists(c, c.type == 'Ready' && c.status == 'True')",
        "status.conditions.filter(c, c.type == 'Ready').all(c, c.status == 'True')",
        "status.conditions.map(c, c.type).join(',') == 'Ready,Issuing'",
        "status.observedGeneration == metadata.generation",
        "status.observedGeneration >= 3 && spec.replicas + 1 == 3",
        "status.ratio < 1",
        "has(status.phase) && !has(status.reason)",
        "object.kind == 'Certificate' && self.apiVersion.startsWith('cert-manager.io/')",
        "'app' in metadata.labels && metadata.labels['app'].matches('^w.b$')",
        "status.?reason.orValue('none') == 'none'",
        "size(status.conditions) == 2 ? true : false",
        "status.phase.lowerAscii() in ['running', 'ready']",
        "kind == 'Certificate'",
    ] {
        assert_eq!(holds(text, &certificate()), Ok(true), "{text}");
    }
}

#[test]
fn an_object_without_status_has_an_empty_one() {
    let fresh = json!({"metadata": {"name": "web"}});
    assert_eq!(holds("has(status.phase)", &fresh), Ok(false));
    assert_eq!(
        holds("status.phase == 'x'", &fresh),
        Err(ExpressionError::FieldMissing { text: "status.phase == 'x'".to_owned(), field: "phase".to_owned() })
    );
}

#[test]
fn named_variables_are_given_by_the_caller() {
    let predicate = Predicate::compile("dependency.status.revision == self.spec.revision").unwrap();
    let (dependency, own) = (json!({"status": {"revision": "a"}}), json!({"spec": {"revision": "a"}}));
    assert_eq!(predicate.holds(&[("dependency", &dependency), ("self", &own), ("unused", &json!(1))]), Ok(true));
}

#[test]
fn an_error_has_the_text_and_the_place() {
    let text = "status.phase ==\n  == 'x'";
    let error = Predicate::compile(text).unwrap_err();
    assert!(matches!(&error, ExpressionError::Parse { line: 2, column: 3, .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("`{text}` is no CEL expression: ")), "{error}");
    assert_eq!(
        holds("status.phase", &certificate()).unwrap_err().to_string(),
        "`status.phase` is a string and must be true or false"
    );
    assert_eq!(
        holds("unknown.x == 1", &certificate()).unwrap_err().to_string(),
        "`unknown.x == 1` can't be evaluated: Undeclared reference to 'unknown'"
    );
}

#[test]
fn an_error_shows_no_value_of_the_object() {
    let secret = json!({"data": {"password": "hunter2"}});
    for text in [
        "data.password > 1",
        "data.password + 1 == 2",
        "size(1)== 1",
        "data.password.nothing()",
        "data[data]",
        "data.password[9] == 1",
    ] {
        let error = holds(text, &secret).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn too_long_and_too_deep_are_refused_when_compiling() {
    let long = format!("'{}' == ''", "x".repeat(MAX_LENGTH));
    assert!(matches!(Predicate::compile(&long), Err(ExpressionError::TooLong { .. })));
    for chain in [vec!["1"; 1000].join("+"), format!("a{}", ".b".repeat(2000)), format!("a{}", "[0]".repeat(1300))] {
        assert!(matches!(Predicate::compile(&chain), Err(ExpressionError::TooDeep { .. })), "{}", &chain[..20]);
    }
    for nested in [
        format!("{}{}", "[".repeat(2000), "]".repeat(2000)),
        format!("{}a", "a ? b : ".repeat(500)),
        format!("a{}", "[a".repeat(1300)),
        format!("{}true", "!(".repeat(2000)),
    ] {
        assert!(Predicate::compile(&nested).is_err(), "{}", &nested[..20]);
    }
    // Brackets and signs that change nothing take no depth, however many there are.
    for nested in [format!("{}1{}", "(".repeat(2000), ")".repeat(2000)), format!("{}true", "!".repeat(4000))] {
        assert!(Predicate::compile(&nested).is_ok(), "{}", &nested[..20]);
    }
    let words: Vec<String> = (0..100).map(|word| format!("status.phase == 'word{word}'")).collect();
    assert_eq!(holds(&words.join(" || "), &certificate()), Ok(false));
}

#[test]
fn the_deepest_expression_that_compiles_fits_into_a_small_stack() {
    let deepest = |make: &dyn Fn(usize) -> String| {
        (1..200).map(make).take_while(|text| Predicate::compile(text).is_ok()).last().unwrap()
    };
    let texts = [
        deepest(&|depth| format!("{}true", "!".repeat(depth))),
        deepest(&|depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth))),
        deepest(&|depth| format!("{}true{}", "[true].all(x, ".repeat(depth), ")".repeat(depth))),
        deepest(&|depth| format!("size({}1{}) == 1", "[".repeat(depth), "]".repeat(depth))),
        deepest(&|depth| format!("{}true", "true ? true : ".repeat(depth))),
    ];
    // Half of what a thread of the controller has.
    let small = std::thread::Builder::new().stack_size(1024 * 1024);
    let run = small.spawn(move || texts.map(|text| holds(&text, &json!({})).unwrap())).unwrap();
    assert!(run.join().is_ok());
}

#[test]
fn what_could_take_too_long_or_too_much_is_refused_before_it_starts() {
    let doubling = format!("['xxxxxxxx']{}.size() == 1", ".map(x, x + x + x + x + x + x + x + x)".repeat(9));
    let large = json!({"spec": {"list": (0..5000).collect::<Vec<_>>()}, "data": {"text": "a".repeat(100_000)}});
    for text in [
        doubling.as_str(),
        "spec.list.all(a, spec.list.all(b, a + b >= 0))",
        "[1,2].map(x, data.text.replace('a', data.text)).size() == 2",
        "data.text.split('').all(a, data.text.split('').all(b, a == b))",
    ] {
        assert_eq!(holds(text, &large), Err(ExpressionError::TooCostly { text: text.to_owned() }), "{text}");
    }
    assert_eq!(holds("spec.list.all(a, a >= 0)", &large), Ok(true));
    assert_eq!(holds("spec.list.filter(a, a > 2).size() == 4997", &large), Ok(true));
    assert_eq!(holds("data.text.contains('b')", &large), Ok(false));
}

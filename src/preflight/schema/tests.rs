use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "required": ["size", "mode"],
                "properties": {
                    "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                    "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
                    "port": {"x-kubernetes-int-or-string": true},
                    "note": {"type": "string", "nullable": true},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "template": {"type": "object", "x-kubernetes-embedded-resource": true,
                                 "x-kubernetes-preserve-unknown-fields": true},
                    "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
                    "items": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "map",
                              "x-kubernetes-list-map-keys": ["id"],
                              "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}},
                    "choice": {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
                               "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
                },
            },
        },
    })
}

fn found(spec: &Value) -> Vec<String> {
    let object = json!({"apiVersion": "e.org/v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec});
    violations(&schema(), &object, true).iter().map(ToString::to_string).collect()
}

#[test]
fn an_object_that_fits_has_no_violation() {
    let spec = json!({
        "size": 3, "name": "abc", "port": "http", "note": null, "labels": {"a": "b"}, "free": {"x": [1]},
        "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}, "ratio": 0.5,
        "items": [{"id": "1"}, {"id": "2"}], "choice": {"x": "1"},
    });
    assert_eq!(found(&spec), Vec::<String>::new());
}

#[test]
fn each_constraint_is_named_with_its_place() {
    let cases = [
        (json!({}), ".spec.size: is required"),
        (json!({"size": "3"}), ".spec.size: must be an integer, is a string"),
        (json!({"size": 2.5}), ".spec.size: must be an integer, is a number"),
        (json!({"size": 0}), ".spec.size: must be at least 1"),
        (json!({"size": 10}), ".spec.size: must be at most 9"),
        (json!({"size": 1, "mode": "c"}), ".spec.mode: must be one of \"a\", \"b\""),
        (json!({"size": 1, "name": "A1"}), ".spec.name: must match the pattern ^[a-z]+$"),
        (json!({"size": 1, "name": "a"}), ".spec.name: must have at least 2 characters, has 1"),
        (json!({"size": 1, "name": null}), ".spec.name: must be a string, is null"),
        (json!({"size": 1, "port": true}), ".spec.port: must be an integer or a string, is a boolean"),
        (json!({"size": 1, "labels": {"a": 1}}), ".spec.labels.a: must be a string, is a number"),
        (json!({"size": 1, "labels": {"a": "", "b": "", "c": ""}}), ".spec.labels: must have at most 2 fields, has 3"),
        (json!({"size": 1, "siez": 1}), ".spec.siez: is not declared in the schema"),
        (json!({"size": 1, "template": {"apiVersion": "v1"}}), ".spec.template.kind: is required"),
        (json!({"size": 1, "ratio": 0}), ".spec.ratio: must be greater than 0"),
        (json!({"size": 1, "items": [{"id": "1"}, {"id": "1"}]}), ".spec.items[1]: is there twice: id=\"1\""),
        (json!({"size": 1, "items": [{}]}), ".spec.items[0].id: is required"),
        (json!({"size": 1, "choice": {}}), ".spec.choice: must fit exactly one alternative (`oneOf`), fits 0"),
    ];
    for (spec, expected) in cases {
        assert_eq!(found(&spec), [expected], "{spec}");
    }
}

#[test]
fn undeclared_fields_pass_when_the_server_is_to_drop_them() {
    let object =
        json!({"apiVersion": "e.org/v1", "kind": "A", "metadata": {}, "spec": {"size": 1, "siez": 1}, "extra": 1});
    assert_eq!(violations(&schema(), &object, false), []);
    let strict: Vec<String> = violations(&schema(), &object, true).iter().map(ToString::to_string).collect();
    assert_eq!(strict, [".extra: is not declared in the schema", ".spec.siez: is not declared in the schema"]);
}

#[test]
fn what_is_no_object_is_told_as_such() {
    assert_eq!(violations(&schema(), &json!([]), true)[0].to_string(), "the object: must be an object, is a list");
}

//! Documents → manifests: lists unwrapped, and every document proved to be a Kubernetes object.

use serde_json::Value;

use super::RenderError;
use super::yaml::Document;
use crate::model::{Manifest, Origin, Reason};

/// Lists may hold lists; nobody nests them deeper than this.
const DEEPEST_LIST: usize = 4;

/// The manifests of a file's documents. `origin` gives the place of a document.
pub fn manifests(documents: Vec<Document>, origin: impl Fn(&Document) -> Origin) -> Result<Vec<Manifest>, RenderError> {
    let mut found = Vec::with_capacity(documents.len());
    for document in documents {
        let origin = origin(&document);
        unwrap(document.value, &origin, DEEPEST_LIST, &mut found)
            .map_err(|message| RenderError::at(Reason::InvalidManifest, &origin, message))?;
    }
    Ok(found)
}

/// Whether a document makes no claim to be a Kubernetes object: a mapping with neither `apiVersion` nor `kind`.
pub fn is_foreign(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.contains_key("apiVersion") && !map.contains_key("kind"))
}

fn unwrap(mut object: Value, origin: &Origin, levels: usize, found: &mut Vec<Manifest>) -> Result<(), String> {
    let kind = text(&object, "/kind").unwrap_or_default().to_owned();
    let api_version = text(&object, "/apiVersion").unwrap_or_default().to_owned();
    if !is_list(&object, &kind) {
        check(&object)?;
        found.push(Manifest { object, origin: origin.clone() });
        return Ok(());
    }
    let Some(levels) = levels.checked_sub(1) else {
        return Err(format!("lists are nested deeper than {DEEPEST_LIST} levels"));
    };
    let items = object.get_mut("items").map(Value::take);
    let Some(Value::Array(items)) = items else { return Ok(()) };
    // In a typed list (`ConfigMapList`) the items need not repeat what the list says.
    let item_kind = kind.strip_suffix("List").unwrap_or_default();
    for (index, mut item) in items.into_iter().enumerate() {
        if let Value::Object(map) = &mut item
            && !item_kind.is_empty()
            && !map.contains_key("kind")
        {
            map.insert("kind".to_owned(), Value::from(item_kind));
            map.entry("apiVersion").or_insert_with(|| Value::from(api_version.as_str()));
        }
        unwrap(item, origin, levels, found).map_err(|message| format!("item {} of the list: {message}", index + 1))?;
    }
    Ok(())
}

/// A list has items and no name of its own; an object of a kind that happens to end in `List` has a name.
fn is_list(object: &Value, kind: &str) -> bool {
    object.get("items").is_some_and(|items| items.is_array() || items.is_null())
        && (kind == "List" || (kind.ends_with("List") && text(object, "/metadata/name").is_none()))
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn check(object: &Value) -> Result<(), String> {
    let Value::Object(map) = object else {
        return Err(format!("a Kubernetes object is a mapping; this document is {}", describe(object)));
    };
    for field in ["apiVersion", "kind"] {
        match map.get(field) {
            Some(Value::String(text)) if !text.is_empty() => {}
            None | Some(Value::Null) => return Err(format!("`{field}` is missing{}", name_hint(object))),
            Some(Value::String(_)) => return Err(format!("`{field}` is empty{}", name_hint(object))),
            Some(other) => return Err(format!("`{field}` must be a text, it is {}", describe(other))),
        }
    }
    let kind = text(object, "/kind").unwrap_or_default();
    let metadata = match map.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => return Err(format!("{kind}: `metadata.name` is missing")),
        Some(other) => return Err(format!("{kind}: `metadata` must be a mapping, it is {}", describe(other))),
    };
    for field in ["name", "generateName", "namespace"] {
        match metadata.get(field) {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(other) => {
                let what = describe(other);
                return Err(format!("{kind}: `metadata.{field}` must be a text, it is {what}; put it in quotes"));
            }
        }
    }
    for field in ["annotations", "labels"] {
        let entries = match metadata.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Object(entries)) => entries,
            Some(other) => {
                return Err(format!("{kind}: `metadata.{field}` must be a mapping, it is {}", describe(other)));
            }
        };
        if let Some((key, value)) = entries.iter().find(|(_, value)| !value.is_string() && !value.is_null()) {
            let what = describe(value);
            return Err(format!(
                "{kind}: the value of `metadata.{field}.{key}` must be a text, it is {what}; put it in quotes"
            ));
        }
    }
    if text(object, "/metadata/name").is_none() && text(object, "/metadata/generateName").is_none() {
        return Err(format!("{kind}: `metadata.name` is missing"));
    }
    Ok(())
}

fn name_hint(object: &Value) -> String {
    match (text(object, "/kind"), text(object, "/metadata/name")) {
        (Some(kind), Some(name)) => format!(" in {kind} `{name}`"),
        (None, Some(name)) => format!(" in the object named `{name}`"),
        (Some(kind), None) => format!(" in an object of kind {kind}"),
        (None, None) => String::new(),
    }
}

const fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a sequence",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};

    fn read(text: &str) -> Result<Vec<Manifest>, RenderError> {
        let decoded = decode(text.as_bytes(), &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
        manifests(decoded.documents, |document| Origin { file: "a.yaml".to_owned(), line: document.line })
    }

    #[test]
    fn lists_are_unwrapped_and_every_object_keeps_its_place() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: Secret, metadata: {name: b}}\n\
                    - {apiVersion: v1, kind: ConfigMapList, items: [{metadata: {generateName: c-}}]}\n\
                    ---\napiVersion: example.com/v1\nkind: AllowList\nmetadata: {name: d}\nitems: []\n";
        let place = |line| Origin { file: "a.yaml".to_owned(), line };
        let expected = vec![
            Manifest {
                object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
                origin: place(1),
            },
            Manifest {
                object: json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}),
                origin: place(5),
            },
            Manifest {
                object: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "c-"}}),
                origin: place(5),
            },
            Manifest {
                object: json!({"apiVersion": "example.com/v1", "kind": "AllowList", "metadata": {"name": "d"}, "items": []}),
                origin: place(11),
            },
        ];
        assert_eq!(read(text), Ok(expected));
        assert_eq!(read("apiVersion: v1\nkind: List\nitems: null\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_kubernetes_object_is_refused_with_its_place() {
        for (text, message) in [
            ("x\n---\n", "a Kubernetes object is a mapping; this document is a text"),
            ("- 1", "a Kubernetes object is a mapping; this document is a sequence"),
            ("kind: A\nmetadata: {name: x}", "`apiVersion` is missing in A `x`"),
            ("apiVersion: v1\nmetadata: {name: x}", "`kind` is missing in the object named `x`"),
            ("apiVersion: 1\nkind: A", "`apiVersion` must be a text, it is a number"),
            ("apiVersion: v1\nkind: ''", "`kind` is empty"),
            ("apiVersion: v1\nkind: A", "A: `metadata.name` is missing"),
            ("apiVersion: v1\nkind: A\nmetadata: {}", "A: `metadata.name` is missing"),
            ("apiVersion: v1\nkind: A\nmetadata: [1]", "A: `metadata` must be a mapping, it is a sequence"),
            (
                "apiVersion: v1\nkind: A\nmetadata: {name: 1}",
                "A: `metadata.name` must be a text, it is a number; put it in quotes",
            ),
            (
                "apiVersion: v1\nkind: A\nmetadata: {name: a, annotations: {b: true}}",
                "A: the value of `metadata.annotations.b` must be a text, it is a boolean; put it in quotes",
            ),
            (
                "apiVersion: v1\nkind: List\nitems:\n- {kind: A}",
                "item 1 of the list: `apiVersion` is missing in an object of kind A",
            ),
        ] {
            let error = RenderError {
                reason: Reason::InvalidManifest,
                message: message.to_owned(),
                file: "a.yaml".to_owned(),
                line: 1,
            };
            assert_eq!(read(text), Err(error), "{text}");
        }
    }
}

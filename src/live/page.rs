//! One page of a list. Pure.

use serde_json::Value;

/// Objects, and where the list goes on.
#[derive(Debug, PartialEq)]
pub(super) struct Page {
    /// The objects, each with its `apiVersion` and `kind`, which servers leave out in lists.
    pub(super) items: Vec<Value>,
    /// The token for the next page; empty on the last one.
    pub(super) next: String,
    /// The version as of which the list is complete.
    pub(super) version: String,
}

/// Reads a page. The error goes on after "the list of X".
pub(super) fn parse(body: &[u8]) -> Result<Page, String> {
    // The text of the error holds a position, never a value.
    let mut document: Value = serde_json::from_slice(body).map_err(|error| format!("is no JSON: {error}"))?;
    let metadata = document.get("metadata").unwrap_or(&Value::Null);
    let (next, version) = (text(metadata, "continue").to_owned(), text(metadata, "resourceVersion").to_owned());
    let api_version = text(&document, "apiVersion").to_owned();
    let kind = text(&document, "kind").trim_end_matches("List").to_owned();
    let mut items = match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        // How servers write an empty list. Without the field it is no list, and proves nothing.
        Some(Value::Null) => Vec::new(),
        Some(_) | None => return Err("has no items".to_owned()),
    };
    for item in &mut items {
        if let Value::Object(fields) = item {
            fields.entry("apiVersion").or_insert_with(|| Value::from(api_version.as_str()));
            fields.entry("kind").or_insert_with(|| Value::from(kind.as_str()));
        }
    }
    Ok(Page { items, next, version })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(document: &Value) -> Result<Page, String> {
        parse(document.to_string().as_bytes())
    }

    #[test]
    fn items_get_the_type_of_their_list_unless_they_state_one() {
        let page = parsed(&json!({
            "apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {"resourceVersion": "9", "continue": "more"},
            "items": [{"metadata": {"name": "a"}}, {"apiVersion": "x/v1", "kind": "X"}],
        }));
        assert_eq!(
            page,
            Ok(Page {
                items: vec![
                    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}}),
                    json!({"apiVersion": "x/v1", "kind": "X"}),
                ],
                next: "more".to_owned(),
                version: "9".to_owned(),
            })
        );
    }

    #[test]
    fn null_is_an_empty_list_but_a_missing_field_is_none() {
        let empty = parsed(&json!({"kind": "ConfigMapList", "metadata": {"resourceVersion": "9"}, "items": null}));
        assert_eq!(empty, Ok(Page { items: Vec::new(), next: String::new(), version: "9".to_owned() }));
        assert_eq!(parsed(&json!({"kind": "Status"})), Err("has no items".to_owned()));
        assert!(parse(b"<html>").unwrap_err().starts_with("is no JSON"));
    }
}

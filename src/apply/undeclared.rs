//! Fields that a kind does not declare, dropped where an Application asks for it (sync option `Validate=false`). Pure.
//!
//! Server-side apply refuses undeclared fields of built-in kinds whatever `fieldValidation` says, and names their places:
//! `.spec.template.spec.containers[name="app"].imgae: field not declared in schema`.

use bytes::Bytes;
use serde_json::{Map, Value};

const WORDS: &str = ": field not declared in schema";

/// The object without the fields that a refusal calls undeclared; `None` when it names none that the object has.
pub(super) fn without_undeclared(body: &[u8], refusal: &str) -> Option<Bytes> {
    if !refusal.contains(WORDS) {
        return None;
    }
    let mut object: Value = serde_json::from_slice(body).ok()?;
    let parts: Vec<&str> = refusal.split(WORDS).collect();
    let mut removed = false;
    // What follows the last of the words is no place.
    for part in parts.iter().take(parts.len().saturating_sub(1)) {
        let place = part.rsplit(char::is_whitespace).next().unwrap_or_default();
        removed |= remove(&mut object, place);
    }
    removed.then(|| Bytes::from(object.to_string()))
}

/// Removes what stands at a place; whether something stood there.
fn remove(value: &mut Value, place: &str) -> bool {
    match value {
        Value::Object(fields) => place.strip_prefix('.').is_some_and(|place| remove_field(fields, place)),
        Value::Array(items) => {
            let Some(place) = place.strip_prefix('[') else { return false };
            place.match_indices(']').any(|(end, _)| {
                let (selector, rest) = (&place[..end], &place[end + 1..]);
                items
                    .iter_mut()
                    .enumerate()
                    .any(|(index, item)| is_selected(selector, index, item) && remove(item, rest))
            })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Names of fields may hold dots, so the object itself tells where a name ends.
fn remove_field(fields: &mut Map<String, Value>, place: &str) -> bool {
    if fields.remove(place).is_some() {
        return true;
    }
    fields.iter_mut().any(|(name, below)| {
        place
            .strip_prefix(name.as_str())
            .filter(|rest| rest.starts_with(['.', '[']))
            .is_some_and(|rest| remove(below, rest))
    })
}

/// Whether an item is the one at an index (`[0]`), or the one with these keys (`[name="app",port=80]`); a key that the item
/// leaves to a default is no difference.
fn is_selected(selector: &str, index: usize, item: &Value) -> bool {
    if let Ok(wanted) = selector.parse::<usize>() {
        return wanted == index;
    }
    selector.split(',').all(|pair| {
        let Some((name, value)) = pair.split_once('=') else { return false };
        item.get(name).is_none_or(|found| serde_json::from_str::<Value>(value).is_ok_and(|value| value == *found))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_that_the_refusal_names_is_dropped_and_no_other() {
        let body = json!({
            "metadata": {"annotations": {"a.b/c": "d"}},
            "spec": {"replikas": 1, "replicas": 1, "template": {"spec": {"containers": [
                {"name": "side", "imgae": "x"}, {"name": "app", "imgae": "y", "ports": [{"containerPort": 80, "prot": 1}]},
            ]}}},
        });
        let refusal = "failed to create typed patch object (shop/a; apps/v1, Kind=Deployment): errors:\n  \
                       .spec.replikas: field not declared in schema\n  \
                       .spec.template.spec.containers[name=\"app\"].imgae: field not declared in schema\n  \
                       .spec.template.spec.containers[name=\"app\"].ports[containerPort=80,protocol=\"TCP\"].prot: field not \
                       declared in schema";
        let smaller = without_undeclared(body.to_string().as_bytes(), refusal).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&smaller).unwrap(),
            json!({
                "metadata": {"annotations": {"a.b/c": "d"}},
                "spec": {"replicas": 1, "template": {"spec": {"containers": [
                    {"name": "side", "imgae": "x"}, {"name": "app", "ports": [{"containerPort": 80}]},
                ]}}},
            })
        );
    }

    #[test]
    fn other_refusals_drop_nothing() {
        let body = json!({"spec": {"a": 1}}).to_string();
        for refusal in ["", ".spec.a: invalid value", ".spec.b: field not declared in schema"] {
            assert_eq!(without_undeclared(body.as_bytes(), refusal), None, "{refusal}");
        }
    }
}

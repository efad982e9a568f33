//! The body of an apply: the object without what only the server may say.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

/// Metadata that is the server's. `resourceVersion` would turn an apply into a conditional one; the others are ignored or
/// refused.
const SERVER_METADATA: [&str; 8] = [
    "resourceVersion",
    "uid",
    "managedFields",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// Serialises an object for an apply, without copying it first.
pub(super) struct Payload<'a>(pub(super) &'a Value);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(fields) = self.0 else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("metadata", Value::Object(metadata)) => map.serialize_entry(name, &Metadata(metadata))?,
                _ => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

struct Metadata<'a>(&'a Map<String, Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(name, _)| !SERVER_METADATA.contains(&name.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_of_the_server_is_left_out_and_all_else_is_kept() {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "labels": {"uid": "kept"}, "resourceVersion": "5", "uid": "u", "creationTimestamp": null,
                         "managedFields": []},
            "data": {"resourceVersion": "kept"},
        });
        assert_eq!(
            serde_json::to_value(Payload(&object)).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "labels": {"uid": "kept"}},
                "data": {"resourceVersion": "kept"},
            })
        );
    }
}

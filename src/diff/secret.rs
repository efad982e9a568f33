//! Keeps the content of Secrets out of everything that is shown: what differs shows, what it is does not.

use serde_json::Value;

use super::fields::{Change, FieldChange};
use crate::model::ObjectKey;

/// Stands for content that is not shown. Always the same, so that not even its length shows.
const HIDDEN: &str = "•••";
/// Stands for content that is not shown and that is not the live one.
const DIFFERS: &str = "••• (differs)";
/// Where a Secret's content is, or may have been copied to by `kubectl apply`.
const PLACES: [&str; 3] =
    [".data", ".stringData", r#".metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]"#];

/// Hides the content of a Secret. Other kinds are left as they are.
pub(super) fn hide(key: &ObjectKey, change: FieldChange) -> FieldChange {
    let is_secret = key.group.is_empty() && key.kind == "Secret";
    let is_content = PLACES.iter().any(|place| change.path.starts_with(place))
        // The maps above an annotation, when they come or go as a whole.
        || change.path == ".metadata"
        || (change.path == ".metadata.annotations" && change.change == Change::Remove);
    if !(is_secret && is_content) {
        return change;
    }
    let shown = if change.change == Change::Set { DIFFERS } else { HIDDEN };
    FieldChange {
        live: change.live.map(|value| hidden(value, HIDDEN)),
        desired: change.desired.map(|value| hidden(value, shown)),
        ..change
    }
}

/// Names of keys stay.
fn hidden(value: Value, mask: &str) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, hidden(value, mask))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Value::from(mask),
    }
}

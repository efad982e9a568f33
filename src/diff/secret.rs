//! Keeps the content of Secrets out of everything that is shown: what differs shows, what it is does not.

use serde_json::Value;

use super::fields::FieldChange;
use crate::model::ObjectKey;

/// Stands for content that is not shown. Always the same, so that not even its length shows.
pub(super) const HIDDEN: &str = "•••";
/// Stands for content that is not shown and that is not the live one.
const DIFFERS: &str = "••• (differs)";
/// Where a Secret's content is, or may have been copied to by `kubectl apply`.
const PLACES: [&str; 3] =
    [".data", ".stringData", r#".metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]"#];

/// Hides the content of a Secret. Other kinds are left as they are.
pub(super) fn hide(key: &ObjectKey, change: FieldChange) -> FieldChange {
    let (live, desired) = hide_values(key, &change.path, change.live, change.desired);
    FieldChange { live, desired, ..change }
}

/// Hides the content of a Secret in the two values of a field that differs. Other kinds are left as they are.
pub(super) fn hide_values(
    key: &ObjectKey,
    path: &str,
    live: Option<Value>,
    desired: Option<Value>,
) -> (Option<Value>, Option<Value>) {
    let is_secret = key.group.is_empty() && key.kind == "Secret";
    let is_content = PLACES.iter().any(|place| path.starts_with(place))
        // The maps above an annotation, when they come or go as a whole.
        || path == ".metadata"
        || (path == ".metadata.annotations" && live.is_some());
    if !(is_secret && is_content) {
        return (live, desired);
    }
    let shown = if live.is_some() && desired.is_some() && live != desired { DIFFERS } else { HIDDEN };
    (live.map(|value| hidden(value, HIDDEN)), desired.map(|value| hidden(value, shown)))
}

/// Names of keys stay.
fn hidden(value: Value, mask: &str) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, hidden(value, mask))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Value::from(mask),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equality_shows_and_content_does_not() {
        let secret = ObjectKey::new("", "Secret", "shop", "db");
        let hide = |path: &str, live: Option<Value>, desired: Option<Value>| hide_values(&secret, path, live, desired);
        assert_eq!(
            hide(".data.password", Some(json!("YQ==")), Some(json!("Yg=="))),
            (Some(json!("•••")), Some(json!("••• (differs)")))
        );
        assert_eq!(
            hide(".stringData.password", Some(json!("a")), Some(json!("a"))),
            (Some(json!("•••")), Some(json!("•••")))
        );
        assert_eq!(hide(".data", None, Some(json!({"a": "YQ=="}))), (None, Some(json!({"a": "•••"}))));
        let last_applied = r#".metadata.annotations["kubectl.kubernetes.io/last-applied-configuration"]"#;
        assert_eq!(hide(last_applied, Some(json!("{}")), None), (Some(json!("•••")), None));
        assert_eq!(hide(".metadata.annotations", Some(json!({"a": "b"})), None), (Some(json!({"a": "•••"})), None));
        assert_eq!(hide(".type", Some(json!("Opaque")), None), (Some(json!("Opaque")), None));
        let other = ObjectKey::new("", "ConfigMap", "shop", "db");
        assert_eq!(hide_values(&other, ".data.a", Some(json!("x")), None), (Some(json!("x")), None));
    }
}

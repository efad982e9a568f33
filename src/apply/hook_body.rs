//! The object of a hook as it is sent: named, marked with its attempt, held by a finalizer. Pure.

use bytes::Bytes;
use serde_json::{Value, json};

use super::error::ApplyError;
use crate::live::HOOK_ATTEMPT_ANNOTATION;
use crate::model::{Hash64, ObjectKey, Owner, TRACKING_ANNOTATION};

/// The finalizer that keeps a hook's object until its result is known, whatever its time to live.
pub const HOOK_FINALIZER: &str = "tidelock.dev/hook-finalizer";

/// The finalizers that are taken off a finished hook: ours and Argo CD's.
pub(super) const HOOK_FINALIZERS: [&str; 2] = [HOOK_FINALIZER, "argocd.argoproj.io/hook-finalizer"];

/// The longest prefix of a generated name that is kept: with the suffix it stays below the limit of 63 bytes.
const PREFIX: usize = 52;

/// The object of a hook for one attempt, and its identity.
///
/// `key` and `body` are as desired; with `generate_name` the name is that prefix and a suffix that follows from the attempt, so
/// that a creation whose answer was lost is not repeated under another name. `attempt` must differ between attempts, and
/// between the phases of one attempt when the hook runs at several.
pub fn hook_object(
    key: &ObjectKey,
    body: &[u8],
    generate_name: Option<&str>,
    owner: &Owner,
    attempt: &str,
) -> Result<(ObjectKey, Bytes), ApplyError> {
    let invalid = || ApplyError::invalid(format!("the hook {key} is not a JSON object with metadata"));
    let mut object: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(invalid)?;
    let mut key = key.clone();
    if let Some(prefix) = generate_name.filter(|_| key.name.is_empty()) {
        let kept: String = prefix.chars().take(PREFIX).collect();
        let suffix = format!("{}", Hash64::of_bytes(format!("{attempt}\n{prefix}\n{}", key.group_kind()).as_bytes()));
        key.name = format!("{kept}{}", suffix.chars().take(10).collect::<String>());
        metadata.remove("generateName");
        metadata.insert("name".to_owned(), json!(key.name));
    }
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    let annotations = annotations.as_object_mut().ok_or_else(invalid)?;
    annotations.insert(HOOK_ATTEMPT_ANNOTATION.to_owned(), json!(attempt));
    annotations.insert(TRACKING_ANNOTATION.to_owned(), json!(owner.tracking_id(&key)));
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    let finalizers = finalizers.as_array_mut().ok_or_else(invalid)?;
    if !finalizers.iter().any(|name| name == HOOK_FINALIZER) {
        finalizers.push(json!(HOOK_FINALIZER));
    }
    Ok((key, Bytes::from(object.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_marked_with_its_attempt_and_held() {
        let owner = Owner::new("t", "t", "shop");
        let key = ObjectKey::new("batch", "Job", "shop", "seed");
        let body = json!({"kind": "Job", "metadata": {"name": "seed", "finalizers": ["a/b"]}}).to_string();
        let (same, sent) = hook_object(&key, body.as_bytes(), None, &owner, "7").unwrap();
        assert_eq!(same, key);
        assert_eq!(
            serde_json::from_slice::<Value>(&sent).unwrap(),
            json!({"kind": "Job", "metadata": {
                "name": "seed",
                "annotations": {"tidelock.dev/hook-attempt": "7", "tidelock.dev/tracking-id": "t/shop:batch/Job:shop/seed"},
                "finalizers": ["a/b", "tidelock.dev/hook-finalizer"],
            }})
        );
    }

    #[test]
    fn a_generated_name_follows_from_the_attempt_and_fits() {
        let owner = Owner::new("t", "t", "shop");
        let key = ObjectKey::new("batch", "Job", "shop", "");
        let name = |prefix: &str, attempt: &str| {
            let body = json!({"metadata": {"generateName": prefix}}).to_string();
            let (named, sent) = hook_object(&key, body.as_bytes(), Some(prefix), &owner, attempt).unwrap();
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(sent["metadata"]["name"], json!(named.name));
            assert_eq!(sent["metadata"].get("generateName"), None);
            assert_eq!(sent["metadata"]["annotations"]["tidelock.dev/tracking-id"], json!(owner.tracking_id(&named)));
            named.name
        };
        assert_eq!(name("seed-", "7"), name("seed-", "7"));
        assert_ne!(name("seed-", "7"), name("seed-", "8"));
        assert_eq!(name(&"x".repeat(80), "7").len(), 62);
    }
}

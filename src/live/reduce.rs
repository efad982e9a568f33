//! A live object becomes the record of what later decisions read. Its body goes no further.

use serde_json::Value;

use super::{HOOK_ATTEMPT_ANNOTATION, LiveRecord};
use crate::model::{
    Consent, FIELD_MANAGER, GroupKind, Hash64, Health, Marks, ObjectKey, entry_hash, hash_of_fields_by_hand, own_entry,
};

/// Annotations whose comma-separated words are options of how to sync an object.
const SYNC_OPTIONS: [&str; 2] = ["tidelock.dev/sync-options", "argocd.argoproj.io/sync-options"];
/// Annotations whose comma-separated words are options of how to compare an object.
const COMPARE_OPTIONS: [&str; 2] = ["tidelock.dev/compare-options", "argocd.argoproj.io/compare-options"];
/// Annotations that take an object out of the Application's health.
const IGNORE_HEALTH: [&str; 2] = ["tidelock.dev/ignore-healthcheck", "argocd.argoproj.io/ignore-healthcheck"];
/// Helm's way to say that an object outlives its release.
/// The first that is a number counts.
const SYNC_WAVE: [&str; 2] = ["tidelock.dev/sync-wave", "argocd.argoproj.io/sync-wave"];
const HELM_POLICY: &str = "helm.sh/resource-policy";

/// Reduces an object (whole, or metadata only) of a known kind. `None` when it has no name or no uid, and so is no
/// stored object.
pub fn reduce(kind: &GroupKind, object: &Value, health: Option<Health>) -> Option<(ObjectKey, LiveRecord)> {
    let metadata = object.get("metadata")?;
    let (name, uid) = (text(metadata, "name"), text(metadata, "uid"));
    if name.is_empty() || uid.is_empty() {
        return None;
    }
    let key = ObjectKey::new(kind.group.as_str(), kind.kind.as_str(), text(metadata, "namespace"), name);
    let kept = annotation(metadata, HELM_POLICY) == "keep";
    let record = LiveRecord {
        uid: uid.to_owned(),
        resource_version: resource_version(object),
        generation: metadata.get("generation").and_then(Value::as_i64).unwrap_or_default(),
        marks: Marks::of(object),
        owned: owned(metadata),
        health,
        deleting: !text(metadata, "deletionTimestamp").is_empty(),
        prune: if kept { Some(Consent::Refused) } else { consent(metadata, "Prune") },
        delete: if kept { Some(Consent::Refused) } else { consent(metadata, "Delete") },
        extraneous_ignored: has_word(metadata, &COMPARE_OPTIONS, "IgnoreExtraneous"),
        hook_attempt: Some(annotation(metadata, HOOK_ATTEMPT_ANNOTATION))
            .filter(|mark| !mark.is_empty())
            .map(Into::into),
        by_hand: by_hand(metadata),
        wave: SYNC_WAVE.iter().find_map(|name| annotation(metadata, name).trim().parse().ok()).unwrap_or_default(),
        health_ignored: IGNORE_HEALTH.iter().any(|name| annotation(metadata, name).trim().eq_ignore_ascii_case("true")),
    };
    Some((key, record))
}

/// `metadata.resourceVersion` as a number; 0 when there is none (a dry run) or when it is no number.
fn resource_version(object: &Value) -> u64 {
    object
        .get("metadata")
        .map(|metadata| text(metadata, "resourceVersion"))
        .unwrap_or_default()
        .parse()
        .unwrap_or_default()
}

/// Hash of the entry in `managedFields` that says which fields we applied.
fn owned(metadata: &Value) -> Option<Hash64> {
    let entries = metadata.get("managedFields")?.as_array()?;
    own_entry(entries, FIELD_MANAGER).map(entry_hash)
}

/// What an annotation says of deleting the object; the strictest of several.
fn consent(metadata: &Value, option: &str) -> Option<Consent> {
    [("false", Consent::Refused), ("confirm", Consent::Needed), ("true", Consent::Given)]
        .into_iter()
        .find(|(word, _)| has_word(metadata, &SYNC_OPTIONS, &format!("{option}={word}")))
        .map(|(_, consent)| consent)
}

fn has_word(metadata: &Value, annotations: &[&str], word: &str) -> bool {
    annotations.iter().any(|name| annotation(metadata, name).split(',').any(|listed| listed.trim() == word))
}

/// Hash of the fields that people added.
fn by_hand(metadata: &Value) -> Option<Hash64> {
    hash_of_fields_by_hand(metadata.get("managedFields")?.as_array()?, FIELD_MANAGER)
}

fn annotation<'a>(metadata: &'a Value, name: &str) -> &'a str {
    metadata.get("annotations").map(|annotations| text(annotations, name)).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::InstanceId;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "cart", "namespace": "shop", "uid": "u1", "resourceVersion": "812", "generation": 3,
                "labels": {"tidelock.dev/instance": "abc"},
                "annotations": {
                    "tidelock.dev/tracking-id": "tidelock/shop:apps/Deployment:shop/cart",
                    "argocd.argoproj.io/sync-options": "ServerSideApply=true, Prune=false",
                },
                "managedFields": [
                    {"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "apps/v1",
                     "subresource": "status", "fieldsV1": {"f:status": {}}},
                    {"manager": "tidelock", "operation": "Apply", "apiVersion": "apps/v1", "time": "2025-01-01T00:00:00Z",
                     "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                ],
            },
            "spec": {"replicas": 2},
        })
    }

    fn kind() -> GroupKind {
        GroupKind::new("apps", "Deployment")
    }

    fn owned_hash(object: &Value) -> Option<Hash64> {
        reduce(&kind(), object, None).unwrap().1.owned
    }

    #[test]
    fn everything_that_decisions_read_is_taken_over() {
        let (key, record) = reduce(&kind(), &deployment(), Some(Health::healthy())).unwrap();
        assert_eq!(key, ObjectKey::new("apps", "Deployment", "shop", "cart"));
        assert_eq!(
            record,
            LiveRecord {
                uid: "u1".to_owned(),
                resource_version: 812,
                generation: 3,
                marks: Marks {
                    instance: InstanceId::from_label("abc"),
                    tracking_id: "tidelock/shop:apps/Deployment:shop/cart".to_owned(),
                },
                owned: record.owned,
                health: Some(Health::healthy()),
                deleting: false,
                prune: Some(Consent::Refused),
                delete: None,
                extraneous_ignored: false,
                hook_attempt: None,
                by_hand: None,
                health_ignored: false,
                wave: 0,
            }
        );
        assert!(record.owned.is_some());
    }

    #[test]
    fn the_hash_of_owned_fields_moves_with_our_fields_and_nothing_else() {
        let before = owned_hash(&deployment());
        let mut other = deployment();
        other["spec"]["replicas"] = json!(9);
        other["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:status": {"f:replicas": {}}});
        other["metadata"]["managedFields"][1]["time"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(owned_hash(&other), before);
        let mut lost = deployment();
        lost["metadata"]["managedFields"][1]["fieldsV1"] = json!({"f:spec": {}});
        assert_ne!(owned_hash(&lost), before);
        let mut gone = deployment();
        gone["metadata"]["managedFields"][1]["manager"] = json!("kubectl");
        assert_eq!(owned_hash(&gone), None);
    }

    #[test]
    fn fields_added_by_hand_are_hashed_and_those_of_controllers_are_not() {
        let by_hand = |object: &Value| reduce(&kind(), object, None).unwrap().1.by_hand;
        let with = |manager: &str, fields: Value| {
            let mut object = deployment();
            object["metadata"]["managedFields"]
                .as_array_mut()
                .unwrap()
                .push(json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": fields}));
            object
        };
        assert_eq!(by_hand(&deployment()), None);
        assert_eq!(by_hand(&with("some-operator", json!({"f:spec": {"f:paused": {}}}))), None);
        assert_eq!(by_hand(&with("kubectl-edit", json!({"f:spec": {"f:replicas": {}}}))), None);
        let one = by_hand(&with("kubectl-edit", json!({"f:spec": {"f:paused": {}}})));
        let other = by_hand(&with("kubectl-edit", json!({"f:spec": {"f:minReadySeconds": {}}})));
        assert!(one.is_some() && other.is_some() && one != other);
    }

    #[test]
    fn helm_keep_forbids_prune_and_deletion() {
        let mut object = deployment();
        object["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        object["metadata"]["deletionTimestamp"] = json!("2025-01-01T00:00:00Z");
        let (_, record) = reduce(&kind(), &object, None).unwrap();
        assert_eq!(
            (record.prune, record.delete, record.deleting),
            (Some(Consent::Refused), Some(Consent::Refused), true)
        );
    }

    #[test]
    fn an_object_that_was_never_stored_has_no_record() {
        assert_eq!(reduce(&kind(), &json!({"metadata": {"name": "x"}}), None), None);
        assert_eq!(reduce(&kind(), &json!([]), None), None);
    }
}

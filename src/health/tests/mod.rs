//! Cases by kind: object → verdict.

mod builtin;
mod conventions;
mod generic;
mod holds;
mod pod;
mod pods;
mod report;
mod table;
mod workload;

use serde_json::{Value, json};

use super::*;

/// Noon; objects below are seen at this time.
const NOW: &str = "2026-01-01T12:00:00Z";

fn context() -> AssessContext {
    AssessContext { now: NOW.parse().unwrap(), has_status_subresource: None }
}

fn verdict(object: &Value) -> Option<(HealthStatus, String)> {
    assess(object, &context()).map(|health| (health.status, health.message))
}

/// Asserts status and message of each case.
fn check(cases: &[(&str, Value, HealthStatus, &str)]) {
    for (name, object, status, message) in cases {
        assert_eq!(verdict(object), Some((*status, (*message).to_owned())), "{name}");
    }
}

/// An object of generation 2 with a spec and a status.
fn object(api_version: &str, kind: &str, spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": "x", "namespace": "shop", "generation": 2}, "spec": spec, "status": status,
    })
}

#[test]
fn kinds_without_meaning_of_health_have_none() {
    for (api_version, kind) in [
        ("v1", "ConfigMap"),
        ("v1", "Secret"),
        ("v1", "ServiceAccount"),
        ("v1", "ResourceQuota"),
        ("v1", "Node"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("storage.k8s.io/v1", "StorageClass"),
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
    ] {
        assert_eq!(verdict(&object(api_version, kind, &json!({}), &json!({}))), None, "{kind}");
    }
}

#[test]
fn groups_that_only_look_built_in_are_read_generically() {
    let gateway = object("gateway.networking.k8s.io/v1", "Gateway", &json!({}), &Value::Null);
    assert_eq!(verdict(&gateway), Some((HealthStatus::Progressing, "has no status yet".into())));
}

#[test]
fn an_object_that_is_being_deleted_is_progressing_whatever_its_kind() {
    let deleted = |finalizers: Value| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
            "name": "x", "deletionTimestamp": NOW, "finalizers": finalizers,
        }})
    };
    check(&[
        ("no finalizer", deleted(Value::Null), HealthStatus::Progressing, "Pending deletion"),
        ("held", deleted(json!(["a/b", "c"])), HealthStatus::Progressing, "Pending deletion: held by a/b, c"),
    ]);
}

#[test]
fn a_hook_that_is_held_until_its_result_is_seen_is_judged_by_it_although_it_is_being_deleted() {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "x", "deletionTimestamp": NOW, "finalizers": ["tidelock.dev/hook-finalizer"]},
        "status": {"conditions": [{"type": "Complete", "status": "True"}]},
    });
    check(&[("complete", job, HealthStatus::Healthy, "")]);
}

#[test]
fn an_annotation_takes_an_object_out_of_the_reckoning() {
    for (annotations, ignored) in [
        (json!({"argocd.argoproj.io/ignore-healthcheck": "true"}), true),
        (json!({"tidelock.dev/ignore-healthcheck": "True"}), true),
        (json!({"tidelock.dev/ignore-healthcheck": "false"}), false),
        (json!({"tidelock.dev/ignore-healthcheck": true}), false),
        (json!({}), false),
        (Value::Null, false),
    ] {
        let object = json!({"metadata": {"annotations": annotations}});
        assert_eq!(is_ignored(&object), ignored, "{object}");
    }
}

#[test]
fn no_json_value_makes_a_rule_panic() {
    let kinds = [
        ("apps/v1", "Deployment"),
        ("apps/v1", "StatefulSet"),
        ("apps/v1", "DaemonSet"),
        ("apps/v1", "ReplicaSet"),
        ("v1", "Pod"),
        ("batch/v1", "Job"),
        ("batch/v1", "CronJob"),
        ("v1", "Service"),
        ("v1", "Namespace"),
        ("networking.k8s.io/v1", "Ingress"),
        ("v1", "PersistentVolumeClaim"),
        ("v1", "PersistentVolume"),
        ("autoscaling/v1", "HorizontalPodAutoscaler"),
        ("policy/v1", "PodDisruptionBudget"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ("apiregistration.k8s.io/v1", "APIService"),
        ("example.com/v1", "Thing"),
    ];
    let odd = [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!([null, 1, "x", {}]),
        json!({"conditions": [1, {}]}),
        json!({"conditions": 7, "phase": [], "observedGeneration": i64::MIN, "replicas": i64::MAX}),
        json!({"observedGeneration": 9, "replicas": i64::MIN, "updatedReplicas": i64::MAX, "readyReplicas": i64::MAX,
               "availableReplicas": i64::MAX, "desiredNumberScheduled": i64::MIN}),
    ];
    for (api_version, kind) in kinds {
        for spec in &odd {
            for status in &odd {
                assert!(verdict(&object(api_version, kind, spec, status)).is_some(), "{kind} {spec} {status}");
            }
        }
    }
    assert!(verdict(&json!("no object")).is_none());
}

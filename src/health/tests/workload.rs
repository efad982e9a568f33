//! Deployment, ReplicaSet, StatefulSet, DaemonSet.

use HealthStatus::{Degraded, Healthy, Progressing, Suspended};

use super::*;

fn merge(base: &Value, changes: Value) -> Value {
    let mut merged = base.clone();
    if let (Value::Object(merged), Value::Object(changes)) = (&mut merged, changes) {
        merged.extend(changes);
    }
    merged
}

fn deployment(spec: Value, status: Value) -> Value {
    let done = json!({
        "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
        "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": "done"},
            {"type": "Available", "status": "True"},
        ],
    });
    object("apps/v1", "Deployment", &merge(&json!({"replicas": 3}), spec), &merge(&done, status))
}

#[test]
fn deployment_is_healthy_when_all_counts_and_both_conditions_agree() {
    let progressing = |reason: &str| {
        json!({"conditions": [
            {"type": "Progressing", "status": "True", "reason": reason, "message": "sentence"},
            {"type": "Available", "status": "True"},
            {"type": "ReplicaFailure", "status": "True", "message": "quota is used up"},
        ]})
    };
    check(&[
        ("done", deployment(json!({}), json!({})), Healthy, ""),
        ("paused", deployment(json!({"paused": true}), json!({})), Suspended, "the rollout is paused (spec.paused)"),
        (
            "unseen",
            deployment(json!({}), json!({"observedGeneration": null})),
            Progressing,
            "its controller has not observed it yet",
        ),
        (
            "stale",
            deployment(json!({}), json!({"observedGeneration": 1})),
            Progressing,
            "its controller has observed generation 1, not yet 2",
        ),
        ("updating", deployment(json!({}), json!({"updatedReplicas": 1})), Progressing, "1 of 3 replicas are updated"),
        (
            "default of one",
            deployment(json!({"replicas": null}), json!({"updatedReplicas": null})),
            Progressing,
            "0 of 1 replica is updated",
        ),
        ("old pods", deployment(json!({}), json!({"replicas": 4})), Progressing, "1 old replica has to stop"),
        (
            "unavailable",
            deployment(json!({}), json!({"availableReplicas": 2})),
            Progressing,
            "2 of 3 replicas are available",
        ),
        ("unready", deployment(json!({}), json!({"readyReplicas": 2})), Progressing, "2 of 3 replicas are ready"),
        (
            "deadline",
            deployment(json!({}), merge(&progressing("ProgressDeadlineExceeded"), json!({"availableReplicas": 1}))),
            Degraded,
            "sentence; 1 of 3 replicas are available; quota is used up",
        ),
        ("still rolling out", deployment(json!({}), progressing("ReplicaSetUpdated")), Progressing, "sentence"),
        (
            "failure is told",
            deployment(json!({}), merge(&progressing("ReplicaSetUpdated"), json!({"updatedReplicas": 0}))),
            Progressing,
            "0 of 3 replicas are updated; quota is used up",
        ),
        (
            "not yet conditions",
            deployment(json!({}), json!({"conditions": null})),
            Progressing,
            "condition Progressing is not reported yet",
        ),
        (
            "no deadline, so no condition",
            deployment(
                json!({"progressDeadlineSeconds": i32::MAX}),
                json!({"conditions": [{"type": "Available", "status": "True"}]}),
            ),
            Healthy,
            "",
        ),
        (
            "unavailable by condition",
            deployment(
                json!({"progressDeadlineSeconds": i32::MAX}),
                json!({"conditions": [{"type": "Available", "status": "False", "message": "too few"}]}),
            ),
            Progressing,
            "too few",
        ),
    ]);
}

#[test]
fn replica_set_needs_its_pods_and_fails_when_it_cannot_make_them() {
    let set = |status: Value| {
        let done = json!({"observedGeneration": 2, "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2,
                          "availableReplicas": 2});
        object("apps/v1", "ReplicaSet", &json!({"replicas": 2}), &merge(&done, status))
    };
    check(&[
        ("done", set(json!({})), Healthy, ""),
        (
            "failure",
            set(json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "no quota"}]})),
            Degraded,
            "no quota",
        ),
        ("too many", set(json!({"replicas": 5})), Progressing, "3 surplus replicas have to stop"),
        ("ready", set(json!({"readyReplicas": 1})), Progressing, "1 of 2 replicas are ready"),
        ("available", set(json!({"availableReplicas": null})), Progressing, "0 of 2 replicas are available"),
    ]);
}

#[test]
fn stateful_set_is_ready_first_and_then_on_the_new_revision() {
    let set = |spec: Value, status: Value| {
        let done = json!({"observedGeneration": 2, "replicas": 3, "readyReplicas": 3, "updatedReplicas": 3,
                          "currentRevision": "b", "updateRevision": "b"});
        object("apps/v1", "StatefulSet", &merge(&json!({"replicas": 3}), spec), &merge(&done, status))
    };
    let partition = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    check(&[
        ("done", set(json!({}), json!({})), Healthy, ""),
        (
            "unseen",
            set(json!({}), json!({"observedGeneration": 0})),
            Progressing,
            "its controller has not observed it yet",
        ),
        ("ready", set(json!({}), json!({"readyReplicas": 2})), Progressing, "2 of 3 replicas are ready"),
        ("available", set(json!({}), json!({"availableReplicas": 2})), Progressing, "2 of 3 replicas are available"),
        ("too many", set(json!({}), json!({"replicas": 4})), Progressing, "1 surplus replica has to stop"),
        (
            "old revision",
            set(json!({}), json!({"currentRevision": "a", "updatedReplicas": 1})),
            Progressing,
            "1 of 3 replicas are updated; revision b replaces a",
        ),
        (
            "partition short",
            set(partition.clone(), json!({"currentRevision": "a", "updatedReplicas": 1})),
            Progressing,
            "1 of 2 replicas above partition 1 are updated",
        ),
        ("partition done", set(partition, json!({"currentRevision": "a", "updatedReplicas": 2})), Healthy, ""),
        ("OnDelete, old but ready", set(on_delete.clone(), json!({"currentRevision": "a"})), Healthy, ""),
        ("OnDelete, not ready", set(on_delete, json!({"readyReplicas": 0})), Progressing, "0 of 3 replicas are ready"),
    ]);
}

#[test]
fn daemon_set_counts_nodes_and_waits_for_no_update_with_on_delete() {
    let set = |spec: &Value, status: Value| {
        let done = json!({"observedGeneration": 2, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
                          "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2});
        object("apps/v1", "DaemonSet", spec, &merge(&done, status))
    };
    let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
    check(&[
        ("done", set(&json!({}), json!({})), Healthy, ""),
        ("no node", set(&json!({}), json!({"desiredNumberScheduled": 0, "currentNumberScheduled": 0})), Healthy, ""),
        (
            "unknown",
            set(&json!({}), json!({"desiredNumberScheduled": null})),
            Progressing,
            "status.desiredNumberScheduled is not reported yet",
        ),
        (
            "stale",
            set(&json!({}), json!({"observedGeneration": 1})),
            Progressing,
            "its controller has observed generation 1, not yet 2",
        ),
        ("updated", set(&json!({}), json!({"updatedNumberScheduled": 1})), Progressing, "1 of 2 pods are updated"),
        ("OnDelete, old", set(&on_delete, json!({"updatedNumberScheduled": 0})), Healthy, ""),
        (
            "OnDelete, unavailable",
            set(&on_delete, json!({"numberAvailable": 1})),
            Progressing,
            "1 of 2 pods are available",
        ),
    ]);
}

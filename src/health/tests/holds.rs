//! What holds an object on purpose.

use HealthStatus::{Degraded, Healthy, Progressing, Suspended};

use super::*;

fn thing(spec: &Value, status: &Value) -> Value {
    object("db.example.com/v1", "Thing", spec, status)
}

#[test]
fn annotations_of_the_kinds_own_domain_hold() {
    let annotated = |name: &str, value: &str| {
        let mut thing = thing(&json!({}), &json!({"phase": "Ready"}));
        thing["metadata"]["annotations"] = json!({ name: value });
        thing
    };
    let held = |name: &str| format!("is held by the annotation {name}");
    for (name, value) in [
        ("example.com/paused", "true"),
        ("example.com/paused", ""),
        ("sub.db.example.com/pause-reconciliation", "true"),
        ("example.com/reconciliationLoop", "disabled"),
        ("example.com/reconcile", "false"),
        ("scaling.example.com/paused-replicas", "0"),
        ("crossplane.io/paused", "true"),
    ] {
        assert_eq!(verdict(&annotated(name, value)), Some((Suspended, held(name))), "{name}: {value}");
    }
    for (name, value) in [
        ("example.com/paused", "false"),
        ("example.com/reconcile", "enabled"),
        ("example.com/paused-by", "me"),
        ("other.org/paused", "true"),
        ("paused", "true"),
    ] {
        assert_eq!(verdict(&annotated(name, value)), Some((Healthy, String::new())), "{name}: {value}");
    }
}

#[test]
fn a_group_shared_by_many_is_no_domain() {
    let mut machine = object("cluster.x-k8s.io/v1beta1", "Cluster", &json!({}), &json!({"phase": "Provisioned"}));
    machine["metadata"]["annotations"] = json!({"metrics.x-k8s.io/paused": "true"});
    check(&[("of another project", machine.clone(), Healthy, "")]);
    machine["metadata"]["annotations"] = json!({"cluster.x-k8s.io/paused": ""});
    check(&[("its own", machine, Suspended, "is held by the annotation cluster.x-k8s.io/paused")]);
}

#[test]
fn a_wish_for_a_paused_state_holds() {
    check(&[
        (
            "desired phase",
            thing(&json!({"lifecycle": {"desiredPhase": "Paused"}}), &json!({"phase": "Running"})),
            Suspended,
            "is held by spec.lifecycle.desiredPhase: Paused",
        ),
        ("another wish", thing(&json!({"desiredState": "Running"}), &json!({"phase": "Running"})), Healthy, ""),
        (
            "flag of the strategy",
            thing(&json!({"updateStrategy": {"paused": true}}), &json!({"phase": "Ready"})),
            Suspended,
            "is held by spec.updateStrategy.paused",
        ),
    ]);
}

#[test]
fn a_partition_holds_what_it_keeps_back_once_the_rest_is_updated() {
    let set = |partition: Value, updated: i64| {
        object(
            "apps.example.com/v1",
            "PodSet",
            &json!({"replicas": 5, "updateStrategy": {"rollingUpdate": {"partition": partition}}}),
            &json!({"replicas": 5, "readyReplicas": 5, "updatedReplicas": updated}),
        )
    };
    let message = "3 of 5 are updated; spec.updateStrategy.rollingUpdate.partition holds the others";
    check(&[
        ("count", set(json!(2), 3), Suspended, message),
        ("share", set(json!("40%"), 3), Suspended, message),
        ("still at it", set(json!(2), 2), Progressing, "updatedReplicas is 2 of 5"),
        ("nothing kept", set(json!(0), 3), Progressing, "updatedReplicas is 3 of 5"),
        ("nothing to update", set(json!(2), 5), Healthy, ""),
        ("no share", set(json!("many"), 5), Healthy, ""),
    ]);
}

#[test]
fn waiting_for_a_person_is_a_hold() {
    let condition = |kind: &str, value: &str, reason: &str, message: &str| {
        thing(
            &json!({}),
            &json!({"conditions": [{"type": kind, "status": value, "reason": reason, "message": message}]}),
        )
    };
    check(&[
        ("reason", condition("InstallPending", "True", "RequiresApproval", "m"), Suspended, "m"),
        ("message of work", condition("Waiting", "True", "", "waits for approval"), Suspended, "waits for approval"),
        ("message of not ready", condition("Ready", "False", "", "approval needed"), Suspended, "approval needed"),
        ("state", thing(&json!({}), &json!({"phase": "AwaitingApproval"})), Suspended, "phase is `AwaitingApproval`"),
        ("approval that failed", condition("Ready", "False", "ApprovalFailed", "m"), Degraded, "m"),
    ]);
}

#[test]
fn a_pause_that_its_controller_has_not_observed_still_holds() {
    let paused = |kind: &str| {
        thing(
            &json!({}),
            &json!({"observedGeneration": 1, "conditions": [{"type": kind, "status": "True", "message": "m"}]}),
        )
    };
    let stale = "its controller has observed generation 1, not yet 2";
    check(&[
        ("of all", paused("ReconciliationPaused"), Suspended, "m"),
        ("of all, by one word", paused("Paused"), Suspended, "m"),
        ("of a part", paused("BackupsPaused"), Progressing, stale),
    ]);
}

//! Custom resources.

use HealthStatus::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};

use super::*;

fn thing(status: &Value) -> Value {
    object("example.com/v1", "Thing", &json!({}), status)
}

fn of_conditions(conditions: Value) -> Value {
    thing(&Value::Object([("conditions".to_owned(), conditions)].into_iter().collect()))
}

fn condition(kind: &str, value: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": value, "reason": reason, "message": message})
}

#[test]
fn a_missing_status_is_healthy_only_where_there_is_none_to_come() {
    for status in [Value::Null, json!({}), json!({"conditions": []})] {
        for (has_status_subresource, wanted) in [
            (None, Health::new(Progressing, "has no status yet")),
            (Some(true), Health::new(Progressing, "has no status yet")),
            (Some(false), Health::healthy()),
        ] {
            let context = AssessContext { has_status_subresource, ..context() };
            assert_eq!(assess(&thing(&status), &context), Some(wanted), "{status} {has_status_subresource:?}");
        }
    }
}

#[test]
fn a_status_that_says_nothing_known_is_not_healthy() {
    check(&[
        (
            "data only",
            thing(&json!({"endpoint": "x", "count": 3})),
            Progressing,
            "its status says nothing that is known to mean health",
        ),
        ("unknown word", thing(&json!({"phase": "Frobnicated"})), Progressing, "phase is `Frobnicated`"),
        (
            "a step on the way",
            of_conditions(json!([condition("Launched", "True", "", "")])),
            Progressing,
            "its status says nothing that is known to mean health",
        ),
    ]);
}

#[test]
fn an_older_generation_is_progressing_whatever_it_says() {
    let ready = |own: i64, condition: i64| {
        thing(&json!({"observedGeneration": own, "conditions": [
            {"type": "Ready", "status": "True", "observedGeneration": condition},
        ]}))
    };
    check(&[
        ("both seen", ready(2, 2), Healthy, ""),
        ("stale status", ready(1, 2), Progressing, "its controller has observed generation 1, not yet 2"),
        ("stale condition", ready(2, 1), Progressing, "condition Ready is about generation 1, not yet 2"),
    ]);
}

#[test]
fn ready_sums_up_and_false_is_failure_only_when_it_says_so() {
    let ready =
        |value: &str, reason: &str, message: &str| of_conditions(json!([condition("Ready", value, reason, message)]));
    check(&[
        ("true", ready("True", "Whatever", "fine"), Healthy, ""),
        ("false", ready("False", "", "two to go"), Progressing, "two to go"),
        ("false, at work", ready("False", "Provisioning", ""), Progressing, "Ready is False: Provisioning"),
        ("false, failed", ready("False", "ReconcileError", "no rights"), Degraded, "no rights"),
        ("false, message tells", ready("False", "Sync", "failed to fetch: 404"), Degraded, "failed to fetch: 404"),
        ("unknown", ready("Unknown", "Checking", "soon"), Progressing, "soon"),
        (
            "severity",
            of_conditions(json!([{"type": "Ready", "status": "False", "severity": "Error", "message": "m"}])),
            Degraded,
            "m",
        ),
        (
            "over a part",
            of_conditions(json!([
                condition("Ready", "True", "", ""),
                condition("CacheAvailable", "False", "Idle", "")
            ])),
            Healthy,
            "",
        ),
        (
            "not over a failed part",
            of_conditions(json!([
                condition("Ready", "True", "", ""),
                condition("Synced", "False", "ReconcileError", "update failed")
            ])),
            Degraded,
            "update failed",
        ),
    ]);
}

#[test]
fn without_ready_every_final_condition_must_hold() {
    check(&[
        (
            "all",
            of_conditions(json!([
                condition("DatabaseAvailable", "True", "", ""),
                condition("Deployed", "True", "", "")
            ])),
            Healthy,
            "",
        ),
        (
            "one missing",
            of_conditions(json!([
                condition("DatabaseAvailable", "False", "", "no primary"),
                condition("Deployed", "True", "", "")
            ])),
            Progressing,
            "no primary",
        ),
        ("refused", of_conditions(json!([condition("Accepted", "False", "Conflicted", "taken")])), Degraded, "taken"),
        (
            "refused without a reason",
            of_conditions(json!([condition("Admitted", "False", "", "")])),
            Degraded,
            "Admitted is False",
        ),
        (
            "not yet judged",
            of_conditions(json!([condition("Accepted", "False", "Pending", "")])),
            Progressing,
            "Accepted is False: Pending",
        ),
    ]);
}

#[test]
fn negative_reconciling_and_holding_conditions_are_known_by_their_words() {
    let beside_ready = |kind: &str, value: &str| {
        of_conditions(json!([condition("Ready", "True", "", ""), condition(kind, value, "R", "m")]))
    };
    check(&[
        ("stalled", beside_ready("Stalled", "True"), Degraded, "m"),
        ("not stalled", beside_ready("Stalled", "False"), Healthy, ""),
        ("failed part", beside_ready("FetchFailed", "True"), Degraded, "m"),
        ("reconciling", beside_ready("Reconciling", "True"), Progressing, "m"),
        ("not reconciling", beside_ready("Reconciling", "False"), Healthy, ""),
        ("paused", beside_ready("Paused", "True"), Suspended, "m"),
        ("a warning in passing", beside_ready("Warning", "True"), Healthy, ""),
        ("not ready by name", of_conditions(json!([condition("NotReady", "True", "Timeout", "m")])), Degraded, "m"),
        (
            "not ready by name, yet",
            of_conditions(json!([condition("NotReady", "True", "Creating", "m")])),
            Progressing,
            "m",
        ),
    ]);
}

#[test]
fn progressing_left_true_is_done_only_at_a_known_generation() {
    let progress = |status: Value| {
        let mut status = status;
        status["conditions"] = json!([
            condition("Available", "True", "", ""),
            condition("Progressing", "True", "NewReplicaSetAvailable", "m")
        ]);
        thing(&status)
    };
    check(&[
        ("known", progress(json!({"observedGeneration": 2})), Healthy, ""),
        ("not known", progress(json!({})), Progressing, "m"),
        (
            "deadline",
            of_conditions(json!([condition("Progressing", "False", "ProgressDeadlineExceeded", "late")])),
            Degraded,
            "late",
        ),
    ]);
}

#[test]
fn state_words_flags_and_errors_are_read() {
    let task = object("example.com/v1", "BackupRun", &json!({}), &json!({"phase": "Running"}));
    check(&[
        ("good", thing(&json!({"phase": "Ready"})), Healthy, ""),
        ("running service", thing(&json!({"state": "Running"})), Healthy, ""),
        ("running task", task, Progressing, "phase is `Running`"),
        ("working", thing(&json!({"phase": "ApplyingChanges"})), Progressing, "phase is `ApplyingChanges`"),
        (
            "bad",
            thing(&json!({"state": "ConfigError", "message": "no licence"})),
            Degraded,
            "state is `ConfigError`: no licence",
        ),
        ("paused", thing(&json!({"status": "paused"})), Suspended, "status is `paused`"),
        ("absent", thing(&json!({"state": "NotFound"})), Missing, "state is `NotFound`"),
        ("unknown", thing(&json!({"state": "Unknown"})), Unknown, "state is `Unknown`"),
        ("the worst counts", thing(&json!({"phase": "Ready", "health": "red"})), Degraded, "health is `red`"),
        ("of another time", thing(&json!({"phase": "Ready", "lastBackupState": "Failed"})), Healthy, ""),
        ("flag", thing(&json!({"readyToUse": true})), Healthy, ""),
        ("flag down", thing(&json!({"ready": false})), Progressing, "ready is false"),
        ("no success", thing(&json!({"state": "Completed", "pass": false})), Degraded, "pass is false"),
        (
            "error",
            thing(&json!({"readyToUse": false, "error": {"message": "no snapshot class"}})),
            Degraded,
            "no snapshot class",
        ),
        (
            "below",
            thing(&json!({"statuses": {"a": {"state": "Rejected", "reason": "why"}}})),
            Degraded,
            "state is `Rejected`: why",
        ),
        ("below, good", thing(&json!({"statuses": {"a": {"state": "Accepted"}}})), Healthy, ""),
        (
            "failure of a part",
            thing(&json!({"phase": "Ready", "parts": [{"name": "a", "status": "Failed"}]})),
            Degraded,
            "status is `Failed`",
        ),
    ]);
}

#[test]
fn counts_must_be_complete() {
    let scaled = |status: Value| object("example.com/v1", "Thing", &json!({"replicas": 3}), &status);
    check(&[
        ("complete", scaled(json!({"replicas": 3, "readyReplicas": 3})), Healthy, ""),
        ("short", scaled(json!({"replicas": 2, "readyReplicas": 2})), Progressing, "readyReplicas is 2 of 3"),
        (
            "short in spite of its word",
            scaled(json!({"phase": "Ready", "readyReplicas": 2})),
            Progressing,
            "readyReplicas is 2 of 3",
        ),
        ("fraction", thing(&json!({"scale": {"statusReplicas": "1/3"}})), Progressing, "statusReplicas is 1/3"),
        (
            "racks",
            thing(&json!({"racks": {"a": {"members": 3, "readyMembers": 3}, "b": {"members": 3, "readyMembers": 1}}})),
            Progressing,
            "readyMembers is 1 of 3",
        ),
        (
            "groups of the spec",
            object(
                "example.com/v1",
                "Thing",
                &json!({"nodeSets": [{"count": 2}, {"count": 1}]}),
                &json!({"phase": "Ready", "availableNodes": 2}),
            ),
            Progressing,
            "availableNodes is 2 of 3",
        ),
    ]);
}

#[test]
fn revisions_that_are_to_run_must_run() {
    let state = |now: &str, next: &str| {
        thing(&json!({"phase": "Ready", "active": {"dry": {"sha": now}}, "proposed": {"dry": {"sha": next}}}))
    };
    let item = |revision: &str| json!({"active": {"dry": {"sha": revision}}, "proposed": {"dry": {"sha": revision}}});
    let items = |one: &str, other: &str| thing(&json!({"phase": "Ready", "regions": [item(one), item(other)]}));
    check(&[
        ("one item behind", items("a", "b"), Progressing, "the items of regions differ in their proposed revision"),
        ("items agree", items("a", "a"), Healthy, ""),
        ("same", state("a", "a"), Healthy, ""),
        ("other", state("a", "b"), Progressing, "the proposed revision is not active yet"),
        (
            "fields",
            thing(&json!({"phase": "Ready", "currentRevision": "a", "updateRevision": "b"})),
            Progressing,
            "currentRevision is a, not yet b",
        ),
    ]);
}

#[test]
fn a_hold_in_the_spec_is_suspended_unless_it_failed() {
    let held = |status: &Value| object("example.com/v1", "Thing", &json!({"suspend": true}), status);
    check(&[
        ("healthy", held(&json!({"phase": "Ready"})), Suspended, "is held by spec.suspend"),
        ("no status", held(&Value::Null), Suspended, "is held by spec.suspend"),
        ("stale", held(&json!({"observedGeneration": 1})), Suspended, "is held by spec.suspend"),
        ("failed", held(&json!({"phase": "Failed"})), Degraded, "phase is `Failed`"),
    ]);
}

#[test]
fn every_parent_must_accept_and_parents_left_behind_do_not_count() {
    let parent = |generation: i64, value: &str, reason: &str| {
        json!({"parentRef": {"name": "gateway"}, "conditions": [{"type": "Accepted", "status": value,
               "reason": reason, "message": reason, "observedGeneration": generation}]})
    };
    let route =
        |parents: Value| object("gateway.networking.k8s.io/v1", "HTTPRoute", &json!({}), &json!({"parents": parents}));
    check(&[
        ("accepted", route(json!([parent(2, "True", "Accepted"), parent(2, "True", "Accepted")])), Healthy, ""),
        (
            "one refuses",
            route(json!([parent(2, "True", "Accepted"), parent(2, "False", "NotAllowedByListeners")])),
            Degraded,
            "NotAllowedByListeners",
        ),
        (
            "one is left behind",
            route(json!([parent(1, "False", "NoMatchingParent"), parent(2, "True", "Accepted")])),
            Healthy,
            "",
        ),
        (
            "all are",
            route(json!([parent(1, "True", "Accepted")])),
            Progressing,
            "condition Accepted is about generation 1, not yet 2",
        ),
        (
            "one is silent",
            route(json!([parent(2, "True", "Accepted"),
         {"parentRef": {}, "conditions": [{"type": "Odd", "status": "True"}]}])),
            Progressing,
            "waits for a parent's controller to accept it",
        ),
    ]);
}

#[test]
fn synced_alone_is_not_healthy_where_ready_is_to_come() {
    let synced = condition("Synced", "True", "ReconcileSuccess", "");
    let awaited = "condition Ready is not True yet";
    check(&[
        ("composite", of_conditions(json!([synced])), Progressing, awaited),
        (
            "managed",
            thing(&json!({"atProvider": {}, "conditions": [{"type": "Synced", "status": "True"}]})),
            Progressing,
            awaited,
        ),
        ("ready", of_conditions(json!([synced, condition("Ready", "True", "Available", "")])), Healthy, ""),
        (
            "paused",
            of_conditions(json!([
                condition("Ready", "True", "Available", ""),
                condition("Synced", "False", "ReconcilePaused", "")
            ])),
            Suspended,
            "Synced is False: ReconcilePaused",
        ),
        ("no such contract", of_conditions(json!([condition("Synced", "True", "", "")])), Healthy, ""),
    ]);
}

#[test]
fn a_reconcile_that_runs_is_progressing_until_it_says_success() {
    let running = |reason: &str| {
        of_conditions(json!([condition("Running", "True", reason, "m"), condition("Successful", "True", "", "")]))
    };
    check(&[
        ("runs", running("Running"), Progressing, "m"),
        ("waits for the next", running("Successful"), Healthy, ""),
    ]);
}

#[test]
fn labels_of_the_kinds_own_domain_tell_a_state() {
    let labelled = |label: &str| {
        let mut thing = thing(&json!({"phase": "Ready"}));
        thing["metadata"]["labels"] = json!({ label: "failed" });
        thing
    };
    check(&[
        ("own", labelled("sub.example.com/rollout-state"), Degraded, "sub.example.com/rollout-state is `failed`"),
        ("foreign", labelled("other.org/rollout-state"), Healthy, ""),
        ("no state", labelled("example.com/name"), Healthy, ""),
    ]);
}

#[test]
fn a_referred_workload_must_be_seen_at_its_generation() {
    let rollout = |observed: &str| {
        let mut thing = thing(&json!({"phase": "Healthy", "workloadObservedGeneration": observed}));
        thing["metadata"]["annotations"] = json!({"rollout.example.com/workload-generation": "2"});
        thing
    };
    check(&[
        ("seen", rollout("2"), Healthy, ""),
        ("not yet", rollout("1"), Progressing, "status.workloadObservedGeneration is 1, not yet 2"),
    ]);
}

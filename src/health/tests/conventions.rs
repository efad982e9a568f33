//! Conventions beyond the common ones: other names, weaker signs.

use HealthStatus::{Degraded, Healthy, Progressing};

use super::*;

fn thing(status: &Value) -> Value {
    object("example.com/v1", "Thing", &json!({}), status)
}

fn with(conditions: &Value) -> Value {
    thing(&json!({ "conditions": conditions }))
}

#[test]
fn generations_are_seen_under_other_names_too() {
    let seen = |field: &str, generation: i64| thing(&json!({"phase": "Ready", field: generation}));
    check(&[
        (
            "evaluated",
            seen("lastEvaluatedGeneration", 1),
            Progressing,
            "its controller has observed generation 1, not yet 2",
        ),
        ("current", seen("reconciledGeneration", 2), Healthy, ""),
        ("of another object", seen("observedWorkloadGeneration", 1), Healthy, ""),
        ("of an installation", seen("installPlanGeneration", 1), Healthy, ""),
    ]);
}

#[test]
fn a_diagnosis_that_is_false_is_failure_unless_work_is_the_reason() {
    let healthy = |value: &str, reason: &str| {
        with(&json!([{"type": "PodsHealthy", "status": value, "reason": reason, "message": "m"}]))
    };
    check(&[
        ("healthy", healthy("True", ""), Healthy, ""),
        ("unhealthy", healthy("False", "NoPods"), Degraded, "m"),
        ("at work", healthy("False", "Progressing"), Progressing, "m"),
        ("unknown", healthy("Unknown", ""), Progressing, "m"),
    ]);
}

#[test]
fn severity_outweighs_the_words_of_the_reason() {
    let ready = |severity: &str| {
        with(
            &json!([{"type": "Ready", "status": "False", "severity": severity, "reason": "InstanceNotFound", "message": "failed to find it"}]),
        )
    };
    check(&[
        ("informed", ready("Info"), Progressing, "failed to find it"),
        ("warned", ready("Warning"), Degraded, "failed to find it"),
        ("failed", ready("Error"), Degraded, "failed to find it"),
    ]);
}

#[test]
fn trouble_counts_unless_the_sentence_begins_with_what_is_done_about_it() {
    let ready = |message: &str| with(&json!([{"type": "Ready", "status": "False", "message": message}]));
    check(&[
        ("trouble", ready("triggers are not working correctly"), Degraded, "triggers are not working correctly"),
        ("not found", ready("key a not found"), Degraded, "key a not found"),
        ("work", ready("Creating key a, which was not found"), Progressing, "Creating key a, which was not found"),
    ]);
}

#[test]
fn being_in_use_is_enough_where_nothing_else_is_said() {
    let active = |value: &str| json!({"type": "NodeActive", "status": value, "message": "m"});
    check(&[
        ("in use", with(&json!([active("True")])), Healthy, ""),
        ("not in use", with(&json!([active("False")])), Progressing, "m"),
        ("not over Ready", with(&json!([active("False"), {"type": "Ready", "status": "True"}])), Healthy, ""),
        (
            "registered is not in use",
            with(&json!([{"type": "Registered", "status": "True"}])),
            Progressing,
            "its status says nothing that is known to mean health",
        ),
    ]);
}

#[test]
fn neither_reconciling_nor_stalled_is_well() {
    let conditions = |reconciling: &str, stalled: &str| {
        with(&json!([
            {"type": "Reconciling", "status": reconciling, "message": "r"},
            {"type": "Stalled", "status": stalled, "message": "s"},
        ]))
    };
    check(&[
        ("neither", conditions("False", "False"), Healthy, ""),
        ("reconciling", conditions("True", "False"), Progressing, "r"),
        ("stalled", conditions("False", "True"), Degraded, "s"),
    ]);
}

#[test]
fn rounds_of_work_are_work_and_done_is_final() {
    let condition = |kind: &str, value: &str| {
        with(&json!([{"type": "Ready", "status": "True"}, {"type": kind, "status": value, "message": "m"}]))
    };
    check(&[
        ("rolling", condition("RollingUpdate", "True"), Progressing, "m"),
        ("not rolling", condition("RollingUpdate", "False"), Healthy, ""),
        ("done", with(&json!([{"type": "Done", "status": "True"}])), Healthy, ""),
        ("not done", with(&json!([{"type": "Done", "status": "False", "message": "m"}])), Progressing, "m"),
    ]);
}

#[test]
fn counts_are_found_in_lists_and_under_the_names_of_daemon_sets() {
    check(&[
        (
            "a list",
            thing(
                &json!({"phase": "Ready", "instances": [{"replicas": 1, "readyReplicas": 1}, {"replicas": 2, "readyReplicas": 1}]}),
            ),
            Progressing,
            "readyReplicas is 1 of 2",
        ),
        (
            "a daemon set",
            thing(
                &json!({"desiredNumberScheduled": 3, "numberReady": 3, "numberAvailable": 2, "updatedNumberScheduled": 3}),
            ),
            Progressing,
            "numberAvailable is 2 of 3",
        ),
        (
            "a complete one",
            thing(
                &json!({"desiredNumberScheduled": 3, "numberReady": 3, "numberAvailable": 3, "updatedNumberScheduled": 3}),
            ),
            Healthy,
            "",
        ),
        (
            "matched pods",
            thing(&json!({"matchedPods": 4, "updatedPods": 2, "readyPods": 4})),
            Progressing,
            "updatedPods is 2 of 4",
        ),
    ]);
}

#[test]
fn states_of_the_whole_are_read_though_their_word_is_not_known() {
    check(&[
        (
            "current",
            thing(&json!({"currentState": "Flibbertigibbet"})),
            Progressing,
            "currentState is `Flibbertigibbet`",
        ),
        ("of a part", thing(&json!({"phase": "Ready", "networkState": "Flibbertigibbet"})), Healthy, ""),
        ("numbers say nothing", thing(&json!({"phase": "Ready", "state": 3})), Healthy, ""),
        ("new", thing(&json!({"phase": "New"})), Progressing, "phase is `New`"),
        ("cancelled", thing(&json!({"phase": "Cancelled"})), Degraded, "phase is `Cancelled`"),
        (
            "below, where conditions say nothing",
            thing(&json!({"result": {"status": "successful"}, "conditions": [{"type": "Odd", "status": "True"}]})),
            Healthy,
            "",
        ),
    ]);
}

//! Application: a child of another Application.

use super::conditions::find;
use super::object::Object;
use super::observed::unseen_status;
use super::{AssessContext, degraded, progressing, suspended};
use crate::model::{Health, HealthStatus};

/// As healthy as the Application says, once it has brought in what its current spec asks for: a wave of children must
/// not pass on the strength of what they were before.
pub fn application(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = unseen_status(object) {
        return health;
    }
    if object.at("/operation").is_some() {
        return progressing("a requested operation has not started yet");
    }
    let message = object.text("/status/operationState/message");
    match object.text("/status/operationState/phase") {
        phase @ ("Running" | "Terminating") => {
            return progressing(explained("an operation is running", phase, message));
        }
        phase @ ("Failed" | "Error") if object.text("/status/sync/status") != "Synced" => {
            return degraded(explained("its last operation did not succeed", phase, message));
        }
        _ => {}
    }
    match object.text("/status/sync/status") {
        "Synced" => {}
        "OutOfSync" if object.is_true("/spec/suspend") => return suspended("is out of sync and suspended"),
        "OutOfSync" if object.at("/spec/syncPolicy/automated").is_none() => {
            return suspended("is out of sync and waits for a sync by hand");
        }
        "OutOfSync" => return progressing("is out of sync"),
        _ => {
            let conditions = object.conditions();
            let ready = find(&conditions, "Ready").filter(|ready| !ready.is_true());
            let why = ready
                .map_or_else(|| "it was not compared with git yet".to_owned(), super::conditions::Condition::explain);
            return Health::new(HealthStatus::Unknown, why);
        }
    }
    let message = object.text("/status/health/message");
    let reported = object.text("/status/health/status");
    match HealthStatus::named(reported) {
        Some(HealthStatus::Healthy) => Health::healthy(),
        Some(status) => Health::new(status, message),
        None => progressing("its health is not reported yet"),
    }
}

fn explained(what: &str, phase: &str, message: &str) -> String {
    if message.is_empty() { format!("{what}: {phase}") } else { format!("{what}: {message}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::assess;
    use super::*;

    fn child() -> Value {
        json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "Application",
            "metadata": {"name": "cart", "generation": 4},
            "spec": {"syncPolicy": {"automated": {}}},
            "status": {
                "observedGeneration": 4,
                "sync": {"status": "Synced", "revision": "a"},
                "health": {"status": "Healthy"},
                "operationState": {"phase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z"},
            },
        })
    }

    fn with(changes: &[(&str, Value)]) -> Health {
        let mut object = child();
        for (pointer, value) in changes {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            object.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        let context = AssessContext { now: jiff::Timestamp::UNIX_EPOCH, has_status_subresource: None };
        assess(&object, &context).unwrap()
    }

    #[test]
    fn a_child_that_brought_in_its_current_spec_is_as_healthy_as_it_says() {
        assert_eq!(with(&[]), Health::healthy());
        let message = json!({"status": "Degraded", "message": "1 of 2 objects are Degraded: Pod a"});
        assert_eq!(with(&[("/status/health", message)]), degraded("1 of 2 objects are Degraded: Pod a"));
        assert_eq!(with(&[("/status/health", json!({"status": "Missing"}))]), Health::new(HealthStatus::Missing, ""));
        assert_eq!(with(&[("/status/health", json!({}))]), progressing("its health is not reported yet"));
    }

    #[test]
    fn what_it_was_before_its_last_change_does_not_count() {
        assert_eq!(
            with(&[("/metadata/generation", json!(5))]),
            progressing("its controller has observed generation 4, not yet 5")
        );
        assert_eq!(with(&[("/status", json!({}))]), progressing("its controller has not observed it yet"));
        assert_eq!(
            with(&[("/operation", json!({"sync": {}}))]),
            progressing("a requested operation has not started yet")
        );
    }

    #[test]
    fn it_is_under_way_until_its_sync_has_ended() {
        let running = json!({"phase": "Running", "message": "step 2 of 5"});
        assert_eq!(with(&[("/status/operationState", running)]), progressing("an operation is running: step 2 of 5"));
        assert_eq!(with(&[("/status/sync/status", json!("OutOfSync"))]), progressing("is out of sync"));
        let failed = [
            ("/status/sync/status", json!("OutOfSync")),
            ("/status/operationState", json!({"phase": "Failed", "message": "no such namespace"})),
        ];
        assert_eq!(with(&failed), degraded("its last operation did not succeed: no such namespace"));
    }

    #[test]
    fn one_that_waits_for_a_person_is_suspended() {
        let out = ("/status/sync/status", json!("OutOfSync"));
        assert_eq!(
            with(&[out.clone(), ("/spec/syncPolicy", json!({}))]),
            suspended("is out of sync and waits for a sync by hand")
        );
        assert_eq!(with(&[out, ("/spec/suspend", json!(true))]), suspended("is out of sync and suspended"));
    }

    #[test]
    fn one_that_could_not_be_compared_is_unknown_with_the_reason() {
        let unknown = ("/status/sync/status", json!("Unknown"));
        assert_eq!(
            with(std::slice::from_ref(&unknown)),
            Health::new(HealthStatus::Unknown, "it was not compared with git yet")
        );
        let ready = json!([{"type": "Ready", "status": "False", "reason": "GitUnreachable", "message": "no route"}]);
        assert_eq!(with(&[unknown, ("/status/conditions", ready)]), Health::new(HealthStatus::Unknown, "no route"));
    }

    #[test]
    fn one_that_is_being_deleted_is_progressing() {
        let health = with(&[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))]);
        assert_eq!(health, progressing("Pending deletion"));
    }
}

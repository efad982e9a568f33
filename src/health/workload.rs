//! Deployment, ReplicaSet, StatefulSet, DaemonSet.

use super::conditions::find;
use super::object::Object;
use super::observed::unseen_status;
use super::{AssessContext, degraded, progressing, suspended};
use crate::model::Health;

/// The value of `progressDeadlineSeconds` that means "no deadline": the controller then keeps no Progressing condition.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// Counts must be complete and both conditions must agree. `ReplicaFailure` alone is not failure (quota may be freed
/// any moment) but is told; the deadline is what decides.
pub fn deployment(object: Object<'_>, _context: &AssessContext) -> Health {
    if object.is_true("/spec/paused") {
        return suspended("the rollout is paused (spec.paused)");
    }
    if let Some(health) = unseen_status(object) {
        return health;
    }
    let conditions = object.conditions();
    let progress = find(&conditions, "Progressing");
    let failure = find(&conditions, "ReplicaFailure").filter(|condition| condition.is_true());
    let with_failure = |message: String| match failure {
        Some(failure) => format!("{message}; {}", failure.explain()),
        None => message,
    };
    if let Some(progress) = progress.filter(|condition| condition.reason == "ProgressDeadlineExceeded") {
        return degraded(with_failure(format!(
            "{}; {}",
            progress.explain(),
            replicas(desired_replicas(object), object.count("/status/availableReplicas"), "available")
        )));
    }
    let desired = desired_replicas(object);
    let total = object.count("/status/replicas");
    let updated = object.count("/status/updatedReplicas");
    let available = object.count("/status/availableReplicas");
    let ready = object.count("/status/readyReplicas");
    if updated < desired {
        return progressing(with_failure(replicas(desired, updated, "updated")));
    }
    if total > updated {
        return progressing(with_failure(format!(
            "{} old {} to stop",
            total.saturating_sub(updated),
            replicas_wait(total.saturating_sub(updated))
        )));
    }
    if available < updated {
        return progressing(with_failure(replicas(desired.max(updated), available, "available")));
    }
    if ready < desired {
        return progressing(with_failure(replicas(desired, ready, "ready")));
    }
    let has_deadline = object.int("/spec/progressDeadlineSeconds") != Some(NO_DEADLINE);
    match progress {
        None if has_deadline => return progressing("condition Progressing is not reported yet"),
        Some(progress) if has_deadline && !(progress.is_true() && progress.reason == "NewReplicaSetAvailable") => {
            return progressing(progress.explain());
        }
        None | Some(_) => {}
    }
    match find(&conditions, "Available") {
        Some(condition) if condition.is_true() => Health::healthy(),
        Some(condition) => progressing(condition.explain()),
        None => progressing("condition Available is not reported yet"),
    }
}

/// Also for `ReplicationController`, which has the same status.
pub fn replica_set(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = unseen_status(object) {
        return health;
    }
    let conditions = object.conditions();
    if let Some(failure) = find(&conditions, "ReplicaFailure").filter(|condition| condition.is_true()) {
        return degraded(failure.explain());
    }
    let desired = desired_replicas(object);
    let total = object.count("/status/replicas");
    if total > desired {
        return progressing(format!(
            "{} surplus {} to stop",
            total.saturating_sub(desired),
            replicas_wait(total.saturating_sub(desired))
        ));
    }
    for (field, word) in [
        ("/status/fullyLabeledReplicas", "fully labelled"),
        ("/status/readyReplicas", "ready"),
        ("/status/availableReplicas", "available"),
    ] {
        let count = object.count(field);
        if count < desired {
            return progressing(replicas(desired, count, word));
        }
    }
    Health::healthy()
}

/// Readiness comes first, so that an `OnDelete` set without ready pods is not healthy.
pub fn stateful_set(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = unseen_status(object) {
        return health;
    }
    let desired = desired_replicas(object);
    let total = object.count("/status/replicas");
    let ready = object.count("/status/readyReplicas");
    if ready < desired {
        return progressing(replicas(desired, ready, "ready"));
    }
    if let Some(available) = object.int("/status/availableReplicas").filter(|available| *available < desired) {
        return progressing(replicas(desired, available, "available"));
    }
    if total > desired {
        return progressing(format!(
            "{} surplus {} to stop",
            total.saturating_sub(desired),
            replicas_wait(total.saturating_sub(desired))
        ));
    }
    if object.text("/spec/updateStrategy/type") == "OnDelete" {
        return Health::healthy();
    }
    let updated = object.count("/status/updatedReplicas");
    let partition = object.count("/spec/updateStrategy/rollingUpdate/partition").max(0);
    if partition > 0 {
        let wanted = desired.saturating_sub(partition).max(0);
        if updated < wanted {
            return progressing(format!(
                "{updated} of {wanted} replicas above partition {partition} {} updated",
                verb(wanted)
            ));
        }
        return Health::healthy();
    }
    let (update, current) = (object.text("/status/updateRevision"), object.text("/status/currentRevision"));
    if update != current {
        return progressing(format!("{}; revision {update} replaces {current}", replicas(desired, updated, "updated")));
    }
    Health::healthy()
}

/// With `OnDelete` the controller never replaces a pod by itself, so that old pods are no reason to wait.
pub fn daemon_set(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = unseen_status(object) {
        return health;
    }
    let Some(desired) = object.int("/status/desiredNumberScheduled") else {
        return progressing("status.desiredNumberScheduled is not reported yet");
    };
    let replaces_pods = object.text("/spec/updateStrategy/type") != "OnDelete";
    for (field, word, applies) in [
        ("/status/currentNumberScheduled", "scheduled", true),
        ("/status/updatedNumberScheduled", "updated", replaces_pods),
        ("/status/numberAvailable", "available", true),
        ("/status/numberReady", "ready", true),
    ] {
        let count = object.count(field);
        if applies && count < desired {
            return progressing(format!("{count} of {desired} pods {} {word}", verb(desired)));
        }
    }
    Health::healthy()
}

fn desired_replicas(object: Object<'_>) -> i64 {
    object.int("/spec/replicas").unwrap_or(1)
}

fn replicas(desired: i64, count: i64, word: &str) -> String {
    let noun = if desired == 1 { "replica" } else { "replicas" };
    format!("{count} of {desired} {noun} {} {word}", verb(desired))
}

const fn verb(count: i64) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

const fn replicas_wait(count: i64) -> &'static str {
    if count == 1 { "replica has" } else { "replicas have" }
}

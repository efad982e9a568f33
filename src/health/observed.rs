//! What comes before every rule: deletion, and status that is about an older generation.

use super::conditions::Condition;
use super::object::Object;
use super::progressing;
use crate::model::Health;

/// Progressing when the object is being deleted; names the finalizers that hold it.
pub fn being_deleted(object: Object<'_>) -> Option<Health> {
    object.at("/metadata/deletionTimestamp")?;
    let finalizers: Vec<&str> =
        object.list("/metadata/finalizers").iter().filter_map(serde_json::Value::as_str).collect();
    if finalizers.is_empty() {
        return Some(progressing("Pending deletion"));
    }
    Some(progressing(format!("Pending deletion: held by {}", finalizers.join(", "))))
}

/// Progressing when `status.observedGeneration` is older than the object. A kind that doesn't report it, or reports a
/// hash instead of a number, can't be stale by this rule.
pub fn stale_status(object: Object<'_>) -> Option<Health> {
    let observed = object.int("/status/observedGeneration")?;
    (observed < object.generation()).then(|| waiting(object, observed))
}

/// The same, for kinds whose controllers always report what they have seen: a missing value means that the controller
/// has not looked at the object yet.
pub fn unseen_status(object: Object<'_>) -> Option<Health> {
    match object.int("/status/observedGeneration") {
        None | Some(0) => Some(progressing("its controller has not observed it yet")),
        Some(observed) => (observed < object.generation()).then(|| waiting(object, observed)),
    }
}

/// Progressing when a condition is about an older generation than the object's.
pub fn stale_condition(object: Object<'_>, condition: &Condition<'_>) -> Option<Health> {
    let observed = condition.observed_generation?;
    (observed < object.generation()).then(|| {
        progressing(format!(
            "condition {} is about generation {observed}, not yet {}",
            condition.kind,
            object.generation()
        ))
    })
}

fn waiting(object: Object<'_>, observed: i64) -> Health {
    progressing(format!("its controller has observed generation {observed}, not yet {}", object.generation()))
}

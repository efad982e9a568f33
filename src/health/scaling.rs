//! HorizontalPodAutoscaler, PodDisruptionBudget.

use serde_json::Value;

use super::conditions::{self, Condition, find};
use super::object::Object;
use super::observed::{stale_condition, stale_status, unseen_status};
use super::{AssessContext, degraded, progressing};
use crate::model::Health;

/// Where `autoscaling/v1` keeps its conditions, as JSON text.
const V1_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// A reason that begins with one of these says that a False condition is failure, not a pause.
const FAILURE_REASONS: [&str; 2] = ["Failed", "Invalid"];

/// Degraded when it can't read metrics or can't scale, healthy once it can.
pub fn horizontal_pod_autoscaler(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = stale_status(object) {
        return health;
    }
    let from_annotation = object
        .annotation(V1_CONDITIONS)
        .filter(|_| object.version() == "v1")
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let conditions = match &from_annotation {
        Some(list) => conditions::parse(list),
        None => object.conditions(),
    };
    let failure = conditions.iter().find(|condition| {
        matches!(condition.kind, "AbleToScale" | "ScalingActive")
            && !condition.is_true()
            && FAILURE_REASONS.iter().any(|word| condition.reason.starts_with(word))
    });
    if let Some(failure) = failure {
        return degraded(failure.explain());
    }
    match find(&conditions, "AbleToScale") {
        Some(condition) if condition.is_true() => Health::healthy(),
        Some(condition) => progressing(condition.explain()),
        None if find(&conditions, "ScalingLimited").is_some_and(Condition::is_true) => Health::healthy(),
        None => progressing("condition AbleToScale is not reported yet"),
    }
}

/// Healthy once observed: a budget that allows no disruption does its duty.
pub fn pod_disruption_budget(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = unseen_status(object) {
        return health;
    }
    let conditions = object.conditions();
    if let Some(failure) = conditions.iter().find(|condition| condition.reason == "SyncFailed") {
        return degraded(failure.explain());
    }
    conditions.iter().find_map(|condition| stale_condition(object, condition)).unwrap_or_else(Health::healthy)
}

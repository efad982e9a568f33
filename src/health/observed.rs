//! What comes before every rule: deletion, and status that is about an older generation.

use super::conditions::Condition;
use super::object::{Object, as_int};
use super::progressing;
use super::words::split;
use crate::model::{HOOK_FINALIZER, Health};

/// Progressing when the object is being deleted; names the finalizers that hold it. A hook that our finalizer holds is
/// judged by its result: the cluster deletes a Job whose time is over as soon as it ends.
pub fn being_deleted(object: Object<'_>) -> Option<Health> {
    object.at("/metadata/deletionTimestamp")?;
    let finalizers: Vec<&str> =
        object.list("/metadata/finalizers").iter().filter_map(serde_json::Value::as_str).collect();
    if finalizers.contains(&HOOK_FINALIZER) {
        return None;
    }
    if finalizers.is_empty() {
        return Some(progressing("Pending deletion"));
    }
    Some(progressing(format!("Pending deletion: held by {}", finalizers.join(", "))))
}

/// How controllers say that they have seen a generation: `observedGeneration`, `lastEvaluatedGeneration`.
const SEEN: [&str; 7] = ["observed", "evaluated", "handled", "processed", "reconciled", "seen", "synced"];

/// Progressing when `status.observedGeneration`, or what another dialect calls it, is older than the object. A kind that
/// doesn't report it, or reports a hash instead of a number, can't be stale by this rule.
pub fn stale_status(object: Object<'_>) -> Option<Health> {
    if let Some(observed) = object.int("/status/observedGeneration") {
        return is_older(object, observed).then(|| waiting(object, observed));
    }
    let status = object.at("/status")?.as_object()?;
    let observed = status.iter().find_map(|(field, value)| {
        let words = split(field);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let is_own = match words.as_slice() {
            [seen, "generation"] | ["last", seen, "generation"] => SEEN.contains(seen),
            _ => false,
        };
        as_int(value).filter(|_| is_own)
    })?;
    is_older(object, observed).then(|| waiting(object, observed))
}

/// Progressing when the controller has seen an older generation of the object that this one refers to: where an
/// annotation `…/workload-generation` has a counterpart `status.workloadObservedGeneration`.
pub fn stale_reference(object: Object<'_>) -> Option<Health> {
    let annotations = object.at("/metadata/annotations")?.as_object()?;
    let status = object.at("/status")?.as_object()?;
    annotations.iter().find_map(|(name, value)| {
        let subject = name.rsplit('/').next()?.strip_suffix("-generation")?;
        let wanted = as_int(value)?;
        let (field, observed) = status.iter().find_map(|(field, value)| {
            let words = split(field);
            let ends = words.ends_with(&["observed".to_owned(), "generation".to_owned()]);
            (ends && words.len() > 2 && words[..words.len() - 2].join("-") == subject)
                .then_some((field, as_int(value)?))
        })?;
        (observed < wanted).then(|| progressing(format!("status.{field} is {observed}, not yet {wanted}")))
    })
}

/// The same, for kinds whose controllers always report what they have seen: a missing value means that the controller
/// has not looked at the object yet.
pub fn unseen_status(object: Object<'_>) -> Option<Health> {
    match object.int("/status/observedGeneration") {
        None | Some(0) => Some(progressing("its controller has not observed it yet")),
        Some(observed) => is_older(object, observed).then(|| waiting(object, observed)),
    }
}

/// Progressing when a condition is about an older generation than the object's.
pub fn stale_condition(object: Object<'_>, condition: &Condition<'_>) -> Option<Health> {
    let observed = condition.observed_generation?;
    is_older(object, observed).then(|| {
        progressing(format!(
            "condition {} is about generation {observed}, not yet {}",
            condition.kind,
            object.generation()
        ))
    })
}

fn is_older(object: Object<'_>, observed: i64) -> bool {
    object.generation() > 0 && observed < object.generation()
}

fn waiting(object: Object<'_>, observed: i64) -> Health {
    progressing(format!("its controller has observed generation {observed}, not yet {}", object.generation()))
}

//! How well an object does: pure rules over what the API server returned.
//!
//! Built-in kinds have a rule each, the stricter of what Argo CD and kstatus say about the kind. Every other kind is
//! read by [`generic`], which needs a positive sign before it says Healthy. All rules are sync and total, and the only
//! clock is the one in [`AssessContext`].

mod aggregate;
mod application;
mod conditions;
mod counts;
mod extension;
mod generic;
mod hold;
mod inert;
mod job;
mod namespace;
mod networking;
mod object;
mod observed;
mod pod;
mod pods;
mod polarity;
mod revisions;
pub mod rules;
mod scaling;
mod states;
mod storage;
mod table;
mod words;
mod workload;

pub mod report;

pub use aggregate::aggregate;
pub use pods::{selector_text, worst_pod};
pub use storage::waits_for_consumer;

use serde_json::Value;

use crate::model::{Health, HealthStatus};
use object::Object;

/// What a rule may know besides the object.
#[derive(Clone, Copy, Debug)]
pub struct AssessContext {
    /// The time at which the object was seen.
    pub now: jiff::Timestamp,
    /// Whether the kind has a status subresource, as discovery says; `None` when nobody looked.
    pub has_status_subresource: Option<bool>,
}

/// Annotations that take an object out of the reckoning.
const IGNORE_ANNOTATIONS: [&str; 2] = ["argocd.argoproj.io/ignore-healthcheck", "tidelock.dev/ignore-healthcheck"];

/// The health of a live object, or `None` for a kind that is well by existing (a `ConfigMap`, a `Role`).
///
/// An object that is being deleted is Progressing whatever its kind. An object whose controller has not yet seen the
/// current generation is Progressing for every kind that reports the generation it has seen.
pub fn assess(object: &Value, context: &AssessContext) -> Option<Health> {
    let value = object;
    let object = Object::new(value);
    if let Some(health) = observed::being_deleted(object) {
        return Some(health);
    }
    let rule = rule_of(object.group(), object.kind());
    match rule {
        Rule::Inert => None,
        Rule::Builtin(assess) => Some(assess(object, context)),
        Rule::Generic => Some(generic::assess(value, context)),
    }
}

/// Whether objects of a kind have health at all, so that it takes the whole object to know it.
pub fn is_assessed(group: &str, kind: &str) -> bool {
    !matches!(rule_of(group, kind), Rule::Inert)
}

/// Whether an annotation on the object asks that its health be left out (`"true"` in any case).
pub fn is_ignored(object: &Value) -> bool {
    let object = Object::new(object);
    IGNORE_ANNOTATIONS
        .iter()
        .any(|name| object.annotation(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true")))
}

#[derive(Clone, Copy)]
enum Rule {
    Inert,
    Builtin(fn(Object<'_>, &AssessContext) -> Health),
    Generic,
}

fn rule_of(group: &str, kind: &str) -> Rule {
    match (group, kind) {
        ("apps" | "extensions", "Deployment") => Rule::Builtin(workload::deployment),
        ("apps" | "extensions", "ReplicaSet") | ("", "ReplicationController") => Rule::Builtin(workload::replica_set),
        ("apps" | "extensions", "DaemonSet") => Rule::Builtin(workload::daemon_set),
        ("apps", "StatefulSet") => Rule::Builtin(workload::stateful_set),
        ("", "Pod") => Rule::Builtin(pod::pod),
        ("batch", "Job") => Rule::Builtin(job::job),
        ("batch", "CronJob") => Rule::Builtin(job::cron_job),
        ("", "Service") => Rule::Builtin(networking::service),
        ("networking.k8s.io" | "extensions", "Ingress") => Rule::Builtin(networking::ingress),
        ("", "PersistentVolumeClaim") => Rule::Builtin(storage::claim),
        ("", "PersistentVolume") => Rule::Builtin(storage::volume),
        ("autoscaling", "HorizontalPodAutoscaler") => Rule::Builtin(scaling::horizontal_pod_autoscaler),
        ("policy", "PodDisruptionBudget") => Rule::Builtin(scaling::pod_disruption_budget),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Rule::Builtin(extension::custom_resource_definition),
        ("apiregistration.k8s.io", "APIService") => Rule::Builtin(extension::api_service),
        ("", "Namespace") => Rule::Builtin(namespace::namespace),
        ("tidelock.dev", "Application") => Rule::Builtin(application::application),
        (group, _) if inert::is_builtin_group(group) => Rule::Inert,
        _ => Rule::Generic,
    }
}

fn progressing(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Progressing, message)
}

fn degraded(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Degraded, message)
}

fn suspended(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Suspended, message)
}

#[cfg(test)]
mod tests;

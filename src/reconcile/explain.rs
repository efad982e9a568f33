//! A workload that is Degraded says that it is late; which container fails, and how, its pods say. They are read once for
//! every state of such a workload, and never while all is well.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;

use super::driver::Driver;
use super::memory::Memory;
use crate::desired::DesiredSet;
use crate::health::{AssessContext, selector_text, worst_pod};
use crate::live::{LiveRecord, LiveView};
use crate::model::{HealthStatus, ObjectKey, Owner};

/// Workloads looked into in one reconcile; the rest have their turn in the next.
const AT_ONCE: usize = 8;

/// What the pods of workloads told, for the version of the workload that it was asked for.
#[derive(Default)]
pub(super) struct Explanations {
    found: BTreeMap<ObjectKey, (u64, Option<String>)>,
}

impl Explanations {
    /// Adds to the health of workloads what their pods told.
    pub(super) fn complete(&self, mut live: LiveView) -> LiveView {
        for (key, (version, told)) in &self.found {
            let Some(told) = told else { continue };
            let Some(record) = live.objects.get_mut(key).filter(|record| record.resource_version == *version) else {
                continue;
            };
            let record = Arc::make_mut(record);
            if let Some(health) = &mut record.health {
                health.message = format!("{}; {told}", health.message);
            }
        }
        live
    }

    fn lacks(&self, key: &ObjectKey, record: &LiveRecord) -> bool {
        self.found.get(key).is_none_or(|(version, _)| *version != record.resource_version)
    }
}

/// Whether the pods of an object have something to say.
fn is_to_explain(key: &ObjectKey, record: &LiveRecord) -> bool {
    key.group == "apps"
        && matches!(key.kind.as_str(), "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet")
        && !record.deleting
        && record.health.as_ref().is_some_and(|health| health.status == HealthStatus::Degraded)
}

impl Driver {
    /// Asks the pods of workloads that are Degraded. Whatever goes wrong here leaves the workload's own message.
    pub(super) async fn explain(&self, owner: &Owner, memory: &mut Memory, desired: &DesiredSet) {
        let live = self.destination.cache.view(&owner.instance, desired.objects.keys());
        let degraded = live.objects.iter().filter(|(key, record)| is_to_explain(key, record));
        let wanted: BTreeMap<&ObjectKey, &Arc<LiveRecord>> = degraded.collect();
        memory.explanations.found.retain(|key, _| wanted.contains_key(key));
        let asked: Vec<_> = wanted
            .into_iter()
            .filter(|(key, record)| memory.explanations.lacks(key, record))
            .filter_map(|(key, record)| {
                let body: serde_json::Value = serde_json::from_slice(&desired.objects.get(key)?.body).ok()?;
                Some((key.clone(), record.resource_version, selector_text(&body)?))
            })
            .take(AT_ONCE)
            .collect();
        let context = AssessContext { now: self.clock.now(), has_status_subresource: Some(true) };
        let told: Vec<_> = futures::stream::iter(asked)
            .map(|(key, version, selector)| async move {
                let pods = self.destination.applier.pods_of(&key, &selector).await;
                if let Err(error) = &pods {
                    tracing::debug!(object = %key, reason = %error.reason, "its pods could not be read");
                }
                (key, version, worst_pod(&pods.unwrap_or_default(), &context))
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (key, version, told) in told {
            memory.explanations.found.insert(key, (version, told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Health;

    fn record(version: u64, health: Health) -> LiveRecord {
        LiveRecord { resource_version: version, health: Some(health), ..LiveRecord::plain("u") }
    }

    #[test]
    fn what_pods_told_counts_for_the_version_it_was_asked_for() {
        let key = ObjectKey::new("apps", "Deployment", "shop", "cart");
        let mut explanations = Explanations::default();
        explanations.found.insert(key.clone(), (7, Some("pod cart-1: container `app` waits".to_owned())));
        let late = Health::new(HealthStatus::Degraded, "late");
        let view =
            |version| LiveView { objects: BTreeMap::from([(key.clone(), Arc::new(record(version, late.clone())))]) };
        let message = |view: LiveView| view.objects[&key].health.clone().unwrap().message;
        assert_eq!(message(explanations.complete(view(7))), "late; pod cart-1: container `app` waits");
        assert_eq!(message(explanations.complete(view(8))), "late");
        assert!(explanations.lacks(&key, &record(8, late.clone())));
        assert!(!explanations.lacks(&key, &record(7, late)));
    }

    #[test]
    fn only_degraded_workloads_are_asked_about() {
        let degraded = || record(1, Health::new(HealthStatus::Degraded, ""));
        let key = |group: &str, kind: &str| ObjectKey::new(group, kind, "shop", "cart");
        assert!(is_to_explain(&key("apps", "StatefulSet"), &degraded()));
        assert!(!is_to_explain(&key("", "Pod"), &degraded()));
        assert!(!is_to_explain(&key("apps", "Deployment"), &record(1, Health::new(HealthStatus::Progressing, ""))));
        assert!(!is_to_explain(&key("apps", "Deployment"), &LiveRecord { deleting: true, ..degraded() }));
    }
}

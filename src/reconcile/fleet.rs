//! Fleet-wide settings in force: one ConfigMap of the operator's namespace, watched by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::customizations::{CONFIG_MAP, Customizations, parse};
use crate::health::rules::FleetRules;
use crate::model::Hash64;

/// What the ConfigMap says, and what of it can't be used.
#[derive(Debug, Default)]
pub(super) struct InForce {
    /// The settings.
    pub(super) customizations: Customizations,
    /// A sentence for each key that can't be used.
    pub(super) problems: Vec<String>,
}

impl InForce {
    /// Hash of the rules by which kinds are left alone.
    pub(super) fn left_alone(&self) -> Hash64 {
        let Customizations { exclusions, inclusions, .. } = &self.customizations;
        Hash64::of_bytes(format!("{exclusions:?}{inclusions:?}").as_bytes())
    }
}

/// Keeps the settings current.
pub(super) struct Fleet {
    in_force: ArcSwap<InForce>,
    synced: watch::Sender<bool>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { in_force: ArcSwap::default(), synced: watch::Sender::new(false) }
    }
}

impl Fleet {
    /// The settings in force.
    pub(super) fn current(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Waits until it is known whether there is a ConfigMap and what it says.
    pub(super) async fn synced(&self) {
        // The sender lives as long as `self`, so the wait can only end by the value.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Follows the ConfigMap until the task is dropped. `changed` gets the health rules at each change of the data; the
    /// other settings are in force before it is called.
    pub(super) async fn run(self: Arc<Self>, client: Client, namespace: String, changed: impl Fn(FleetRules) + Send) {
        let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
        let only = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let mut events = watcher(api, only).default_backoff().boxed();
        let mut data = BTreeMap::new();
        let mut listed = None;
        loop {
            let now = match events.try_next().await {
                Ok(Some(watcher::Event::Init)) => {
                    listed = None;
                    continue;
                }
                Ok(Some(watcher::Event::InitApply(object))) => {
                    listed = object.data;
                    continue;
                }
                Ok(Some(watcher::Event::InitDone)) => listed.take().unwrap_or_default(),
                Ok(Some(watcher::Event::Apply(object))) => object.data.unwrap_or_default(),
                Ok(Some(watcher::Event::Delete(_))) => BTreeMap::new(),
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "the watch of ConfigMap {CONFIG_MAP} failed; it starts again");
                    continue;
                }
            };
            if now != data {
                data = now;
                changed(self.take_over(&data));
            }
            self.synced.send_replace(true);
        }
    }

    fn take_over(&self, data: &BTreeMap<String, String>) -> FleetRules {
        let (customizations, mut problems) = parse(data);
        let (rules, broken) = FleetRules::compile(&customizations);
        problems.extend(broken);
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        for problem in &problems {
            warn!("{problem}");
        }
        info!(keys = data.len(), problems = problems.len(), "the settings of ConfigMap {CONFIG_MAP} are in force");
        self.in_force.store(Arc::new(InForce { customizations, problems }));
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_force_with_the_problems_of_the_others() {
        let fleet = Fleet::default();
        assert_eq!(fleet.current().customizations, Customizations::default());
        let data = [
            ("resource.customizations.ignoreDifferences.all", "jsonPointers: [/spec/replicas]"),
            ("resource.customizations.health.Pod", "return {"),
            ("resource.exclusions", "x: 1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        drop(fleet.take_over(&data.into()));
        let now = fleet.current();
        assert_eq!(now.customizations.ignore_differences.len(), 1);
        let beginnings: Vec<String> =
            now.problems.iter().map(|problem| problem.split(": ").next().unwrap_or_default().to_owned()).collect();
        assert_eq!(
            beginnings,
            ["ConfigMap tidelock-cm, resource.exclusions", "ConfigMap tidelock-cm, resource.customizations.health.Pod"]
        );
    }
}

//! The keys that count, from three ConfigMaps of the operator's namespace, watched by name. Taking a key out revokes it at
//! once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::stream::select_all;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::verify::{AllowedSigners, COSIGN_KEYS, CosignKey, GPG_KEYS, GitKeys, Keyring, SSH_SIGNERS};

/// The ConfigMaps.
const NAMES: [&str; 3] = [GPG_KEYS, SSH_SIGNERS, COSIGN_KEYS];

/// Keys in force.
#[derive(Debug, Default)]
pub(super) struct TrustedKeys {
    /// For commits and tags.
    pub(super) git: GitKeys,
    /// For artifacts, by name.
    pub(super) cosign: BTreeMap<String, CosignKey>,
    /// Grows whenever anything of it changes.
    pub(super) generation: u64,
}

/// Text by the keys of a ConfigMap.
type Data = BTreeMap<String, String>;

/// Keeps the keys current.
pub(super) struct Trust {
    in_force: ArcSwap<TrustedKeys>,
    synced: watch::Sender<bool>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { in_force: ArcSwap::default(), synced: watch::Sender::new(false) }
    }
}

impl Trust {
    /// The keys in force.
    pub(super) fn current(&self) -> Arc<TrustedKeys> {
        self.in_force.load_full()
    }

    /// Waits until it is known which keys there are.
    pub(super) async fn synced(&self) {
        // The sender lives as long as `self`, so the wait can only end by the value.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Follows the ConfigMaps until the task is dropped; `changed` is called when other keys are in force.
    pub(super) async fn run(self: Arc<Self>, client: Client, namespace: String, changed: impl Fn() + Send) {
        let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
        let streams = NAMES.map(|name| {
            let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
            watcher(api.clone(), only)
                .default_backoff()
                .map(move |event| event.map(|event| (name, event)).map_err(|error| (name, error)))
                .boxed()
        });
        let mut events = select_all(streams);
        let mut data: BTreeMap<&str, Data> = BTreeMap::new();
        let mut listed: BTreeMap<&str, Data> = BTreeMap::new();
        loop {
            let (name, now) = match events.try_next().await {
                Ok(Some((name, watcher::Event::Init))) => {
                    listed.remove(name);
                    continue;
                }
                Ok(Some((name, watcher::Event::InitApply(object)))) => {
                    listed.insert(name, object.data.unwrap_or_default());
                    continue;
                }
                Ok(Some((name, watcher::Event::InitDone))) => (name, listed.remove(name).unwrap_or_default()),
                Ok(Some((name, watcher::Event::Apply(object)))) => (name, object.data.unwrap_or_default()),
                Ok(Some((name, watcher::Event::Delete(_)))) => (name, Data::new()),
                Ok(None) => return,
                Err((name, error)) => {
                    warn!(%error, "the watch of ConfigMap {name} failed; it starts again");
                    continue;
                }
            };
            let first = !data.contains_key(name);
            let before = data.insert(name, now).unwrap_or_default();
            if data.get(name) != Some(&before) {
                self.take_over(&data);
                if *self.synced.borrow() {
                    changed();
                }
            }
            if first && data.len() == NAMES.len() {
                self.synced.send_replace(true);
            }
        }
    }

    /// Reads all keys anew.
    fn take_over(&self, data: &BTreeMap<&str, Data>) {
        let texts = |name: &str| {
            data.get(name).into_iter().flatten().map(|(key, text)| (key.as_str(), text.as_str())).collect::<Vec<_>>()
        };
        let git = GitKeys { openpgp: Keyring::read(texts(GPG_KEYS)), ssh: AllowedSigners::read(texts(SSH_SIGNERS)) };
        for (name, problems) in [(GPG_KEYS, &git.openpgp.problems), (SSH_SIGNERS, &git.ssh.problems)] {
            for problem in problems {
                warn!("ConfigMap {name}: {problem}");
            }
        }
        let mut cosign = BTreeMap::new();
        for (name, text) in texts(COSIGN_KEYS) {
            match CosignKey::read(name, text) {
                Ok(key) => drop(cosign.insert(name.to_owned(), key)),
                Err(problem) => warn!("ConfigMap {COSIGN_KEYS}, {name}: {problem}"),
            }
        }
        let generation = self.current().generation + 1;
        info!(generation, "the keys that count are read");
        self.in_force.store(Arc::new(TrustedKeys { git, cosign, generation }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_their_own_config_maps_and_a_change_replaces_all() {
        let trust = Trust::default();
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILagOJFgwaMNhBWQINinKOXmqS4Gh5NgxgriXwdOoINJ ada@corp.test";
        let data = |name: &'static str| BTreeMap::from([(name, Data::from([("team".to_owned(), key.to_owned())]))]);
        trust.take_over(&data(SSH_SIGNERS));
        let now = trust.current();
        assert_eq!(
            (now.git.ssh.is_empty(), now.git.openpgp.is_empty(), now.cosign.len(), now.generation),
            (false, true, 0, 1)
        );
        trust.take_over(&data(COSIGN_KEYS));
        let now = trust.current();
        assert_eq!(
            (now.git.ssh.is_empty(), now.cosign.len(), now.generation),
            (true, 0, 2),
            "no key of cosign is like that"
        );
    }
}

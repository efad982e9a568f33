//! The Ready condition of Repositories and EgressProxies. Written when its meaning changes, not at each poll.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::warn;

use crate::api::{Condition, ConditionStatus, EgressProxy, Repository, set_condition};
use crate::clock::Clock;
use crate::model::Reason;
use crate::status::{Failure, READY, shorten};

/// Longest message of a condition, in bytes.
const MESSAGE_BYTES: usize = 1024;

/// Reports on connections.
pub struct Connections {
    repositories: Api<Repository>,
    proxies: Api<EgressProxy>,
    clock: Clock,
    /// What was last reported, by kind and name.
    reported: Mutex<HashMap<(bool, String), Reported>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Reported {
    generation: Option<i64>,
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

/// Failures that lie at the proxy, not behind it.
fn is_about_proxy(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ProxyUnreachable | Reason::ProxyAuthRequired | Reason::ProxyTlsUntrusted
    )
}

impl Connections {
    /// Reports on the objects of a namespace.
    pub fn new(client: &Client, namespace: &str, clock: Clock) -> Self {
        Self {
            repositories: Api::namespaced(client.clone(), namespace),
            proxies: Api::namespaced(client.clone(), namespace),
            clock,
            reported: Mutex::default(),
        }
    }

    /// Reports the outcome of a poll on the Repository that covers it and the EgressProxy that carried it.
    pub async fn report(&self, repository: Option<&str>, proxy: Option<&str>, failure: Option<&Failure>) {
        if let Some(name) = repository {
            let (status, reason, message) = match failure {
                None => (ConditionStatus::True, Reason::Connected, "git answers".to_owned()),
                Some(failure) => (ConditionStatus::False, failure.reason, failure.message.clone()),
            };
            self.write(false, name, status, reason, &message).await;
        }
        if let Some(name) = proxy {
            let (status, reason, message) = match failure.filter(|failure| is_about_proxy(failure.reason)) {
                None => (ConditionStatus::True, Reason::Connected, "the proxy answers".to_owned()),
                Some(failure) => (ConditionStatus::False, failure.reason, failure.message.clone()),
            };
            self.write(true, name, status, reason, &message).await;
        }
    }

    async fn write(&self, is_proxy: bool, name: &str, status: ConditionStatus, reason: Reason, message: &str) {
        let message = shorten(message, MESSAGE_BYTES);
        let key = (is_proxy, name.to_owned());
        let known = self.reported.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let same = |known: &Reported| known.status == status && known.reason == reason && known.message == message;
        if known.as_ref().is_some_and(same) {
            return;
        }
        let written = if is_proxy {
            let object = self.proxies.get_status(name).await;
            self.patch(&self.proxies, name, object.map(|object| (object.metadata.generation, object.status.unwrap_or_default().conditions)), status, reason, &message).await
        } else {
            let object = self.repositories.get_status(name).await;
            self.patch(&self.repositories, name, object.map(|object| (object.metadata.generation, object.status.unwrap_or_default().conditions)), status, reason, &message).await
        };
        match written {
            Ok(generation) => {
                let reported = Reported { generation, status, reason, message };
                self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(key, reported);
            }
            Err(error) => warn!(%name, %error, "the status of a connection could not be written"),
        }
    }

    async fn patch<K>(
        &self,
        api: &Api<K>,
        name: &str,
        current: Result<(Option<i64>, Vec<Condition>), kube::Error>,
        status: ConditionStatus,
        reason: Reason,
        message: &str,
    ) -> Result<Option<i64>, kube::Error>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let (generation, mut conditions) = current?;
        let before = conditions.clone();
        set_condition(
            &mut conditions,
            Condition {
                type_: READY.to_owned(),
                status,
                reason: reason.to_string(),
                message: message.to_owned(),
                last_transition_time: self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                observed_generation: generation,
            },
        );
        if conditions != before {
            let body = json!({ "status": { "observedGeneration": generation, "conditions": conditions } });
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await?;
        }
        Ok(generation)
    }

    /// Forgets what was reported about an object, because its spec has changed.
    pub fn forget(&self, is_proxy: bool, name: &str) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(&(is_proxy, name.to_owned()));
    }
}

//! The Ready condition of Repositories and EgressProxies. Written when its meaning changes, not at each poll.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tracing::warn;

use super::observe::REFRESH_ANNOTATION;
use crate::api::{Condition, ConditionStatus, EgressProxy, Repository, set_condition};
use crate::clock::Clock;
use crate::live::client::DEFAULT_DEADLINE;
use crate::model::Reason;
use crate::model::shorten;
use crate::status::{Failure, READY, rfc3339};

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
    status: ConditionStatus,
    reason: Reason,
    message: String,
}

async fn patch<K>(api: &Api<K>, name: &str, body: Option<serde_json::Value>) -> Result<(), kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    if let Some(body) = body {
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await?;
    }
    Ok(())
}

/// Failures that lie at the proxy, not behind it.
fn is_about_proxy(reason: Reason) -> bool {
    matches!(reason, Reason::ProxyUnreachable | Reason::ProxyAuthRequired | Reason::ProxyTlsUntrusted)
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
        let written = async {
            if is_proxy {
                let object = self.proxies.get_status(name).await?;
                let current = object.status.unwrap_or_default().conditions;
                let body = self.body(object.metadata.generation, &current, status, reason, &message);
                patch(&self.proxies, name, body).await
            } else {
                let object = self.repositories.get_status(name).await?;
                let refresh = object.annotations().get(REFRESH_ANNOTATION).cloned().unwrap_or_default();
                let former = object.status.unwrap_or_default();
                let handled = (former.last_handled_refresh != refresh).then_some(refresh);
                let mut body = self.body(object.metadata.generation, &former.conditions, status, reason, &message);
                if let Some(handled) = handled {
                    body.get_or_insert_with(|| json!({ "status": {} }))["status"]["lastHandledRefresh"] =
                        json!(handled);
                }
                patch(&self.repositories, name, body).await
            }
        };
        match tokio::time::timeout(DEFAULT_DEADLINE, written).await {
            Ok(Ok(())) => {
                let reported = Reported { status, reason, message };
                self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(key, reported);
            }
            Ok(Err(error)) => warn!(%name, %error, "the status of a connection could not be written"),
            Err(_) => warn!(%name, "the status of a connection could not be written in time"),
        }
    }

    /// The patch that brings the condition, or `None` when it says so already.
    fn body(
        &self,
        generation: Option<i64>,
        current: &[Condition],
        status: ConditionStatus,
        reason: Reason,
        message: &str,
    ) -> Option<serde_json::Value> {
        let mut conditions = current.to_vec();
        set_condition(
            &mut conditions,
            Condition {
                type_: READY.to_owned(),
                status,
                reason: reason.to_string(),
                message: message.to_owned(),
                last_transition_time: rfc3339(self.clock.now()),
                observed_generation: generation,
            },
        );
        (conditions != current)
            .then(|| json!({ "status": { "observedGeneration": generation, "conditions": conditions } }))
    }

    /// Forgets what was reported about an object, because its spec has changed.
    pub fn forget(&self, is_proxy: bool, name: &str) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(&(is_proxy, name.to_owned()));
    }
}

//! The Ready condition of Repositories and EgressProxies. Written when its meaning changes, not at each poll.

use std::collections::{BTreeMap, HashMap};
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

/// The condition that says that commits are fetched in pieces.
const PIECED: &str = "Pieced";

/// Longest message of a condition, in bytes.
const MESSAGE_BYTES: usize = 1024;

/// Reports on connections.
pub struct Connections {
    repositories: Api<Repository>,
    proxies: Api<EgressProxy>,
    clock: Clock,
    /// Why commits come in pieces, by Repository and URL.
    pieced: Mutex<HashMap<String, Pieced>>,
    /// What was last reported, by kind and name.
    reported: Mutex<HashMap<(bool, String), Reported>>,
}

#[derive(Default)]
struct Pieced {
    /// One Repository may cover many URLs.
    why: BTreeMap<String, String>,
    /// The URL and message that its status tells; `None` before it was first looked at.
    reported: Option<Option<String>>,
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
            pieced: Mutex::default(),
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

    /// Reports whether commits of a URL that a Repository covers come in pieces, and why.
    pub async fn report_pieced(&self, repository: Option<&str>, url: &str, why: Option<String>) {
        let Some(name) = repository else { return };
        let told = {
            let mut all = self.pieced.lock().unwrap_or_else(PoisonError::into_inner);
            let one = all.entry(name.to_owned()).or_default();
            match why {
                Some(why) => drop(one.why.insert(url.to_owned(), why)),
                None => drop(one.why.remove(url)),
            }
            let told = one.why.iter().next().map(|(url, why)| format!("{url}: {why}"));
            if one.reported.as_ref() == Some(&told) {
                return;
            }
            told
        };
        let (status, reason, message) = match &told {
            Some(why) => (ConditionStatus::True, Reason::FetchedInPieces, shorten(why, MESSAGE_BYTES)),
            None => (ConditionStatus::False, Reason::Connected, "commits come whole".to_owned()),
        };
        let written = async {
            let object = self.repositories.get_status(name).await?;
            let generation = object.metadata.generation;
            let mut conditions = object.status.unwrap_or_default().conditions;
            let before = conditions.clone();
            // Whoever has never been fetched in pieces needs no condition that says so.
            if told.is_some() || before.iter().any(|condition| condition.type_ == PIECED) {
                set_condition(&mut conditions, self.condition(PIECED, generation, status, reason, &message));
            }
            let body = (conditions != before).then(|| json!({ "status": { "conditions": conditions } }));
            patch(&self.repositories, name, body).await
        };
        match tokio::time::timeout(DEFAULT_DEADLINE, written).await {
            Ok(Ok(())) => {
                let mut all = self.pieced.lock().unwrap_or_else(PoisonError::into_inner);
                all.entry(name.to_owned()).or_default().reported = Some(told);
            }
            Ok(Err(error)) => warn!(%name, %error, "the status of a connection could not be written"),
            Err(_) => warn!(%name, "the status of a connection could not be written in time"),
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
        set_condition(&mut conditions, self.condition(READY, generation, status, reason, message));
        (conditions != current)
            .then(|| json!({ "status": { "observedGeneration": generation, "conditions": conditions } }))
    }

    fn condition(
        &self,
        type_: &str,
        generation: Option<i64>,
        status: ConditionStatus,
        reason: Reason,
        message: &str,
    ) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.to_string(),
            message: message.to_owned(),
            last_transition_time: rfc3339(self.clock.now()),
            observed_generation: generation,
        }
    }

    /// Forgets what was reported about an object, because its spec has changed.
    pub fn forget(&self, is_proxy: bool, name: &str) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(&(is_proxy, name.to_owned()));
    }
}

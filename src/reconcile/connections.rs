//! The Ready condition of Repositories and EgressProxies. Written when its meaning changes, not at each poll.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
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
use crate::status::{FRESH, Failure, READY, STALE, rfc3339};

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
    /// How often something was forgotten: what was read before must not be remembered after.
    forgotten: AtomicU64,
    freshness: tokio::sync::Mutex<FreshnessReports>,
    /// Whether this process is the one that reports. While it stands by it polls too, and says nothing.
    may_write: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// What is known of the age of tips. One Repository may cover many sources.
#[derive(Default)]
struct FreshnessReports {
    /// By source: the Repository that covers it, and its tips that are too old, if it has a `maxAge`.
    sources: BTreeMap<String, (String, Option<Vec<String>>)>,
    /// What was last reported, by Repository.
    reported: HashMap<String, Option<Vec<String>>>,
}

impl FreshnessReports {
    /// Takes in a source, and says what is to be reported on each Repository that this concerns.
    fn learn(
        &mut self,
        source: &str,
        repository: Option<&str>,
        stale: Option<Vec<String>>,
    ) -> BTreeMap<String, Option<Vec<String>>> {
        let before = match repository {
            Some(repository) => self.sources.insert(source.to_owned(), (repository.to_owned(), stale)),
            None => self.sources.remove(source),
        };
        let mut due = BTreeMap::new();
        for name in before.iter().map(|(name, _)| name.as_str()).chain(repository) {
            let all = self.sources.values().filter(|(covering, stale)| covering == name && stale.is_some());
            let lists: Vec<&Vec<String>> = all.filter_map(|(_, stale)| stale.as_ref()).collect();
            let union = (!lists.is_empty()).then(|| lists.into_iter().flatten().cloned().collect::<Vec<String>>());
            if self.reported.get(name) != Some(&union) {
                due.insert(name.to_owned(), union);
            }
        }
        due
    }
}

/// What a condition was last made to say.
#[derive(Default, PartialEq, Eq)]
enum PiecedReport {
    /// It was not looked at yet.
    #[default]
    Unknown,
    /// Commits come whole.
    Whole,
    /// The URL, and why its commits come in pieces.
    Pieces(String),
}

impl PiecedReport {
    fn of(why: Option<&str>) -> Self {
        why.map_or(Self::Whole, |why| Self::Pieces(why.to_owned()))
    }
}

#[derive(Default)]
struct Pieced {
    /// One Repository may cover many URLs.
    why: BTreeMap<String, String>,
    /// What its status tells.
    reported: PiecedReport,
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
    pub fn new(client: &Client, namespace: &str, clock: Clock, may_write: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Self {
            repositories: Api::namespaced(client.clone(), namespace),
            proxies: Api::namespaced(client.clone(), namespace),
            clock,
            pieced: Mutex::default(),
            reported: Mutex::default(),
            forgotten: AtomicU64::default(),
            freshness: tokio::sync::Mutex::default(),
            may_write,
        }
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Reports on the Repository that covers a source which tips of the source are too old (`stale`, a sentence each;
    /// `None` without a `maxAge`).
    pub(super) async fn report_freshness(&self, source: &str, repository: Option<&str>, stale: Option<Vec<String>>) {
        // Held over the write, so that of two sources of one Repository the later has the last word.
        let mut freshness = self.freshness.lock().await;
        let due = freshness.learn(source, repository, stale);
        if !(self.may_write)() {
            return;
        }
        for (name, stale) in due {
            match tokio::time::timeout(DEFAULT_DEADLINE, self.write_freshness(&name, stale.as_deref())).await {
                Ok(Ok(())) => {
                    freshness.reported.insert(name, stale);
                }
                Ok(Err(kube::Error::Api(answer))) if answer.code == 404 => {}
                Ok(Err(error)) => warn!(%name, %error, "the condition Stale could not be written"),
                Err(_) => warn!(%name, "the condition Stale could not be written in time"),
            }
        }
    }

    async fn write_freshness(&self, name: &str, stale: Option<&[String]>) -> Result<(), kube::Error> {
        let object = self.repositories.get_status(name).await?;
        let generation = object.metadata.generation;
        let current = object.status.unwrap_or_default().conditions;
        let mut conditions = current.clone();
        let (status, reason, message) = match stale {
            None => {
                conditions.retain(|condition| condition.type_ != STALE);
                (None, Reason::Fresh, String::new())
            }
            Some([]) => (Some(ConditionStatus::False), Reason::Fresh, FRESH.to_owned()),
            Some(tips) => (Some(ConditionStatus::True), Reason::Stale, shorten(&tips.join("; "), MESSAGE_BYTES)),
        };
        if let Some(status) = status {
            let condition = Condition {
                type_: STALE.to_owned(),
                status,
                reason: reason.to_string(),
                message,
                last_transition_time: rfc3339(self.clock.now()),
                observed_generation: generation,
            };
            set_condition(&mut conditions, condition);
        }
        let body = (conditions != current).then(|| json!({ "status": { "conditions": conditions } }));
        patch(&self.repositories, name, body).await
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
            if one.reported == PiecedReport::of(told.as_deref()) || !(self.may_write)() {
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
                all.entry(name.to_owned()).or_default().reported = PiecedReport::of(told.as_deref());
            }
            Ok(Err(error)) => warn!(%name, %error, "the status of a connection could not be written"),
            Err(_) => warn!(%name, "the status of a connection could not be written in time"),
        }
    }

    async fn write(&self, is_proxy: bool, name: &str, status: ConditionStatus, reason: Reason, message: &str) {
        let message = shorten(message, MESSAGE_BYTES);
        let key = (is_proxy, name.to_owned());
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let known = self.reported.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let same = |known: &Reported| known.status == status && known.reason == reason && known.message == message;
        if known.as_ref().is_some_and(same) || !(self.may_write)() {
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
                let mut known = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
                if self.forgotten.load(Ordering::Acquire) == forgotten {
                    known.insert(key, reported);
                }
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
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        reported.remove(&(is_proxy, name.to_owned()));
        self.forgotten.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_that_covers_many_sources_tells_of_all_and_is_written_only_when_that_changes() {
        let mut reports = FreshnessReports::default();
        let old = |name: &str| Some(vec![format!("{name} is old")]);
        let due = |entries: &[(&str, Option<Vec<String>>)]| -> BTreeMap<String, Option<Vec<String>>> {
            entries.iter().map(|(name, stale)| ((*name).to_owned(), stale.clone())).collect()
        };
        assert_eq!(reports.learn("a", Some("corp"), Some(Vec::new())), due(&[("corp", Some(Vec::new()))]));
        reports.reported.insert("corp".to_owned(), Some(Vec::new()));
        assert_eq!(reports.learn("a", Some("corp"), Some(Vec::new())), due(&[]));
        assert_eq!(reports.learn("b", Some("corp"), old("b")), due(&[("corp", old("b"))]));
        reports.reported.insert("corp".to_owned(), old("b"));
        let both = Some(vec!["a is old".to_owned(), "b is old".to_owned()]);
        assert_eq!(reports.learn("a", Some("corp"), old("a")), due(&[("corp", both.clone())]));
        reports.reported.insert("corp".to_owned(), both);
        // Another Repository covers one of them, then nobody wants the other.
        assert_eq!(reports.learn("a", Some("own"), old("a")), due(&[("corp", old("b")), ("own", old("a"))]));
        reports.reported.insert("corp".to_owned(), old("b"));
        assert_eq!(reports.learn("b", None, None), due(&[("corp", None)]));
    }
}

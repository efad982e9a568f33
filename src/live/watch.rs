//! The watch of one scope: a complete list first, then every change, for as long as the scope is in use.
//!
//! ```text
//! Starting ─► list (streamed or in pages) ─► Synced ─► follow ─► renewed every few minutes
//!    ▲                                          ▲          │ error, silence
//!    └───────── 410: the position is too old ───┴─ resume ─┴─► Failed (nothing may be concluded) ─► backoff
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::sync::watch;

use super::cache::Shared;
use super::client::{
    ACCEPT_JSON, ACCEPT_METADATA, ACCEPT_METADATA_LIST, DEFAULT_DEADLINE, NoAnswer, open_stream, path, request,
    request_with_deadline,
};
use super::error::LiveError;
use super::stream::{Event, Events, Next, ends_initial_events, position_of};
use super::trouble::Trouble;
use super::{LiveRecord, Scope, page};
use crate::model::{GroupKind, INSTANCE_LABEL, ObjectKey, Reason};

/// How long one watch request lasts, in seconds. Below the 5 minutes after which many load balancers cut a connection,
/// and spread so that the watches of many kinds are not renewed together.
const WATCH_SECONDS: std::ops::Range<u32> = 240..290;
/// Silence after which a watch counts as dead: its own time and some.
const QUIET: Duration = Duration::from_secs(305);
/// The same once the server has shown that it sends bookmarks, which it does every minute.
const QUIET_WITH_BOOKMARKS: Duration = Duration::from_secs(150);
/// Silence that ends a streamed list that does not get on.
const QUIET_IN_LIST: Duration = Duration::from_secs(30);
/// Objects in one page of a list: whole ones, and metadata only.
const PAGE: (&str, &str) = ("200", "500");
/// Streamed lists are on by default and stable from this minor version on.
const STREAMING_MINOR: u32 = 34;
/// A watch that ends sooner than this without an event is not renewed at once.
const TOO_SHORT: Duration = Duration::from_secs(1);
/// After a round this long, whatever ended it, the failures before it are forgotten.
const LONG_ENOUGH: Duration = Duration::from_secs(30);
/// How often a kind that vanished is looked for.
const LOOK_FOR_KIND: Duration = Duration::from_secs(30);

/// What is known of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SyncState {
    /// The first complete list is not there yet.
    Starting,
    /// All objects are known and changes arrive.
    Synced,
    /// Changes don't arrive; what is known may be old.
    Failed(LiveError),
}

/// Whom the driver of one scope's watch serves.
pub(super) struct Watch {
    pub(super) scope: Scope,
    pub(super) shared: Arc<Shared>,
    pub(super) state: watch::Sender<SyncState>,
    /// Set before the records of the scope are dropped; nothing is put in afterwards.
    pub(super) stopped: Arc<AtomicBool>,
    /// Where to resume; `None` before the first complete list.
    position: Option<String>,
    /// Whether to ask for a streamed list.
    streaming: bool,
}

enum Ended {
    /// The server closed the watch in the usual way.
    Renew,
    /// The position is too old to resume.
    Expired,
    /// A streamed list is not to be had.
    NoStreaming,
}

struct Target {
    path: String,
    whole: bool,
}

impl Watch {
    pub(super) fn new(
        scope: Scope,
        shared: Arc<Shared>,
        state: watch::Sender<SyncState>,
        stopped: Arc<AtomicBool>,
    ) -> Self {
        Self { scope, shared, state, stopped, position: None, streaming: true }
    }

    /// Watches until the task is aborted.
    pub(super) async fn run(mut self) {
        let mut trouble = Trouble::default();
        loop {
            let started = Instant::now();
            let events_before = self.shared.counters.events.load(Ordering::Relaxed);
            let result = self.round().await;
            if started.elapsed() >= LONG_ENOUGH {
                trouble = Trouble::default();
            }
            match result {
                Ok(Ended::Renew) => {
                    let eventful = self.shared.counters.events.load(Ordering::Relaxed) != events_before;
                    trouble =
                        if eventful || started.elapsed() >= TOO_SHORT { Trouble::default() } else { trouble.more() };
                }
                Ok(Ended::Expired) => {
                    tracing::info!(scope = %self.scope, "the watch is too old to resume, listing again");
                    self.position = None;
                    self.become_state(SyncState::Starting);
                    trouble = trouble.expired();
                }
                Ok(Ended::NoStreaming) => {
                    tracing::debug!(scope = %self.scope, "no streamed lists here, listing in pages");
                    self.streaming = false;
                }
                Err(error) => {
                    self.shared.counters.failures.fetch_add(1, Ordering::Relaxed);
                    if error.reason == Reason::KindNotFound {
                        self.position = None;
                    }
                    trouble = trouble.failed(&error);
                    let news = self.become_state(SyncState::Failed(error.clone()));
                    // The same again is no news: an API server that is away for an hour must not fill the log.
                    if news {
                        tracing::warn!(scope = %self.scope, reason = %error.reason, "{error}");
                    } else {
                        tracing::debug!(scope = %self.scope, reason = %error.reason, "{error}");
                    }
                }
            }
            if let Some(pause) = trouble.pause(fastrand::f64()) {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn round(&mut self) -> Result<Ended, LiveError> {
        let target = self.target().await?;
        if self.position.is_none() {
            let shared = Arc::clone(&self.shared);
            // Never closed; if it were, listing unlimited would still be right.
            let permit = shared.lists.acquire().await.ok();
            if self.streaming && streams_lists(&shared.surface.current().server_version) {
                return self.watch(&target, permit).await;
            }
            if !self.list(&target).await? {
                return Ok(Ended::Expired);
            }
        }
        self.watch(&target, None).await
    }

    /// Where the kind is served now. A kind that vanished from discovery may have come back under another version.
    async fn target(&self) -> Result<Target, LiveError> {
        let surface = &self.shared.surface;
        let mut current = surface.current();
        let lost = matches!(&*self.state.borrow(), SyncState::Failed(error) if error.reason == Reason::KindNotFound);
        if lost || current.preferred(&self.scope.kind).is_none() {
            current = surface.refresh(LOOK_FOR_KIND).await?;
        }
        let Some((gvk, info)) = current.preferred(&self.scope.kind) else {
            return Err(unknown_kind(&self.scope.kind, &current));
        };
        if !info.watchable {
            let kind = &self.scope.kind;
            let message = format!("{kind} can't be listed and watched, so it can't be managed");
            return Err(LiveError::of_kind(kind, Reason::LiveStateUnknown, message));
        }
        let whole = self.shared.wants_whole(&self.scope.kind);
        let namespace = self.scope.namespace.as_deref().unwrap_or_default();
        Ok(Target { path: path(&gvk.group, &gvk.version, &info.plural, namespace, ""), whole })
    }

    /// Lists in pages. `false` when the list expired in the middle.
    async fn list(&mut self, target: &Target) -> Result<bool, LiveError> {
        let accept = if target.whole { ACCEPT_JSON } else { ACCEPT_METADATA_LIST };
        let limit = if target.whole { PAGE.0 } else { PAGE.1 };
        let mut records = Vec::new();
        let mut next = String::new();
        loop {
            let mut query = vec![("labelSelector", INSTANCE_LABEL), ("limit", limit)];
            if !next.is_empty() {
                query.push(("continue", &next));
            }
            let list = request(Method::GET, &target.path, &query, accept, Bytes::new());
            let list = list.map_err(|error| self.unanswered(&error))?;
            self.shared.counters.lists.fetch_add(1, Ordering::Relaxed);
            let answer = request_with_deadline(&self.shared.client, list, DEFAULT_DEADLINE)
                .await
                .map_err(|error| self.unanswered(&error))?;
            match answer.status {
                200 => {}
                410 => return Ok(false),
                _ => return Err(LiveError::refused(&self.scope, &self.shared.identity, &answer)),
            }
            let page = page::parse(&answer.body).map_err(|problem| {
                let message = format!("the list of {} {problem}", self.scope);
                LiveError::of_kind(&self.scope.kind, Reason::LiveStateUnknown, message)
            })?;
            drop(answer);
            records.extend(page.items.iter().filter_map(|item| self.reduce(item, target.whole)));
            next = page.next;
            if next.is_empty() {
                self.synced(records, &page.version)?;
                return Ok(true);
            }
        }
    }

    /// Follows changes from the position; without one, from a streamed list, which needs a permit until it is complete.
    async fn watch(
        &mut self,
        target: &Target,
        mut permit: Option<tokio::sync::SemaphorePermit<'_>>,
    ) -> Result<Ended, LiveError> {
        let seconds = fastrand::u32(WATCH_SECONDS).to_string();
        let position = self.position.clone();
        let mut query = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("labelSelector", INSTANCE_LABEL),
            ("timeoutSeconds", seconds.as_str()),
        ];
        match &position {
            Some(position) => query.push(("resourceVersion", position.as_str())),
            None => query.extend([("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")]),
        }
        let accept = if target.whole { ACCEPT_JSON } else { ACCEPT_METADATA };
        let watch = request(Method::GET, &target.path, &query, accept, Bytes::new());
        let watch = watch.map_err(|error| self.unanswered(&error))?;
        self.shared.counters.watch_requests.fetch_add(1, Ordering::Relaxed);
        let opened = open_stream(&self.shared.client, watch, DEFAULT_DEADLINE).await;
        let body = match opened.map_err(|error| self.unanswered(&error))? {
            Ok(body) => body,
            Err(answer) => match answer.status {
                410 => return Ok(Ended::Expired),
                400 | 422 if position.is_none() => return Ok(Ended::NoStreaming),
                _ => return Err(LiveError::refused(&self.scope, &self.shared.identity, &answer)),
            },
        };
        let mut initial = position.is_none().then(Vec::new);
        if initial.is_none() {
            self.become_state(SyncState::Synced);
        }
        let mut events = Events::new(body);
        let mut quiet = QUIET;
        loop {
            let wait = if initial.is_some() { QUIET_IN_LIST } else { quiet };
            let event = match events.next(wait).await.map_err(|error| self.unanswered(&error))? {
                Next::Event(event) => event,
                // A server that doesn't know streamed lists takes the request for a plain watch.
                Next::End | Next::Quiet if initial.is_some() => return Ok(Ended::NoStreaming),
                Next::End => return Ok(Ended::Renew),
                Next::Quiet => {
                    let message = format!("can't watch {}: nothing came for {} s", self.scope, wait.as_secs());
                    return Err(LiveError::of_kind(&self.scope.kind, Reason::ClusterUnreachable, message));
                }
            };
            match event {
                Event::Added(object) | Event::Modified(object) => {
                    let Some((key, record)) = self.reduce(&object, target.whole) else { continue };
                    if let Some(records) = &mut initial {
                        records.push((key, record));
                    } else {
                        self.advance(&object);
                        self.shared.change(&self.stopped, |index| index.apply(key, record));
                    }
                }
                Event::Deleted(object) => {
                    let Some((key, record)) = super::reduce(&self.scope.kind, &object, None) else { continue };
                    if let Some(records) = &mut initial {
                        records.retain(|(listed, _)| *listed != key);
                    } else {
                        self.advance(&object);
                        self.shared
                            .change(&self.stopped, |index| index.delete(&key, &record.uid, record.resource_version));
                    }
                }
                Event::Bookmark(object) => {
                    if initial.is_none() {
                        quiet = QUIET_WITH_BOOKMARKS;
                        self.advance(&object);
                    } else if ends_initial_events(&object) {
                        self.synced(initial.take().unwrap_or_default(), position_of(&object))?;
                        drop(permit.take());
                    }
                }
                Event::Error(status) => {
                    let code = status.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
                    return match code {
                        Some(410) => Ok(Ended::Expired),
                        code => Err(LiveError::of_status(
                            &self.scope,
                            &self.shared.identity,
                            code.unwrap_or(500),
                            status.get("message").and_then(Value::as_str).unwrap_or("no explanation"),
                        )),
                    };
                }
            }
        }
    }

    /// A complete list is there.
    fn synced(&mut self, records: Vec<(ObjectKey, LiveRecord)>, version: &str) -> Result<(), LiveError> {
        if version.is_empty() {
            let message = format!("the list of {} has no resourceVersion, so it can't be followed", self.scope);
            return Err(LiveError::of_kind(&self.scope.kind, Reason::LiveStateUnknown, message));
        }
        tracing::debug!(scope = %self.scope, objects = records.len(), "listed");
        self.position = Some(version.to_owned());
        let number = version.parse().unwrap_or(u64::MAX);
        self.shared.change(&self.stopped, |index| index.reset(&self.scope, records, number));
        self.become_state(SyncState::Synced);
        Ok(())
    }

    /// Everything up to this object has been seen. Without a version there would be nothing to resume from.
    fn advance(&mut self, object: &Value) {
        let version = position_of(object);
        if !version.is_empty() {
            self.position = Some(version.to_owned());
        }
    }

    fn reduce(&self, object: &Value, whole: bool) -> Option<(ObjectKey, LiveRecord)> {
        self.shared.counters.events.fetch_add(1, Ordering::Relaxed);
        self.shared.reduce(&self.scope.kind, object, whole)
    }

    /// Returns whether the state is another one now.
    fn become_state(&self, state: SyncState) -> bool {
        self.state.send_if_modified(|current| {
            let differs = *current != state;
            *current = state;
            differs
        })
    }

    fn unanswered(&self, error: &NoAnswer) -> LiveError {
        LiveError::unanswered(&self.scope, error)
    }
}

/// Why a kind is not in the surface: its server may just not answer.
pub(super) fn unknown_kind(kind: &GroupKind, surface: &crate::model::ApiSurface) -> LiveError {
    if surface.unavailable_groups.contains(&kind.group) {
        let message = format!("the server of API group {} does not answer, so {kind} is unknown for now", kind.group);
        LiveError::of_kind(kind, Reason::ClusterUnreachable, message)
    } else {
        let message = format!("the API server has no kind {kind}; install its CustomResourceDefinition first");
        LiveError::of_kind(kind, Reason::KindNotFound, message)
    }
}

/// Whether a server of this version (`v1.35.4`) streams lists.
fn streams_lists(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.');
    let major: u32 = parts.next().and_then(|part| part.parse().ok()).unwrap_or_default();
    let minor: u32 = parts
        .next()
        .map(|part| part.trim_end_matches(|digit: char| !digit.is_ascii_digit()))
        .and_then(|part| part.parse().ok())
        .unwrap_or_default();
    major > 1 || (major == 1 && minor >= STREAMING_MINOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_streamed_from_1_34_on() {
        for (version, streams) in [
            ("v1.35.4", true),
            ("v1.34.0-eks-123", true),
            ("v1.33.9", false),
            ("1.34+", true),
            ("", false),
            ("v2.0", true),
        ] {
            assert_eq!(streams_lists(version), streams, "{version}");
        }
    }

    #[test]
    fn a_kind_whose_server_is_silent_is_unknown_and_not_absent() {
        let kind = GroupKind::new("metrics.k8s.io", "NodeMetrics");
        let mut surface = crate::model::ApiSurface::default();
        assert_eq!(unknown_kind(&kind, &surface).reason, Reason::KindNotFound);
        surface.unavailable_groups.insert("metrics.k8s.io".to_owned());
        assert_eq!(unknown_kind(&kind, &surface).reason, Reason::ClusterUnreachable);
    }
}

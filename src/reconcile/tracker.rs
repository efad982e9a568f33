//! One repository: who wants to know what of it, and what is known. Polled by one task for all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::location::{SourceLocation, SourceTarget};
use super::pace::{Ended, pause};
use super::poll_artifacts::ArtifactSide;
use super::sources::{DEFAULT_INTERVAL, Sources};
use super::verified::VerifiedIndex;
use crate::git::{Remote, Store};
use crate::model::{Hash64, Revision};
use crate::status::Failure;

/// One repository.
pub(super) struct Tracker {
    pub(super) url: SourceLocation,
    pub(super) store: Arc<Store>,
    /// What was verified, for the next start.
    pub(super) verified: VerifiedIndex,
    poke: Notify,
    /// Number of the last poll that started.
    started: AtomicU64,
    /// Whether a poll was asked for, so that Secrets are read again too: whoever asks has changed something.
    pub(super) asked: AtomicBool,
    pub(super) state: Mutex<TrackerState>,
}

/// What is wanted and known of a repository.
#[derive(Default)]
pub(super) struct TrackerState {
    /// Number of the last poll that ended.
    pub(super) ended: u64,
    /// Applications by target, with the longest pause that each accepts.
    pub(super) wanted: BTreeMap<SourceTarget, BTreeMap<String, Duration>>,
    pub(super) targets: BTreeMap<SourceTarget, TargetState>,
    pub(super) remote: Option<(Hash64, Arc<Remote>)>,
    /// The same of a Helm repository or a registry.
    pub(super) artifacts: Option<(Hash64, ArtifactSide)>,
    /// Name of the Repository object that covers the URL.
    pub(super) repository: Option<String>,
    /// How old the tip of a target may be, by that object.
    pub(super) max_age: Option<Duration>,
    /// When the source last answered, in this life or a former one.
    pub(super) reached: Option<Timestamp>,
    /// Whether it answered the last poll.
    pub(super) answers: bool,
    stopped: bool,
    /// Number of the first poll that counts: what an earlier one found is of a time when another process was at work.
    pub(super) since: u64,
    /// Applications that asked for a poll, with the number of the poll that answers them.
    pub(super) asked: BTreeMap<String, u64>,
}

impl TrackerState {
    /// The shortest pause that any Application accepts.
    fn interval(&self) -> Option<Duration> {
        self.wanted.values().flat_map(BTreeMap::values).min().copied()
    }
}

/// What is known of one target.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct TargetState {
    /// Where it was last seen.
    pub(super) revision: Option<Revision>,
    /// The full name of the ref that gave the revision, where that is known and not the target itself.
    pub(super) reference: Option<String>,
    /// When the revision was made, where that is known.
    pub(super) made: Option<Timestamp>,
    /// How old it may be.
    pub(super) max_age: Option<Duration>,
    /// That the revision is older than that, as a sentence.
    pub(super) stale: Option<String>,
    /// Hash of the signatures that came with the last poll.
    pub(super) signed: Option<Hash64>,
    /// Why the last poll failed.
    pub(super) failure: Option<Failure>,
}

/// Locks what no holder leaves half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracker {
    /// Nobody wants anything of it yet.
    pub(super) fn new(url: SourceLocation, store: Arc<Store>) -> Self {
        let verified = VerifiedIndex::new(store.directory(), url.as_str());
        Self {
            url,
            store,
            verified,
            poke: Notify::new(),
            started: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// Says which targets an Application wants to know, and how old each may be. True when nobody wants anything any
    /// more: then the tracker ends.
    pub(super) fn want(&self, application: &str, targets: &BTreeMap<SourceTarget, Duration>) -> bool {
        let mut state = lock(&self.state);
        let before = state.interval();
        state.wanted.retain(|target, applications| {
            if !targets.contains_key(target) {
                applications.remove(application);
            }
            !applications.is_empty()
        });
        for (target, interval) in targets {
            state.wanted.entry(target.clone()).or_default().insert(application.to_owned(), *interval);
        }
        let state = &mut *state;
        state.targets.retain(|target, _| state.wanted.contains_key(target));
        state.stopped = state.wanted.is_empty();
        let sooner = before.is_some_and(|before| state.interval().is_some_and(|interval| interval < before));
        let unknown = state.wanted.keys().any(|target| !state.targets.contains_key(target));
        if sooner || unknown || state.stopped {
            self.poke.notify_one();
        }
        state.stopped
    }

    /// Polls now. Returns the number of the poll whose end shows what is true now.
    pub(super) fn poll(&self) -> u64 {
        let next = self.started.load(Ordering::Acquire) + 1;
        self.asked.store(true, Ordering::Release);
        self.poke.notify_one();
        next
    }
}

/// Polls one repository until nobody is interested in it.
pub(super) async fn run(sources: Weak<Sources>, tracker: Arc<Tracker>) {
    let mut failures: u32 = 0;
    loop {
        // Whoever poked up to here is answered by this poll.
        let _ = tracker.poke.notified().now_or_never();
        let number = tracker.started.fetch_add(1, Ordering::AcqRel) + 1;
        let Some(sources) = sources.upgrade() else { return };
        let (stopped, targets, interval) = {
            let state = lock(&tracker.state);
            let targets: Vec<SourceTarget> = state.wanted.keys().cloned().collect();
            (state.stopped, targets, state.interval().unwrap_or(DEFAULT_INTERVAL))
        };
        if stopped {
            sources.forget_freshness(&tracker).await;
            return;
        }
        let (found, retry_after) = Box::pin(sources.poll_once(&tracker, &targets)).await;
        let failed = found.values().any(|target| target.failure.is_some());
        let passing =
            found.values().filter_map(|target| target.failure.as_ref()).any(|failure| !failure.reason.is_terminal());
        failures = if failed { failures.saturating_add(1) } else { 0 };
        sources.publish(&tracker, number, found);
        sources.report_freshness(&tracker).await;
        drop(sources);
        let pause = pause(interval, Ended { failures, passing, retry_after }, fastrand::f64());
        let due = Instant::now() + pause;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = tracker.poke.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::{RepositoryUrl, StoreLimits, Target};

    fn tracker(directory: &std::path::Path) -> Tracker {
        let url = RepositoryUrl::parse("https://h/x.git").unwrap();
        Tracker::new(url.into(), Arc::new(Store::open(directory, StoreLimits::default()).unwrap()))
    }

    fn targets(list: &[(&str, u64)]) -> BTreeMap<SourceTarget, Duration> {
        let target = |text: &str| SourceTarget::Git(Target::parse(text));
        list.iter().map(|(text, seconds)| (target(text), Duration::from_secs(*seconds))).collect()
    }

    fn wanted(tracker: &Tracker) -> Vec<(String, Vec<String>)> {
        let state = lock(&tracker.state);
        let names = |applications: &BTreeMap<String, Duration>| applications.keys().cloned().collect();
        state.wanted.iter().map(|(target, applications)| (target.to_string(), names(applications))).collect()
    }

    #[test]
    fn one_application_may_want_one_repository_at_several_revisions_and_what_nobody_wants_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let tracker = tracker(directory.path());
        let both = vec!["a".to_owned(), "b".to_owned()];
        let only = |name: &str| vec![name.to_owned()];
        assert!(!tracker.want("a", &targets(&[("main", 60), ("1.x", 60)])));
        assert!(!tracker.want("b", &targets(&[("main", 30)])));
        assert_eq!(wanted(&tracker), [("main".to_owned(), both.clone()), ("1.x".to_owned(), only("a"))]);
        assert_eq!(lock(&tracker.state).interval(), Some(Duration::from_secs(30)));
        lock(&tracker.state).targets.insert(SourceTarget::Git(Target::parse("1.x")), TargetState::default());
        assert!(!tracker.want("a", &targets(&[("main", 60), ("2.x", 60)])));
        assert_eq!(wanted(&tracker), [("main".to_owned(), both), ("2.x".to_owned(), only("a"))]);
        assert!(lock(&tracker.state).targets.is_empty(), "what is known of a target goes with the last who wants it");
        assert!(!tracker.want("a", &targets(&[])));
        assert_eq!(wanted(&tracker), [("main".to_owned(), only("b"))]);
        assert!(tracker.want("b", &targets(&[])), "then it ends");
    }
}

//! Which revision each Application's source is at. One tracker per repository asks for all of its Applications at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{Instrument as _, info, info_span, warn};

use super::access::{Access, AccessBuilder};
use super::connections::Connections;
use super::queue::Queue;
use crate::git::{
    FetchLimits, GitError, Remote, RemoteConfig, RepositoryUrl, Store, StoreLimits, Target, ref_prefixes, resolve,
};
use crate::metrics::{GitOperation, Metrics};
use crate::model::{Hash64, Reason, Revision};
use crate::status::Failure;

/// Pause between polls unless an Application asks for another.
pub const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// First pause after a failure that may pass by itself; doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// What an Application wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The repository.
    pub url: RepositoryUrl,
    /// Branch, tag, commit or `HEAD`.
    pub target: String,
    /// Longest pause between polls.
    pub interval: Duration,
}

/// What is known of a source.
#[derive(Clone)]
pub struct SourceState {
    /// The revision that the target was last seen at, and that is in the store.
    pub revision: Option<Revision>,
    /// Why the last poll failed.
    pub failure: Option<Failure>,
    /// Number of the last poll that ended; 0 before the first that asked for this target.
    pub polls: u64,
    /// Where the objects are.
    pub store: Arc<Store>,
}

/// All trackers.
pub struct Sources {
    access: AccessBuilder,
    connections: Connections,
    directory: PathBuf,
    metrics: Arc<Metrics>,
    queue: Arc<Queue>,
    inner: Mutex<Inner>,
    /// Open stores by URL. Applications of one repository come at once, and a tracker that ended may still be fetching:
    /// one directory must never be opened twice.
    stores: tokio::sync::Mutex<BTreeMap<String, Weak<Store>>>,
}

#[derive(Default)]
struct Inner {
    interests: HashMap<String, Interest>,
    trackers: BTreeMap<String, Arc<Tracker>>,
}

/// One repository.
struct Tracker {
    url: RepositoryUrl,
    store: Arc<Store>,
    poke: Notify,
    /// Number of the last poll that started.
    started: AtomicU64,
    /// Whether a poll was asked for, so that Secrets are read again too: whoever asks has changed something.
    asked: AtomicBool,
    state: Mutex<TrackerState>,
}

#[derive(Default)]
struct TrackerState {
    /// Number of the last poll that ended.
    ended: u64,
    /// Applications by target, with the longest pause that each accepts.
    wanted: BTreeMap<String, BTreeMap<String, Duration>>,
    targets: BTreeMap<String, TargetState>,
    remote: Option<(Hash64, Arc<Remote>)>,
    /// Name of the Repository object that covers the URL.
    repository: Option<String>,
    stopped: bool,
    /// Applications that asked for a poll, with the number of the poll that answers them.
    asked: BTreeMap<String, u64>,
}

impl TrackerState {
    /// The shortest pause that any Application accepts.
    fn interval(&self) -> Option<Duration> {
        self.wanted.values().flat_map(BTreeMap::values).min().copied()
    }
}

#[derive(Clone, Default, PartialEq, Eq)]
struct TargetState {
    revision: Option<Revision>,
    failure: Option<Failure>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sources {
    /// No trackers yet. Object stores go below `directory`.
    pub fn new(
        access: AccessBuilder,
        connections: Connections,
        directory: PathBuf,
        metrics: Arc<Metrics>,
        queue: Arc<Queue>,
    ) -> Arc<Self> {
        Arc::new(Self {
            access,
            connections,
            directory,
            metrics,
            queue,
            inner: Mutex::default(),
            stores: tokio::sync::Mutex::default(),
        })
    }

    /// Says what an Application wants to know; `None` when it wants nothing any more. Cheap when nothing changes.
    pub async fn set_interest(self: &Arc<Self>, application: &str, interest: Option<&Interest>) -> Result<(), Failure> {
        if lock(&self.inner).interests.get(application) == interest {
            return Ok(());
        }
        let known = interest.is_none_or(|interest| lock(&self.inner).trackers.contains_key(interest.url.as_str()));
        let opened = match interest {
            Some(interest) if !known => Some(self.open(&interest.url).await?),
            _ => None,
        };
        let mut inner = lock(&self.inner);
        if let Some(former) = inner.interests.remove(application) {
            let identity = former.url.as_str().to_owned();
            if let Some(tracker) = inner.trackers.get(&identity)
                && tracker.drop_interest(application, &former.target)
            {
                inner.trackers.remove(&identity);
            }
        }
        let Some(interest) = interest else { return Ok(()) };
        inner.interests.insert(application.to_owned(), interest.clone());
        let identity = interest.url.as_str().to_owned();
        let tracker = match (inner.trackers.get(&identity), opened) {
            (Some(tracker), _) => Arc::clone(tracker),
            (None, Some(store)) => {
                let tracker = Arc::new(Tracker {
                    url: interest.url.clone(),
                    store,
                    poke: Notify::new(),
                    started: AtomicU64::new(0),
                    asked: AtomicBool::new(false),
                    state: Mutex::default(),
                });
                inner.trackers.insert(identity, Arc::clone(&tracker));
                let span = info_span!("repository", url = %tracker.url);
                tokio::spawn(run(Arc::downgrade(self), Arc::clone(&tracker)).instrument(span));
                tracker
            }
            (None, None) => {
                // The tracker ended between the look and now; the next reconcile opens it again.
                inner.interests.remove(application);
                self.queue.now(application);
                return Ok(());
            }
        };
        tracker.add_interest(application, interest);
        Ok(())
    }

    async fn open(&self, url: &RepositoryUrl) -> Result<Arc<Store>, Failure> {
        let mut stores = self.stores.lock().await;
        if let Some(store) = stores.get(url.as_str()).and_then(Weak::upgrade) {
            return Ok(store);
        }
        let directory = self.directory.join(Hash64::of_bytes(url.as_str().as_bytes()).to_string());
        let opened = tokio::task::spawn_blocking(move || Store::open(&directory, StoreLimits::default())).await;
        match opened {
            Ok(Ok(store)) => {
                let store = Arc::new(store);
                stores.retain(|_, store| store.strong_count() > 0);
                stores.insert(url.as_str().to_owned(), Arc::downgrade(&store));
                Ok(store)
            }
            Ok(Err(error)) => Err(failure_of(&error)),
            Err(_) => Err(Failure { reason: Reason::InternalError, message: "opening the store panicked".to_owned() }),
        }
    }

    /// What is known of an Application's source; `None` when it has said no interest.
    pub fn state(&self, application: &str) -> Option<SourceState> {
        let inner = lock(&self.inner);
        let interest = inner.interests.get(application)?;
        let tracker = inner.trackers.get(interest.url.as_str())?;
        let state = lock(&tracker.state);
        let known = state.targets.get(&interest.target).cloned();
        let polls = if known.is_some() { state.ended } else { 0 };
        let target = known.unwrap_or_default();
        Some(SourceState {
            revision: target.revision,
            failure: target.failure,
            polls,
            store: Arc::clone(&tracker.store),
        })
    }

    /// Polls an Application's repository now. Returns the number of the poll whose end shows what is true now.
    pub fn poll(&self, application: &str) -> Option<u64> {
        let inner = lock(&self.inner);
        let interest = inner.interests.get(application)?;
        let tracker = inner.trackers.get(interest.url.as_str())?;
        let number = tracker.poll();
        lock(&tracker.state).asked.insert(application.to_owned(), number);
        Some(number)
    }

    /// Reports anew on a Repository or EgressProxy, because its spec has changed.
    pub fn forget_report(&self, is_proxy: bool, name: &str) {
        self.connections.forget(is_proxy, name);
    }

    /// Polls every repository now: the ways out, or the objects that say how to reach them, have changed.
    pub fn poll_all(&self) {
        for tracker in lock(&self.inner).trackers.values() {
            tracker.poll();
        }
    }
}

impl Tracker {
    fn add_interest(&self, application: &str, interest: &Interest) {
        let mut state = lock(&self.state);
        let sooner = state.interval().is_some_and(|interval| interest.interval < interval);
        state.wanted.entry(interest.target.clone()).or_default().insert(application.to_owned(), interest.interval);
        if sooner || !state.targets.contains_key(&interest.target) {
            drop(state);
            self.poke.notify_one();
        }
    }

    /// True when nobody is interested any more.
    fn drop_interest(&self, application: &str, target: &str) -> bool {
        let mut state = lock(&self.state);
        if let Some(applications) = state.wanted.get_mut(target) {
            applications.remove(application);
            if applications.is_empty() {
                state.wanted.remove(target);
                state.targets.remove(target);
            }
        }
        state.stopped = state.wanted.is_empty();
        if state.stopped {
            self.poke.notify_one();
        }
        state.stopped
    }

    fn poll(&self) -> u64 {
        let next = self.started.load(Ordering::Acquire) + 1;
        self.asked.store(true, Ordering::Release);
        self.poke.notify_one();
        next
    }
}

/// Polls one repository until nobody is interested in it.
async fn run(sources: Weak<Sources>, tracker: Arc<Tracker>) {
    let mut failures: u32 = 0;
    loop {
        let number = tracker.started.fetch_add(1, Ordering::AcqRel) + 1;
        let Some(sources) = sources.upgrade() else { return };
        let (targets, interval) = {
            let state = lock(&tracker.state);
            if state.stopped {
                return;
            }
            (state.wanted.keys().cloned().collect::<Vec<_>>(), state.interval().unwrap_or(DEFAULT_INTERVAL))
        };
        let (found, retry_after) = sources.poll_once(&tracker, &targets).await;
        let failed = found.values().any(|target| target.failure.is_some());
        let passing =
            found.values().filter_map(|target| target.failure.as_ref()).any(|failure| !failure.reason.is_terminal());
        failures = if failed { failures.saturating_add(1) } else { 0 };
        sources.publish(&tracker, number, found);
        drop(sources);
        // Jitter keeps the repositories of one host, and the operators of one fleet, from asking in step.
        let jittered = interval.mul_f64(0.9 + 0.2 * fastrand::f64());
        let pause = if passing {
            let backoff = FIRST_RETRY.saturating_mul(1 << failures.min(10).saturating_sub(1));
            retry_after.unwrap_or(backoff).min(jittered.max(FIRST_RETRY))
        } else {
            jittered
        };
        let due = Instant::now() + pause;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = tracker.poke.notified() => {}
        }
    }
}

impl Sources {
    fn publish(&self, tracker: &Tracker, number: u64, found: BTreeMap<String, TargetState>) {
        let (mut asking, mut due) = (BTreeMap::new(), BTreeSet::new());
        {
            let mut state = lock(&tracker.state);
            let first = state.ended == 0;
            state.ended = number;
            for (target, mut new) in found {
                let Some(applications) = state.wanted.get(&target) else { continue };
                let old = state.targets.get(&target).cloned().unwrap_or_default();
                if new.revision.is_none() {
                    // A failure never takes the last good revision away.
                    new.revision.clone_from(&old.revision);
                }
                if first || new != old {
                    due.extend(applications.keys().cloned());
                }
                state.targets.insert(target, new);
            }
            let asked = std::mem::take(&mut state.asked);
            let (answered, open) = asked.into_iter().partition(|(_, wanted)| *wanted <= number);
            state.asked = open;
            let answered: BTreeMap<String, u64> = answered;
            asking.extend(answered);
        }
        // Who asked comes before those that only have to find that nothing of theirs has changed.
        due.retain(|application| !asking.contains_key(application));
        for application in asking.keys().chain(&due) {
            self.queue.now(application);
        }
    }

    async fn poll_once(
        &self,
        tracker: &Tracker,
        targets: &[String],
    ) -> (BTreeMap<String, TargetState>, Option<Duration>) {
        self.metrics.polled();
        if tracker.asked.swap(false, Ordering::AcqRel) {
            self.access.forget_all_secrets();
        }
        let access = self.access.access(&tracker.url).await;
        let mut result = match access {
            Ok(access) => self.ask(tracker, access, targets).await,
            Err(failure) => Err((failure, None, None)),
        };
        // What was refused may have been rotated since it was read: one more attempt, if it was.
        if let Err((failure, _, Some(stale))) = &result
            && may_be_rotated(failure.reason)
        {
            self.access.forget_secrets(&stale.secrets);
            if let Ok(access) = self.access.access(&tracker.url).await
                && access.fingerprint != stale.fingerprint
            {
                result = self.ask(tracker, access, targets).await;
            }
        }
        match result {
            Ok((access, found)) => {
                self.connections.report(access.repository.as_deref(), access.proxy.as_deref(), None).await;
                (found, None)
            }
            Err((failure, retry_after, access)) => {
                warn!(reason = %failure.reason, message = %failure.message, "the source can't be asked");
                let (repository, proxy) = access.map(|access| (access.repository, access.proxy)).unwrap_or_default();
                let repository = repository.or_else(|| lock(&tracker.state).repository.clone());
                self.connections.report(repository.as_deref(), proxy.as_deref(), Some(&failure)).await;
                let stored = self.stored(tracker).await;
                let found = targets
                    .iter()
                    .map(|target| {
                        let revision = stored.get(&tip_name(target)).cloned();
                        (target.clone(), TargetState { revision, failure: Some(failure.clone()) })
                    })
                    .collect();
                (found, retry_after)
            }
        }
    }

    async fn stored(&self, tracker: &Tracker) -> BTreeMap<String, Revision> {
        let store = Arc::clone(&tracker.store);
        tokio::task::spawn_blocking(move || store.tips().unwrap_or_default()).await.unwrap_or_default()
    }

    async fn ask(&self, tracker: &Tracker, access: Access, targets: &[String]) -> Result<Answer, Refusal> {
        let remote = {
            let mut state = lock(&tracker.state);
            state.repository.clone_from(&access.repository);
            match &state.remote {
                Some((fingerprint, remote)) if *fingerprint == access.fingerprint => Arc::clone(remote),
                _ => {
                    let remote = Arc::new(Remote::new(RemoteConfig {
                        url: tracker.url.clone(),
                        egress: access.egress.clone(),
                        route: access.route.clone(),
                        credentials: access.credentials.clone(),
                        ca: access.ca.clone(),
                        timeouts: access.timeouts.clone(),
                    }));
                    state.remote = Some((access.fingerprint, Arc::clone(&remote)));
                    remote
                }
            }
        };
        match self.resolve_and_fetch(tracker, &remote, targets).await {
            Ok(found) => Ok((access, found)),
            Err(error) => Err((failure_of(&error), error.retry_after, Some(access))),
        }
    }

    async fn resolve_and_fetch(
        &self,
        tracker: &Tracker,
        remote: &Remote,
        targets: &[String],
    ) -> Result<BTreeMap<String, TargetState>, GitError> {
        let host = &tracker.url.host();
        let parsed: Vec<(&String, Target)> = targets.iter().map(|target| (target, Target::parse(target))).collect();
        let prefixes = ref_prefixes(parsed.iter().map(|(_, target)| target));
        let references = if prefixes.is_empty() {
            Vec::new()
        } else {
            let listed = remote.ls_refs(&prefixes).await;
            self.metrics.git_requested(host, GitOperation::ListRefs, listed.as_ref().err().map(|error| error.reason));
            listed?
        };
        let mut found = BTreeMap::new();
        let mut missing = BTreeSet::new();
        for (name, target) in parsed {
            let state = match resolve(&target, &references, &tracker.url) {
                Ok(resolved) => TargetState { revision: Some(resolved.revision), failure: None },
                Err(error) => TargetState { revision: None, failure: Some(failure_of(&error)) },
            };
            missing.extend(state.revision.clone());
            found.insert(name.clone(), state);
        }
        let store = Arc::clone(&tracker.store);
        let candidates: Vec<Revision> = missing.into_iter().collect();
        let wants: Vec<Revision> = tokio::task::spawn_blocking(move || {
            candidates.into_iter().filter(|revision| !store.has(revision).unwrap_or(false)).collect()
        })
        .await
        .unwrap_or_default();
        if !wants.is_empty() {
            let fetched = remote.fetch(&tracker.store, &wants, FetchLimits::default()).await;
            self.metrics.git_requested(host, GitOperation::Fetch, fetched.as_ref().err().map(|error| error.reason));
            let statistics = fetched?;
            self.metrics.git_received(host, statistics.bytes);
            info!(bytes = statistics.bytes, objects = statistics.objects, "fetched");
        }
        self.record_tips(tracker, &found).await?;
        Ok(found)
    }

    async fn record_tips(&self, tracker: &Tracker, found: &BTreeMap<String, TargetState>) -> Result<(), GitError> {
        let store = Arc::clone(&tracker.store);
        let tips: Vec<(String, Revision)> =
            found.iter().filter_map(|(target, state)| Some((tip_name(target), state.revision.clone()?))).collect();
        tokio::task::spawn_blocking(move || {
            for (name, revision) in &tips {
                store.record_tip(name, revision)?;
            }
            store.compact().map(|_| ())
        })
        .await
        .unwrap_or(Ok(()))
    }
}

/// Refusals that end when a password or an authority is replaced.
fn may_be_rotated(reason: Reason) -> bool {
    matches!(reason, Reason::AuthFailed | Reason::ProxyAuthRequired | Reason::TlsUntrusted | Reason::ProxyTlsUntrusted)
}

type Answer = (Access, BTreeMap<String, TargetState>);
type Refusal = (Failure, Option<Duration>, Option<Access>);

/// A target as a reference name of our own: a target may hold any character.
fn tip_name(target: &str) -> String {
    Hash64::of_bytes(target.as_bytes()).to_string()
}

fn failure_of(error: &GitError) -> Failure {
    Failure { reason: error.reason, message: error.to_string() }
}

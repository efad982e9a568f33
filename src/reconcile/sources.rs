//! Which revision each Application's source is at. One tracker per repository asks for all of its Applications at once.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{Instrument as _, info_span};

use super::access::AccessBuilder;
use super::connections::Connections;
use super::host_limit::HostLimit;
use super::location::{SourceLocation, SourceLocationError, SourceTarget};
use super::queue::Queue;
use super::signatures::Demanded;
use super::store_key::StoreKey;
use super::tracker::{Tracker, lock, run};
use super::trees::Beside;
use crate::api::{ApplicationSource, RepositorySpec};
use crate::git::{GitError, Store, StoreLimits, WeakStore};
use crate::metrics::Metrics;
use crate::model::{Hash64, Reason, Revision};
use crate::status::Failure;

/// Pause between polls unless an Application asks for another.
pub const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// What an Application wants to know of one of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The repository.
    pub url: SourceLocation,
    /// What of it.
    pub target: SourceTarget,
    /// Longest pause between polls.
    pub interval: Duration,
}

/// What is known of a source.
#[derive(Clone)]
pub struct SourceState {
    /// The repository.
    pub url: SourceLocation,
    /// The revision that the target was last seen at, and that is in the store.
    pub revision: Option<Revision>,
    /// The full name of the ref that gave it.
    pub reference: Option<String>,
    /// Why the last poll failed.
    pub failure: Option<Failure>,
    /// How old the revision may be.
    pub max_age: Option<Duration>,
    /// That it is older, as a sentence.
    pub stale: Option<String>,
    /// Number of the last poll that ended; 0 before the first that asked for this target.
    pub polls: u64,
    /// Where the objects are.
    pub store: Arc<Store>,
}

/// All trackers.
pub struct Sources {
    pub(super) access: AccessBuilder,
    pub(super) connections: Connections,
    pub(super) store_key: StoreKey,
    pub(super) beside: Beside,
    pub(super) demanded: Demanded,
    pub(super) hosts: HostLimit,
    directory: PathBuf,
    pub(super) metrics: Arc<Metrics>,
    pub(super) queue: Arc<Queue>,
    inner: Mutex<Inner>,
    /// Open stores by URL. Applications of one repository come at once, and what was given up may still be writing: one
    /// directory must never be opened twice.
    stores: tokio::sync::Mutex<BTreeMap<String, WeakStore>>,
}

#[derive(Default)]
struct Inner {
    /// By Application, in the order of its sources.
    interests: HashMap<String, Vec<Interest>>,
    trackers: BTreeMap<String, Arc<Tracker>>,
}

impl Sources {
    /// No trackers yet. Object stores go below `directory`.
    pub fn new(
        access: AccessBuilder,
        connections: Connections,
        store_key: StoreKey,
        directory: PathBuf,
        metrics: Arc<Metrics>,
        queue: Arc<Queue>,
    ) -> Arc<Self> {
        Arc::new(Self {
            access,
            connections,
            store_key,
            beside: Beside::default(),
            demanded: Demanded::default(),
            hosts: HostLimit::default(),
            directory,
            metrics,
            queue,
            inner: Mutex::default(),
            stores: tokio::sync::Mutex::default(),
        })
    }

    /// Where a source lies and what is wanted of it.
    pub fn locate(&self, source: &ApplicationSource) -> Result<(SourceLocation, SourceTarget), SourceLocationError> {
        SourceLocation::of(source, |reference| self.access.knows_registry(reference))
    }

    /// Says what an Application wants to know, source by source; nothing when it wants nothing any more. Cheap when
    /// nothing changes.
    pub async fn set_interest(self: &Arc<Self>, application: &str, interests: &[Interest]) -> Result<(), Failure> {
        if lock(&self.inner).interests.get(application).map_or(&[][..], Vec::as_slice) == interests {
            return Ok(());
        }
        let mut opened = BTreeMap::new();
        loop {
            for interest in interests {
                let identity = interest.url.as_str();
                let known = lock(&self.inner).trackers.contains_key(identity);
                if !known && !opened.contains_key(identity) {
                    opened.insert(identity.to_owned(), self.open(&interest.url).await?);
                }
            }
            if self.try_interest(application, interests, &mut opened) {
                return Ok(());
            }
        }
    }

    /// False when a tracker ended between the look and now: then its repository has to be opened again.
    fn try_interest(
        self: &Arc<Self>,
        application: &str,
        interests: &[Interest],
        opened: &mut BTreeMap<String, Arc<Store>>,
    ) -> bool {
        let mut inner = lock(&self.inner);
        let mut wanted: BTreeMap<SourceLocation, BTreeMap<SourceTarget, Duration>> = BTreeMap::new();
        for interest in interests {
            wanted.entry(interest.url.clone()).or_default().insert(interest.target.clone(), interest.interval);
        }
        let missing =
            |url: &SourceLocation| !inner.trackers.contains_key(url.as_str()) && !opened.contains_key(url.as_str());
        if wanted.keys().any(missing) {
            return false;
        }
        for former in inner.interests.remove(application).unwrap_or_default() {
            wanted.entry(former.url).or_default();
        }
        for (url, targets) in wanted {
            let identity = url.as_str().to_owned();
            let (tracker, is_new) = match (inner.trackers.get(&identity), opened.remove(&identity)) {
                (Some(tracker), _) => (Arc::clone(tracker), false),
                (None, Some(store)) => (Arc::new(Tracker::new(url, store)), true),
                (None, None) => continue,
            };
            let nothing_wanted = tracker.want(application, &targets);
            if nothing_wanted {
                inner.trackers.remove(&identity);
            } else if is_new {
                // Not before it knows what is wanted: its first poll answers that, and no second one is due.
                let span = info_span!("repository", url = %tracker.url);
                inner.trackers.insert(identity, Arc::clone(&tracker));
                tokio::spawn(run(Arc::downgrade(self), tracker).instrument(span));
            }
        }
        if !interests.is_empty() {
            inner.interests.insert(application.to_owned(), interests.to_vec());
        }
        true
    }

    /// The store of a repository, the same for all who use it.
    pub(super) async fn open(&self, url: &SourceLocation) -> Result<Arc<Store>, Failure> {
        let mut stores = self.stores.lock().await;
        if let Some(store) = stores.get(url.as_str()).and_then(WeakStore::upgrade) {
            return Ok(Arc::new(store));
        }
        let directory = self.directory.join(Hash64::of_bytes(url.as_str().as_bytes()).to_string());
        let opened = tokio::task::spawn_blocking(move || Store::open(&directory, StoreLimits::default())).await;
        match opened {
            Ok(Ok(store)) => {
                stores.retain(|_, store| store.is_open());
                stores.insert(url.as_str().to_owned(), store.downgrade());
                Ok(Arc::new(store))
            }
            Ok(Err(error)) => Err(failure_of(&error)),
            Err(_) => Err(Failure { reason: Reason::InternalError, message: "opening the store panicked".to_owned() }),
        }
    }

    /// What is known of an Application's sources, in their order; `None` when it has said no interest.
    pub fn states(&self, application: &str) -> Option<Vec<SourceState>> {
        let inner = lock(&self.inner);
        let interests = inner.interests.get(application)?;
        interests
            .iter()
            .map(|interest| {
                let tracker = inner.trackers.get(interest.url.as_str())?;
                let state = lock(&tracker.state);
                let known = state.targets.get(&interest.target).cloned();
                let polls = if known.is_some() { state.ended } else { 0 };
                let target = known.unwrap_or_default();
                Some(SourceState {
                    url: interest.url.clone(),
                    revision: target.revision,
                    reference: target.reference,
                    failure: target.failure,
                    max_age: target.max_age,
                    stale: target.stale,
                    polls,
                    store: Arc::clone(&tracker.store),
                })
            })
            .collect()
    }

    /// Polls an Application's repositories now. Returns, for each, the number of the poll whose end shows what is true
    /// now.
    pub fn poll(&self, application: &str) -> BTreeMap<String, u64> {
        let inner = lock(&self.inner);
        let mut polls = BTreeMap::new();
        for interest in inner.interests.get(application).into_iter().flatten() {
            let identity = interest.url.as_str();
            if let Some(tracker) = inner.trackers.get(identity)
                && !polls.contains_key(identity)
            {
                let number = tracker.poll();
                lock(&tracker.state).asked.insert(application.to_owned(), number);
                polls.insert(identity.to_owned(), number);
            }
        }
        polls
    }

    /// Reports anew on a Repository or EgressProxy, because its spec has changed.
    pub fn forget_report(&self, is_proxy: bool, name: &str) {
        self.connections.forget(is_proxy, name);
    }

    /// Polls now what these Repositories are about: one of them was made, changed or deleted.
    pub fn poll_covered<'a>(&self, by: &(impl IntoIterator<Item = &'a RepositorySpec> + Clone)) {
        for tracker in lock(&self.inner).trackers.values() {
            if by.clone().into_iter().any(|spec| tracker.url.coverage(spec).is_some()) {
                let number = tracker.poll();
                // What it says about submodules and LFS changes the files of a commit that is where it was.
                let mut state = lock(&tracker.state);
                let applications: Vec<String> = state.wanted.values().flat_map(BTreeMap::keys).cloned().collect();
                state.asked.extend(applications.into_iter().map(|application| (application, number)));
            }
        }
    }

    /// Whether polls report on a Repository. One that covers only submodules is reported on by those who fetch them.
    pub(super) fn is_polled(&self, repository: &str) -> bool {
        let inner = lock(&self.inner);
        inner.trackers.values().any(|tracker| lock(&tracker.state).repository.as_deref() == Some(repository))
    }

    /// Forgets where every repository stood and polls it now: until this process became the one that works, another may have
    /// followed a commit that this one has not seen, and going back to an older one would undo it. What was fetched
    /// stays.
    pub fn begin_anew(&self) {
        for tracker in lock(&self.inner).trackers.values() {
            let number = tracker.poll();
            let mut state = lock(&tracker.state);
            state.since = number;
            state.ended = 0;
            state.targets.clear();
        }
    }

    /// Polls every repository now: the ways out, or the objects that say how to reach them, have changed.
    pub fn poll_all(&self) {
        for tracker in lock(&self.inner).trackers.values() {
            tracker.poll();
        }
    }
}

/// A failure of git as a reconcile reports it.
pub(super) fn failure_of(error: &GitError) -> Failure {
    Failure { reason: error.reason, message: error.to_string() }
}

//! The live state of all kinds in use, as one identity may see it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use super::watch::{SyncState, Watch, unknown_kind};
use super::{Change, Coverage, Index, LiveError, LiveRecord, LiveView, Scope, SurfaceCache, reduce};
use crate::model::{GroupKind, Health, Identity, InstanceId, ObjectKey, Reason};

/// Gives the verdict on a whole object of a kind that has health.
pub type Assess = Arc<dyn Fn(&GroupKind, &Value) -> Option<Health> + Send + Sync>;
/// Whether a kind's health depends on more than its existence, so that its objects have to be read whole.
pub type HasHealth = Arc<dyn Fn(&GroupKind) -> bool + Send + Sync>;

/// How many lists are asked for at once.
const CONCURRENT_LISTS: usize = 16;

/// What the watches have done so far, for metrics and tests.
#[derive(Debug, Default)]
pub struct Counters {
    /// Watches that run now.
    pub watches: AtomicU64,
    /// Requests that opened or renewed a watch.
    pub watch_requests: AtomicU64,
    /// Pages of lists that were asked for.
    pub lists: AtomicU64,
    /// Objects that were received.
    pub events: AtomicU64,
    /// Watches that broke.
    pub failures: AtomicU64,
    /// Changes that were reported.
    pub changes: AtomicU64,
}

/// Records of the managed objects of all scopes in use, kept by one watch for each, as one identity sees them.
///
/// What it holds of a scope counts only while the scope's watch is in sync: [`Cache::ensure`] before [`Cache::view`].
pub struct Cache {
    shared: Arc<Shared>,
    running: Mutex<BTreeMap<Scope, Running>>,
}

/// What all watches share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) identity: Identity,
    pub(super) surface: Arc<SurfaceCache>,
    pub(super) counters: Counters,
    pub(super) lists: Arc<Semaphore>,
    assess: Assess,
    has_health: HasHealth,
    changes: mpsc::UnboundedSender<Change>,
    index: Mutex<Index>,
}

struct Running {
    task: AbortHandle,
    state: watch::Receiver<SyncState>,
    stopped: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        self.task.abort();
    }
}

impl Cache {
    /// A cache without watches. `assess` and `has_health` say what is health; `changes` gets every change of a record.
    pub fn new(
        client: Client,
        surface: Arc<SurfaceCache>,
        assess: Assess,
        has_health: HasHealth,
        changes: mpsc::UnboundedSender<Change>,
    ) -> Self {
        let shared = Shared {
            client,
            identity: Identity::Own,
            surface,
            counters: Counters::default(),
            lists: Arc::new(Semaphore::new(CONCURRENT_LISTS)),
            assess,
            has_health,
            changes,
            index: Mutex::new(Index::default()),
        };
        Self { shared: Arc::new(shared), running: Mutex::new(BTreeMap::new()) }
    }

    /// Another cache, without watches and records, that sees what `identity` may see; `client` acts as it. Its changes go
    /// where this one's go.
    #[must_use]
    pub fn acting_as(&self, client: Client, identity: Identity) -> Self {
        let shared = Shared {
            client,
            identity,
            surface: Arc::clone(&self.shared.surface),
            counters: Counters::default(),
            lists: Arc::clone(&self.shared.lists),
            assess: Arc::clone(&self.shared.assess),
            has_health: Arc::clone(&self.shared.has_health),
            changes: self.shared.changes.clone(),
            index: Mutex::new(Index::default()),
        };
        Self { shared: Arc::new(shared), running: Mutex::new(BTreeMap::new()) }
    }

    /// Starts the watches that are missing and waits until every one of these scopes is completely known.
    ///
    /// Fails at once for a kind that the API server doesn't have or refuses to list, and after `deadline` for one that is
    /// just not there yet. The error names the scope; the other watches go on whatever happens to one.
    /// Must be called in a tokio runtime.
    pub async fn ensure(&self, scopes: &BTreeSet<Scope>, deadline: Duration) -> Result<(), LiveError> {
        let end = tokio::time::Instant::now() + deadline;
        let started: Vec<_> = scopes.iter().map(|scope| (scope, self.start(scope))).collect();
        let mut first_error = None;
        let mut waiting = Vec::new();
        for (scope, result) in started {
            match result {
                Ok(state) => waiting.push((scope, state)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        for (scope, mut state) in waiting {
            let settled = state.wait_for(|state| match state {
                SyncState::Starting => false,
                SyncState::Synced => true,
                SyncState::Failed(error) => !error.is_transient(),
            });
            // Neither the end of the time nor a watch that was stopped meanwhile needs more than a look at the state.
            drop(tokio::time::timeout_at(end, settled).await);
            let settled = state.borrow().clone();
            match settled {
                SyncState::Synced => {}
                SyncState::Failed(error) => return Err(error),
                SyncState::Starting => {
                    let message = format!("{scope} was not listed completely within {} s", deadline.as_secs());
                    return Err(LiveError::of_kind(&scope.kind, Reason::ClusterUnreachable, message));
                }
            }
        }
        Ok(())
    }

    /// Whether everything about a scope is known right now.
    pub fn is_synced(&self, scope: &Scope) -> bool {
        lock(&self.running).get(scope).is_some_and(|running| *running.state.borrow() == SyncState::Synced)
    }

    /// Reads all objects of the watched kinds again for which `changed` holds, since the rules that judge them have
    /// changed: what is held of an object is a verdict, and its body is gone. Until a scope is listed again its records
    /// stay, and it is not in sync. Must be called in a tokio runtime.
    pub fn reassess(&self, changed: impl Fn(&GroupKind) -> bool) {
        let mut running = lock(&self.running);
        let scopes: Vec<Scope> = running.keys().filter(|scope| changed(&scope.kind)).cloned().collect();
        for scope in scopes {
            // Dropping it marks it as stopped, so that it puts in nothing that was judged by the old rules.
            drop(running.remove(&scope));
            let watch = self.spawn(&scope);
            running.insert(scope, watch);
        }
    }

    /// Stops all other watches and drops their records.
    pub fn retain(&self, scopes: &BTreeSet<Scope>) {
        let mut running = lock(&self.running);
        let unused: Vec<Scope> = running.keys().filter(|scope| !scopes.contains(*scope)).cloned().collect();
        for scope in unused {
            // Dropping it marks it as stopped, so that it puts nothing in after its records are dropped.
            drop(running.remove(&scope));
            lock(&self.shared.index).drop_scope(&scope);
        }
        self.count(&running);
    }

    /// What is known of an Application: the records of these objects, whoever owns them, and of all objects that carry
    /// its label.
    pub fn view<'a>(&self, instance: &InstanceId, keys: impl Iterator<Item = &'a ObjectKey>) -> LiveView {
        lock(&self.shared.index).view(instance, keys)
    }

    /// The record of one object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<LiveRecord>> {
        lock(&self.shared.index).get(key)
    }

    /// Reduces an object that a write or a read returned to a record, with health if the object is whole and its kind has
    /// one.
    pub fn reduce(&self, kind: &GroupKind, object: &Value) -> Option<(ObjectKey, LiveRecord)> {
        let whole = object.get("kind").and_then(Value::as_str) != Some("PartialObjectMetadata");
        self.shared.reduce(kind, object, whole && self.shared.wants_whole(kind))
    }

    /// Takes over the state that a write has shown, ahead of the watch. The writer knows what it did, so this is reported
    /// only to another owner that lost the object by it. Ignored for objects that are not watched.
    pub fn observe(&self, key: ObjectKey, record: LiveRecord) {
        let running = lock(&self.running);
        let watched = [Coverage::Cluster, Coverage::Namespaces].map(|coverage| coverage.scope_of(&key));
        if !watched.iter().any(|scope| running.contains_key(scope)) {
            return;
        }
        let change = lock(&self.shared.index).apply(key, record);
        if let Some(change) = change.filter(|change| change.previous_instance.is_some()) {
            self.shared.report(change);
        }
    }

    /// Takes over that a live read has shown the object `uid` to be gone, ahead of the watch.
    pub fn forget(&self, key: &ObjectKey, uid: &str) {
        lock(&self.shared.index).forget(key, uid);
    }

    /// What the watches have done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How many records are held.
    pub fn len(&self) -> usize {
        lock(&self.shared.index).len()
    }

    /// Whether no records are held.
    pub fn is_empty(&self) -> bool {
        lock(&self.shared.index).is_empty()
    }

    /// The state of a scope's watch, which is started if there is none.
    fn start(&self, scope: &Scope) -> Result<watch::Receiver<SyncState>, LiveError> {
        let kind = &scope.kind;
        let surface = self.shared.surface.current();
        let known = surface.kinds.contains_key(kind);
        let mut running = lock(&self.running);
        if let Some(watch) = running.get(scope) {
            let was_lost =
                matches!(&*watch.state.borrow(), SyncState::Failed(error) if error.reason == Reason::KindNotFound);
            match (was_lost, known) {
                (false, _) => return Ok(watch.state.clone()),
                (true, false) => return Err(unknown_kind(kind, &surface)),
                // It was away and is back: a new watch finds it at once, the old one would after its pause.
                (true, true) => {}
            }
        } else if !known {
            return Err(unknown_kind(kind, &surface));
        }
        let watch = self.spawn(scope);
        let state = watch.state.clone();
        running.insert(scope.clone(), watch);
        self.count(&running);
        Ok(state)
    }

    fn spawn(&self, scope: &Scope) -> Running {
        let (sender, state) = watch::channel(SyncState::Starting);
        let stopped = Arc::new(AtomicBool::new(false));
        let watch = Watch::new(scope.clone(), Arc::clone(&self.shared), sender, Arc::clone(&stopped));
        let task = tokio::spawn(watch.run()).abort_handle();
        Running { task, state, stopped }
    }

    fn count(&self, running: &BTreeMap<Scope, Running>) {
        self.shared.counters.watches.store(running.len() as u64, Ordering::Relaxed);
    }
}

impl Shared {
    /// Whether objects of a kind are read whole. Secrets never are, so that their data never enters memory.
    pub(super) fn wants_whole(&self, kind: &GroupKind) -> bool {
        !(kind.group.is_empty() && kind.kind == "Secret") && (self.has_health)(kind)
    }

    pub(super) fn reduce(&self, kind: &GroupKind, object: &Value, whole: bool) -> Option<(ObjectKey, LiveRecord)> {
        let health = if whole { (self.assess)(kind, object) } else { None };
        reduce(kind, object, health)
    }

    /// Changes the index for a watch that has not been stopped, and reports what changed.
    pub(super) fn change<C: IntoIterator<Item = Change>>(
        &self,
        stopped: &AtomicBool,
        change: impl FnOnce(&mut Index) -> C,
    ) {
        let changes = {
            let mut index = lock(&self.index);
            if stopped.load(Ordering::Acquire) {
                return;
            }
            change(&mut index)
        };
        for change in changes {
            self.report(change);
        }
    }

    fn report(&self, change: Change) {
        self.counters.changes.fetch_add(1, Ordering::Relaxed);
        // Nobody listens any more when the program ends.
        let _ = self.changes.send(change);
    }
}

/// A panic while the lock was held can't have left a half-made change: every change of the guarded values is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One reconcile of one Application: the calls of the flow, in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::{Span, error, info};

use super::attempt::AttemptMemory;
use super::dependencies::DependencyWatch;
use super::drift::fights;
use super::fleet::Fleet;
use super::integrity::Integrity;
use super::inventory::InventoryStore;
use super::memory::Memory;
use super::objects::Objects;
use super::observe::Desired;
use super::report::Reporter;
use super::sources::Sources;
use super::trust::Trust;
use super::windows::WindowCache;
use crate::api::{AppProject, Application, ApplicationStatus};
use crate::apply::Applier;
use crate::clock::Clock;
use crate::desired::{DesiredSet, unsupported_fields, unsupported_project_fields};
use crate::health::rules::Rules;
use crate::live::{Cache, SurfaceCache};
use crate::metrics::Metrics;
use crate::model::{GroupKind, Inventory, ObjectKey, Owner};
use crate::render::{RenderLimits, Renderer};
use crate::spans;
use crate::status::{Assessment, Failure, Observed, derive};

/// How long a reconcile waits for a kind's first complete list.
const LIST_DEADLINE: Duration = Duration::from_mins(1);
/// Discovery is not asked again sooner than this, however many Applications miss a kind.
pub(super) const SURFACE_REFRESH: Duration = Duration::from_secs(5);
/// Pause before a reconcile that failed for a passing reason is tried again; doubles.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// Longest pause before it is tried again.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// How many past syncs are kept unless the spec says otherwise: Argo CD's default.
const HISTORY_LIMIT: usize = 10;
/// Everything a reconcile works with.
pub(super) struct Driver {
    pub(super) namespace: String,
    pub(super) installation: String,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) applications: Arc<Objects<Application>>,
    pub(super) projects: Arc<Objects<AppProject>>,
    pub(super) dependencies: Arc<DependencyWatch>,
    pub(super) windows: WindowCache,
    pub(super) sources: Arc<Sources>,
    pub(super) renderer: Arc<Renderer>,
    pub(super) renders: Semaphore,
    pub(super) render_limits: RenderLimits,
    pub(super) surface: Arc<SurfaceCache>,
    pub(super) cache: Arc<Cache>,
    /// Settings for all Applications.
    pub(super) fleet: Arc<Fleet>,
    /// Keys that may sign.
    pub(super) trust: Arc<Trust>,
    /// What is known of signatures.
    pub(super) integrity: Integrity,
    /// Health rules that users gave.
    pub(super) rules: Arc<Rules>,
    pub(super) applier: Arc<Applier>,
    pub(super) reporter: Reporter,
    pub(super) inventories: InventoryStore,
    pub(super) kinds_in_use: Mutex<HashMap<String, BTreeSet<GroupKind>>>,
    pub(super) memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
}

impl Driver {
    /// Reconciles one Application. Returns how long until it is due again, when nothing happens before. `span` is told what
    /// was found.
    pub(super) async fn reconcile(&self, name: &str, span: &Span) -> Option<Duration> {
        let application = match self.applications.get(name) {
            Some(Ok(application)) => application,
            Some(Err(problem)) => {
                error!(%problem, "this Application can't be read by this version");
                return None;
            }
            None => {
                self.forget(name).await;
                return None;
            }
        };
        let owner = Owner::new(&self.installation, &self.namespace, name);
        let memory = Arc::clone(
            self.memories.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default(),
        );
        let mut memory = memory.lock().await;
        let due = self.reconcile_one(name, &application, &owner, &mut memory, span).await;
        let ApplicationStatus { sync, health, .. } = &memory.status;
        spans::reconciled(span, &sync.revision, sync.status.as_str(), health.status);
        due
    }

    async fn reconcile_one(
        &self,
        name: &str,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        span: &Span,
    ) -> Option<Duration> {
        if memory.uid != application.metadata.uid {
            // Another object of the same name: nothing of the former one holds for it.
            *memory = Memory { uid: application.metadata.uid.clone(), ..Memory::default() };
        }
        let failure = match self.recall(application, memory).await {
            Err(failure) => failure,
            Ok(()) if application.metadata.deletion_timestamp.is_some() => {
                return self.finalize(application, owner, memory).await;
            }
            Ok(()) => match self.observe(application, owner, memory).await {
                Desired::Pending => return None,
                Desired::Failed(failure) => failure,
                Desired::Known { held, source_failure } => {
                    if let Err(failure) = self.know(name, memory).await {
                        failure
                    } else {
                        let due = Box::pin(self.sync(application, owner, memory, &held, source_failure)).await;
                        memory.failures = 0;
                        return due;
                    }
                }
            },
        };
        spans::failed(span, failure.reason, &failure.message);
        Some(self.failed(application, memory, &failure).await)
    }

    /// Reads back what is remembered in the cluster, once.
    async fn recall(&self, application: &Application, memory: &mut Memory) -> Result<(), Failure> {
        if memory.inventory.is_some() {
            return Ok(());
        }
        memory.status = application.status.clone().unwrap_or_default();
        memory.handled_refresh.clone_from(&memory.status.last_handled_refresh);
        memory.handled_sync.clone_from(&memory.status.last_handled_sync);
        memory.handled_terminate.clone_from(&memory.status.last_handled_terminate);
        let (inventory, chunks) = self.inventories.load(application).await?;
        memory.inventory = Some(inventory);
        memory.inventory_chunks = chunks;
        Ok(())
    }

    /// Waits until everything about the kinds that an Application uses is known. Partial knowledge is never used.
    ///
    /// What a sync brings that is under way, or about to begin, counts besides what git wants now: a hook of it whose kind
    /// is watched no more would seem to be gone.
    pub(super) async fn know(&self, name: &str, memory: &Memory) -> Result<(), Failure> {
        let running = memory.attempt.as_ref().filter(|attempt| attempt.is_running()).map(|attempt| &attempt.desired);
        let overriding = memory.overriding.as_ref().and_then(|overriding| overriding.held.as_ref());
        let held = memory.held.as_ref().into_iter().chain(overriding).map(|held| &held.desired);
        let mut sets: Vec<&Arc<DesiredSet>> = Vec::new();
        for set in held.chain(running) {
            if !sets.iter().any(|known| Arc::ptr_eq(known, set)) {
                sets.push(set);
            }
        }
        let recorded = self.served_kinds_of(memory.inventory.as_ref());
        self.use_kinds(name, &sets.iter().flat_map(|set| set.kinds()).chain(recorded.iter().cloned()).collect());
        let objects = sets.iter().flat_map(|set| {
            let hooks = set.hooks.iter().map(|hook| &hook.object);
            set.objects.values().chain(hooks).filter(|object| !object.kind_is_new)
        });
        let kinds: BTreeSet<GroupKind> = objects.map(|object| object.key.group_kind()).chain(recorded).collect();
        self.cache
            .ensure(&kinds, LIST_DEADLINE)
            .await
            .map_err(|error| Failure { reason: error.reason, message: error.to_string() })
    }

    /// Takes note of the kinds that an Application uses; kinds that none uses any more are no longer watched.
    pub(super) fn use_kinds(&self, name: &str, kinds: &BTreeSet<GroupKind>) {
        let mut in_use = self.kinds_in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let before = if kinds.is_empty() { in_use.remove(name) } else { in_use.insert(name.to_owned(), kinds.clone()) };
        let shrunk = before.is_some_and(|before| !before.is_subset(kinds));
        if shrunk {
            let all: BTreeSet<GroupKind> = in_use.values().flatten().cloned().collect();
            self.cache.retain(&all);
        }
    }

    /// Kinds of an inventory that are still served: objects of a kind that is not can't exist.
    pub(super) fn served_kinds_of(&self, inventory: Option<&Inventory>) -> BTreeSet<GroupKind> {
        let surface = self.surface.current();
        let kinds = inventory.into_iter().flat_map(|inventory| inventory.entries.keys()).map(ObjectKey::group_kind);
        kinds
            .filter(|kind| surface.kinds.contains_key(kind) || surface.unavailable_groups.contains(&kind.group))
            .collect()
    }

    /// Reports that there is nothing to compare with.
    pub(super) async fn failed(&self, application: &Application, memory: &mut Memory, failure: &Failure) -> Duration {
        memory.failures = memory.failures.saturating_add(1);
        self.report(application, memory, Assessment::Failed(failure)).await;
        if failure.reason.is_terminal() {
            // A change of the source, of the spec or of what it refers to wakes it before.
            LONGEST_RETRY
        } else {
            FIRST_RETRY.saturating_mul(1 << memory.failures.min(6).saturating_sub(1)).min(LONGEST_RETRY)
        }
    }

    /// Derives and writes the status.
    pub(super) async fn report(&self, application: &Application, memory: &mut Memory, assessment: Assessment<'_>) {
        let mut unsupported = unsupported_fields(application);
        if let Some(Ok(project)) = self.projects.get(&application.spec.project) {
            let fields = unsupported_project_fields(&project.spec);
            unsupported
                .extend(fields.into_iter().map(|field| format!("AppProject {}: {field}", application.spec.project)));
        }
        let mut warnings = memory.held.as_ref().map(|held| held.warnings.clone()).unwrap_or_default();
        if let Some(held) = &memory.held {
            warnings.extend(held.desired.warnings.iter().cloned());
        }
        let instance =
            Owner::new(&self.installation, &self.namespace, application.metadata.name.as_deref().unwrap_or_default())
                .instance;
        warnings.extend(self.rules.problems_of(&instance));
        warnings.extend(self.fleet.current().problems.iter().cloned());
        warnings.extend(memory.rules.iter().flat_map(|compiled| compiled.problems.iter().cloned()));
        let stale = self.sources.stale_of(application.metadata.name.as_deref().unwrap_or_default());
        let limit = application.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok());
        let mut status = derive(&Observed {
            previous: &memory.status,
            generation: application.metadata.generation,
            now: self.clock.now(),
            assessment,
            attempt: memory.attempt.as_ref().map(AttemptMemory::report),
            unsupported: &unsupported,
            warnings: &warnings,
            stale: stale.as_deref(),
            held: memory.kept_by.as_ref(),
            dependencies: &memory.awaited,
            fights: &fights(&memory.heals, self.clock.now()),
            sync_window: memory.sync_window.clone(),
            suspended: application.spec.suspend,
            history_limit: limit.unwrap_or(HISTORY_LIMIT),
        });
        if let Some(held) = &memory.held {
            status.deletion_hooks = super::finalize::deletion_hooks(&held.desired);
        }
        status.last_handled_refresh.clone_from(&memory.handled_refresh);
        status.last_handled_sync.clone_from(&memory.handled_sync);
        status.last_handled_terminate.clone_from(&memory.handled_terminate);
        if let Some(inventory) = &memory.inventory {
            let stored =
                self.inventories.store(application, inventory, &mut status, &mut memory.inventory_chunks).await;
            if let Err(failure) = stored {
                error!(message = %failure.message, "the inventory could not be stored");
                return;
            }
        }
        self.reporter.write(application, &mut memory.status, status).await;
    }

    /// Forgets an Application that is gone.
    async fn forget(&self, name: &str) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.use_kinds(name, &BTreeSet::new());
        // Losing interest opens nothing, so it can't fail.
        let _ = self.sources.set_interest(name, &[]).await;
        self.metrics.application_gone(&self.namespace, name);
        info!("the Application is gone");
    }
}

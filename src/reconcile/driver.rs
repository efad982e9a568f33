//! One reconcile of one Application: the calls of the flow, in order. As whom it is done is settled first: there is no [`Driver`]
//! without a destination.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Semaphore;
use tracing::{Span, error, info};

use super::attempt::AttemptMemory;
use super::dependencies::DependencyWatch;
use super::destinations::{Destination, Destinations};
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
use crate::clock::Clock;
use crate::desired::{DesiredSet, acting_as, unsupported_fields, unsupported_project_fields};
use crate::health::rules::Rules;
use crate::live::{Scope, SurfaceCache};
use crate::metrics::Metrics;
use crate::model::{GroupKind, Identity, Inventory, ObjectKey, Owner, Reason};
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

/// Everything that all reconciles work with.
pub(super) struct Reconciler {
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
    /// The cluster as whoever it is touched by.
    pub(super) destinations: Arc<Destinations>,
    /// Whether the operator touches managed objects only as a ServiceAccount that the project names.
    pub(super) requires_impersonation: bool,
    /// Settings for all Applications.
    pub(super) fleet: Arc<Fleet>,
    /// Keys that may sign.
    pub(super) trust: Arc<Trust>,
    /// What is known of signatures.
    pub(super) integrity: Integrity,
    /// Health rules that users gave.
    pub(super) rules: Arc<Rules>,
    pub(super) reporter: Reporter,
    pub(super) inventories: InventoryStore,
    pub(super) memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
}

/// One reconcile, which touches the cluster with the rights of its destination and of nobody else.
pub(super) struct Driver {
    reconciler: Arc<Reconciler>,
    pub(super) destination: Arc<Destination>,
}

impl Deref for Driver {
    type Target = Reconciler;

    fn deref(&self) -> &Reconciler {
        &self.reconciler
    }
}

/// Whether the API server has a kind.
enum Served {
    No,
    /// Its group does not answer.
    Unknown,
    As {
        namespaced: bool,
    },
}

impl Reconciler {
    /// Reconciles one Application. Returns how long until it is due again, when nothing happens before. `span` is told what
    /// was found.
    pub(super) async fn reconcile(self: &Arc<Self>, name: &str, span: &Span) -> Option<Duration> {
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
        let due = match self.reconcile_one(&application, &owner, &mut memory).await {
            Ok(due) => due,
            Err(failure) => {
                spans::failed(span, failure.reason, &failure.message);
                Some(self.failed(&application, &mut memory, &failure).await)
            }
        };
        let ApplicationStatus { sync, health, .. } = &memory.status;
        spans::reconciled(span, &sync.revision, sync.status.as_str(), health.status);
        due
    }

    async fn reconcile_one(
        self: &Arc<Self>,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Result<Option<Duration>, Failure> {
        if memory.uid != application.metadata.uid {
            // Another object of the same name: nothing of the former one holds for it.
            *memory = Memory { uid: application.metadata.uid.clone(), ..Memory::default() };
        }
        self.recall(application, memory).await?;
        let is_deleted = application.metadata.deletion_timestamp.is_some();
        if is_deleted && !super::finalize::deletes_what_it_owns(application) {
            return Ok(self.let_go(application).await);
        }
        let driver = match self.driver_of(application) {
            Ok(driver) => driver,
            Err(failure) if is_deleted => return Ok(self.can_not_delete(application, memory, &failure).await),
            Err(failure) => return Err(failure),
        };
        driver.pursue(application, owner, memory).await
    }

    /// What an Application is reconciled with.
    fn driver_of(self: &Arc<Self>, application: &Application) -> Result<Driver, Failure> {
        let name = application.metadata.name.as_deref().unwrap_or_default();
        let chosen = self.identity_of(application).and_then(|identity| self.destinations.of(name, &identity));
        if chosen.is_err() {
            // Rights that were taken away are not used for watching either.
            self.destinations.forget(name);
        }
        Ok(Driver { reconciler: Arc::clone(self), destination: chosen? })
    }

    /// With whose rights an Application's objects are touched.
    pub(super) fn identity_of(&self, application: &Application) -> Result<Identity, Failure> {
        let name = super::produce::project_name(application);
        if self.projects.get(name).is_none()
            && application.metadata.deletion_timestamp.is_some()
            && !self.requires_impersonation
        {
            // What it owns can be deleted without its project, which nobody would make again for that.
            return Ok(Identity::Own);
        }
        let project = self.project_object(application)?;
        let destination = &application.spec.destination;
        let identity = acting_as(name, &project.spec, destination, &self.namespace, self.requires_impersonation)
            .map_err(|problem| Failure { reason: problem.reason, message: problem.message })?;
        if let (Identity::ServiceAccount(account), Some(namespace)) = (&identity, destination.namespace.as_deref())
            && !namespace.is_empty()
        {
            // The account follows from this namespace, so that naming one that is not allowed would lend another's rights.
            let rules = self.project_rules(name, &project);
            rules.permits_namespace(destination, namespace).map_err(|why| Failure {
                reason: Reason::NotPermitted,
                message: format!("spec.destination, by which the ServiceAccount `{account}` is chosen: {why}"),
            })?;
        }
        Ok(identity)
    }

    /// Objects of an inventory whose kind is still served, and served as they are recorded, with a namespace or without: others
    /// can't exist.
    pub(super) fn served_of<'a>(
        &self,
        inventory: Option<&'a Inventory>,
    ) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        let surface = self.surface.current();
        let mut known: Option<(GroupKind, Served)> = None;
        inventory.into_iter().flat_map(|inventory| inventory.entries.keys()).filter(move |key| {
            // Keys of one kind follow each other.
            if known.as_ref().is_none_or(|(kind, _)| kind.group != key.group || kind.kind != key.kind) {
                let kind = key.group_kind();
                let served = match surface.kinds.get(&kind) {
                    Some(info) => Served::As { namespaced: info.namespaced },
                    None if surface.unavailable_groups.contains(&kind.group) => Served::Unknown,
                    None => Served::No,
                };
                known = Some((kind, served));
            }
            match known.as_ref().map(|(_, served)| served) {
                Some(Served::As { namespaced }) => *namespaced != key.namespace.is_empty(),
                Some(Served::Unknown) => true,
                Some(Served::No) | None => false,
            }
        })
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
        self.destinations.forget(name);
        // Losing interest opens nothing, so it can't fail.
        let _ = self.sources.set_interest(name, &[]).await;
        self.metrics.application_gone(&self.namespace, name);
        info!("the Application is gone");
    }
}

impl Driver {
    /// The rest of a reconcile, once it is settled as whom.
    async fn pursue(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Result<Option<Duration>, Failure> {
        if application.metadata.deletion_timestamp.is_some() {
            return Ok(self.finalize(application, owner, memory).await);
        }
        match self.observe(application, owner, memory).await {
            Desired::Pending => Ok(None),
            Desired::Failed(failure) => Err(failure),
            Desired::Known { held, source_failure } => {
                self.know(&owner.name, memory).await?;
                let due = self.sync(application, owner, memory, &held, source_failure).boxed().await;
                memory.failures = 0;
                Ok(due)
            }
        }
    }

    /// Waits until everything is known about the objects that an Application is concerned with. Partial knowledge is never used.
    ///
    /// What a sync brings that is under way, or about to begin, counts besides what git wants now: a hook of it that is watched
    /// no more would seem to be gone.
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
        let objects =
            || sets.iter().flat_map(|set| set.objects.values().chain(set.hooks.iter().map(|hook| &hook.object)));
        let recorded = self.destination.scopes(self.served_of(memory.inventory.as_ref()))?;
        let all = objects().map(|object| self.destination.scope_of(&object.key)).chain(recorded.iter().cloned());
        self.destinations.use_scopes(name, &all.collect());
        let there_now = objects().filter(|object| !object.kind_is_new);
        let scopes = there_now.map(|object| self.destination.scope_of(&object.key)).chain(recorded).collect();
        self.ensure(&scopes, LIST_DEADLINE).await
    }

    /// Waits until watches are complete.
    pub(super) async fn ensure(&self, scopes: &BTreeSet<Scope>, deadline: Duration) -> Result<(), Failure> {
        self.destination
            .cache
            .ensure(scopes, deadline)
            .await
            .map_err(|error| Failure { reason: error.reason, message: error.to_string() })
    }
}

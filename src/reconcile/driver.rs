//! One reconcile of one Application: the calls of the flow, in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::{error, info};

use super::attempts::{conclude, reopen_drifted, settle_reported_revision, target_of, until};
use super::fleet::Fleet;
use super::inventory::InventoryStore;
use super::memory::{AttemptMemory, Memory};
use super::objects::Objects;
use super::observe::Desired;
use super::report::Reporter;
use super::sources::Sources;
use crate::api::{AppProject, Application, OperationPhase};
use crate::apply::Applier;
use crate::clock::Clock;
use crate::desired::{DesiredSet, unsupported_fields, unsupported_project_fields};
use crate::diff::{Differences, Extra, compare};
use crate::health::rules::Rules;
use crate::live::{Cache, LiveView, SurfaceCache};
use crate::metrics::Metrics;
use crate::model::{GroupKind, Hash64, Inventory, InventoryEntry, ObjectKey, Owner};
use crate::plan::{DecideInput, Decision, Plan, PlanInput, Policy, decide, plan};
use crate::render::{RenderLimits, Renderer};
use crate::status::{Assessment, Comparison, Failure, Observed, derive};

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
/// Annotation that consents to prune kinds that hold more than themselves, at one revision.
const APPROVE_PRUNE_ANNOTATION: &str = "tidelock.dev/approve-prune";

/// Everything a reconcile works with.
pub(super) struct Driver {
    pub(super) namespace: String,
    pub(super) installation: String,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) applications: Arc<Objects<Application>>,
    pub(super) projects: Arc<Objects<AppProject>>,
    pub(super) sources: Arc<Sources>,
    pub(super) renderer: Arc<Renderer>,
    pub(super) renders: Semaphore,
    pub(super) render_limits: RenderLimits,
    pub(super) surface: Arc<SurfaceCache>,
    pub(super) cache: Arc<Cache>,
    /// Settings for all Applications.
    pub(super) fleet: Arc<Fleet>,
    /// Health rules that users gave.
    pub(super) rules: Arc<Rules>,
    pub(super) applier: Arc<Applier>,
    pub(super) reporter: Reporter,
    pub(super) inventories: InventoryStore,
    pub(super) kinds_in_use: Mutex<HashMap<String, BTreeSet<GroupKind>>>,
    pub(super) memories: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Memory>>>>,
}

/// A desired set compared with live state.
pub(super) struct Compared {
    pub(super) live: LiveView,
    pub(super) differences: Differences,
    pub(super) plan: Plan,
}

impl Driver {
    /// Reconciles one Application. Returns how long until it is due again, when nothing happens before.
    pub(super) async fn reconcile(&self, name: &str) -> Option<Duration> {
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
        if memory.uid != application.metadata.uid {
            // Another object of the same name: nothing of the former one holds for it.
            *memory = Memory { uid: application.metadata.uid.clone(), ..Memory::default() };
        }
        if let Err(failure) = self.recall(&application, &mut memory).await {
            return Some(self.failed(&application, &mut memory, &failure).await);
        }
        if application.metadata.deletion_timestamp.is_some() {
            return self.finalize(&application, &owner, &mut memory).await;
        }
        match self.observe(&application, &owner, &mut memory).await {
            Desired::Pending => None,
            Desired::Failed(failure) => Some(self.failed(&application, &mut memory, &failure).await),
            Desired::Known { held, source_failure } => {
                if let Err(failure) = self.know(name, &held.desired, &memory).await {
                    return Some(self.failed(&application, &mut memory, &failure).await);
                }
                let due = self.sync(&application, &owner, &mut memory, &held.desired, held.hash, source_failure).await;
                memory.failures = 0;
                due
            }
        }
    }

    /// Reads back what is remembered in the cluster, once.
    async fn recall(&self, application: &Application, memory: &mut Memory) -> Result<(), Failure> {
        if memory.inventory.is_some() {
            return Ok(());
        }
        memory.status = application.status.clone().unwrap_or_default();
        memory.handled_refresh.clone_from(&memory.status.last_handled_refresh);
        memory.handled_sync.clone_from(&memory.status.last_handled_sync);
        let (inventory, chunks) = self.inventories.load(application).await?;
        memory.inventory = Some(inventory);
        memory.inventory_chunks = chunks;
        Ok(())
    }

    /// Waits until everything about the kinds that an Application uses is known. Partial knowledge is never used.
    async fn know(&self, name: &str, desired: &DesiredSet, memory: &Memory) -> Result<(), Failure> {
        let recorded = self.served_kinds_of(memory.inventory.as_ref());
        self.use_kinds(name, &desired.kinds().chain(recorded.iter().cloned()).collect());
        let served = desired.objects.values().filter(|object| !object.kind_is_new);
        let kinds: BTreeSet<GroupKind> = served.map(|object| object.key.group_kind()).chain(recorded).collect();
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
    async fn failed(&self, application: &Application, memory: &mut Memory, failure: &Failure) -> Duration {
        memory.failures = memory.failures.saturating_add(1);
        self.report(application, memory, Assessment::Failed(failure)).await;
        if failure.reason.is_terminal() {
            // A change of the source, of the spec or of what it refers to wakes it before.
            LONGEST_RETRY
        } else {
            FIRST_RETRY.saturating_mul(1 << memory.failures.min(6).saturating_sub(1)).min(LONGEST_RETRY)
        }
    }

    /// Compares a desired set with live state and plans what is to be done.
    pub(super) fn compare(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        desired: &DesiredSet,
        prune: bool,
    ) -> Compared {
        let recorded = memory.recorded_now.clone();
        let inventory = memory.inventory.get_or_insert_default();
        let keys = desired.objects.keys().chain(inventory.entries.keys());
        let live = self.cache.view(&owner.instance, keys);
        let mut differences = compare(desired, &live, inventory, owner);
        // What was recorded in this very reconcile may be pruned in a later one only.
        for key in recorded {
            if let Some(extra @ Extra::Prunable { .. }) = differences.extras.get_mut(&key) {
                *extra = Extra::Unrecorded;
            }
        }
        for (key, extra) in &differences.extras {
            if *extra == Extra::Unrecorded
                && let Some(record) = live.objects.get(key)
            {
                let entry = InventoryEntry::Applied {
                    uid: record.uid.clone(),
                    desired: Hash64(0),
                    owned: record.owned.unwrap_or(Hash64(0)),
                };
                inventory.entries.insert(key.clone(), entry);
                memory.recorded_now.insert(key.clone());
            }
        }
        // A recorded object of a kind that is no longer served can't exist.
        let surface = self.surface.current();
        differences.extras.retain(|key, extra| {
            let unserved = *extra == Extra::Unseen
                && !surface.kinds.contains_key(&key.group_kind())
                && !surface.unavailable_groups.contains(&key.group);
            if unserved {
                inventory.entries.remove(key);
            }
            !unserved
        });
        // Both the newest commit and the one that the status shows are meant by a person who looks.
        let revisions = memory.held.as_ref().map(|held| [held.revision.to_string(), held.reported.clone()]);
        let approved = application.metadata.annotations.as_ref().and_then(|all| all.get(APPROVE_PRUNE_ANNOTATION));
        let prune_protected = approved.is_some_and(|approved| {
            approved.len() >= 7 && revisions.iter().flatten().any(|revision| revision.starts_with(approved.as_str()))
        });
        let plan = plan(PlanInput { desired, differences: &differences, live: &live, prune, prune_protected });
        Compared { live, differences, plan }
    }

    async fn sync(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        desired: &Arc<DesiredSet>,
        hash: Hash64,
        source_failure: Option<Failure>,
    ) -> Option<Duration> {
        let now = self.clock.now();
        memory.recorded_now.clear();
        let policy = Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()));
        let (request, operation) = match self.take_request(application, memory, policy).await {
            Ok(taken) => taken,
            Err(failure) => return Some(self.failed(application, memory, &failure).await),
        };
        let mut compared = self.compare(application, owner, memory, desired, policy.prune);
        settle_reported_revision(memory, &compared.differences);
        let target = target_of(hash, &compared.differences, policy.prune);
        let running = memory
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.is_running() && attempt.target == hash && request.is_none());
        let mut due = None;
        let retry = application.spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref());
        let requested = memory.attempt.as_ref().is_some_and(|attempt| running && !attempt.automated);
        let decision = if application.spec.suspend && request.is_none() && !requested {
            Decision::Hold
        } else if running {
            let attempt = memory.attempt.as_ref();
            Decision::Sync {
                prune: attempt.is_some_and(|attempt| attempt.prune),
                dry_run: attempt.is_some_and(|attempt| attempt.dry_run),
                heal: attempt.is_some_and(|attempt| attempt.heal),
            }
        } else {
            decide(DecideInput {
                policy,
                request,
                differences: &compared.differences,
                prunes: !compared.plan.prunes.is_empty(),
                target,
                last_failure: memory.last_failure.as_ref(),
                retry,
                heal_not_before: memory.heals.not_before(),
                now,
            })
        };
        match decision {
            Decision::Sync { prune, dry_run, heal } => {
                if !running {
                    let revision = memory.held.as_ref().map(|held| held.reported.clone()).unwrap_or_default();
                    let retries = memory
                        .last_failure
                        .as_ref()
                        .filter(|failure| failure.target == target)
                        .map_or(0, |failure| failure.failures);
                    memory.attempt = Some(AttemptMemory {
                        target: hash,
                        revision,
                        automated: request.is_none(),
                        operation,
                        prune,
                        dry_run,
                        heal,
                        cleared: false,
                        phase: OperationPhase::Running,
                        started: now,
                        ended: None,
                        retries,
                        outcomes: crate::plan::Outcomes::new(),
                        waiting: Vec::new(),
                        waiting_since: None,
                        failure: None,
                    });
                    info!(prune, dry_run, heal, retries, "sync starts");
                }
                if prune != policy.prune {
                    compared = self.compare(application, owner, memory, desired, prune);
                }
                let heal_at = reopen_drifted(memory, &compared.differences, policy, now);
                self.carry_out(application, owner, memory, desired, &compared.plan).await;
                compared = self.compare(application, owner, memory, desired, prune);
                let now = self.clock.now();
                due = conclude(application, memory, target, now);
                if let Some(heal) = heal_at.map(|time| until(time, now).unwrap_or_default()) {
                    // Nothing else would wake it: what is missing in the cluster makes no event.
                    due = Some(due.map_or(heal, |due| due.min(heal)));
                }
                if let Some(rest) = memory.attempt.as_ref().and_then(|attempt| attempt.silent_for(now)) {
                    return Some(due.map_or(rest, |due| due.min(rest)));
                }
            }
            Decision::Later(time) => due = until(time, now),
            Decision::Hold => {
                // What was under way is no longer wanted.
                if memory.attempt.as_ref().is_some_and(AttemptMemory::is_running) {
                    memory.attempt = None;
                }
            }
        }
        let reported = memory.held.as_ref().map(|held| held.reported.clone()).unwrap_or_default();
        let comparison = Comparison {
            revision: &reported,
            desired,
            live: &compared.live,
            differences: &compared.differences,
            blocked: &compared.plan.blocked,
        };
        self.report(application, memory, Assessment::Compared { comparison, source_failure: source_failure.as_ref() })
            .await;
        if memory.recorded_now.is_empty() { due } else { Some(due.unwrap_or(FIRST_RETRY).min(FIRST_RETRY)) }
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
        let limit = application.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok());
        let mut status = derive(&Observed {
            previous: &memory.status,
            generation: application.metadata.generation,
            now: self.clock.now(),
            assessment,
            attempt: memory.attempt.as_ref().map(AttemptMemory::report),
            unsupported: &unsupported,
            warnings: &warnings,
            suspended: application.spec.suspend,
            history_limit: limit.unwrap_or(HISTORY_LIMIT),
        });
        status.last_handled_refresh.clone_from(&memory.handled_refresh);
        status.last_handled_sync.clone_from(&memory.handled_sync);
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
        let _ = self.sources.set_interest(name, None).await;
        self.metrics.application_gone(&self.namespace, name);
        info!("the Application is gone");
    }
}

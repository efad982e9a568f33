//! Deletion of an Application: hooks before it, what it owns in reverse order and each object after its own proof, hooks
//! after it; then the finalizer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{AttemptMemory, Choices, attempt_id, under_way};
use super::attempts::until;
use super::compare::consents;
use super::driver::{Driver, Reconciler};
use super::memory::Memory;
use super::observe::Desired;
use crate::api::{Application, OperationPhase};
use crate::apply::Propagation;
use crate::desired::{DesiredSet, SyncOptions};
use crate::model::{Hash64, InventoryEntry, ObjectKey, Owner, Phase, Reason};
use crate::plan::Waiting;
use crate::plan::{DeletionInput, HookNaming, compile_deletion};
use crate::status::{Assessment, Failure};

/// Finalizers that ask for everything the Application owns to be deleted with it. Argo CD's are honoured too, so that a
/// manifest works after a change of its `apiVersion`; nobody else would ever remove them from our kind.
const FINALIZERS: [&str; 2] = ["tidelock.dev/resources-finalizer", "resources-finalizer.argocd.argoproj.io"];
/// Annotation by which a deletion goes on without its hooks, when git can't be reached for them.
const SKIP_HOOKS_ANNOTATION: &str = "tidelock.dev/skip-deletion-hooks";
/// Most hooks that the status lists.
const MOST_HOOKS_LISTED: usize = 20;
const LIST_DEADLINE: Duration = Duration::from_mins(1);
/// Pause before a deletion that can't go on is tried again.
const RETRY: Duration = Duration::from_secs(15);

/// Finalizers that Argo CD puts on an Application with hooks around its deletion. Our own record of such hooks does their
/// work; a manifest that was exported with them must not hang.
const HOOK_FINALIZERS: [&str; 2] =
    ["pre-delete-finalizer.argocd.argoproj.io", "post-delete-finalizer.argocd.argoproj.io"];

/// Whether a finalizer is ours to take off once the deletion is done.
fn is_taken_off(finalizer: &str) -> bool {
    let hooks = HOOK_FINALIZERS
        .iter()
        .any(|ours| finalizer == *ours || finalizer.strip_prefix(ours).is_some_and(|rest| rest.starts_with('/')));
    hooks || is_ours(finalizer)
}

fn is_ours(finalizer: &str) -> bool {
    FINALIZERS
        .iter()
        .any(|ours| finalizer == *ours || finalizer.strip_prefix(ours).is_some_and(|rest| rest.starts_with('/')))
}

/// How the deletion spreads: as the finalizer says, else as the sync options do.
fn spreads(finalizers: &[String], options: &SyncOptions) -> Propagation {
    let background = finalizers.iter().any(|finalizer| is_ours(finalizer) && finalizer.ends_with("/background"));
    if background { Propagation::Background } else { options.prune_propagation.into() }
}

/// Hooks of a set that run around a deletion, as many as the status lists: that there are any is what counts.
pub(super) fn deletion_hooks(desired: &DesiredSet) -> Vec<String> {
    let at_deletion = |phase: &Phase| matches!(phase, Phase::PreDelete | Phase::PostDelete);
    let hooks = desired.hooks.iter().filter(|hook| hook.phases.iter().any(at_deletion));
    hooks.take(MOST_HOOKS_LISTED).map(|hook| hook.object.key.to_string()).collect()
}

/// Whether the end of an Application is to be the end of what it owns.
pub(super) fn deletes_what_it_owns(application: &Application) -> bool {
    application.metadata.finalizers.iter().flatten().any(|finalizer| is_ours(finalizer))
}

impl Reconciler {
    /// Ends an Application without a finalizer that asks for what it owns: nothing is deleted, and finalizers of hooks alone
    /// would keep it for ever.
    pub(super) async fn let_go(&self, application: &Application) -> Option<Duration> {
        let finalizers = application.metadata.finalizers.clone().unwrap_or_default();
        let remaining: Vec<String> = finalizers.iter().filter(|finalizer| !is_taken_off(finalizer)).cloned().collect();
        if remaining.len() == finalizers.len() {
            return None;
        }
        self.reporter.set_finalizers(application, &remaining).await.err().map(|_| RETRY)
    }

    /// Says why a deletion can't go on.
    pub(super) async fn can_not_delete(
        &self,
        application: &Application,
        memory: &mut Memory,
        failure: &Failure,
    ) -> Option<Duration> {
        // What was refused once is tried again from the start.
        memory.attempt = None;
        self.report(application, memory, Assessment::Deleting { waiting: &[], failure: Some(failure) }).await;
        Some(RETRY)
    }
}

impl Driver {
    /// Goes on with the deletion of an Application that has a finalizer of ours.
    pub(super) async fn finalize(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Option<Duration> {
        let finalizers = application.metadata.finalizers.clone().unwrap_or_default();
        let dependents = self.dependencies.deletion_waits(&owner.name, application);
        if !dependents.is_empty() {
            self.report(application, memory, Assessment::Deleting { waiting: &dependents, failure: None }).await;
            // The end of a dependent, or of its dependency, wakes it.
            return None;
        }
        match self.delete_owned(application, owner, memory, &finalizers).await {
            Ok(None) => {
                // Losing interest opens nothing, so it can't fail.
                let _ = self.sources.set_interest(&owner.name, &[]).await;
                let remaining: Vec<String> =
                    finalizers.into_iter().filter(|finalizer| !is_taken_off(finalizer)).collect();
                match self.reporter.set_finalizers(application, &remaining).await {
                    Ok(()) => None,
                    Err(_) => Some(RETRY),
                }
            }
            Ok(Some(pause)) => Some(pause),
            Err(failure) => self.can_not_delete(application, memory, &failure).await,
        }
    }

    /// `None` when nothing is left that has to go, else when to look again at the latest.
    async fn delete_owned(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        finalizers: &[String],
    ) -> Result<Option<Duration>, Failure> {
        let Some(desired) = self.deletion_set(application, owner, memory).await? else { return Ok(Some(RETRY)) };
        let served = self.served_of(memory.inventory.as_ref());
        let hooks = desired.hooks.iter().map(|hook| &hook.object.key);
        let scopes = self.destination.scopes(served.chain(hooks))?;
        self.destinations.use_scopes(&owner.name, &scopes);
        self.ensure(&scopes, LIST_DEADLINE).await?;
        self.begin_deletion(application, memory, &desired);
        let Some(attempt) = &memory.attempt else { return Ok(Some(RETRY)) };
        let (options, started) = (attempt.choices.options.clone(), attempt.started);
        let owned = Self::owned(memory);
        let hooks = desired.hooks.iter().map(|hook| &hook.object.key);
        let live = self.destination.cache.view(&owner.instance, owned.keys().chain(hooks));
        let owned: BTreeMap<ObjectKey, Option<String>> = owned
            .into_iter()
            .filter(|(key, _)| scopes.contains(&self.destination.scope_of(key)) || live.objects.contains_key(key))
            .collect();
        let plan = compile_deletion(DeletionInput {
            owner,
            owned: &owned,
            desired: &desired,
            live: &live,
            options: &options,
            consents: consents(application, &[]),
            hooks: Some(HookNaming { revision: &attempt.revision, started }),
        })
        .map_err(|error| Failure { reason: error.reason(), message: error.to_string() })?;
        if let Some(first) = plan.blocked.first() {
            let waiting: Vec<Waiting> = plan
                .blocked
                .iter()
                .map(|blocked| Waiting {
                    key: blocked.key.clone(),
                    condition: "confirmed",
                    message: blocked.message.clone(),
                    reason: blocked.reason,
                    release: "the annotation tidelock.dev/approve-deletion on the Application".to_owned(),
                })
                .collect();
            tracing::info!(object = %first.key, "the deletion waits for consent");
            self.report(application, memory, Assessment::Deleting { waiting: &waiting, failure: None }).await;
            return Ok(Some(RETRY));
        }
        let look_again = self.carry_out(application, owner, memory, &plan, spreads(finalizers, &options)).await;
        let Some(attempt) = &memory.attempt else { return Ok(Some(RETRY)) };
        match attempt.phase {
            OperationPhase::Succeeded => Ok(None),
            OperationPhase::Running | OperationPhase::Terminating => {
                let waiting = attempt.waiting.clone();
                self.report(application, memory, Assessment::Deleting { waiting: &waiting, failure: None }).await;
                // A live change wakes it; the pause is for what no watch shows.
                let pause = look_again.and_then(|time| until(time, self.clock.now()));
                Ok(Some(pause.map_or(RETRY, |pause| pause.min(RETRY))))
            }
            OperationPhase::Failed | OperationPhase::Error => Err(attempt
                .failure
                .clone()
                .unwrap_or(Failure { reason: Reason::DeletionBlocked, message: "a delete failed".to_owned() })),
        }
    }

    /// The set whose hooks run around the deletion. It has to be rendered only when there are such hooks; `None` while a
    /// source has not answered yet.
    async fn deletion_set(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Result<Option<Arc<DesiredSet>>, Failure> {
        let skipped = application
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(SKIP_HOOKS_ANNOTATION))
            .is_some_and(|value| value == "true");
        if skipped || memory.status.deletion_hooks.is_empty() {
            return Ok(Some(Arc::default()));
        }
        // Who may be deleted without a project may not run anything without one: nobody would say with whose rights.
        self.project_object(application).map_err(|failure| Failure {
            reason: Reason::DeletionBlocked,
            message: hooks_blocked(memory, &failure.message),
        })?;
        if let Some(attempt) = memory.attempt.as_ref().filter(|attempt| attempt.deletes && attempt.is_running()) {
            return Ok(Some(Arc::clone(&attempt.desired)));
        }
        // What is held was allowed when it was rendered; the project may have changed since.
        match self.observe(application, owner, memory).await {
            Desired::Known { held, .. } => Ok(Some(Arc::clone(&held.desired))),
            Desired::Pending => Ok(None),
            Desired::Failed(failure) => {
                Err(Failure { reason: Reason::DeletionBlocked, message: hooks_blocked(memory, &failure.message) })
            }
        }
    }

    /// Begins the attempt that carries the deletion out, or takes it up again after a restart.
    fn begin_deletion(&self, application: &Application, memory: &mut Memory, desired: &Arc<DesiredSet>) {
        const DELETION: Hash64 = Hash64(0);
        if memory.attempt.as_ref().is_some_and(|attempt| attempt.deletes && attempt.is_running()) {
            return;
        }
        let options = SyncOptions::of(&application.spec);
        let revision = memory.held.as_ref().map(|held| held.reported.clone());
        let revision = revision.unwrap_or_else(|| memory.status.sync.revision.clone());
        // The time of the deletion, so that hooks of this deletion are known after a restart.
        let started = application.metadata.deletion_timestamp.as_ref().map_or_else(|| self.clock.now(), |time| time.0);
        let known = under_way(&memory.status, &revision).filter(|(known, _)| *known == started);
        memory.attempt = Some(AttemptMemory {
            id: attempt_id(application.metadata.uid.as_deref(), started),
            target: DELETION,
            spec_target: DELETION,
            desired: Arc::clone(desired),
            revision,
            revisions: Vec::new(),
            operation: None,
            automated: false,
            deletes: true,
            choices: Choices { hooks: true, options, ..Choices::default() },
            // Nothing is recorded that is not yet there, and nothing is tried before.
            cleared: true,
            phase: OperationPhase::Running,
            started,
            ended: None,
            retries: 0,
            progress: known.map(|(_, progress)| progress).unwrap_or_default(),
            waiting: Vec::new(),
            waiting_since: None,
            unverified: BTreeMap::new(),
            failure: None,
            span: None,
        });
    }

    /// What is recorded, each object with the uid it was last seen with.
    fn owned(memory: &Memory) -> BTreeMap<ObjectKey, Option<String>> {
        memory
            .inventory
            .iter()
            .flat_map(|inventory| &inventory.entries)
            .map(|(key, entry)| {
                let uid = match entry {
                    InventoryEntry::Applied { uid, .. } => Some(uid.clone()),
                    InventoryEntry::Intended => None,
                };
                (key.clone(), uid)
            })
            .collect()
    }
}

/// Why the hooks of a deletion don't run, and what to do.
fn hooks_blocked(memory: &Memory, why: &str) -> String {
    format!(
        "the hooks that run around the deletion ({}) can't be rendered: {why}. Correct that, or annotate the Application with \
         {SKIP_HOOKS_ANNOTATION}=true to delete it without them",
        memory.status.deletion_hooks.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_argo_cds_finalizers_are_known_with_their_propagation() {
        assert!(is_ours("tidelock.dev/resources-finalizer"));
        assert!(is_ours("resources-finalizer.argocd.argoproj.io/background"));
        assert!(!is_ours("example.com/tidelock.dev/resources-finalizer"));
        assert!(!is_ours("tidelock.dev/resources-finalizer-of-another"));
        assert!(!is_ours("post-delete-finalizer.argocd.argoproj.io/cleanup"));
        assert!(is_taken_off("post-delete-finalizer.argocd.argoproj.io/cleanup"));
        assert!(!is_taken_off("example.com/finalizer"));
        let options = SyncOptions::default();
        assert_eq!(spreads(&["tidelock.dev/resources-finalizer".into()], &options), Propagation::Foreground);
        assert_eq!(spreads(&["tidelock.dev/resources-finalizer/background".into()], &options), Propagation::Background);
        let orphan = SyncOptions::parse(["PrunePropagationPolicy=orphan"]);
        assert_eq!(spreads(&["tidelock.dev/resources-finalizer".into()], &orphan), Propagation::Orphan);
    }
}

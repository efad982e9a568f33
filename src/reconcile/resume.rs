//! After a restart: the operation that was under way goes on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tracing::{info, warn};

use super::attempt::{AttemptMemory, Choices, under_way};
use super::begin::Brought;
use super::driver::Driver;
use super::memory::{Held, Memory};
use super::observe::Desired;
use super::overriding::Overriding;
use super::requests::refused_attempt;
use crate::api::{Application, OperationPhase, OperationState, SyncOperation};
use crate::desired::SyncOptions;
use crate::model::{Owner, Reason};
use crate::plan::request::SyncRequest;
use crate::plan::{Policy, runs_hooks};
use crate::status::{Failure, HOOK_RUNNING};

impl Driver {
    /// Takes up the operation that was under way when the operator stopped. One whose hook ran is taken up at its own
    /// revision, although git has moved on: a hook that runs is never cut. False while that revision is being looked for.
    pub(super) async fn resume(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        held: &Held,
    ) -> bool {
        if memory.attempt.is_some() {
            return true;
        }
        let state = memory.status.operation_state.clone().filter(is_running);
        let Some(state) = state else { return true };
        let sync = state.operation.as_ref().and_then(|operation| operation.sync.clone()).unwrap_or_default();
        let overrides = !matches!(Overriding::of(&application.spec, &sync), Ok(None));
        // Of what was chosen and of what came with the operation the status does not tell enough.
        let is_told = sync.resources.is_empty() && sync.manifests.is_empty();
        let brought = if is_told && state.revision == held.reported && !overrides {
            Some(held.clone())
        } else if is_told && memory.asked.is_none() && runs_hook(&state) {
            if memory.overriding.is_none() {
                memory.overriding =
                    Overriding::of(&application.spec, &at_revision_of(&state, sync.clone())).ok().flatten();
            }
            match self.observe_operation(application, owner, memory).await {
                Desired::Pending => return false,
                Desired::Failed(failure) => {
                    warn!(message = %failure.message, "the operation that was under way can't be taken up");
                    memory.overriding = None;
                    None
                }
                Desired::Known { held, .. } => Some(Held { reported: state.revision.clone(), ..*held }),
            }
        } else {
            None
        };
        let Some((brought, (started, progress))) = brought.zip(under_way(&memory.status, &state.revision)) else {
            give_up(application, memory, held, state);
            return true;
        };
        let choices = choices(application, &state, &sync);
        info!(revision = %state.revision, "the operation that was under way goes on");
        let begun = Self::begin(application, &brought, Brought::of(&brought), choices, started);
        memory.attempt = Some(AttemptMemory {
            // What a person brings instead of the spec is not taken for older than the spec.
            spec_target: if overrides { held.hash } else { begun.spec_target },
            automated: state.initiated_by.automated,
            operation: state.operation,
            retries: u32::try_from(state.retry_count).unwrap_or_default(),
            progress,
            ..begun
        });
        true
    }
}

/// What the operation does, as it was asked, or as a sync by policy does it.
fn choices(application: &Application, state: &OperationState, sync: &SyncOperation) -> Choices {
    let policy = Policy::new(application.spec.automated());
    let standing = Choices::standing(application, policy, BTreeSet::new());
    let heal = sync.auto_heal_attempts_count.is_some();
    if heal {
        let hooks = runs_hooks(true, &standing.options);
        return Choices { heal, hooks, ..standing };
    }
    let options = application.spec.sync_options();
    let request = state.operation.as_ref().and_then(|operation| SyncRequest::read(operation, options).ok());
    request.map_or_else(
        || standing.clone(),
        |request| Choices {
            prune: request.prune,
            dry_run: request.dry_run,
            hooks: request.hooks,
            options: SyncOptions { force: request.force, ..request.options },
            ..standing.clone()
        },
    )
}

/// An operation at the revision that it had come to.
fn at_revision_of(state: &OperationState, sync: SyncOperation) -> SyncOperation {
    let several = !state.revisions.is_empty();
    SyncOperation {
        revision: if several { String::new() } else { state.revision.clone() },
        revisions: state.revisions.clone(),
        ..sync
    }
}

/// Ends, in the status, an operation that can't be taken up; what the policy wants begins anew.
fn give_up(application: &Application, memory: &mut Memory, held: &Held, state: OperationState) {
    let now = state.started_at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let brought = Brought { revision: state.revision.clone(), ..Brought::of(held) };
    let begun = Driver::begin(application, held, brought, Choices::default(), now);
    let why = Failure {
        reason: Reason::Terminated,
        message: "the operator was started again and could not take this operation up; ask for it again".to_owned(),
    };
    let automated = state.initiated_by.automated;
    memory.attempt = Some(AttemptMemory { automated, ..refused_attempt(begun, why, state.operation) });
}

const fn is_running(state: &OperationState) -> bool {
    matches!(state.phase, OperationPhase::Running | OperationPhase::Terminating)
}

/// Whether a hook ran when a status was written.
fn runs_hook(state: &OperationState) -> bool {
    is_running(state) && state.resources.iter().any(|result| result.hook_phase == HOOK_RUNNING)
}

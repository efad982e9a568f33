//! After a restart: the operation that was under way goes on.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::attempt::{AttemptMemory, Choices, under_way};
use super::begin::Brought;
use super::driver::Driver;
use super::memory::{Held, Memory};
use super::observe::Desired;
use super::overriding::Overriding;
use crate::api::{Application, OperationPhase, OperationState, SyncOperation};
use crate::model::Owner;
use crate::plan::Policy;
use crate::status::HOOK_RUNNING;

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
        let Some(state) = memory.status.operation_state.clone() else { return true };
        let brought = if state.revision == held.reported {
            held.clone()
        } else if memory.asked.is_none() && runs_hook(&state) {
            let sync = SyncOperation {
                revision: state.revision.clone(),
                revisions: state.revisions.clone(),
                ..state.operation.clone().and_then(|operation| operation.sync).unwrap_or_default()
            };
            let sync = SyncOperation {
                revision: if sync.revisions.is_empty() { sync.revision } else { String::new() },
                ..sync
            };
            if memory.overriding.is_none() {
                memory.overriding = Overriding::of(&application.spec, &sync).ok().flatten();
            }
            match self.observe_operation(application, owner, memory).await {
                Desired::Pending => return false,
                Desired::Failed(failure) => {
                    warn!(message = %failure.message, "the operation that was under way can't be taken up");
                    memory.overriding = None;
                    return true;
                }
                Desired::Known { held, .. } => Held { reported: state.revision.clone(), ..*held },
            }
        } else {
            return true;
        };
        let Some((started, progress)) = under_way(&memory.status, &state.revision) else { return true };
        let policy = Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()));
        let standing = Choices::standing(application, policy, BTreeSet::new());
        let sync = state.operation.as_ref().and_then(|operation| operation.sync.as_ref());
        // What was chosen can't be told any more from what was not.
        if sync.is_some_and(|sync| !sync.resources.is_empty()) {
            return true;
        }
        let choices = Choices {
            prune: sync.map_or(standing.prune, |sync| sync.prune),
            dry_run: sync.is_some_and(|sync| sync.dry_run),
            ..standing
        };
        info!(revision = %state.revision, "the operation that was under way goes on");
        let begun = Self::begin(application, &brought, Brought::of(&brought), choices, started);
        memory.attempt = Some(AttemptMemory {
            automated: state.initiated_by.automated,
            operation: state.operation,
            retries: u32::try_from(state.retry_count).unwrap_or_default(),
            progress,
            ..begun
        });
        true
    }
}

/// Whether a hook ran when a status was written.
fn runs_hook(state: &OperationState) -> bool {
    let running = matches!(state.phase, OperationPhase::Running | OperationPhase::Terminating);
    running && state.resources.iter().any(|result| result.hook_phase == HOOK_RUNNING)
}

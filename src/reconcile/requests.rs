//! Syncs that a person asks for, by `operation` or by annotation, and the end of one that is under way.

use std::sync::Arc;

use tracing::info;

use super::attempt::AttemptMemory;
use super::driver::Driver;
use super::holds::Holds;
use super::memory::{Held, Memory};
use super::observe::Desired;
use super::overriding::Overriding;
use crate::api::{Application, Operation};
use crate::diff::Differences;
use crate::model::{Owner, Reason};
use crate::plan::Policy;
use crate::plan::request::{RequestRefused, SyncRequest, Termination, termination};
use crate::status::{Failure, rfc3339};

/// Annotation that asks for a sync now; any new value asks again.
const SYNC_ANNOTATION: &str = "tidelock.dev/sync";

/// How the message of an operation begins that a person ended. Read back after a restart.
pub(super) const ENDED_BY_A_PERSON: &str = "a person ended the operation";

/// A sync that a person asked for and that has not begun.
#[derive(Clone)]
pub(super) struct Asked {
    /// What is asked for.
    pub(super) request: SyncRequest,
    /// As it was asked, unless by annotation.
    pub(super) operation: Option<Operation>,
}

/// How far a wish has come.
pub(super) enum Wish {
    /// There is none that may begin now.
    None,
    /// It waits for what it brings.
    Pending,
    /// It may begin; with what it brings, when that is not what the spec wants.
    Ready(Box<Asked>, Option<Box<Held>>),
    /// It can't be carried out as it was asked.
    Refused(Failure, Option<Box<Operation>>),
}

impl Driver {
    /// A sync that a person asked for. An operation is removed when it is taken; one that a window keeps waiting stays.
    pub(super) async fn wish(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        policy: Policy,
        holds: &Holds,
    ) -> Result<Wish, Failure> {
        if memory.asked.is_none()
            && let Some(refused) = self.take(application, memory, policy, holds).await?
        {
            return Ok(refused);
        }
        let Some(asked) = memory.asked.clone() else { return Ok(Wish::None) };
        // It may have waited for its source until a window closed, or until a hook of another sync began: it is kept.
        let is_held = holds.manual.is_some() && !asked.request.dry_run;
        if is_held || memory.attempt.as_ref().is_some_and(AttemptMemory::hook_is_running) {
            return Ok(Wish::Pending);
        }
        let held = if memory.overriding.is_some() {
            match self.observe_operation(application, owner, memory).await {
                Desired::Pending => return Ok(Wish::Pending),
                Desired::Failed(failure) => {
                    memory.asked = None;
                    memory.overriding = None;
                    return Ok(Wish::Refused(failure, asked.operation.map(Box::new)));
                }
                Desired::Known { held, .. } => Some(held),
            }
        } else {
            None
        };
        memory.asked = None;
        Ok(Wish::Ready(Box::new(asked), held))
    }

    /// Takes a wish over into memory; returns a refusal.
    async fn take(
        &self,
        application: &Application,
        memory: &mut Memory,
        policy: Policy,
        holds: &Holds,
    ) -> Result<Option<Wish>, Failure> {
        let options = application.spec.sync_options();
        if let Some(operation) = &application.operation {
            let read = SyncRequest::read(operation, options)
                .and_then(|request| if is_busy(memory) { Err(RequestRefused::InProgress) } else { Ok(request) });
            // What is only tried changes nothing that a window protects.
            if let Ok(request) = &read
                && !request.dry_run
                && holds.manual.is_some()
            {
                return Ok(None);
            }
            self.reporter.remove_operation(application).await?;
            let request = match read {
                Ok(request) => request,
                Err(error) => return Ok(Some(Wish::Refused(refused(&error), Some(Box::new(operation.clone()))))),
            };
            let sync = operation.sync.clone().unwrap_or_default();
            memory.overriding = match Overriding::of(&application.spec, &sync) {
                Ok(overriding) => overriding,
                Err(failure) => return Ok(Some(Wish::Refused(failure, Some(Box::new(operation.clone()))))),
            };
            if memory.overriding.is_some() && policy.automated && !request.dry_run {
                memory.overriding = None;
                let failure = Failure {
                    reason: Reason::InvalidSpec,
                    message:
                        "the requested operation was refused: it brings something else than the spec, which automation \
                              would bring back at once; set syncPolicy.automated.enabled to false first"
                            .to_owned(),
                };
                return Ok(Some(Wish::Refused(failure, Some(Box::new(operation.clone())))));
            }
            memory.asked = Some(Asked { request, operation: Some(operation.clone()) });
            return Ok(None);
        }
        let token = application.metadata.annotations.as_ref().and_then(|all| all.get(SYNC_ANNOTATION));
        let may_begin = holds.manual.is_none() && !is_busy(memory);
        if let Some(token) = token.filter(|token| **token != memory.handled_sync && may_begin) {
            memory.handled_sync.clone_from(token);
            // What an earlier operation brought is not what is asked for now.
            memory.overriding = None;
            memory.asked = Some(Asked { request: SyncRequest::plain(policy.prune, options), operation: None });
        }
        Ok(None)
    }

    /// Whether a person wants a sync that has not been taken yet.
    pub(super) fn wants_sync(application: &Application, memory: &Memory) -> bool {
        let token = application.metadata.annotations.as_ref().and_then(|all| all.get(SYNC_ANNOTATION));
        memory.asked.is_some()
            || application.operation.is_some()
            || token.is_some_and(|token| *token != memory.handled_sync)
    }
}

/// Whether something is under way that another wish must not cut: what a person asked for, or a hook.
fn is_busy(memory: &Memory) -> bool {
    let attempt = memory.attempt.as_ref().filter(|attempt| attempt.is_running());
    attempt.is_some_and(|attempt| !attempt.automated || attempt.hook_is_running())
}

/// The objects of a selective sync, of those that the source has or that are left over from it.
pub(super) fn selected(
    asked: &Asked,
    differences: &Differences,
) -> Result<Option<std::collections::BTreeSet<crate::model::ObjectKey>>, Failure> {
    let known = differences.objects.keys().chain(differences.extras.keys());
    asked.request.select(known).map_err(|error| refused(&error))
}

/// Ends the operation under way when a person wants it to end.
pub(super) fn take_termination(application: &Application, memory: &mut Memory) {
    let running = memory.attempt.as_ref().filter(|attempt| attempt.is_running());
    let by = match termination(application, &memory.handled_terminate) {
        None => return,
        Some(Termination::Annotation(token)) => {
            memory.handled_terminate = token;
            if running.is_none() {
                // Between its attempts an operation that a person asked for is under way as well.
                memory.retry_at = None;
            }
            "the annotation `tidelock.dev/terminate`"
        }
        Some(Termination::Status { started_at }) => {
            if running.is_none_or(|attempt| rfc3339(attempt.started) != started_at) {
                return;
            }
            "status.operationState.phase"
        }
    };
    if let Some(attempt) = memory.attempt.as_mut().filter(|attempt| attempt.is_running() && !attempt.deletes) {
        info!(by, "a person ends the operation");
        attempt.phase = crate::api::OperationPhase::Terminating;
        attempt.progress.terminate(format!("{ENDED_BY_A_PERSON} by {by}; what was written stays as it is"));
    }
}

/// An attempt that was refused before it began, so that the status shows what was asked and why it was not done.
pub(super) fn refused_attempt(
    mut attempt: AttemptMemory,
    failure: Failure,
    operation: Option<Operation>,
) -> AttemptMemory {
    attempt.operation = operation;
    attempt.automated = false;
    attempt.desired = Arc::default();
    let started = attempt.started;
    attempt.end(crate::api::OperationPhase::Failed, Some(failure), started);
    attempt
}

fn refused(refused: &RequestRefused) -> Failure {
    Failure { reason: refused.reason(), message: refused.to_string() }
}

/// Whether an operation failed because it can't be carried out as it was asked. That says nothing about what git wants,
/// and the same would come of asking again.
pub(super) fn was_refused(attempt: &AttemptMemory) -> bool {
    attempt.failure.as_ref().is_some_and(|failure| failure.reason == Reason::InvalidSpec)
}

/// Whether an operation that failed was ended by a person, so that it is not tried again until something is new.
pub(super) fn was_ended_by_a_person(attempt: &AttemptMemory) -> bool {
    attempt.failure.as_ref().is_some_and(|failure| failure.reason == Reason::Terminated)
}

//! What a newer commit does to an attempt that is under way, or that is tried again. Pure.

use super::attempt::AttemptMemory;
use super::attempts::retry_of;
use super::memory::{Held, Memory};
use super::requests::was_ended_by_a_person;
use crate::api::{Application, OperationPhase, Supersede};
use crate::model::Hash64;
use crate::plan::{Policy, Running, Takeover, is_within_limit, supersede};

/// Whether the attempt that is under way goes on; otherwise what is newer takes its place.
pub(super) fn goes_on(application: &Application, memory: &Memory, held: &Held, policy: Policy) -> bool {
    let Some(attempt) = memory.attempt.as_ref().filter(|attempt| attempt.is_running() && !attempt.deletes) else {
        return false;
    };
    // Without automation nothing newer would be brought in its place.
    attempt.phase == OperationPhase::Terminating
        || (!attempt.automated && !policy.automated)
        || takeover(application, memory, attempt, held.hash) != Takeover::Now
}

/// Whether an operation that failed with an older target is tried again with that before anything newer.
pub(super) fn is_retried(application: &Application, memory: &Memory, attempt: &AttemptMemory, newer: Hash64) -> bool {
    let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
    attempt.phase == OperationPhase::Failed
        && attempt.automated
        && attempt.spec_target != newer
        && !was_ended_by_a_person(attempt)
        && is_within_limit(failures, retry_of(application))
        && takeover(application, memory, attempt, newer) == Takeover::AfterOperation
}

fn takeover(application: &Application, memory: &Memory, attempt: &AttemptMemory, newer: Hash64) -> Takeover {
    let policy = application.spec.sync_policy.as_ref().and_then(|policy| policy.supersede).unwrap_or(Supersede::Always);
    let retry = retry_of(application);
    let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
    let running = Running {
        target: attempt.spec_target,
        waiting: !attempt.waiting.is_empty(),
        hook_running: attempt.hook_is_running(),
        retry_pending: !attempt.is_running() && is_within_limit(failures, retry),
    };
    supersede(policy, retry.is_some_and(|retry| retry.refresh), Some(&running), newer)
}

//! The running or last operation: what was done to which object, and what it waits for.

use std::collections::BTreeSet;

use super::conditions::rfc3339;
use super::limits::{OBJECT_MESSAGE_BYTES, OPERATION_BYTES, RESULTS_BYTES, WAITING_ENTRIES, within};
use super::observed::{Assessment, Attempt, Observed};
use super::verdict::{attempt_failure, short};
use crate::api::{
    ApplicationStatus, InitiatedBy, Operation, OperationPhase, OperationState, ResourceResult, RevisionHistory,
    SyncOperation, WaitingOn,
};
use crate::model::shorten;
use crate::plan::HookState;
use crate::plan::Outcome;
use crate::plan::StepId;

/// Stands for what of an operation is not repeated. It is no manifest, so that it can't be taken for one.
const LEFT_OUT: &str = "(left out of the status)";
/// A hook's phase while it runs, as Argo CD writes it.
pub const HOOK_RUNNING: &str = "Running";
/// A hook's phase when it ended well.
pub const HOOK_SUCCEEDED: &str = "Succeeded";
/// A hook's phase when it failed.
pub const HOOK_FAILED: &str = "Failed";

/// What is waited for, at most as many entries as people read.
pub(super) fn waiting_on(observed: &Observed<'_>) -> Vec<WaitingOn> {
    let waiting = match (&observed.assessment, &observed.attempt) {
        (Assessment::Deleting { waiting, .. }, _) => *waiting,
        (_, Some(attempt)) if !attempt.waiting.is_empty() => attempt.waiting,
        (_, _) => observed.dependencies,
    };
    waiting
        .iter()
        .take(WAITING_ENTRIES)
        .map(|waiting| {
            let object = waiting.key.to_string();
            let since = observed
                .previous
                .waiting_on
                .iter()
                .find(|previous| previous.object == object && previous.condition == waiting.condition)
                .map_or_else(|| rfc3339(observed.now), |previous| previous.since.clone());
            WaitingOn {
                object,
                condition: waiting.condition.to_owned(),
                message: shorten(&waiting.message, OBJECT_MESSAGE_BYTES),
                since,
                release: shorten(&waiting.release, OBJECT_MESSAGE_BYTES),
            }
        })
        .collect()
}

/// What was done: failures first, then hooks, whose results a later start of the operator reads back.
fn results(attempt: &Attempt<'_>) -> Vec<ResourceResult> {
    let ids: BTreeSet<&StepId> = attempt.outcomes.keys().chain(attempt.hooks.keys()).collect();
    let mut results: Vec<ResourceResult> = ids.into_iter().map(|id| result(attempt, id)).collect();
    results.sort_by_key(|result| {
        (result.status != "failed" && result.hook_phase != HOOK_FAILED, result.hook_phase.is_empty())
    });
    results
}

fn result(attempt: &Attempt<'_>, id: &StepId) -> ResourceResult {
    let outcome = attempt.outcomes.get(id);
    let (hook_phase, hook_message) = match attempt.hooks.get(id) {
        None => ("", ""),
        Some(HookState::Running { .. }) => (HOOK_RUNNING, ""),
        Some(HookState::Succeeded) => (HOOK_SUCCEEDED, ""),
        Some(HookState::Failed { message }) => (HOOK_FAILED, message.as_str()),
    };
    let message = match outcome {
        Some(Outcome::Failed { message, .. } | Outcome::Skipped { message }) => message.as_str(),
        Some(Outcome::Created | Outcome::Configured | Outcome::Unchanged | Outcome::Pruned { .. }) | None => {
            let unverified = attempt.unverified.get(&id.key).map(String::as_str).unwrap_or_default();
            if hook_message.is_empty() { unverified } else { hook_message }
        }
    };
    ResourceResult {
        group: id.key.group.clone(),
        kind: id.key.kind.clone(),
        namespace: id.key.namespace.clone(),
        name: id.key.name.clone(),
        status: outcome.map(Outcome::as_str).unwrap_or_default().to_owned(),
        message: shorten(message, OBJECT_MESSAGE_BYTES),
        sync_phase: id.phase.to_string(),
        hook_phase: hook_phase.to_owned(),
    }
}

/// An operation as the status repeats it: without manifests that came with it, which may be Secrets and of any size, and
/// without anything else of it that is large. That something was left out stays to be seen, so that nobody, this operator
/// after a restart included, takes the rest for the whole.
fn shown(operation: &Operation) -> Operation {
    let mut shown = operation.clone();
    let Some(sync) = &mut shown.sync else { return shown };
    if !sync.manifests.is_empty() {
        sync.manifests = vec![LEFT_OUT.to_owned()];
    }
    if serde_json::to_vec(&shown).is_ok_and(|text| text.len() <= OPERATION_BYTES) {
        return shown;
    }
    let sync = operation.sync.as_ref();
    let sync = SyncOperation {
        revision: sync.map(|sync| shorten(&sync.revision, OBJECT_MESSAGE_BYTES)).unwrap_or_default(),
        prune: sync.is_some_and(|sync| sync.prune),
        dry_run: sync.is_some_and(|sync| sync.dry_run),
        manifests: vec![LEFT_OUT.to_owned()],
        ..SyncOperation::default()
    };
    Operation { sync: Some(sync), info: Vec::new(), ..operation.clone() }
}

/// Records the attempt as the operation, and a success in the history.
pub(super) fn record_attempt(status: &mut ApplicationStatus, attempt: &Attempt<'_>, observed: &Observed<'_>) {
    let initiated_by = attempt
        .operation
        .and_then(|operation| operation.initiated_by.clone())
        .unwrap_or(InitiatedBy { username: String::new(), automated: attempt.automated });
    let revision = short(attempt.revision);
    let dry_run = attempt.operation.and_then(|operation| operation.sync.as_ref()).is_some_and(|sync| sync.dry_run);
    let message = match attempt.phase {
        OperationPhase::Running | OperationPhase::Terminating => attempt.waiting.first().map_or_else(
            || format!("syncing to revision {revision}"),
            |first| format!("{} must become {}: {}", first.key, first.condition, first.message),
        ),
        OperationPhase::Failed | OperationPhase::Error => {
            attempt_failure(attempt).map(|failure| failure.message).unwrap_or_default()
        }
        OperationPhase::Succeeded if dry_run => {
            format!("a trial on the server: revision {revision} would be accepted, nothing was written")
        }
        OperationPhase::Succeeded => format!("synced to revision {revision}"),
    };
    let finished = attempt.ended.map(rfc3339);
    let newly_succeeded = attempt.phase == OperationPhase::Succeeded
        && status
            .history
            .last()
            .is_none_or(|last| last.deploy_started_at != rfc3339(attempt.started) || last.revision != attempt.revision);
    if newly_succeeded && !dry_run && !attempt.partial && observed.history_limit > 0 {
        status.history.push(RevisionHistory {
            id: status.history.last().map_or(0, |last| last.id + 1),
            revision: attempt.revision.to_owned(),
            revisions: attempt.revisions.to_vec(),
            deploy_started_at: rfc3339(attempt.started),
            deployed_at: finished.clone().unwrap_or_else(|| rfc3339(observed.now)),
            initiated_by: initiated_by.clone(),
        });
    }
    let surplus = status.history.len().saturating_sub(observed.history_limit);
    status.history.drain(..surplus);
    status.operation_state = Some(OperationState {
        operation: attempt.operation.map(shown),
        initiated_by,
        phase: attempt.phase,
        message: shorten(&message, super::limits::MESSAGE_BYTES),
        revision: attempt.revision.to_owned(),
        revisions: attempt.revisions.to_vec(),
        started_at: rfc3339(attempt.started),
        finished_at: finished,
        retry_count: i64::from(attempt.retries),
        resources: within(results(attempt), RESULTS_BYTES),
    });
}

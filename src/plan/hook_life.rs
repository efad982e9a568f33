//! The life of a hook: an object of an earlier attempt goes, it is started, it is judged, it is released, and deleted when
//! a policy says so.

use std::time::Duration;

use jiff::Timestamp;

use super::graph::StepId;
use super::outcome::Outcome;
use super::progress::{Act, HookState, Progress};
use super::standing::MovesInput;
use super::timers::passed;
use crate::desired::HookDeletePolicy;
use crate::live::LiveRecord;
use crate::model::{Health, HealthStatus, ObjectKey, Phase, Reason};

/// How long a hook's object that was made may stay unseen. The live view lags by far less; after this the object was taken
/// away before anything of it was seen.
pub(super) const UNSEEN_LIMIT: Duration = Duration::from_mins(1);

/// The value that marks a hook's object (`tidelock.dev/hook-attempt`): which attempt made it, and at which phase. A hook of
/// two phases runs at each of them.
pub fn hook_mark(attempt: &str, phase: Phase) -> String {
    format!("{attempt}/{phase}")
}

/// When a hook's object is cleaned up after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// While the attempt is under way.
    Underway,
    /// When everything has succeeded.
    Success,
    /// When a group has failed, and what runs on failure is done.
    Failure,
}

/// What a hook does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HookStand {
    /// It may do this as soon as what it needs is there.
    Begin(Act),
    /// An object of an earlier attempt is on its way out.
    Clearing,
    /// It runs.
    Running,
    /// It is to be cleaned up after.
    CleanUp(Act),
    /// It failed, or could not be started.
    Failed(Reason, String),
    /// It has succeeded or was left out, and nothing is left to do.
    Done,
}

/// The object of a hook that this attempt made at this phase.
pub(super) fn own_record<'a>(id: &StepId, input: &MovesInput<'a>) -> Option<&'a LiveRecord> {
    let record = input.live.objects.get(&id.key)?;
    let mark = record.hook_attempt.as_deref()?;
    let own = mark.strip_prefix(input.attempt).and_then(|rest| rest.strip_prefix('/')) == Some(id.phase.as_str());
    own.then_some(record.as_ref())
}

/// What a hook does next.
pub(super) fn hook_stand(
    id: &StepId,
    index: usize,
    moment: Moment,
    progress: &Progress,
    input: &MovesInput<'_>,
) -> HookStand {
    let Some(state) = progress.hooks.get(id) else { return before_start(id, index, progress, input) };
    match state {
        HookState::Running { .. } => return HookStand::Running,
        HookState::Succeeded | HookState::Failed { .. } => {}
    }
    if let Some(act) = clean_up(id, index, state, moment, progress, input) {
        return HookStand::CleanUp(act);
    }
    match (progress.outcomes.get(id), state) {
        (_, HookState::Failed { message }) => HookStand::Failed(Reason::HookFailed, message.clone()),
        (Some(Outcome::Failed { reason, message }), _) => HookStand::Failed(*reason, message.clone()),
        (_, HookState::Running { .. } | HookState::Succeeded) => HookStand::Done,
    }
}

fn before_start(id: &StepId, index: usize, progress: &Progress, input: &MovesInput<'_>) -> HookStand {
    match progress.outcomes.get(id) {
        Some(Outcome::Failed { reason, message }) => return HookStand::Failed(*reason, message.clone()),
        Some(_) => return HookStand::Done,
        None => {}
    }
    match input.live.objects.get(&id.key) {
        None => HookStand::Begin(Act::StartHook { index }),
        Some(record) if progress.deleted.get(id).is_some_and(|uid| *uid == record.uid) => HookStand::Clearing,
        // Whatever the delete policies say: a name that is taken keeps the hook from running at all.
        Some(record) => HookStand::Begin(Act::DeleteHook { uid: record.uid.clone() }),
    }
}

fn clean_up(
    id: &StepId,
    index: usize,
    state: &HookState,
    moment: Moment,
    progress: &Progress,
    input: &MovesInput<'_>,
) -> Option<Act> {
    if matches!(progress.outcomes.get(id), Some(Outcome::Failed { .. })) {
        return None;
    }
    let record = own_record(id, input)?;
    match progress.cleaned.get(id) {
        None => Some(Act::ReleaseHook { uid: record.uid.clone() }),
        Some(false) if deletes(index, state, moment, input) => Some(Act::DeleteHook { uid: record.uid.clone() }),
        Some(_) => None,
    }
}

/// Whether a policy deletes a finished hook's object now.
fn deletes(index: usize, state: &HookState, moment: Moment, input: &MovesInput<'_>) -> bool {
    let Some(hook) = input.desired.hooks.get(index) else { return false };
    let has = |policy| hook.delete_policies.contains(&policy);
    match (input.delete_hooks_after_sync, state, moment) {
        (false, HookState::Succeeded, _) | (true, _, Moment::Success) => has(HookDeletePolicy::HookSucceeded),
        (false, HookState::Failed { .. }, _) | (true, _, Moment::Failure) => has(HookDeletePolicy::HookFailed),
        (_, HookState::Running { .. }, _) | (true, _, Moment::Underway) => false,
    }
}

/// Kinds whose failure is an end: they never recover by themselves.
fn fails_at_once(key: &ObjectKey) -> bool {
    matches!((key.group.as_str(), key.kind.as_str()), ("batch", "Job") | ("", "Pod") | ("argoproj.io", "Workflow"))
}

/// How a hook stands after what is seen of its object; `None` when nothing is new.
///
/// A result, once seen, is kept: this is not asked of a finished hook.
pub(super) fn judge(id: &StepId, progress: &Progress, input: &MovesInput<'_>) -> Option<HookState> {
    match progress.hooks.get(id) {
        Some(HookState::Succeeded | HookState::Failed { .. }) => None,
        // Started by this attempt before the operator was started again.
        None => {
            let record = own_record(id, input)?;
            let told = progress.outcomes.contains_key(id) || progress.deleted.get(id) == Some(&record.uid);
            if told {
                return None;
            }
            let running = HookState::Running { uid: record.uid.clone(), since: input.now, seen: true };
            Some(verdict(id, record, progress, input).unwrap_or(running))
        }
        Some(HookState::Running { uid, since, seen }) => {
            match input.live.objects.get(&id.key).filter(|record| record.uid == *uid) {
                Some(record) => match verdict(id, record, progress, input) {
                    Some(state) => Some(state),
                    None if *seen => None,
                    None => Some(HookState::Running { uid: uid.clone(), since: *since, seen: true }),
                },
                None if *seen || passed(*since, UNSEEN_LIMIT, input.now) => Some(HookState::Failed {
                    message:
                        "its object vanished before a result was seen; something other than this operator deleted it"
                            .to_owned(),
                }),
                None => None,
            }
        }
    }
}

fn verdict(id: &StepId, record: &LiveRecord, progress: &Progress, input: &MovesInput<'_>) -> Option<HookState> {
    let Some(health) = record.health.as_ref().filter(|_| !record.health_ignored) else {
        return Some(HookState::Succeeded);
    };
    match health.status {
        HealthStatus::Healthy => Some(HookState::Succeeded),
        HealthStatus::Degraded if fails_at_once(&id.key) || grace_is_over(&id.key, progress, input) => {
            Some(HookState::Failed { message: told(health) })
        }
        _ if record.deleting => Some(HookState::Failed {
            message: format!("its object was deleted before it finished; last seen {}", told(health)),
        }),
        HealthStatus::Degraded
        | HealthStatus::Suspended
        | HealthStatus::Progressing
        | HealthStatus::Missing
        | HealthStatus::Unknown => None,
    }
}

fn grace_is_over(key: &ObjectKey, progress: &Progress, input: &MovesInput<'_>) -> bool {
    let since: Timestamp = progress.degraded_since.get(key).copied().unwrap_or(input.now);
    passed(since, input.policy.degraded_grace, input.now)
}

/// `Degraded: 2 of 3 pods failed`.
pub(super) fn told(health: &Health) -> String {
    if health.message.is_empty() { health.status.to_string() } else { format!("{}: {}", health.status, health.message) }
}

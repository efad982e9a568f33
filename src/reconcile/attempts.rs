//! How an attempt at a sync goes on between reconciles: pure functions over what is remembered.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::Memory;
use super::requests::{was_ended_by_a_person, was_refused};
use crate::api::{Application, OperationPhase, Retry, SyncState};
use crate::diff::{Cause, Difference, Differences};
use crate::model::{Hash64, Phase};
use crate::plan::StepId;
use crate::plan::{LastAttempt, Outcome, Policy, automated_pause, requested_pause};

/// What a failure is counted for: the desired set, and what would be pruned.
pub(super) fn target_of(hash: Hash64, differences: &Differences, prune: bool) -> Hash64 {
    let mut text = hash.to_string();
    if prune {
        for key in differences.extras.keys() {
            text.push_str(&key.to_string());
            text.push('\n');
        }
    }
    Hash64::of_bytes(text.as_bytes())
}

/// A restart finds everything in sync and must not write just because commits that touch nothing came meanwhile.
pub(super) fn settle_reported_revision(memory: &mut Memory, differences: &Differences) {
    let known = memory.status.sync.revision.clone();
    if memory.attempt.is_none()
        && !known.is_empty()
        && differences.is_synced()
        && let Some(held) = &mut memory.held
        && memory.status.sync.status == SyncState::Synced
    {
        held.reported = known;
        if held.reported_revisions.len() == memory.status.sync.revisions.len() {
            held.reported_revisions.clone_from(&memory.status.sync.revisions);
        }
    }
}

/// While an attempt waits at a gate, objects that it has applied may be changed in the cluster: they are applied
/// again, within the limits of healing. Returns when that may be done if it may not be done now.
pub(super) fn reopen_drifted(
    memory: &mut Memory,
    differences: &Differences,
    policy: Policy,
    now: Timestamp,
) -> Option<Timestamp> {
    if !policy.self_heal {
        return None;
    }
    let attempt = memory.attempt.as_mut()?;
    let drifted = |id: &StepId, outcome: &Outcome| {
        let differs = matches!(
            differences.objects.get(&id.key),
            Some(
                Difference::Absent { drift: true }
                    | Difference::Changed(Cause::Live | Cause::Replaced | Cause::Marks | Cause::ExtraToRemove)
            )
        );
        differs && id.phase == Phase::Sync && !matches!(outcome, Outcome::Failed { .. })
    };
    let found: Vec<StepId> = attempt
        .progress
        .outcomes
        .iter()
        .filter(|(id, outcome)| drifted(id, outcome))
        .map(|(id, _)| id.clone())
        .collect();
    let mut earliest: Option<Timestamp> = None;
    for id in found {
        if let Some(time) = memory.heals.not_before(&id.key, now).filter(|time| *time > now) {
            earliest = Some(earliest.map_or(time, |known| known.min(time)));
        } else {
            attempt.progress.outcomes.remove(&id);
            memory.heals.note(&id.key, "", "", now);
        }
    }
    earliest
}

/// Takes note of how an attempt has ended, and says when it is tried again.
pub(super) fn conclude(
    application: &Application,
    memory: &mut Memory,
    target: Hash64,
    now: Timestamp,
) -> Option<Duration> {
    let attempt = memory.attempt.as_ref()?;
    match attempt.phase {
        OperationPhase::Running | OperationPhase::Terminating => None,
        // Neither says anything about whether what git wants can be brought, and what was refused as it was asked is not
        // asked again by itself. What the policy wants goes on after it.
        _ if attempt.choices.dry_run || was_refused(attempt) => {
            memory.retry_at = None;
            Some(Duration::ZERO)
        }
        OperationPhase::Failed | OperationPhase::Error => {
            let terminated = was_ended_by_a_person(attempt);
            let last = memory.last_failure.as_ref().filter(|failure| failure.target == target);
            let failures = last.map_or(0, |last| last.failures).saturating_add(1);
            let automated = attempt.automated;
            let requested = attempt.operation.as_ref().and_then(|operation| operation.retry.clone());
            memory.last_failure = Some(LastAttempt { target, ended: now, failures, terminated });
            if terminated {
                memory.retry_at = None;
                return None;
            }
            if automated {
                return Some(automated_pause(failures, retry_of(application)));
            }
            let pause = requested_pause(failures, requested.as_ref());
            memory.retry_at = pause.and_then(|pause| now.checked_add(pause).ok());
            // What is not tried again as it was asked may still be what the policy wants.
            pause.or_else(|| Some(automated_pause(failures, retry_of(application))))
        }
        OperationPhase::Succeeded => {
            memory.last_failure = None;
            memory.retry_at = None;
            None
        }
    }
}

/// `syncPolicy.retry`.
pub(super) fn retry_of(application: &Application) -> Option<&Retry> {
    application.spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref())
}

/// How long from now.
pub(super) fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObjectKey, Reason};
    use crate::reconcile::attempt::tests::waiting_attempt;
    use crate::status::Failure;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_object_that_drifts_while_a_wave_waits_is_applied_again_within_the_limits_of_healing() {
        let key = ObjectKey::new("", "ConfigMap", "shop", "a");
        let policy = Policy { automated: true, self_heal: true, ..Policy::default() };
        let mut differences = Differences::default();
        differences.objects.insert(key.clone(), Difference::Changed(Cause::Live));
        let mut memory = Memory::default();
        let mut seen = Vec::new();
        for _ in 0..5 {
            let mut attempt = waiting_attempt();
            attempt.progress.outcomes.insert(StepId { phase: Phase::Sync, key: key.clone() }, Outcome::Created);
            memory.attempt = Some(attempt);
            let held_until = reopen_drifted(&mut memory, &differences, policy, at(0));
            let reopened = memory.attempt.as_ref().is_some_and(|attempt| attempt.progress.outcomes.is_empty());
            seen.push((reopened, held_until.map(Timestamp::as_second)));
        }
        assert_eq!(seen, [(true, None), (true, None), (true, None), (true, None), (false, Some(2))]);
    }

    #[test]
    fn a_failure_is_counted_and_one_that_a_person_made_is_not_tried_again() {
        let application = Application::default();
        let mut memory = Memory::default();
        let mut end = |reason| {
            let mut attempt = waiting_attempt();
            attempt.end(OperationPhase::Failed, Some(Failure { reason, message: String::new() }), at(5));
            memory.attempt = Some(attempt);
            let pause = conclude(&application, &mut memory, Hash64(9), at(5));
            (pause, memory.last_failure.clone().map(|failure| (failure.failures, failure.terminated)))
        };
        assert_eq!(end(Reason::HealthTimeout), (Some(Duration::from_secs(5)), Some((1, false))));
        assert_eq!(end(Reason::HealthTimeout), (Some(Duration::from_secs(10)), Some((2, false))));
        assert_eq!(end(Reason::Terminated), (None, Some((3, true))));
    }
}

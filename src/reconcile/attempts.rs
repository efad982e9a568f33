//! How an attempt at a sync goes on between reconciles: pure functions over what is remembered.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::Memory;
use crate::api::{Application, OperationPhase, SyncState};
use crate::diff::{Cause, Difference, Differences};
use crate::model::{Hash64, Phase};
use crate::plan::graph::StepId;
use crate::plan::{LastAttempt, Outcome, Policy, backoff};

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
    let known_of_each = memory.status.sync.revisions.clone();
    if memory.attempt.is_none()
        && !known.is_empty()
        && differences.is_synced()
        && let Some(held) = &mut memory.held
        && memory.status.sync.status == SyncState::Synced
    {
        held.reported = known;
        if known_of_each.len() == held.reported_revisions.len() {
            held.reported_revisions = known_of_each;
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
                Difference::Absent { drift: true } | Difference::Changed(Cause::Live | Cause::Replaced | Cause::Marks | Cause::ExtraToRemove)
            )
        );
        differs && id.phase == Phase::Sync && !matches!(outcome, Outcome::Failed { .. })
    };
    if !attempt.progress.outcomes.iter().any(|(id, outcome)| drifted(id, outcome)) {
        return None;
    }
    let not_before = memory.heals.not_before().filter(|time| *time > now);
    if not_before.is_none() {
        attempt.progress.outcomes.retain(|id, outcome| !drifted(id, outcome));
        memory.heals.note(now);
    }
    not_before
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
        OperationPhase::Failed | OperationPhase::Error => note_failure(application, memory, target, now),
        OperationPhase::Succeeded => {
            if attempt.choices.heal {
                memory.heals.note(now);
            }
            memory.last_failure = None;
            None
        }
    }
}

fn note_failure(application: &Application, memory: &mut Memory, target: Hash64, now: Timestamp) -> Option<Duration> {
    let failures =
        memory.last_failure.as_ref().filter(|failure| failure.target == target).map_or(0, |last| last.failures) + 1;
    memory.last_failure = Some(LastAttempt { target, ended: now, failures });
    let retry = application.spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref());
    backoff(failures, retry)
}

/// How long from now.
pub(super) fn until(time: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(time.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;
    use crate::reconcile::attempt::tests::waiting_attempt;

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
}

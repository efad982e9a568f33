//! How an attempt at a sync goes on between reconciles: pure functions over what is remembered.

use std::time::Duration;

use jiff::Timestamp;

use super::memory::Memory;
use crate::api::{Application, OperationPhase, SyncState};
use crate::diff::{Cause, Difference, Differences};
use crate::model::{Hash64, ObjectKey, Reason, parse_duration};
use crate::plan::{LastAttempt, Outcome, Policy, backoff};
use crate::status::Failure;

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
    let drifted = |key: &ObjectKey, outcome: &Outcome| {
        let differs = matches!(
            differences.objects.get(key),
            Some(
                Difference::Absent { drift: true } | Difference::Changed(Cause::Live | Cause::Replaced | Cause::Marks | Cause::ExtraToRemove)
            )
        );
        differs && !matches!(outcome, Outcome::Failed { .. })
    };
    if !attempt.outcomes.iter().any(|(key, outcome)| drifted(key, outcome)) {
        return None;
    }
    let not_before = memory.heals.not_before().filter(|time| *time > now);
    if not_before.is_none() {
        attempt.outcomes.retain(|key, outcome| !drifted(key, outcome));
        memory.heals.note(now);
    }
    not_before
}

/// Takes note of how an attempt stands, and says when to look again.
pub(super) fn conclude(
    application: &Application,
    memory: &mut Memory,
    target: Hash64,
    now: Timestamp,
) -> Option<Duration> {
    let attempt = memory.attempt.as_mut()?;
    let gate = application.spec.gate.as_ref();
    let timeout = gate.and_then(|gate| gate.timeout.as_deref()).and_then(parse_duration);
    match attempt.phase {
        OperationPhase::Running => {
            let since = *attempt.waiting_since.get_or_insert(now);
            let timeout = timeout?;
            let end = since.checked_add(timeout).ok()?;
            if end > now {
                return until(end, now);
            }
            let first = attempt.waiting.first();
            attempt.failure = Some(Failure {
                reason: Reason::HealthTimeout,
                message: first.map_or_else(
                    || "a wave did not become healthy in time".to_owned(),
                    |first| {
                        format!(
                            "{} did not become {} within {} s: {}",
                            first.key,
                            first.condition,
                            timeout.as_secs(),
                            first.message
                        )
                    },
                ),
            });
            attempt.phase = OperationPhase::Failed;
            attempt.ended = Some(now);
            note_failure(application, memory, target, now)
        }
        OperationPhase::Failed | OperationPhase::Error | OperationPhase::Terminating => {
            note_failure(application, memory, target, now)
        }
        OperationPhase::Succeeded => {
            if attempt.heal {
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
    use crate::plan::Waiting;
    use crate::reconcile::memory::AttemptMemory;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn waiting_attempt() -> AttemptMemory {
        AttemptMemory {
            target: Hash64(1),
            revision: "abc".into(),
            operation: None,
            automated: true,
            prune: false,
            dry_run: false,
            heal: false,
            cleared: true,
            phase: OperationPhase::Running,
            started: at(0),
            ended: None,
            retries: 0,
            outcomes: crate::plan::Outcomes::new(),
            waiting: vec![Waiting {
                key: ObjectKey::new("apps", "Deployment", "shop", "web"),
                condition: "healthy",
                message: "0 of 1 replica is available".into(),
                reason: Reason::WaitingForHealth,
            }],
            waiting_since: Some(at(0)),
            failure: None,
        }
    }

    fn application(timeout: Option<&str>) -> Application {
        let mut application = Application::default();
        application.spec.gate =
            Some(crate::api::Gate { timeout: timeout.map(str::to_owned), ..crate::api::Gate::default() });
        application
    }

    #[test]
    fn a_gate_without_timeout_waits_for_ever_and_one_with_it_fails_naming_the_object() {
        let mut memory = Memory { attempt: Some(waiting_attempt()), ..Memory::default() };
        assert_eq!(conclude(&application(None), &mut memory, Hash64(9), at(10_000)), None);
        let limited = application(Some("2m"));
        assert_eq!(conclude(&limited, &mut memory, Hash64(9), at(30)), Some(Duration::from_secs(90)));
        assert_eq!(conclude(&limited, &mut memory, Hash64(9), at(120)), Some(Duration::from_secs(5)));
        let attempt = memory.attempt.unwrap();
        assert_eq!(attempt.phase, OperationPhase::Failed);
        assert_eq!(
            attempt.failure,
            Some(Failure {
                reason: Reason::HealthTimeout,
                message: "apps/Deployment/shop/web did not become healthy within 120 s: 0 of 1 replica is available"
                    .into(),
            })
        );
        assert_eq!(memory.last_failure, Some(LastAttempt { target: Hash64(9), ended: at(120), failures: 1 }));
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
            attempt.outcomes.insert(key.clone(), Outcome::Created);
            memory.attempt = Some(attempt);
            let held_until = reopen_drifted(&mut memory, &differences, policy, at(0));
            let reopened = memory.attempt.as_ref().is_some_and(|attempt| attempt.outcomes.is_empty());
            seen.push((reopened, held_until.map(Timestamp::as_second)));
        }
        assert_eq!(seen, [(true, None), (true, None), (true, None), (true, None), (false, Some(2))]);
    }
}

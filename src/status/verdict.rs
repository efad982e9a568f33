//! What the three standing conditions say.

use super::observed::{Assessment, Attempt, Comparison, Failure, Observed};
use crate::api::{ConditionStatus, OperationPhase};
use crate::diff::{Difference, Extra};
use crate::model::{Health, HealthStatus, Reason};
use crate::plan::Outcome;

/// What the three standing conditions say.
pub(super) struct Verdict {
    pub(super) ready: ConditionStatus,
    pub(super) reconciling: bool,
    pub(super) stalled: bool,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Verdict {
    fn failed(failure: &Failure) -> Self {
        let terminal = failure.reason.is_terminal();
        Self {
            ready: ConditionStatus::False,
            reconciling: !terminal,
            stalled: terminal,
            reason: failure.reason,
            message: failure.message.clone(),
        }
    }

    fn working(reason: Reason, message: String) -> Self {
        Self { ready: ConditionStatus::False, reconciling: true, stalled: false, reason, message }
    }

    pub(super) fn of(observed: &Observed<'_>) -> Self {
        match observed.assessment {
            Assessment::Failed(failure) | Assessment::Deleting { failure: Some(failure), .. } => Self::failed(failure),
            Assessment::Deleting { failure: None, waiting } => {
                let first = waiting.first().map(|waiting| format!(": {} ({})", waiting.key, waiting.message));
                Self::working(Reason::Progressing, format!("deleting what it owns{}", first.unwrap_or_default()))
            }
            Assessment::Pending | Assessment::Compared { .. } => Self {
                ready: ConditionStatus::Unknown,
                ..Self::working(Reason::Pending, "waiting for the first answer from the source".to_owned())
            },
        }
    }

    /// The verdict once live state was compared with git: the first of these that holds is what a person needs to know.
    pub(super) fn settle(
        &mut self,
        synced: bool,
        health: &Health,
        comparison: Comparison<'_>,
        observed: &Observed<'_>,
    ) {
        let revision = comparison.described;
        *self = if let Assessment::Compared { source_failure: Some(failure), .. } = observed.assessment {
            let mut verdict = Self::failed(failure);
            verdict.message = format!("{} (last good revision {revision} stays in force)", failure.message);
            verdict
        } else if observed.suspended {
            Self {
                ready: ConditionStatus::False,
                reconciling: false,
                stalled: false,
                reason: Reason::Pending,
                message: "spec.suspend is set: nothing is synced or healed until it is unset".to_owned(),
            }
        } else if let Some(failure) =
            observed.attempt.as_ref().filter(|_| !(synced && is_well(health))).and_then(attempt_failure)
        {
            Self { reconciling: true, stalled: true, ..Self::failed(&failure) }
        } else if let Some(first) = observed.attempt.as_ref().and_then(|attempt| attempt.waiting.first()) {
            let message = format!("{} must become {}: {}", first.key, first.condition, first.message);
            Self { stalled: first.reason == Reason::HealthDegraded, ..Self::working(first.reason, message) }
        } else if let Some(blocked) = comparison.blocked.iter().find(|blocked| blocked.reason == Reason::OwnedByOther) {
            Self { reconciling: false, stalled: true, ..Self::working(blocked.reason, blocked.message.clone()) }
        } else if let Some(held) = observed.held.filter(|_| !synced) {
            Self { reconciling: false, ..Self::working(held.reason, held.message.clone()) }
        } else if !synced {
            let running = observed.attempt.as_ref().is_some_and(|attempt| attempt.phase == OperationPhase::Running);
            let message = comparison
                .blocked
                .first()
                .map_or_else(|| out_of_sync(comparison, revision), |blocked| blocked.message.clone());
            let reason = comparison.blocked.first().map_or(Reason::OutOfSync, |blocked| blocked.reason);
            Self { reconciling: running, ..Self::working(reason, message) }
        } else {
            match health.status {
                HealthStatus::Healthy | HealthStatus::Suspended => Self {
                    ready: ConditionStatus::True,
                    reconciling: false,
                    stalled: false,
                    reason: Reason::Succeeded,
                    message: match comparison.desired.objects.len() {
                        1 => format!("1 object is as revision {revision} wants it"),
                        count => format!("{count} objects are as revision {revision} wants them"),
                    },
                },
                HealthStatus::Degraded => Self {
                    reconciling: false,
                    stalled: true,
                    ..Self::working(Reason::HealthDegraded, health.message.clone())
                },
                HealthStatus::Progressing | HealthStatus::Missing | HealthStatus::Unknown => {
                    Self::working(Reason::Progressing, health.message.clone())
                }
            }
        };
    }
}

/// Whether a failure of the past has been overtaken: the objects came round by themselves.
const fn is_well(health: &Health) -> bool {
    matches!(health.status, HealthStatus::Healthy | HealthStatus::Suspended)
}

pub(super) fn short(revision: &str) -> String {
    crate::model::short_revision(revision)
}

fn out_of_sync(comparison: Comparison<'_>, revision: &str) -> String {
    let mut differing: Vec<String> = comparison
        .differences
        .objects
        .iter()
        .filter(|(_, difference)| **difference != Difference::InSync)
        .map(|(key, _)| key.to_string())
        .chain(
            comparison
                .differences
                .extras
                .iter()
                .filter(|(_, extra)| **extra != Extra::Kept)
                .map(|(key, _)| key.to_string()),
        )
        .collect();
    let count = differing.len();
    differing.truncate(3);
    let objects = if count == 1 { "object differs" } else { "objects differ" };
    format!("{count} {objects} from revision {revision}: {}", differing.join(", "))
}

pub(super) fn attempt_failure(attempt: &Attempt<'_>) -> Option<Failure> {
    if !matches!(attempt.phase, OperationPhase::Failed | OperationPhase::Error) {
        return None;
    }
    attempt.failure.cloned().or_else(|| {
        let mut failures = attempt.outcomes.values().filter_map(|outcome| match outcome {
            Outcome::Failed { reason, message } => Some(Failure { reason: *reason, message: message.clone() }),
            _ => None,
        });
        let first = failures.next()?;
        let more = failures.count();
        let message = if more == 0 { first.message } else { format!("{} (and {more} more)", first.message) };
        Some(Failure { reason: first.reason, message })
    })
}

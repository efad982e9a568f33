//! Observations → status.

use super::conditions::{
    Conditions, DRIFT_FIGHT, READY, RECONCILING, STALE, STALLED, UNSUPPORTED_FIELD, WARNING, rfc3339,
};
use super::observed::{Assessment, Observed};
use super::operation::{record_attempt, waiting_on};
use super::resources::{application_health, resources};
use super::verdict::Verdict;
use jiff::Timestamp;

use crate::api::{ApplicationStatus, ConditionStatus, SyncState, SyncStatus};
use crate::model::{Health, HealthStatus, Reason, shorten};

/// What `Stale` says while it does not hold.
pub const FRESH: &str = "what is newest is as young as maxAge wants it";

/// Derives the status. Inventory fields and handled annotations are taken over from the previous status: whoever
/// changes them sets them.
pub fn derive(observed: &Observed<'_>) -> ApplicationStatus {
    let now = observed.now;
    let mut status = observed.previous.clone();
    status.observed_generation = observed.generation;
    let mut verdict = Verdict::of(observed);

    match observed.assessment {
        Assessment::Failed(failure) => {
            status.sync.status = SyncState::Unknown;
            let why = format!("it could not be compared: {}", failure.message);
            summarize(&mut status, &Health::new(HealthStatus::Unknown, why), now);
        }
        Assessment::Pending | Assessment::Deleting { .. } => {}
        Assessment::Compared { comparison, .. } => {
            let synced = comparison.differences.is_synced();
            status.sync = SyncStatus {
                status: if synced { SyncState::Synced } else { SyncState::OutOfSync },
                revision: comparison.revision.to_owned(),
                revisions: comparison.revisions.to_vec(),
            };
            let health = application_health(comparison);
            summarize(&mut status, &health, now);
            let (resources, count) = resources(comparison);
            status.resources = resources;
            status.resource_count = count;
            verdict.settle(synced, &health, comparison, observed);
        }
    }
    status.waiting_on = waiting_on(observed);
    status.sync_window.clone_from(&observed.sync_window);
    if let Some(attempt) = &observed.attempt {
        record_attempt(&mut status, attempt, observed);
    }
    let mut conditions = Conditions::new(&observed.previous.conditions, observed.generation, now);
    conditions.set(READY, verdict.ready, verdict.reason, &verdict.message);
    conditions.set(RECONCILING, verdict.reconciling.into(), verdict.reason, &verdict.message);
    conditions.set(STALLED, verdict.stalled.into(), verdict.reason, &verdict.message);
    list_condition(&mut conditions, UNSUPPORTED_FIELD, Reason::UnsupportedField, observed.unsupported);
    list_condition(&mut conditions, DRIFT_FIGHT, Reason::DriftFight, observed.fights);
    match observed.stale {
        Some([]) => conditions.set(STALE, ConditionStatus::False, Reason::Fresh, FRESH),
        Some(sources) => conditions.set(STALE, ConditionStatus::True, Reason::Stale, &sources.join("; ")),
        None => conditions.remove(STALE),
    }
    list_condition(&mut conditions, WARNING, Reason::Warning, observed.warnings);
    status.conditions = conditions.into_list();
    status
}

/// Puts the verdict into the status, with the time of its last change.
fn summarize(status: &mut ApplicationStatus, health: &Health, now: Timestamp) {
    if status.health.status != health.status || status.health.last_transition_time.is_empty() {
        status.health.last_transition_time = rfc3339(now);
    }
    status.health.status = health.status;
    status.health.message = shorten(&health.message, super::limits::MESSAGE_BYTES);
}

fn list_condition(conditions: &mut Conditions, type_: &str, reason: Reason, lines: &[String]) {
    if lines.is_empty() {
        conditions.remove(type_);
    } else {
        conditions.set(type_, ConditionStatus::True, reason, &lines.join("; "));
    }
}

//! Observations → status.

use jiff::Timestamp;

use super::conditions::{Conditions, READY, RECONCILING, STALLED, UNSUPPORTED_FIELD, WARNING, rfc3339};
use super::limits::{OBJECT_MESSAGE_BYTES, RESOURCES_BYTES, RESULTS_BYTES, WAITING_ENTRIES};
use crate::api::{
    ApplicationStatus, ConditionStatus, InitiatedBy, Operation, OperationPhase, OperationState, ResourceResult,
    ResourceStatus, RevisionHistory, SyncState, SyncStatus, WaitingOn,
};
use crate::desired::DesiredSet;
use crate::diff::{Cause, Difference, Differences, Extra};
use crate::health;
use crate::live::LiveView;
use crate::model::{Health, HealthStatus, ObjectKey, Reason, shorten};
use crate::plan::{Blocked, Outcome, Outcomes, Waiting};

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub reason: Reason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// Live state compared with git.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The revision compared with.
    pub revision: &'a str,
    /// What git wants.
    pub desired: &'a DesiredSet,
    /// What the cluster holds.
    pub live: &'a LiveView,
    /// What differs.
    pub differences: &'a Differences,
    /// What the plan leaves alone although it differs.
    pub blocked: &'a [Blocked],
}

/// How far a reconcile came.
#[derive(Clone, Copy, Debug)]
pub enum Assessment<'a> {
    /// The source has not been looked at yet.
    Pending,
    /// Live state could not be compared with git.
    Failed(&'a Failure),
    /// Live state was compared with git, perhaps with an older revision because the source fails.
    Compared {
        /// The comparison.
        comparison: Comparison<'a>,
        /// Why the source could not be asked for a newer revision.
        source_failure: Option<&'a Failure>,
    },
    /// The Application is being deleted.
    Deleting {
        /// What holds the deletion.
        waiting: &'a [Waiting],
        /// Why it can't go on.
        failure: Option<&'a Failure>,
    },
}

/// The running or last attempt at a sync.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Where it stands.
    pub phase: OperationPhase,
    /// The revision it brings.
    pub revision: &'a str,
    /// What a person asked for.
    pub operation: Option<&'a Operation>,
    /// Whether the operator itself asked.
    pub automated: bool,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Attempts at the same target that failed before.
    pub retries: u32,
    /// What came of its steps.
    pub outcomes: &'a Outcomes,
    /// What it waits for.
    pub waiting: &'a [Waiting],
    /// Why it failed, when no single object is to blame.
    pub failure: Option<&'a Failure>,
}

/// Everything a status is derived from.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// The status as last written.
    pub previous: &'a ApplicationStatus,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// Now.
    pub now: Timestamp,
    /// How far the reconcile came.
    pub assessment: Assessment<'a>,
    /// The running or last attempt of this process; `None` leaves the written one.
    pub attempt: Option<Attempt<'a>>,
    /// Fields that are set and not acted on.
    pub unsupported: &'a [String],
    /// What a person should know although it stops nothing.
    pub warnings: &'a [String],
    /// Whether automation is held by `suspend`.
    pub suspended: bool,
    /// How many past syncs to keep.
    pub history_limit: usize,
}

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
                revisions: Vec::new(),
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
    if let Some(attempt) = &observed.attempt {
        record_attempt(&mut status, attempt, observed);
    }
    let mut conditions = Conditions::new(&observed.previous.conditions, observed.generation, now);
    conditions.set(READY, verdict.ready, verdict.reason, &verdict.message);
    conditions.set(RECONCILING, verdict.reconciling.into(), verdict.reason, &verdict.message);
    conditions.set(STALLED, verdict.stalled.into(), verdict.reason, &verdict.message);
    list_condition(&mut conditions, UNSUPPORTED_FIELD, Reason::UnsupportedField, observed.unsupported);
    list_condition(&mut conditions, WARNING, Reason::Warning, observed.warnings);
    status.conditions = conditions.into_list();
    status
}

fn list_condition(conditions: &mut Conditions, type_: &str, reason: Reason, lines: &[String]) {
    if lines.is_empty() {
        conditions.remove(type_);
    } else {
        conditions.set(type_, ConditionStatus::True, reason, &lines.join("; "));
    }
}

/// What the three standing conditions say.
struct Verdict {
    ready: ConditionStatus,
    reconciling: bool,
    stalled: bool,
    reason: Reason,
    message: String,
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

    fn of(observed: &Observed<'_>) -> Self {
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
    fn settle(&mut self, synced: bool, health: &Health, comparison: Comparison<'_>, observed: &Observed<'_>) {
        let revision = short(comparison.revision);
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
        } else if let Some(failure) = observed.attempt.as_ref().filter(|_| !synced).and_then(attempt_failure) {
            Self { reconciling: true, stalled: true, ..Self::failed(&failure) }
        } else if let Some(first) = observed.attempt.as_ref().and_then(|attempt| attempt.waiting.first()) {
            let message = format!("{} must become {}: {}", first.key, first.condition, first.message);
            Self { stalled: first.reason == Reason::HealthDegraded, ..Self::working(first.reason, message) }
        } else if let Some(blocked) = comparison.blocked.iter().find(|blocked| blocked.reason == Reason::OwnedByOther) {
            Self { reconciling: false, stalled: true, ..Self::working(blocked.reason, blocked.message.clone()) }
        } else if !synced {
            let running = observed.attempt.as_ref().is_some_and(|attempt| attempt.phase == OperationPhase::Running);
            let message = comparison
                .blocked
                .first()
                .map_or_else(|| out_of_sync(comparison, &revision), |blocked| blocked.message.clone());
            let reason = comparison.blocked.first().map_or(Reason::OutOfSync, |blocked| blocked.reason);
            Self { reconciling: running, ..Self::working(reason, message) }
        } else {
            match health.status {
                HealthStatus::Healthy | HealthStatus::Suspended => Self {
                    ready: ConditionStatus::True,
                    reconciling: false,
                    stalled: false,
                    reason: Reason::Succeeded,
                    message: format!(
                        "{} objects are as revision {revision} wants them",
                        comparison.desired.objects.len()
                    ),
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

fn short(revision: &str) -> String {
    revision.chars().take(7).collect()
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
    format!("{count} objects differ from revision {revision}: {}", differing.join(", "))
}

fn attempt_failure(attempt: &Attempt<'_>) -> Option<Failure> {
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

/// Puts the verdict into the status, with the time of its last change.
fn summarize(status: &mut ApplicationStatus, health: &Health, now: Timestamp) {
    if status.health.status != health.status || status.health.last_transition_time.is_empty() {
        status.health.last_transition_time = rfc3339(now);
    }
    status.health.status = health.status;
    status.health.message = shorten(&health.message, super::limits::MESSAGE_BYTES);
}

fn application_health(comparison: Comparison<'_>) -> Health {
    let verdicts: Vec<(&ObjectKey, Health)> = comparison
        .desired
        .objects
        .keys()
        .filter_map(|key| match comparison.live.objects.get(key) {
            None => Some((key, Health::new(HealthStatus::Missing, "it is not in the cluster"))),
            Some(record) if record.health_ignored => None,
            Some(record) => record.health.clone().map(|health| (key, health)),
        })
        .collect();
    health::aggregate(verdicts.iter().map(|(key, health)| (*key, health)))
}

fn resources(comparison: Comparison<'_>) -> (Vec<ResourceStatus>, i64) {
    let mut all: Vec<ResourceStatus> = Vec::new();
    for (key, difference) in &comparison.differences.objects {
        let object = comparison.desired.objects.get(key);
        let health = comparison
            .live
            .objects
            .get(key)
            .map_or(Some(Health::new(HealthStatus::Missing, String::new())), |record| record.health.clone());
        let blocked =
            comparison.blocked.iter().find(|blocked| blocked.key == *key).map(|blocked| blocked.message.clone());
        let message = blocked
            .or_else(|| describe(difference))
            .or_else(|| health.as_ref().map(|health| health.message.clone()))
            .unwrap_or_default();
        all.push(ResourceStatus {
            group: key.group.clone(),
            version: object.map(|object| object.gvk.version.clone()).unwrap_or_default(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            status: if *difference == Difference::InSync { SyncState::Synced } else { SyncState::OutOfSync },
            health: health.map(|health| health.status),
            message: shorten(&message, OBJECT_MESSAGE_BYTES),
            requires_pruning: false,
            sync_wave: object.map_or(0, |object| i64::from(object.wave)),
        });
    }
    for (key, extra) in &comparison.differences.extras {
        all.push(ResourceStatus {
            group: key.group.clone(),
            version: String::new(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            status: if *extra == Extra::Kept { SyncState::Synced } else { SyncState::OutOfSync },
            health: comparison
                .live
                .objects
                .get(key)
                .and_then(|record| record.health.as_ref())
                .map(|health| health.status),
            message: "no longer in git".to_owned(),
            requires_pruning: *extra != Extra::Kept,
            sync_wave: 0,
        });
    }
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    // What is not in order is what people look for, so it survives a cut.
    all.sort_by_key(|resource| {
        let in_order = resource.status == SyncState::Synced
            && resource.health.is_none_or(|health| health == HealthStatus::Healthy);
        (in_order, ())
    });
    (within(all, RESOURCES_BYTES), count)
}

fn describe(difference: &Difference) -> Option<String> {
    Some(match difference {
        Difference::InSync => return None,
        Difference::Absent { drift: true } => "it was deleted in the cluster".to_owned(),
        Difference::Absent { drift: false } => "it is not in the cluster yet".to_owned(),
        Difference::Changed(Cause::Desired) => "git wants a change".to_owned(),
        Difference::Changed(Cause::Live) => "a field that git sets was changed in the cluster".to_owned(),
        Difference::Changed(Cause::Replaced) => "it was deleted and made again in the cluster".to_owned(),
        Difference::Changed(Cause::Marks) => "its ownership marks were changed in the cluster".to_owned(),
        Difference::Terminating => "it is being deleted".to_owned(),
        Difference::Conflict { application } => format!("it belongs to the Application {application}"),
    })
}

/// As many items from the front as fit into a number of bytes of JSON.
fn within<T: serde::Serialize>(items: Vec<T>, bytes: usize) -> Vec<T> {
    let mut used = 0;
    items
        .into_iter()
        .take_while(|item| {
            used += serde_json::to_vec(item).map_or(0, |text| text.len() + 1);
            used <= bytes
        })
        .collect()
}

fn waiting_on(observed: &Observed<'_>) -> Vec<WaitingOn> {
    let waiting = match (&observed.assessment, &observed.attempt) {
        (Assessment::Deleting { waiting, .. }, _) => *waiting,
        (_, Some(attempt)) => attempt.waiting,
        (_, None) => &[],
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
                release: String::new(),
            }
        })
        .collect()
}

fn record_attempt(status: &mut ApplicationStatus, attempt: &Attempt<'_>, observed: &Observed<'_>) {
    let mut results: Vec<ResourceResult> = attempt
        .outcomes
        .iter()
        .map(|(key, outcome)| {
            let message = match outcome {
                Outcome::Failed { message, .. } | Outcome::Skipped { message } => message.as_str(),
                Outcome::Created | Outcome::Configured | Outcome::Unchanged | Outcome::Pruned { .. } => "",
            };
            ResourceResult {
                group: key.group.clone(),
                kind: key.kind.clone(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                status: outcome.as_str().to_owned(),
                message: shorten(message, OBJECT_MESSAGE_BYTES),
                ..ResourceResult::default()
            }
        })
        .collect();
    results.sort_by_key(|result| result.status != "failed");
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
    if newly_succeeded && !dry_run && observed.history_limit > 0 {
        status.history.push(RevisionHistory {
            id: status.history.last().map_or(0, |last| last.id + 1),
            revision: attempt.revision.to_owned(),
            revisions: Vec::new(),
            deploy_started_at: rfc3339(attempt.started),
            deployed_at: finished.clone().unwrap_or_else(|| rfc3339(observed.now)),
            initiated_by: initiated_by.clone(),
        });
    }
    let surplus = status.history.len().saturating_sub(observed.history_limit);
    status.history.drain(..surplus);
    status.operation_state = Some(OperationState {
        operation: attempt.operation.cloned(),
        initiated_by,
        phase: attempt.phase,
        message: shorten(&message, super::limits::MESSAGE_BYTES),
        revision: attempt.revision.to_owned(),
        revisions: Vec::new(),
        started_at: rfc3339(attempt.started),
        finished_at: finished,
        retry_count: i64::from(attempt.retries),
        resources: within(results, RESULTS_BYTES),
    });
}

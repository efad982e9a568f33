//! One attempt at a sync, or at a deletion, as it is remembered while it lasts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Span;

use crate::api::{ApplicationStatus, Operation, OperationPhase};
use crate::desired::{DesiredSet, SyncOptions};
use crate::model::{Hash64, ObjectKey, Phase, Reason};
use crate::plan::StepId;
use crate::plan::{HookState, Progress, Waiting};
use crate::spans::{self, SyncTrigger};
use crate::status::{Attempt, Failure, HOOK_FAILED, HOOK_SUCCEEDED, rfc3339};

/// How long the status keeps silent about a gate that has just closed. Many open within this time (a controller has to
/// look at the object once), and a write that says nothing but "not yet" costs as much as an apply.
const SILENCE_AT_GATE: Duration = Duration::from_millis(500);

/// What an attempt does and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    /// Whether it prunes.
    pub(super) prune: bool,
    /// Whether it only tries on the server.
    pub(super) dry_run: bool,
    /// Whether it only puts back what was changed in the cluster.
    pub(super) heal: bool,
    /// Whether it runs hooks.
    pub(super) hooks: bool,
    /// The only objects that it is about, when a person chose some.
    pub(super) only: Option<BTreeSet<ObjectKey>>,
    /// Objects whose drift stays (`driftPolicy: hold`).
    pub(super) held: BTreeSet<ObjectKey>,
    /// The Application's options with those of the operation.
    pub(super) options: SyncOptions,
}

/// An attempt at a sync.
#[derive(Clone)]
pub(super) struct AttemptMemory {
    /// Marks the objects of its hooks.
    pub(super) id: String,
    /// Hash of the set that it brings.
    pub(super) target: Hash64,
    /// Hash of the set that git wanted when it started: the same, unless an operation brings something else.
    pub(super) spec_target: Hash64,
    /// The set. Kept here, since git may move on while a hook of this attempt runs.
    pub(super) desired: Arc<DesiredSet>,
    /// The revision it brings.
    pub(super) revision: String,
    /// The revisions it brings, of several sources.
    pub(super) revisions: Vec<String>,
    /// What a person asked for.
    pub(super) operation: Option<Operation>,
    /// Whether the operator itself asked.
    pub(super) automated: bool,
    /// Whether it deletes the Application.
    pub(super) deletes: bool,
    /// What it does and how.
    pub(super) choices: Choices,
    /// Whether it has passed the checks that come before its first write.
    pub(super) cleared: bool,
    /// Where it stands.
    pub(super) phase: OperationPhase,
    /// When it started.
    pub(super) started: Timestamp,
    /// When it ended.
    pub(super) ended: Option<Timestamp>,
    /// Attempts at the same target that failed before.
    pub(super) retries: u32,
    /// How far it has come.
    pub(super) progress: Progress,
    /// What it waits for.
    pub(super) waiting: Vec<Waiting>,
    /// Since when it waits without having done anything.
    pub(super) waiting_since: Option<Timestamp>,
    /// Objects that the trial on the server could not judge, each with why.
    pub(super) unverified: BTreeMap<ObjectKey, String>,
    /// Why it failed.
    pub(super) failure: Option<Failure>,
    /// Its trace, from its first step to its end.
    pub(super) span: Option<Span>,
}

impl AttemptMemory {
    /// Its trace, which begins with the first call.
    pub(super) fn span(&mut self, namespace: &str, application: &str) -> Span {
        let trigger = if self.deletes {
            SyncTrigger::Deletion
        } else if self.automated {
            SyncTrigger::Policy
        } else {
            SyncTrigger::Request
        };
        let begin = || spans::sync(namespace, application, &self.revision, trigger, self.retries);
        self.span.get_or_insert_with(begin).clone()
    }

    /// Whether it is under way.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, OperationPhase::Running | OperationPhase::Terminating)
    }

    /// Whether one of its hooks runs.
    pub(super) fn hook_is_running(&self) -> bool {
        self.is_running() && self.progress.hooks.values().any(|state| matches!(state, HookState::Running { .. }))
    }

    /// Ends it.
    pub(super) fn end(&mut self, phase: OperationPhase, failure: Option<Failure>, now: Timestamp) {
        self.phase = phase;
        self.waiting.clear();
        self.waiting_since = None;
        if let Some(span) = self.span.take() {
            spans::synced(&span, phase.as_str(), phase == OperationPhase::Succeeded);
            if let Some(Failure { reason, message }) = &failure {
                spans::failed(&span, *reason, message);
            }
        }
        self.failure = failure;
        self.ended = Some(now);
    }

    /// How much longer nothing is reported, because the attempt has just begun to wait for health.
    pub(super) fn silent_for(&self, now: Timestamp) -> Option<Duration> {
        let expected = self.waiting.iter().all(|waiting| waiting.reason == Reason::WaitingForHealth);
        let end = self.waiting_since?.checked_add(SILENCE_AT_GATE).ok()?;
        let rest = Duration::try_from(end.duration_since(now)).ok()?;
        (self.is_running() && expected && !rest.is_zero()).then_some(rest)
    }

    /// As the status shows it.
    pub(super) fn report(&self) -> Attempt<'_> {
        Attempt {
            phase: self.phase,
            revision: &self.revision,
            revisions: &self.revisions,
            partial: self.choices.only.is_some(),
            operation: self.operation.as_ref(),
            automated: self.automated,
            started: self.started,
            ended: self.ended,
            retries: self.retries,
            outcomes: &self.progress.outcomes,
            hooks: &self.progress.hooks,
            unverified: &self.unverified,
            waiting: &self.waiting,
            failure: self.failure.as_ref(),
        }
    }
}

/// The mark of an attempt: the same after a restart of the operator, so that it knows its hooks again.
pub(super) fn attempt_id(uid: Option<&str>, started: Timestamp) -> String {
    Hash64::of_bytes(format!("{}{}", uid.unwrap_or_default(), rfc3339(started)).as_bytes()).to_string()
}

/// The start of an operation that was under way when the operator stopped, as the status tells it, and what its hooks
/// had come to.
pub(super) fn under_way(status: &ApplicationStatus, revision: &str) -> Option<(Timestamp, Progress)> {
    let operation = status.operation_state.as_ref()?;
    let running = matches!(operation.phase, OperationPhase::Running | OperationPhase::Terminating);
    if !running || operation.revision != revision {
        return None;
    }
    let started = operation.started_at.parse().ok()?;
    let mut progress = Progress::default();
    for result in &operation.resources {
        let state = match result.hook_phase.as_str() {
            HOOK_SUCCEEDED => HookState::Succeeded,
            HOOK_FAILED => HookState::Failed { message: result.message.clone() },
            _ => continue,
        };
        let Some(phase) = Phase::from_name(&result.sync_phase) else { continue };
        let key = ObjectKey::new(
            result.group.as_str(),
            result.kind.as_str(),
            result.namespace.as_str(),
            result.name.as_str(),
        );
        progress.hooks.insert(StepId { phase, key }, state);
    }
    Some((started, progress))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::{InitiatedBy, OperationState, ResourceResult};

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    pub(in crate::reconcile) fn waiting_attempt() -> AttemptMemory {
        AttemptMemory {
            id: "a1".into(),
            target: Hash64(1),
            spec_target: Hash64(1),
            desired: Arc::default(),
            revision: "abc".into(),
            revisions: Vec::new(),
            operation: None,
            automated: true,
            deletes: false,
            choices: Choices::default(),
            cleared: true,
            phase: OperationPhase::Running,
            started: at(0),
            ended: None,
            retries: 0,
            progress: Progress::default(),
            waiting_since: Some(at(0)),
            waiting: vec![Waiting {
                key: ObjectKey::new("apps", "Deployment", "shop", "web"),
                condition: "healthy",
                message: "0 of 1 replica is available".into(),
                reason: Reason::WaitingForHealth,
                release: String::new(),
            }],
            unverified: BTreeMap::new(),
            failure: None,
            span: None,
        }
    }

    #[test]
    fn a_gate_is_reported_when_it_stays_closed_or_when_what_it_waits_for_is_degraded() {
        let mut attempt = waiting_attempt();
        assert_eq!(attempt.silent_for(at(100)), Some(Duration::from_millis(400)));
        assert_eq!(attempt.silent_for(at(500)), None);
        let degraded = Waiting { reason: Reason::HealthDegraded, ..attempt.waiting[0].clone() };
        attempt.waiting.push(degraded);
        assert_eq!(attempt.silent_for(at(100)), None);
        attempt.end(OperationPhase::Failed, None, at(100));
        assert_eq!(attempt.silent_for(at(100)), None);
    }

    #[test]
    fn after_a_restart_the_hooks_that_had_finished_are_known_and_nothing_else_is_assumed() {
        let result = |name: &str, hook_phase: &str| ResourceResult {
            group: "batch".into(),
            kind: "Job".into(),
            namespace: "shop".into(),
            name: name.into(),
            sync_phase: "PreSync".into(),
            hook_phase: hook_phase.into(),
            message: "BackoffLimitExceeded".into(),
            ..ResourceResult::default()
        };
        let mut status = ApplicationStatus {
            operation_state: Some(OperationState {
                operation: None,
                initiated_by: InitiatedBy::default(),
                phase: OperationPhase::Running,
                message: String::new(),
                revision: "abc".into(),
                revisions: Vec::new(),
                started_at: "1970-01-01T00:00:07Z".into(),
                finished_at: None,
                retry_count: 0,
                resources: vec![result("done", "Succeeded"), result("broken", "Failed"), result("running", "Running")],
            }),
            ..ApplicationStatus::default()
        };
        let id = |name: &str| StepId { phase: Phase::PreSync, key: ObjectKey::new("batch", "Job", "shop", name) };
        let (started, progress) = under_way(&status, "abc").unwrap();
        assert_eq!(started, at(7000));
        assert_eq!(
            progress.hooks.into_iter().collect::<Vec<_>>(),
            [
                (id("broken"), HookState::Failed { message: "BackoffLimitExceeded".into() }),
                (id("done"), HookState::Succeeded),
            ]
        );
        assert!(under_way(&status, "def").is_none());
        if let Some(operation) = &mut status.operation_state {
            operation.phase = OperationPhase::Succeeded;
        }
        assert!(under_way(&status, "abc").is_none());
    }
}

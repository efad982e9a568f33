//! The start of an attempt: by the operator itself, by a person, or once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::info;

use super::attempt::{AttemptMemory, Choices, attempt_id};
use super::compare::Compared;
use super::driver::Driver;
use super::memory::{Held, Memory};
use super::requests::{Asked, refused_attempt, selected};
use super::takeover::is_retried;
use crate::api::{Application, Operation, OperationPhase, SyncOperation};
use crate::desired::{DesiredSet, SyncOptions};
use crate::model::{Hash64, ObjectKey};
use crate::plan::{Policy, Progress};
use crate::status::Failure;

/// What an attempt brings.
pub(super) struct Brought {
    pub(super) desired: Arc<DesiredSet>,
    pub(super) target: Hash64,
    pub(super) revision: String,
    pub(super) revisions: Vec<String>,
}

impl Brought {
    pub(super) fn of(held: &Held) -> Self {
        Self {
            desired: Arc::clone(&held.desired),
            target: held.hash,
            revision: held.reported.clone(),
            revisions: held.reported_revisions.clone(),
        }
    }

    pub(super) fn again(attempt: &AttemptMemory) -> Self {
        Self {
            desired: Arc::clone(&attempt.desired),
            target: attempt.target,
            revision: attempt.revision.clone(),
            revisions: attempt.revisions.clone(),
        }
    }
}

impl Choices {
    /// What a sync does that nobody asked for.
    pub(super) fn standing(application: &Application, policy: Policy, held: BTreeSet<ObjectKey>) -> Self {
        Self { prune: policy.prune, hooks: true, held, options: SyncOptions::of(&application.spec), ..Self::default() }
    }
}

impl Driver {
    pub(super) fn begin(
        application: &Application,
        held: &Held,
        brought: Brought,
        choices: Choices,
        now: Timestamp,
    ) -> AttemptMemory {
        let Brought { desired, target, revision, revisions } = brought;
        AttemptMemory {
            id: attempt_id(application.metadata.uid.as_deref(), now),
            target,
            spec_target: held.hash,
            desired,
            revision,
            revisions,
            operation: None,
            automated: true,
            deletes: false,
            choices,
            cleared: false,
            phase: OperationPhase::Running,
            started: now,
            ended: None,
            retries: 0,
            progress: Progress::default(),
            waiting: Vec::new(),
            waiting_since: None,
            unverified: BTreeMap::new(),
            failure: None,
            span: None,
        }
    }

    pub(super) fn begin_automated(
        application: &Application,
        memory: &Memory,
        held: &Held,
        target: Hash64,
        choices: Choices,
        now: Timestamp,
    ) -> AttemptMemory {
        let last = memory.last_failure.as_ref().filter(|failure| failure.target == target);
        let retries = last.map_or(0, |failure| failure.failures);
        // With `supersede: never` the retries of an operation bring what it began with.
        let pinned = memory.attempt.as_ref().filter(|attempt| is_retried(application, memory, attempt, held.hash));
        let brought = pinned.map_or_else(|| Brought::of(held), Brought::again);
        info!(prune = choices.prune, heal = choices.heal, retries, revision = %brought.revision, "sync starts");
        let spec_target = pinned.map_or(held.hash, |attempt| attempt.spec_target);
        // Told in the status, so that a start of the operator knows a heal again.
        let healing =
            || SyncOperation { auto_heal_attempts_count: Some(1), prune: choices.prune, ..SyncOperation::default() };
        let operation = choices.heal.then(|| Operation { sync: Some(healing()), ..Operation::default() });
        AttemptMemory { spec_target, operation, retries, ..Self::begin(application, held, brought, choices, now) }
    }

    pub(super) fn begin_asked(
        application: &Application,
        held: &Held,
        compared: &Compared,
        asked: Asked,
        of_operation: Option<&Held>,
        now: Timestamp,
    ) -> AttemptMemory {
        let brought = Brought::of(of_operation.unwrap_or(held));
        let only = selected(&asked, &compared.differences);
        let request = asked.request;
        let choices = Choices {
            prune: request.prune,
            dry_run: request.dry_run,
            heal: false,
            hooks: request.hooks,
            only: only.clone().unwrap_or_default(),
            held: BTreeSet::new(),
            options: SyncOptions { force: request.force, ..request.options },
        };
        info!(prune = choices.prune, dry_run = choices.dry_run, revision = %brought.revision, "a requested sync starts");
        let begun = Self::begin(application, held, brought, choices, now);
        match only {
            Ok(_) => AttemptMemory { operation: asked.operation, automated: false, ..begun },
            Err(failure) => refused_attempt(begun, failure, asked.operation),
        }
    }

    /// Another attempt at an operation of a person that failed.
    pub(super) fn begin_again(
        application: &Application,
        memory: &mut Memory,
        held: &Held,
        now: Timestamp,
    ) -> AttemptMemory {
        memory.retry_at = None;
        let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
        match memory.attempt.take() {
            Some(last) => {
                let brought = Brought::again(&last);
                let begun = Self::begin(application, held, brought, last.choices, now);
                AttemptMemory { operation: last.operation, automated: false, retries: failures, ..begun }
            }
            None => Self::begin(application, held, Brought::of(held), Choices::default(), now),
        }
    }

    /// Notes a wish that can't be carried out as the operation that failed, unless another is under way.
    pub(super) fn refuse(
        application: &Application,
        memory: &mut Memory,
        held: &Held,
        failure: Failure,
        operation: Option<Operation>,
        now: Timestamp,
    ) {
        tracing::warn!(reason = %failure.reason, message = %failure.message, "an operation is refused");
        if memory.attempt.as_ref().is_some_and(AttemptMemory::is_running) {
            return;
        }
        let begun = Self::begin(application, held, Brought::of(held), Choices::default(), now);
        memory.attempt = Some(refused_attempt(begun, failure, operation));
    }
}

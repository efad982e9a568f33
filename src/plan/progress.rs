//! How far an attempt has come: what was done, what was seen since, and the timers of the gate it stands at. A plain value;
//! [`super::observe`] moves it on, [`super::next_moves`] reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::gate::Outcome;
use super::graph::StepId;
use crate::model::{Hash64, ObjectKey, Reason};

/// Policy of the gates between groups (`spec.gate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// How long one group may take in all; `None` waits until a newer commit.
    pub timeout: Option<Duration>,
    /// How long a group may go without any change of state.
    pub no_progress_timeout: Option<Duration>,
    /// How long a group must stay healthy before the next starts.
    pub stable_for: Duration,
    /// How long an object may be Degraded before its group fails.
    pub degraded_grace: Duration,
    /// Whether the last group must become healthy too before the operation succeeds.
    pub last_wave: bool,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self {
            timeout: None,
            no_progress_timeout: None,
            stable_for: Duration::ZERO,
            degraded_grace: Duration::from_secs(30),
            last_wave: true,
        }
    }
}

/// How a hook stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookState {
    /// It was started in this attempt and has not finished.
    Running {
        /// `metadata.uid` of its object.
        uid: String,
    },
    /// It finished well. Known from now on, whatever becomes of its object.
    Succeeded,
    /// It failed.
    Failed {
        /// How.
        message: String,
    },
}

/// How far an attempt has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What came of each step that was tried.
    pub outcomes: BTreeMap<StepId, Outcome>,
    /// How each hook that was started stands.
    pub hooks: BTreeMap<StepId, HookState>,
    /// Hooks whose object has been cleaned up after (finalizer taken off, and deleted when a policy says so).
    pub cleaned: BTreeMap<StepId, bool>,
    /// `metadata.generation` that our apply returned; older health says nothing about what was applied.
    pub generations: BTreeMap<ObjectKey, i64>,
    /// Since when each object that is waited for has been Degraded without a break.
    pub degraded_since: BTreeMap<ObjectKey, Timestamp>,
    /// When the group that is under way began to wait.
    pub group_since: Option<Timestamp>,
    /// Place of that group in the plan.
    pub group: usize,
    /// When anything about what is waited for last changed.
    pub last_change: Option<Timestamp>,
    /// Digest of what is waited for, by which a change is told.
    pub fingerprint: Option<Hash64>,
    /// Since when everything of the group has been healthy without a break.
    pub healthy_since: Option<Timestamp>,
    /// Why the attempt has failed, once it has: the groups of `on_failure` run then.
    pub failed: Option<(Reason, String)>,
}

/// What is done next about one step. What acts does just this and reports the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The step.
    pub id: StepId,
    /// What to do.
    pub act: Act,
}

/// What to do about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Apply the object.
    Apply,
    /// Delete the object after a live proof.
    Prune {
        /// `metadata.uid` that the proof must find.
        uid: Option<String>,
    },
    /// Delete a hook's object of an earlier attempt, so that it can be made again; or of this one, since a policy says so.
    DeleteHook {
        /// Its uid.
        uid: String,
    },
    /// Create the hook's object, with our finalizer and the mark of this attempt.
    StartHook {
        /// Its place in the desired set's list of hooks.
        index: usize,
    },
    /// Take our finalizer off a finished hook.
    ReleaseHook {
        /// Its uid.
        uid: String,
    },
}

/// What a gate waits for, as `status.waitingOn` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The object.
    pub key: ObjectKey,
    /// What must become true of it: `healthy`, `established`, `present`, `completed`, `stable` or `gone`.
    pub condition: &'static str,
    /// What is missing.
    pub message: String,
    /// `WaitingForHealth`, `HealthDegraded`, `WaitingForHook`, `WaitingForDependency` or `PruneWaiting`.
    pub reason: Reason,
    /// What would release it, for people: what has to happen, or what they can do.
    pub release: String,
}

/// What may be done next.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These, together.
    Run(Vec<Move>),
    /// Nothing until one of these changes, or until a timer ends.
    Wait {
        /// What is waited for.
        waiting: Vec<Waiting>,
        /// When to look again although nothing has changed.
        until: Option<Timestamp>,
    },
    /// Nothing any more: a group failed, and what runs on failure is done.
    Failed {
        /// Why.
        reason: Reason,
        /// Which object, and how.
        message: String,
    },
    /// Nothing: all is done.
    Done,
}

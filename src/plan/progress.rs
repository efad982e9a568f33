//! How far an attempt has come: what was done, what was seen since, and the timers of the gate it stands at. A plain value;
//! [`super::observe`] moves it on, [`super::next_moves`] reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::graph::{Group, StepId, Work};
use super::outcome::Outcome;
use crate::api::Gate;
use crate::model::{Hash64, ObjectKey, Phase, Reason, parse_duration};

/// Policy of the gates between groups (`spec.gate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatePolicy {
    /// How long one group may take in all; `None` waits until a newer commit.
    pub timeout: Option<Duration>,
    /// How long a group may go without any change of state. It does not run while a hook runs: a Job that works shows no
    /// change, and has a deadline of its own (`activeDeadlineSeconds`).
    pub no_progress_timeout: Option<Duration>,
    /// How long a group must stay healthy before the next starts. A group in which the attempt changed nothing is not
    /// waited for.
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

impl GatePolicy {
    /// Reads `spec.gate`. A duration that can't be read, which the API server does not let pass, counts as unset.
    pub fn new(gate: Option<&Gate>) -> Self {
        let Some(gate) = gate else { return Self::default() };
        let Gate { timeout, no_progress_timeout, stable_for, degraded_grace_period, last_wave } = gate;
        let read = |text: &Option<String>| text.as_deref().and_then(parse_duration);
        let unset = Self::default();
        Self {
            timeout: read(timeout),
            no_progress_timeout: read(no_progress_timeout),
            stable_for: read(stable_for).unwrap_or(unset.stable_for),
            degraded_grace: read(degraded_grace_period).unwrap_or(unset.degraded_grace),
            last_wave: last_wave.unwrap_or(unset.last_wave),
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
        /// When it was started, or found again.
        since: Timestamp,
        /// Whether its object has been seen in the live view, so that its absence means that it is gone.
        seen: bool,
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
    /// Finished hooks whose object our finalizer no longer holds, each with whether its deletion was accepted too.
    pub cleaned: BTreeMap<StepId, bool>,
    /// Objects whose deletion was accepted for the sake of a hook: one of an earlier attempt that stands in the way, or
    /// that of a hook that is ended. `metadata.uid` by step.
    pub deleted: BTreeMap<StepId, String>,
    /// `metadata.generation` that our apply returned; older health says nothing about what was applied.
    pub generations: BTreeMap<ObjectKey, i64>,
    /// Since when each object that is waited for has been Degraded without a break.
    pub degraded_since: BTreeMap<ObjectKey, Timestamp>,
    /// When the group that is under way began to wait.
    pub group_since: Option<Timestamp>,
    /// That group.
    pub group: Option<GroupId>,
    /// Groups whose gate has opened. What becomes of their objects afterwards holds nothing up, but a step in them that
    /// has to run again (an object that drifted) closes the gate again.
    pub passed: BTreeSet<GroupId>,
    /// When anything about what is waited for last changed.
    pub last_change: Option<Timestamp>,
    /// Digest of what is waited for, by which a change is told.
    pub fingerprint: Option<Hash64>,
    /// Since when everything of the group has been healthy without a break.
    pub healthy_since: Option<Timestamp>,
    /// Why the attempt has failed, once it has: the groups of `on_failure` run then.
    pub failed: Option<(Reason, String)>,
}

/// Identity of a group. Not its place in the plan, which may be made anew while an attempt is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId {
    /// Whether it is one of those that run on failure.
    pub on_failure: bool,
    /// The phase.
    pub phase: Phase,
    /// The sync wave.
    pub wave: i32,
    /// Whether it brings or takes away.
    pub work: Work,
    /// Its place among groups of the same phase, wave and work.
    pub layer: u16,
}

impl GroupId {
    /// The identity of a group of `Plan::groups`, or of `Plan::on_failure`.
    pub const fn of(group: &Group, on_failure: bool) -> Self {
        Self { on_failure, phase: group.phase, wave: group.wave, work: group.work, layer: group.layer }
    }
}

impl Progress {
    /// Takes note of what came of an apply or a prune; `generation` is what the API server answered.
    pub fn note_outcome(&mut self, id: &StepId, outcome: Outcome, generation: Option<i64>) {
        if let Some(generation) = generation {
            self.generations.insert(id.key.clone(), generation);
        }
        self.outcomes.insert(id.clone(), outcome);
    }

    /// Takes note that a hook's object was made.
    pub fn note_hook_started(&mut self, id: &StepId, uid: impl Into<String>, now: Timestamp) {
        self.outcomes.insert(id.clone(), Outcome::Created);
        self.hooks.insert(id.clone(), HookState::Running { uid: uid.into(), since: now, seen: false });
    }

    /// Takes note that the deletion of a hook's object was accepted, or that it was found gone.
    pub fn note_hook_deleted(&mut self, id: &StepId, uid: impl Into<String>) {
        if matches!(self.hooks.get(id), Some(HookState::Succeeded | HookState::Failed { .. })) {
            self.cleaned.insert(id.clone(), true);
        }
        self.deleted.insert(id.clone(), uid.into());
    }

    /// Takes note that our finalizer is off a finished hook's object.
    pub fn note_hook_released(&mut self, id: &StepId) {
        self.cleaned.entry(id.clone()).or_insert(false);
    }

    /// Takes note that the API server refused a move. A refused clean-up is not tried again in this attempt.
    pub fn note_refused(&mut self, id: &StepId, reason: Reason, message: impl Into<String>) {
        self.outcomes.insert(id.clone(), Outcome::Failed { reason, message: message.into() });
    }

    /// Ends the attempt because a person asked for it: nothing new starts, hooks that run are ended, and no hook of
    /// `SyncFail` runs.
    pub fn terminate(&mut self, message: impl Into<String>) {
        self.failed = Some((Reason::Terminated, message.into()));
    }

    /// Whether the API server refused the last move of a step.
    pub fn is_refused(&self, id: &StepId) -> bool {
        matches!(self.outcomes.get(id), Some(Outcome::Failed { .. }))
    }

    /// Whether a person ended it.
    pub fn is_terminated(&self) -> bool {
        matches!(self.failed, Some((Reason::Terminated, _)))
    }
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
    /// Delete a hook's object and take our finalizer off it: one of an earlier attempt, so that it can be made again; or
    /// of this one, since a policy says so. What acts proves first that it is a hook's object.
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

//! What a status is derived from.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::{ApplicationStatus, Operation, OperationPhase, SyncWindowStatus};
use crate::desired::DesiredSet;
use crate::diff::Differences;
use crate::live::LiveView;
use crate::model::{ObjectKey, Reason};
use crate::plan::Outcome;
use crate::plan::{Blocked, StepId};
use crate::plan::{HookState, Waiting};

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
    /// Fields that people added, as JSON pointers, where they were looked for.
    pub by_hand: &'a BTreeMap<ObjectKey, Vec<String>>,
    /// The revision compared with.
    pub revision: &'a str,
    /// The revisions compared with, of several sources.
    pub revisions: &'a [String],
    /// How messages call it: `0123456`, or `0123456 (v1.4.2)` when a range of versions gave it.
    pub described: &'a str,
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
    /// The revisions it brings, of several sources.
    pub revisions: &'a [String],
    /// Whether it is about chosen objects only, so that it is no state to go back to.
    pub partial: bool,
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
    pub outcomes: &'a BTreeMap<StepId, Outcome>,
    /// How its hooks stand.
    pub hooks: &'a BTreeMap<StepId, HookState>,
    /// Objects that the trial on the server could not judge, each with why.
    pub unverified: &'a BTreeMap<ObjectKey, String>,
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
    /// Sources whose tip is older than their `maxAge`, a sentence each; `None` when no source has a `maxAge`.
    pub stale: Option<&'a [String]>,
    /// What keeps a sync from starting although something differs: a closed window, another Application, a retry's pause.
    pub held: Option<&'a Failure>,
    /// What other Applications a sync waits for.
    pub dependencies: &'a [Waiting],
    /// Drift that another controller keeps making; a sentence each.
    pub fights: &'a [String],
    /// How the project's sync windows stand.
    pub sync_window: Option<SyncWindowStatus>,
    /// Whether automation is held by `suspend`.
    pub suspended: bool,
    /// How many past syncs to keep.
    pub history_limit: usize,
}

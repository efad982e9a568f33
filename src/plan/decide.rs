//! Whether to sync now.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::retry::automated_pause;
use crate::api::{Automated, DriftPolicy, Retry};
use crate::diff::{Cause, Difference, Differences};
use crate::model::{Hash64, ObjectKey, Reason};

/// What may be done without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether to sync without being asked.
    pub automated: bool,
    /// Whether to delete what git no longer has.
    pub prune: bool,
    /// Whether to put back what was changed in the cluster.
    pub self_heal: bool,
    /// Whether a source may render nothing.
    pub allow_empty: bool,
    /// Whether objects that were changed in the cluster are left alone until a person asks for a sync.
    pub hold_drifted: bool,
}

impl Policy {
    /// Reads `syncPolicy.automated`, where every switch is off unless set, but `enabled` is on.
    pub fn new(automated: Option<&Automated>) -> Self {
        let Some(Automated { enabled, prune, self_heal, allow_empty }) = automated else { return Self::default() };
        let on = enabled.unwrap_or(true);
        Self {
            automated: on,
            prune: on && prune.unwrap_or(false),
            self_heal: on && self_heal.unwrap_or(false),
            allow_empty: allow_empty.unwrap_or(false),
            hold_drifted: false,
        }
    }

    /// With `spec.driftPolicy`, which wins over `automated.selfHeal` where it is set. Without automation nothing is put
    /// back unless a person asks, whatever it says.
    #[must_use]
    pub const fn with_drift_policy(mut self, drift: Option<DriftPolicy>) -> Self {
        match drift {
            None => {}
            Some(DriftPolicy::Correct) => self.self_heal = self.automated,
            Some(DriftPolicy::Report) => self.self_heal = false,
            Some(DriftPolicy::Hold) => {
                self.self_heal = false;
                self.hold_drifted = true;
            }
        }
        self
    }
}

/// A sync that a person asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Whether to prune.
    pub prune: bool,
    /// Whether only to try on the server.
    pub dry_run: bool,
}

/// The last attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// What it tried to bring: changes with the desired set and with nothing else.
    pub target: Hash64,
    /// When it ended.
    pub ended: Timestamp,
    /// How many attempts at the same target failed so far.
    pub failures: u32,
    /// Whether a person ended it: the same target is not tried again until somebody asks.
    pub terminated: bool,
}

/// What the decision reads.
#[derive(Clone, Copy, Debug)]
pub struct DecideInput<'a> {
    /// What may be done without being asked.
    pub policy: Policy,
    /// What a person asked for.
    pub request: Option<Request>,
    /// What differs.
    pub differences: &'a Differences,
    /// Objects whose differences ask for nothing: their drift is held, or only reported.
    pub held: &'a BTreeSet<ObjectKey>,
    /// Whether the plan deletes anything, or strikes off the record what is gone.
    pub prunes: bool,
    /// What a sync would bring.
    pub target: Hash64,
    /// The last attempt that failed.
    pub last_failure: Option<&'a LastAttempt>,
    /// What keeps a sync that nobody asked for from starting: a sync window, a dependency.
    pub automated_blocked_by: Option<&'a Hold>,
    /// What keeps a sync that a person asked for from starting.
    pub manual_blocked_by: Option<&'a Hold>,
    /// How a failure is tried again.
    pub retry: Option<&'a Retry>,
    /// Earliest time for another self-healing sync, when healing is held back because it did not last.
    pub heal_not_before: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// What keeps a sync from starting that would start otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why: `WindowClosed`, `WaitingForDependency`.
    pub reason: Reason,
    /// What holds it, and what would release it.
    pub message: String,
    /// When to look again although nothing has changed.
    pub until: Option<Timestamp>,
}

/// Whether to sync now.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sync.
    Sync {
        /// Whether to prune.
        prune: bool,
        /// Whether only to try on the server.
        dry_run: bool,
        /// Whether the sync only puts back what was changed in the cluster.
        heal: bool,
    },
    /// Not before this time.
    Later(Timestamp),
    /// It would be due, and this keeps it from starting. A request stays to be asked again.
    Blocked(Hold),
    /// Not before something changes.
    Hold,
}

/// Decides whether to sync now.
pub fn decide(input: DecideInput<'_>) -> Decision {
    if let Some(Request { prune, dry_run }) = input.request {
        // What is only tried on the server changes nothing that a window or a dependency protects.
        if let Some(hold) = input.manual_blocked_by.filter(|_| !dry_run) {
            return Decision::Blocked(hold.clone());
        }
        return Decision::Sync { prune, dry_run, heal: false };
    }
    let Policy { automated, prune, self_heal, allow_empty: _, hold_drifted: _ } = input.policy;
    if !automated {
        return Decision::Hold;
    }
    let mut from_git = false;
    let mut drift = false;
    for (_, difference) in input.differences.objects.iter().filter(|(key, _)| !input.held.contains(*key)) {
        match difference {
            // Fields that people added and that are only reported ask for nothing.
            Difference::InSync | Difference::Conflict { .. } | Difference::Changed(Cause::Extra) => {}
            other if other.is_drift() => drift = true,
            _ => from_git = true,
        }
    }
    let heal = drift && !from_git && !input.prunes;
    if !(from_git || input.prunes || (drift && self_heal)) {
        return Decision::Hold;
    }
    if let Some(failure) = input.last_failure.filter(|failure| failure.target == input.target) {
        if failure.terminated {
            return Decision::Hold;
        }
        let due = failure.ended.checked_add(automated_pause(failure.failures, input.retry)).unwrap_or(failure.ended);
        if due > input.now {
            return Decision::Later(due);
        }
    }
    if heal && let Some(not_before) = input.heal_not_before.filter(|not_before| *not_before > input.now) {
        return Decision::Later(not_before);
    }
    if let Some(hold) = input.automated_blocked_by {
        return Decision::Blocked(hold.clone());
    }
    Decision::Sync { prune, dry_run: false, heal }
}

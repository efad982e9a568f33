//! What the operator remembers of one Application between reconciles. All of it can be lost: the inventory is read back
//! from the cluster, the rest is made again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ApplicationStatus, Operation, OperationPhase, SyncWindowStatus};
use crate::desired::DesiredSet;
use crate::model::{Hash64, Inventory, ObjectKey, Reason, Revision};
use crate::plan::{LastAttempt, Outcomes, Waiting};
use crate::render::{RenderInputs, Tool};
use crate::status::{Attempt, Failure};

/// Healing may follow at once this often; then it is held back.
const FREE_HEALS: u32 = 3;
/// Longest pause between heals.
const LONGEST_HEAL_PAUSE: Duration = Duration::from_mins(5);
/// A heal that lasted this long proves that nobody fights it.
const HEAL_LASTED: Duration = Duration::from_mins(10);

/// How long the status keeps silent about a gate that has just closed. Many open within this time (a controller has to
/// look at the object once), and a write that says nothing but "not yet" costs as much as an apply.
const SILENCE_AT_GATE: Duration = Duration::from_millis(500);

/// What is remembered of one Application.
#[derive(Default)]
pub(super) struct Memory {
    /// `metadata.uid` of the Application that all this is about.
    pub(super) uid: Option<String>,
    /// Objects that were found with our marks and recorded in this reconcile.
    pub(super) recorded_now: BTreeSet<ObjectKey>,
    /// The status as last written or read.
    pub(super) status: ApplicationStatus,
    /// What was applied; `None` before it was read.
    pub(super) inventory: Option<Inventory>,
    /// Hash of each Inventory object as last written.
    pub(super) inventory_chunks: Vec<Hash64>,
    /// What git wants, as last assembled.
    pub(super) held: Option<Held>,
    /// The last source that can't be used, so that it isn't rendered again and again.
    pub(super) refused: Option<Refused>,
    /// The running or last attempt at a sync.
    pub(super) attempt: Option<AttemptMemory>,
    /// The last attempt that failed.
    pub(super) last_failure: Option<LastAttempt>,
    /// How often the cluster was corrected lately.
    pub(super) heals: Heals,
    /// Values of the refresh, sync and terminate annotations that were last acted on. Not part of `status` until it is written.
    pub(super) handled_refresh: String,
    pub(super) handled_sync: String,
    pub(super) handled_terminate: String,
    /// How the sync windows stand.
    pub(super) sync_window: Option<SyncWindowStatus>,
    /// When they are looked at again.
    pub(super) window_due: Option<Timestamp>,
    /// Applications that a sync waits for.
    pub(super) awaited: Vec<crate::plan::progress::Waiting>,
    /// A refresh that was asked for and not answered yet: the annotation's value and the number of the poll.
    pub(super) refresh: Option<(String, u64)>,
    /// Consecutive reconciles that failed for a reason that may pass.
    pub(super) failures: u32,
}

/// A desired set with what it was made from.
#[derive(Clone)]
pub(super) struct Held {
    /// Hash of all of the spec that goes into it, and of the project.
    pub(super) parameters: Hash64,
    /// Hash of the kinds that were served when it was rendered.
    pub(super) surface: Hash64,
    /// The newest commit for which it holds.
    pub(super) revision: Revision,
    /// The commit that is reported: the one that last changed a file that was read. A commit that touches nothing of
    /// this Application must not cause a write to its status.
    pub(super) reported: String,
    /// The files that were read.
    pub(super) inputs: RenderInputs,
    /// What rendered it.
    pub(super) tool: Tool,
    /// The set.
    pub(super) desired: Arc<DesiredSet>,
    /// Hash of the whole set.
    pub(super) hash: Hash64,
    /// What the renderer had to say.
    pub(super) warnings: Vec<String>,
}

/// A source that can't be used, with what that was found from.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Hash of all of the spec that goes into it, of the project and of the served kinds.
    pub(super) parameters: Hash64,
    /// The commit.
    pub(super) revision: Revision,
    /// Why.
    pub(super) failure: Failure,
}

/// An attempt at a sync.
#[derive(Clone)]
pub(super) struct AttemptMemory {
    /// What it brings.
    pub(super) target: Hash64,
    /// The revision it brings.
    pub(super) revision: String,
    /// What a person asked for.
    pub(super) operation: Option<Operation>,
    /// Whether the operator itself asked.
    pub(super) automated: bool,
    /// Whether it prunes.
    pub(super) prune: bool,
    /// Whether it only tries on the server.
    pub(super) dry_run: bool,
    /// Whether it only puts back what was changed in the cluster.
    pub(super) heal: bool,
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
    /// What came of its steps.
    pub(super) outcomes: Outcomes,
    /// What it waits for.
    pub(super) waiting: Vec<Waiting>,
    /// Since when it waits at the same gate.
    pub(super) waiting_since: Option<Timestamp>,
    /// Why it failed, when no single object is to blame.
    pub(super) failure: Option<Failure>,
}

impl AttemptMemory {
    /// Whether it is under way.
    pub(super) fn is_running(&self) -> bool {
        self.phase == OperationPhase::Running
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
            operation: self.operation.as_ref(),
            automated: self.automated,
            started: self.started,
            ended: self.ended,
            retries: self.retries,
            outcomes: &self.outcomes,
            waiting: &self.waiting,
            failure: self.failure.as_ref(),
        }
    }
}

/// How often the cluster was corrected lately. A correction that never lasts means that somebody else wants something
/// else: correcting ever more slowly leaves both sides standing and the API server in peace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heals {
    count: u32,
    last: Option<Timestamp>,
}

impl Heals {
    /// Takes note of a correction.
    pub(super) fn note(&mut self, now: Timestamp) {
        let lasted = self.last.is_none_or(|last| now.duration_since(last).unsigned_abs() > HEAL_LASTED);
        self.count = if lasted { 1 } else { self.count.saturating_add(1) };
        self.last = Some(now);
    }

    /// The earliest time for the next correction; `None` is at once.
    pub(super) fn not_before(&self) -> Option<Timestamp> {
        let excess = self.count.checked_sub(FREE_HEALS).filter(|excess| *excess > 0)?;
        let pause = Duration::from_secs(1 << excess.min(16)).min(LONGEST_HEAL_PAUSE);
        self.last?.checked_add(pause).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_fought_ever_more_slowly_and_forgotten_when_it_ends() {
        let mut heals = Heals::default();
        let start = Timestamp::UNIX_EPOCH;
        let pauses: Vec<Option<i64>> = (0..14)
            .map(|_| {
                heals.note(start);
                heals.not_before().map(Timestamp::as_second)
            })
            .collect();
        let expected = [0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300];
        assert_eq!(pauses, expected.map(|seconds| (seconds > 0).then_some(seconds)));
        heals.note(Timestamp::from_second(10_000).unwrap());
        assert_eq!(heals.not_before(), None);
    }

    #[test]
    fn a_gate_is_reported_when_it_stays_closed_or_when_what_it_waits_for_is_degraded() {
        let start = Timestamp::UNIX_EPOCH;
        let waiting = |reason| Waiting {
            key: crate::model::ObjectKey::new("apps", "Deployment", "shop", "web"),
            condition: "healthy",
            message: String::new(),
            reason,
        };
        let mut attempt = AttemptMemory {
            target: Hash64(0),
            revision: String::new(),
            operation: None,
            automated: true,
            prune: false,
            dry_run: false,
            heal: false,
            cleared: true,
            phase: OperationPhase::Running,
            started: start,
            ended: None,
            retries: 0,
            outcomes: Outcomes::new(),
            waiting: vec![waiting(Reason::WaitingForHealth)],
            waiting_since: Some(start),
            failure: None,
        };
        let later = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap();
        assert_eq!(attempt.silent_for(later(100)), Some(Duration::from_millis(400)));
        assert_eq!(attempt.silent_for(later(500)), None);
        attempt.waiting.push(waiting(Reason::HealthDegraded));
        assert_eq!(attempt.silent_for(later(100)), None);
        attempt.waiting.clear();
        attempt.phase = OperationPhase::Failed;
        assert_eq!(attempt.silent_for(later(100)), None);
    }
}

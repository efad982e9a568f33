//! What the operator remembers of one Application between reconciles. All of it can be lost: the inventory is read back
//! from the cluster, the rest is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::AttemptMemory;
use super::overriding::Overriding;
use crate::api::ApplicationStatus;
use crate::desired::DesiredSet;
use crate::model::{Hash64, Inventory, ObjectKey, Revision};
use crate::plan::LastAttempt;
use crate::render::RenderInputs;
use crate::status::Failure;

/// Healing may follow at once this often; then it is held back.
const FREE_HEALS: u32 = 3;
/// Longest pause between heals.
const LONGEST_HEAL_PAUSE: Duration = Duration::from_mins(5);
/// A heal that lasted this long proves that nobody fights it.
const HEAL_LASTED: Duration = Duration::from_mins(10);

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
    /// A refresh that was asked for and not answered yet: the annotation's value, and by repository the number of the
    /// poll that answers it.
    pub(super) refresh: Option<(String, BTreeMap<String, u64>)>,
    /// What the running operation brings instead of what the spec wants.
    pub(super) overriding: Option<Overriding>,
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
    /// The newest commit for which it holds: of several sources, that of the first that renders something.
    pub(super) revision: Revision,
    /// The newest commit of each source for which it holds.
    pub(super) revisions: Vec<Revision>,
    /// The commit that is reported: the one that last changed a file that was read. A commit that touches nothing of
    /// this Application must not cause a write to its status. Of several sources, that of the first that renders
    /// something.
    pub(super) reported: String,
    /// The same of each source; empty for an Application that has `source` instead of `sources`.
    pub(super) reported_revisions: Vec<String>,
    /// The tag that each source's commit has by a range of versions (`v1.4.2`).
    pub(super) tags: Vec<Option<String>>,
    /// What was read.
    pub(super) inputs: Vec<TreeInputs>,
    /// Whether it may depend on which kinds the API server serves.
    pub(super) uses_surface: bool,
    /// The set.
    pub(super) desired: Arc<DesiredSet>,
    /// Hash of the whole set.
    pub(super) hash: Hash64,
    /// What the renderer had to say.
    pub(super) warnings: Vec<String>,
}

impl Held {
    /// How messages call what is reported: `0123456`, or `0123456 (v1.4.2)` when a range of versions gave it.
    pub(super) fn described(&self) -> String {
        let short: String = self.reported.chars().take(7).collect();
        let tags: Vec<&str> = self.tags.iter().flatten().map(String::as_str).collect();
        if tags.is_empty() { short } else { format!("{short} ({})", tags.join(", ")) }
    }
}

/// What a render read of the tree of one source, its own or another's.
#[derive(Clone)]
pub(super) struct TreeInputs {
    /// Place of the source whose tree it is.
    pub(super) source: usize,
    /// The files that were read.
    pub(super) inputs: RenderInputs,
    /// Whether the commit of that source is itself part of the result.
    pub(super) uses_revision: bool,
}

/// A source that can't be used, with what that was found from.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Hash of all of the spec that goes into it, of the project and of the served kinds.
    pub(super) parameters: Hash64,
    /// The commit of each source.
    pub(super) revisions: Vec<Revision>,
    /// Why.
    pub(super) failure: Failure,
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
}

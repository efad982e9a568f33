//! What the operator remembers of one Application between reconciles. All of it can be lost: the inventory is read back
//! from the cluster, the rest is made again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::attempt::AttemptMemory;
use super::explain::Explanations;
use super::overriding::Overriding;
use super::requests::Asked;
use crate::api::{ApplicationStatus, SyncWindowStatus};
use crate::desired::DesiredSet;
use crate::diff::{IgnoreRules, Verdict};
use crate::model::{Hash64, Inventory, ObjectKey, Revision, short_revision};
use crate::plan::Waiting;
use crate::plan::{Heals, LastAttempt};
use crate::render::RenderInputs;
use crate::status::Failure;

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
    /// A sync that a person asked for and that has not begun.
    pub(super) asked: Option<Asked>,
    /// What the running operation brings instead of what the spec wants.
    pub(super) overriding: Option<Overriding>,
    /// When an operation of a person that failed is tried again.
    pub(super) retry_at: Option<Timestamp>,
    /// What keeps a sync from starting although there is something to do.
    pub(super) kept_by: Option<Failure>,
    /// What other Applications are waited for.
    pub(super) awaited: Vec<Waiting>,
    /// How the project's sync windows stand.
    pub(super) sync_window: Option<SyncWindowStatus>,
    /// Rules of differences that don't count, compiled, with the settings that they are from.
    pub(super) rules: Option<CompiledRules>,
    /// Objects that were looked at closely.
    pub(super) examined: BTreeMap<ObjectKey, Seen>,
    /// What the pods of workloads told that are Degraded.
    pub(super) explanations: Explanations,
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
        let short = short_revision(&self.reported);
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

/// Rules of differences that don't count.
pub(super) struct CompiledRules {
    /// Hash of what they were compiled from.
    pub(super) source: Hash64,
    /// The rules.
    pub(super) rules: Arc<IgnoreRules>,
    /// What of them can't be used.
    pub(super) problems: Vec<String>,
}

/// What a close look at an object found. Valid as long as its verdict is.
pub(super) struct Seen {
    /// What it comes to.
    pub(super) verdict: Verdict,
    /// Fields that people added, as JSON pointers.
    pub(super) extras: Vec<String>,
}

//! What a plan is made of: steps in groups. Groups run one after the other, with a gate on health between them; inside a
//! group a step runs as soon as what it needs is there, lower ranks of kinds first.

use std::fmt;

use crate::desired::DependencyState;
use crate::model::{ObjectKey, Phase, Reason};

/// Identity of a step. A hook that names two phases is two steps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The phase.
    pub phase: Phase,
    /// The object. A hook with `generateName` has the name that this attempt gives it.
    pub key: ObjectKey,
}

impl fmt::Display for StepId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.phase == Phase::Sync {
            write!(formatter, "{}", self.key)
        } else {
            write!(formatter, "{} ({})", self.key, self.phase)
        }
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Apply an object that is not there.
    Create,
    /// Apply an object that is there and differs.
    Configure,
    /// Leave an object that is in sync; it still counts for its wave's gate.
    Keep,
    /// Wait until an object that is being deleted is gone.
    AwaitGone,
    /// Delete an object after a live proof that it is ours; the uid as last seen, if it was seen.
    Prune {
        /// `metadata.uid` that the proof must find.
        uid: Option<String>,
    },
    /// Run a hook to its end.
    Hook {
        /// Its place in the desired set's list of hooks.
        index: usize,
    },
}

/// Why one step needs another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeedCause {
    /// The other defines its kind.
    Definition,
    /// The other is its Namespace.
    Namespace,
    /// The other is the ServiceAccount it runs as, or grants that account its rights.
    Account,
    /// The other is a ConfigMap, Secret or claim that its pods mount or read.
    Configuration,
    /// The other is the Service that its webhooks or its API are served by, or a workload behind that Service.
    Webhook,
    /// An annotation says so.
    Explicit,
}

/// What must be so of an object before a step may run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The object: of this plan, or one that stands outside the Application.
    pub on: ObjectKey,
    /// What must be so of it.
    pub state: DependencyState,
    /// Why.
    pub cause: NeedCause,
}

/// One object and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub id: StepId,
    /// What is done.
    pub action: Action,
    /// Place of its kind: of the steps that may run, those of the lowest rank run first.
    pub rank: u16,
    /// What it needs; sorted.
    pub needs: Vec<Need>,
}

/// Whether a group brings or takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Its steps apply objects and run hooks. It is done when all of them are healthy, or finished.
    Apply,
    /// Its steps prune. It is done when the objects are gone. Steps run from the highest rank to the lowest.
    Prune,
}

/// Steps between two gates: of one phase and one wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The phase.
    pub phase: Phase,
    /// The sync wave.
    pub wave: i32,
    /// Whether it brings or takes away.
    pub work: Work,
    /// How many groups of the same phase, wave and work come after it. Counted from the end, so that it stays the same when
    /// groups before it are done with and a plan that is made anew has them no more.
    pub layer: u16,
    /// The steps, in the order in which they would run if nothing held them.
    pub steps: Vec<Step>,
}

/// An object for which there is no step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocked {
    /// The object.
    pub key: ObjectKey,
    /// Why.
    pub reason: Reason,
    /// What a person can do.
    pub message: String,
}

/// All that will be done, in order.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The groups, in the order in which they run.
    pub groups: Vec<Group>,
    /// The groups that run instead of the rest when a group has failed (`SyncFail`).
    pub on_failure: Vec<Group>,
    /// Objects that the plan leaves alone although they differ.
    pub blocked: Vec<Blocked>,
}

/// Dependencies that contradict each other or the waves, so that no order satisfies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// The steps of the circle, each with why it waits for the next one; the last waits for the first.
    pub links: Vec<(StepId, String)>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("dependencies go in a circle, so nothing was applied: ")?;
        for (id, why) in &self.links {
            write!(formatter, "{id} waits for ({why}) → ")?;
        }
        match self.links.first() {
            Some((first, _)) => write!(formatter, "{first}; remove one of these dependencies, or change a wave"),
            None => Ok(()),
        }
    }
}

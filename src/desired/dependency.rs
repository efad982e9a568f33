//! Explicit dependencies of one object on another (`tidelock.dev/depends-on`).

use crate::model::ObjectKey;

/// What must be so of an object before what depends on it is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DependencyState {
    /// It is in the cluster.
    Present,
    /// It is healthy at its current generation.
    #[default]
    Ready,
    /// It has run to its end and succeeded: a Job, a Pod, a Workflow, or a hook.
    Completed,
}

impl DependencyState {
    /// The word for it in annotations and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Ready => "ready",
            Self::Completed => "completed",
        }
    }
}

/// One entry of `tidelock.dev/depends-on`: `<group>/<kind>/<namespace>/<name>[:present|ready|completed]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The object that is depended on; of this Application or of none.
    pub key: ObjectKey,
    /// What must be so of it.
    pub state: DependencyState,
}

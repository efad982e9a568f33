//! The phases of a sync and of a deletion, as Argo CD has them.

use std::fmt;

/// A phase. In the order in which they run; those of a deletion never meet those of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Hooks before anything is applied.
    PreSync,
    /// Everything that is no hook, and hooks among it.
    Sync,
    /// Hooks after everything is healthy.
    PostSync,
    /// Hooks after a sync failed.
    SyncFail,
    /// Hooks before the objects of an Application that is deleted go.
    PreDelete,
    /// Hooks after they are gone.
    PostDelete,
}

impl Phase {
    /// The name as it stands in annotations and in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreSync => "PreSync",
            Self::Sync => "Sync",
            Self::PostSync => "PostSync",
            Self::SyncFail => "SyncFail",
            Self::PreDelete => "PreDelete",
            Self::PostDelete => "PostDelete",
        }
    }
}

impl Phase {
    /// All phases, in the order in which they run.
    pub const ALL: [Self; 6] =
        [Self::PreSync, Self::Sync, Self::PostSync, Self::SyncFail, Self::PreDelete, Self::PostDelete];

    /// The phase of a name as it stands in annotations and in status.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

//! How an object is applied.

use std::time::Duration;

use super::Mode;
use super::delete::Propagation;
use crate::model::Owner;

/// What the server does about fields that a kind does not declare (sync option `Validate`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// It refuses the object.
    #[default]
    Strict,
    /// The fields are dropped.
    Ignore,
}

impl Validation {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Ignore => "Ignore",
        }
    }
}

/// Leave to delete an object that can't be changed and to make it again (sync option `Force`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Force {
    /// The Application that the object's marks must name, unless the object carries no marks at all.
    pub owner: Owner,
    /// What happens to the object's dependents.
    pub propagation: Propagation,
    /// How long the object may take to go before the apply fails.
    pub gone_within: Duration,
}

/// How an object is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Whether an apply is meant.
    pub mode: Mode,
    /// The version that the object was last seen with; the object is unchanged when it still has it afterwards.
    pub known_resource_version: Option<u64>,
    /// What happens to fields that the kind does not declare.
    pub validation: Validation,
    /// Whether what stands in the cluster is replaced as a whole (sync option `Replace`). What others added goes, but for
    /// finalizers and owner references.
    pub replace: bool,
    /// Whether an object that can't be changed is deleted and made again, and how. Namespaces, definitions of kinds and volumes
    /// never are.
    pub force: Option<Force>,
    /// The field managers whose fields become ours, as [`super::predecessors`] lists them (sync option
    /// `ClientSideApplyMigration`); empty when nothing is taken over. Costs requests only for objects that such a manager
    /// wrote.
    pub take_over: Vec<String>,
    /// Whether the object is read first, so that a takeover comes before the apply and the object changes once instead of
    /// twice: a second change of a pod template is a second rollout. Worth its request where an object is about to be
    /// adopted that nobody has looked at.
    pub look_first: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Write,
            known_resource_version: None,
            validation: Validation::Strict,
            replace: false,
            force: None,
            take_over: Vec::new(),
            look_first: false,
        }
    }
}

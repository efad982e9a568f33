//! Hooks: objects that run at a phase of a sync instead of standing in the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::DesiredObject;
use crate::model::Phase;

/// When a hook's object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookDeletePolicy {
    /// Before the hook runs anew; the default when no policy is stated.
    BeforeHookCreation,
    /// When the hook succeeded; with the sync option `HookDeletion=AfterSync`, when the whole sync succeeded, as in Argo CD.
    HookSucceeded,
    /// When the hook failed.
    HookFailed,
}

/// One hook, in every phase that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The object. Its key has an empty name when `generate_name` is set.
    pub object: Arc<DesiredObject>,
    /// The phases it runs at; at least one.
    pub phases: BTreeSet<Phase>,
    /// When its object is deleted; at least one.
    pub delete_policies: BTreeSet<HookDeletePolicy>,
    /// `metadata.generateName`, when the object has no name of its own.
    pub generate_name: Option<String>,
}

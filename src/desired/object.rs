//! The desired set and its objects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::{Dependency, Hook, ObjectOptions};
use crate::model::{GroupKind, GroupVersionKind, Hash64, ObjectKey, Origin};

/// One object as it will be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredObject {
    /// Identity.
    pub key: ObjectKey,
    /// Group, version and kind to apply it as.
    pub gvk: GroupVersionKind,
    /// The object in canonical JSON, ownership marks included. Held as bytes: it is sent as it is, and a tree of
    /// values would cost ten times the memory.
    pub body: Bytes,
    /// Hash of `body`.
    pub hash: Hash64,
    /// Sync wave.
    pub wave: i32,
    /// Options from its annotations.
    pub options: ObjectOptions,
    /// What it depends on by annotation.
    pub depends_on: Vec<Dependency>,
    /// Where it came from.
    pub origin: Origin,
    /// Whether its kind is served only once a CustomResourceDefinition of the same set is established.
    pub kind_is_new: bool,
}

/// Everything an Application wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredSet {
    /// Objects by identity.
    pub objects: BTreeMap<ObjectKey, Arc<DesiredObject>>,
    /// Hooks, in the order of phase, wave, kind and name of their first phase.
    pub hooks: Vec<Hook>,
    /// What a person should know although it stops nothing.
    pub warnings: Vec<String>,
}

impl DesiredSet {
    /// The kinds of the objects and of the hooks.
    pub fn kinds(&self) -> impl Iterator<Item = GroupKind> + '_ {
        let hooks = self.hooks.iter().map(|hook| &hook.object.key);
        self.objects.keys().chain(hooks).map(ObjectKey::group_kind)
    }

    /// The objects outside of the set that its objects and hooks depend on by annotation, so that they have to be watched.
    pub fn outside_dependencies(&self) -> BTreeSet<&ObjectKey> {
        let hooks = self.hooks.iter().map(|hook| &hook.object);
        let hook_keys: BTreeSet<&ObjectKey> = hooks.clone().map(|object| &object.key).collect();
        self.objects
            .values()
            .chain(hooks)
            .flat_map(|object| &object.depends_on)
            .map(|dependency| &dependency.key)
            .filter(|key| !self.objects.contains_key(key) && !hook_keys.contains(key))
            .collect()
    }
}

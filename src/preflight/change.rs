//! What else comes with a change: an object that needs it can't be judged before it is there.

use std::collections::BTreeSet;

use super::Definitions;
use crate::desired::DesiredObject;
use crate::model::ObjectKey;

/// What comes with a change.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Kinds whose definitions are written.
    pub definitions: Definitions,
    /// Namespaces that are written.
    pub namespaces: BTreeSet<String>,
    /// Everything that is written.
    pub objects: BTreeSet<ObjectKey>,
}

impl Change {
    /// The change that writes these objects, and the namespace that `CreateNamespace` would make.
    pub fn of<'a>(
        written: impl IntoIterator<Item = &'a DesiredObject> + Clone,
        created_namespace: Option<&str>,
    ) -> Self {
        let objects: BTreeSet<ObjectKey> = written.clone().into_iter().map(|object| object.key.clone()).collect();
        let of_kind = objects.iter().filter(|key| key.group.is_empty() && key.kind == "Namespace");
        let namespaces = of_kind.map(|key| key.name.clone()).chain(created_namespace.map(str::to_owned)).collect();
        Self { definitions: Definitions::of(written), namespaces, objects }
    }
}

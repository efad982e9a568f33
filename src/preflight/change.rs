//! What else comes with a change: an object that needs it can't be judged before it is there.

use std::collections::BTreeSet;

use super::Definitions;
use crate::desired::DesiredObject;
use crate::model::ObjectKey;

/// What comes with a change.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Kinds that the Application defines.
    pub definitions: Definitions,
    /// Namespaces that are written.
    pub namespaces: BTreeSet<String>,
    /// Everything that is written.
    pub objects: BTreeSet<ObjectKey>,
}

impl Change {
    /// The change that writes some of an Application's objects, and the namespace that `CreateNamespace` would make.
    ///
    /// All desired objects are wanted, not only those that are written: a definition that is there already may not be served
    /// yet.
    pub fn of<'a>(
        desired: impl IntoIterator<Item = &'a DesiredObject>,
        is_written: impl Fn(&ObjectKey) -> bool,
        created_namespace: Option<&str>,
    ) -> Self {
        let mut change = Self::default();
        change.namespaces.extend(created_namespace.map(str::to_owned));
        for object in desired {
            let written = is_written(&object.key);
            change.definitions.take(object, written);
            if written {
                if object.key.group.is_empty() && object.key.kind == "Namespace" {
                    change.namespaces.insert(object.key.name.clone());
                }
                change.objects.insert(object.key.clone());
            }
        }
        change
    }
}

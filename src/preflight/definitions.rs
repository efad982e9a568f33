//! The kinds that CustomResourceDefinitions of an Application define.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::desired::DesiredObject;
use crate::model::GroupVersionKind;

/// One version of a kind as its definition describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// `openAPIV3Schema`; `None` when the definition has none or keeps every field (`preserveUnknownFields`).
    pub schema: Option<Value>,
    /// Whether the change writes the definition; otherwise the server has it already.
    pub is_written: bool,
}

/// Kinds by group, version and kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    kinds: BTreeMap<GroupVersionKind, Definition>,
}

impl Definitions {
    /// What is known of a kind.
    pub fn get(&self, kind: &GroupVersionKind) -> Option<&Definition> {
        self.kinds.get(kind)
    }

    /// Takes in what an object defines, in the versions that are served; nothing unless it is a CustomResourceDefinition.
    pub(super) fn take(&mut self, object: &DesiredObject, is_written: bool) {
        if object.key.group != "apiextensions.k8s.io" || object.key.kind != "CustomResourceDefinition" {
            return;
        }
        // What is not valid JSON is refused by the server itself.
        let Ok(definition) = serde_json::from_slice::<Value>(&object.body) else { return };
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let keeps_all = definition.pointer("/spec/preserveUnknownFields").and_then(Value::as_bool).unwrap_or_default();
        let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
        for version in versions.into_iter().flatten() {
            if version.get("served").and_then(Value::as_bool) != Some(true) {
                continue;
            }
            let name = version.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let schema = version.pointer("/schema/openAPIV3Schema").filter(|_| !keeps_all).cloned();
            let kind = GroupVersionKind { group: text("/spec/group"), version: name, kind: text("/spec/names/kind") };
            self.kinds.insert(kind, Definition { schema, is_written });
        }
    }
}

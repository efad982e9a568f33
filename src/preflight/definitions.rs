//! The kinds that CustomResourceDefinitions of a change define.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::desired::DesiredObject;
use crate::model::GroupVersionKind;

/// One version of a kind as its definition describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// `openAPIV3Schema`; `None` when the definition has none or keeps every field (`preserveUnknownFields`).
    pub schema: Option<Value>,
}

/// Kinds by group, version and kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definitions {
    kinds: BTreeMap<GroupVersionKind, Definition>,
}

impl Definitions {
    /// The kinds that the definitions among some objects define, in the versions that are served.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a DesiredObject>) -> Self {
        let mut kinds = BTreeMap::new();
        let definitions = objects.into_iter().filter(|object| {
            object.key.group == "apiextensions.k8s.io" && object.key.kind == "CustomResourceDefinition"
        });
        for definition in definitions {
            // What is not valid JSON is refused by the server itself.
            if let Ok(definition) = serde_json::from_slice::<Value>(&definition.body) {
                take(&mut kinds, &definition);
            }
        }
        Self { kinds }
    }

    /// What is known of a kind.
    pub fn get(&self, kind: &GroupVersionKind) -> Option<&Definition> {
        self.kinds.get(kind)
    }
}

fn take(kinds: &mut BTreeMap<GroupVersionKind, Definition>, definition: &Value) {
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
        kinds.insert(kind, Definition { schema });
    }
}

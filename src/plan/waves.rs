//! Where each step stands: its phase and its wave, and what is pulled ahead of them.

use std::collections::BTreeMap;

use super::graph::{Action, StepId};
use super::order::kind_rank;
use super::references::Definition;
use crate::desired::DesiredObject;
use crate::model::{ObjectKey, Phase};

/// Phase and wave: groups run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) phase: Phase,
    pub(super) wave: i32,
}

/// A step on its way into the plan.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) id: StepId,
    pub(super) object: &'a DesiredObject,
    pub(super) action: Action,
    pub(super) rank: u16,
    /// Where it runs.
    pub(super) place: Place,
    /// Where its annotations put it.
    pub(super) stated: Place,
    /// The node that needs it so early that it does not run where it was put.
    pub(super) pulled_by: Option<usize>,
}

impl<'a> Node<'a> {
    pub(super) fn new(id: StepId, object: &'a DesiredObject, action: Action) -> Self {
        let place = Place { phase: id.phase, wave: object.wave };
        let rank = kind_rank(&id.key.group, &id.key.kind);
        Self { id, object, action, rank, place, stated: place, pulled_by: None }
    }

    fn is_hook(&self) -> bool {
        matches!(self.action, Action::Hook { .. })
    }
}

/// Whether it is a Namespace.
pub(super) fn is_namespace(key: &ObjectKey) -> bool {
    key.group.is_empty() && key.kind == "Namespace"
}

/// Whether it is a CustomResourceDefinition.
pub(super) fn is_definition(key: &ObjectKey) -> bool {
    key.group == "apiextensions.k8s.io" && key.kind == "CustomResourceDefinition"
}

/// Puts each Namespace no later than the first object inside it, and each definition no later than the first object of
/// its kind, hooks included. Hooks themselves stay at the phases that they name.
pub(super) fn pull_ahead(nodes: &mut [Node<'_>], definitions: &BTreeMap<usize, Definition<'_>>) {
    let mut inside: BTreeMap<&str, (Place, usize)> = BTreeMap::new();
    let mut of_kind: BTreeMap<(&str, &str), (Place, usize)> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let (key, candidate) = (&node.id.key, (node.place, index));
        if !key.namespace.is_empty() {
            let first = inside.entry(&key.namespace).or_insert(candidate);
            *first = candidate.min(*first);
        }
        let first = of_kind.entry((&key.group, &key.kind)).or_insert(candidate);
        *first = candidate.min(*first);
    }
    let mut pulled = Vec::new();
    for (index, node) in nodes.iter().enumerate().filter(|(_, node)| !node.is_hook()) {
        let dependent = if is_namespace(&node.id.key) {
            inside.get(node.id.key.name.as_str())
        } else {
            definitions.get(&index).and_then(|definition| of_kind.get(&(&*definition.group, &*definition.kind)))
        };
        if let Some((place, by)) = dependent.filter(|(place, _)| *place < node.place) {
            pulled.push((index, *place, *by));
        }
    }
    for (index, place, by) in pulled {
        if let Some(node) = nodes.get_mut(index) {
            node.place = place;
            node.pulled_by = Some(by);
        }
    }
}

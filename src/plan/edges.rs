//! What each step waits for: by annotation, and by what its body refers to.

use std::collections::BTreeMap;

use super::cycle::{components, find_circle};
use super::graph::{Cycle, Need, NeedCause, StepId};
use super::inferred::inferred;
use super::references::Definition;
use super::waves::{Node, Place, is_namespace};
use crate::desired::{DEPENDS_ON_ANNOTATION, DependencyState};
use crate::model::Phase;

/// One step waits for another of the same plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) state: DependencyState,
    pub(super) cause: NeedCause,
}

/// What the steps wait for besides the groups before theirs.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    /// Between steps of one plan. Without a circle inside a group.
    pub(super) inside: Vec<Edge>,
    /// On objects without a step.
    pub(super) outside: Vec<(usize, Need)>,
}

/// Steps by (name, namespace, kind, group), in the order of the nodes.
pub(super) type Index<'a> = BTreeMap<(&'a str, &'a str, &'a str, &'a str), Vec<usize>>;

/// Finds everything that steps wait for.
///
/// What is inferred gives way: against waves it has no effect, and where it would close a circle it is left out.
///
/// # Errors
/// A circle of explicit dependencies, waves, Namespaces and definitions.
pub(super) fn edges(nodes: &[Node<'_>], definitions: &BTreeMap<usize, Definition<'_>>) -> Result<Edges, Cycle> {
    let mut index: Index<'_> = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        let key = &node.id.key;
        index.entry((&key.name, &key.namespace, &key.kind, &key.group)).or_default().push(number);
    }
    let (mut firm, outside) = explicit(nodes, &index);
    holders(nodes, definitions, &mut firm);
    firm.sort_unstable();
    firm.dedup();
    if let Some(edge) = firm.iter().find(|edge| nodes[edge.to].place > nodes[edge.from].place) {
        return Err(against_the_waves(nodes, edge));
    }
    let same_place = |edge: &&Edge| nodes[edge.from].place == nodes[edge.to].place;
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for edge in firm.iter().filter(same_place) {
        next[edge.from].push(edge.to);
    }
    if let Some(circle) = find_circle(&next) {
        return Err(told(nodes, &firm, &circle));
    }

    let mut inferred = inferred(nodes, &index, definitions);
    inferred.sort_unstable();
    inferred.dedup();
    for edge in &inferred {
        next[edge.from].push(edge.to);
    }
    let component = components(&next);
    // What is left between different components can't close a circle, and inside one only firm edges are left.
    inferred.retain(|edge| component[edge.from] != component[edge.to]);
    firm.extend(inferred);
    Ok(Edges { inside: firm, outside })
}

fn explicit(nodes: &[Node<'_>], index: &Index<'_>) -> (Vec<Edge>, Vec<(usize, Need)>) {
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (from, node) in nodes.iter().enumerate() {
        for dependency in &node.object.depends_on {
            let key = &dependency.key;
            let steps = index.get(&(key.name.as_str(), key.namespace.as_str(), key.kind.as_str(), key.group.as_str()));
            // A hook may be several steps: the last that runs no later, or else the first of all.
            let before = |to: &&usize| nodes[**to].place <= node.place && (**to != from || node.id.key != *key);
            let last = steps.and_then(|steps| steps.iter().filter(before).max_by_key(|to| nodes[**to].place));
            match last.or_else(|| steps?.iter().min_by_key(|to| nodes[**to].place)) {
                Some(to) => {
                    inside.push(Edge { from, to: *to, state: dependency.state, cause: NeedCause::Explicit });
                }
                None => {
                    outside.push((from, Need { on: key.clone(), state: dependency.state, cause: NeedCause::Explicit }));
                }
            }
        }
    }
    (inside, outside)
}

/// Namespaces and definitions of the same group; those of earlier groups are there already.
fn holders(nodes: &[Node<'_>], definitions: &BTreeMap<usize, Definition<'_>>, firm: &mut Vec<Edge>) {
    let mut namespaces: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate().filter(|(_, node)| is_namespace(&node.id.key)) {
        namespaces.entry(&node.id.key.name).or_default().push(number);
    }
    let mut defining: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (number, definition) in definitions {
        defining.entry((&definition.group, &definition.kind)).or_default().push(*number);
    }
    for (from, node) in nodes.iter().enumerate() {
        let key = &node.id.key;
        let mut need = |steps: Option<&Vec<usize>>, cause| {
            let beside = steps.into_iter().flatten().filter(|to| nodes[**to].place == node.place);
            firm.extend(beside.map(|to| Edge { from, to: *to, state: DependencyState::Ready, cause }));
        };
        if !key.namespace.is_empty() {
            need(namespaces.get(key.namespace.as_str()), NeedCause::Namespace);
        }
        need(defining.get(&(key.group.as_str(), key.kind.as_str())), NeedCause::Definition);
    }
}

/// The circle of a dependency on something that comes later.
fn against_the_waves(nodes: &[Node<'_>], edge: &Edge) -> Cycle {
    let (from, to) = (&nodes[edge.from], &nodes[edge.to]);
    let why = cause(edge.cause);
    match from.pulled_by.map(|by| &nodes[by]) {
        // Where it was put it could have waited; what needs it earlier is a part of the circle.
        Some(by) if to.place <= from.stated => {
            let needs = if is_namespace(&from.id.key) { NeedCause::Namespace } else { NeedCause::Definition };
            Cycle {
                links: vec![
                    (from.id.clone(), why),
                    (to.id.clone(), later(to.place, by.place)),
                    (by.id.clone(), cause(needs)),
                ],
            }
        }
        _ => Cycle { links: vec![(from.id.clone(), why), (to.id.clone(), later(to.place, from.place))] },
    }
}

fn later(place: Place, than: Place) -> String {
    if place.phase == than.phase {
        return format!("wave {} comes after wave {}", place.wave, than.wave);
    }
    let last = if place.phase == Phase::SyncFail { ", which runs only after a failure" } else { "" };
    format!("phase {} comes after phase {}{last}", place.phase, than.phase)
}

fn cause(cause: NeedCause) -> String {
    match cause {
        NeedCause::Definition => "that defines its kind".to_owned(),
        NeedCause::Namespace => "that is its Namespace".to_owned(),
        NeedCause::Account => "its pods run by these rights".to_owned(),
        NeedCause::Configuration => "its pods read it".to_owned(),
        NeedCause::Webhook => "it is served by it".to_owned(),
        NeedCause::Explicit => DEPENDS_ON_ANNOTATION.to_owned(),
    }
}

fn told(nodes: &[Node<'_>], firm: &[Edge], circle: &[usize]) -> Cycle {
    let link = |(place, from): (usize, &usize)| -> (StepId, String) {
        let to = circle.get(place + 1).or_else(|| circle.first());
        let edge = firm.iter().find(|edge| edge.from == *from && Some(&edge.to) == to);
        (nodes[*from].id.clone(), edge.map(|edge| cause(edge.cause)).unwrap_or_default())
    };
    Cycle { links: circle.iter().enumerate().map(link).collect() }
}

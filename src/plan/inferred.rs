//! What bodies refer to: accounts and their rights, configuration, and the Services behind webhooks.
//!
//! Only steps of one group wait for each other: what an earlier group brings is there, and what a later one brings was put
//! there on purpose.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::edges::{Edge, Index};
use super::graph::NeedCause;
use super::references::{Definition, Labels, ServiceReference, binding, pod_use, selector, served_by};
use super::waves::Node;
use crate::desired::DependencyState;

/// Namespace and name of a ServiceAccount.
type Account<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The edges that bodies ask for; unsorted, and not free of circles.
pub(super) fn inferred(
    nodes: &[Node<'_>],
    index: &Index<'_>,
    definitions: &BTreeMap<usize, Definition<'_>>,
) -> Vec<Edge> {
    let mut found = Found { nodes, index, edges: Vec::new() };
    let rights = rights(nodes, index);
    let mut running: BTreeMap<&str, Vec<(usize, Labels)>> = BTreeMap::new();
    for (from, node) in nodes.iter().enumerate() {
        let Some(pods) = pod_use(&node.id.key, &node.object.body) else { continue };
        let namespace = node.id.key.namespace.as_str();
        found.need(from, (&pods.account, namespace, "ServiceAccount", ""), NeedCause::Account);
        for to in rights.get(&(Cow::Borrowed(namespace), Cow::Borrowed(&*pods.account))).into_iter().flatten() {
            found.need_step(from, *to, DependencyState::Present, NeedCause::Account);
        }
        for (kind, name) in &pods.configuration {
            found.need(from, (name, namespace, kind, ""), NeedCause::Configuration);
        }
        // Pods that run to their end serve nothing.
        if node.id.key.group != "batch" {
            running.entry(namespace).or_default().push((from, pods.labels));
        }
    }
    let mut behind = Behind { nodes, index, running: &running, known: BTreeMap::new() };
    for (from, node) in nodes.iter().enumerate() {
        for service in served_by(&node.id.key, &node.object.body) {
            found.served(from, &behind.of(&service));
        }
    }
    // A conversion webhook is called for objects of the kind. Its definition does not wait: the workload behind it often
    // starts only once the definition is there.
    let converted: BTreeMap<(&str, &str), &ServiceReference<'_>> = definitions
        .values()
        .filter_map(|definition| Some(((&*definition.group, &*definition.kind), definition.conversion.as_ref()?)))
        .collect();
    if !converted.is_empty() {
        for (from, node) in nodes.iter().enumerate() {
            let key = &node.id.key;
            if let Some(service) = converted.get(&(key.group.as_str(), key.kind.as_str())) {
                found.served(from, &behind.of(service));
            }
        }
    }
    found.edges
}

struct Found<'a> {
    nodes: &'a [Node<'a>],
    index: &'a Index<'a>,
    edges: Vec<Edge>,
}

impl Found<'_> {
    fn need_step(&mut self, from: usize, to: usize, state: DependencyState, cause: NeedCause) {
        let place = |step: usize| self.nodes.get(step).map(|node| node.place);
        if from != to && place(from) == place(to) {
            self.edges.push(Edge { from, to, state, cause });
        }
    }

    /// Needs the presence of an object by (name, namespace, kind, group).
    fn need(&mut self, from: usize, on: (&str, &str, &str, &str), cause: NeedCause) {
        let index = self.index;
        for to in index.get(&on).into_iter().flatten() {
            self.need_step(from, *to, DependencyState::Present, cause);
        }
    }

    fn served(&mut self, from: usize, by: &[(usize, DependencyState)]) {
        for (to, state) in by {
            self.need_step(from, *to, *state, NeedCause::Webhook);
        }
    }
}

/// Bindings and the roles they bind, by the account that they give rights to.
fn rights<'a>(nodes: &'a [Node<'_>], index: &Index<'_>) -> BTreeMap<Account<'a>, BTreeSet<usize>> {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let mut rights: BTreeMap<Account<'a>, BTreeSet<usize>> = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        let key = &node.id.key;
        if key.group != GROUP || !matches!(key.kind.as_str(), "RoleBinding" | "ClusterRoleBinding") {
            continue;
        }
        let Some(binding) = binding(&node.object.body) else { continue };
        let namespace = if binding.role.kind == "Role" { key.namespace.as_str() } else { "" };
        let role = index.get(&(&*binding.role.name, namespace, &*binding.role.kind, GROUP));
        for subject in binding.subjects.into_iter().flatten().filter(|subject| subject.kind == "ServiceAccount") {
            let account = rights.entry((subject.namespace, subject.name)).or_default();
            account.insert(number);
            account.extend(role.into_iter().flatten());
        }
    }
    rights
}

/// Finds what stands behind a Service, each Service once.
struct Behind<'a> {
    nodes: &'a [Node<'a>],
    index: &'a Index<'a>,
    running: &'a BTreeMap<&'a str, Vec<(usize, Labels)>>,
    known: BTreeMap<(String, String), Vec<(usize, DependencyState)>>,
}

impl Behind<'_> {
    /// The Service, and the workloads whose pods it selects, which must be up.
    fn of(&mut self, service: &ServiceReference<'_>) -> Vec<(usize, DependencyState)> {
        let id = (service.namespace.to_string(), service.name.to_string());
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let mut found = Vec::new();
        let steps = self.index.get(&(&*service.name, &*service.namespace, "Service", ""));
        for step in steps.into_iter().flatten() {
            found.push((*step, DependencyState::Present));
            let wanted = self.nodes.get(*step).map(|node| selector(&node.object.body)).unwrap_or_default();
            if wanted.is_empty() {
                continue;
            }
            let workloads = self.running.get(&*service.namespace).into_iter().flatten();
            let selected = workloads
                .filter(|(_, labels)| wanted.iter().all(|(label, value)| labels.get(label) == Some(value)))
                .map(|(workload, _)| (*workload, DependencyState::Ready));
            found.extend(selected);
        }
        self.known.insert(id, found.clone());
        found
    }
}

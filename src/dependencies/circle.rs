//! Circles of Applications that wait for each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::identity::ApplicationId;

/// Which Applications each Application depends on.
pub type Edges = BTreeMap<ApplicationId, BTreeSet<ApplicationId>>;

/// The shortest circle that an Application is part of, from itself to itself; `None` when there is none. One that only
/// depends on a circle is no part of it.
pub fn circle(of: &ApplicationId, edges: &Edges) -> Option<Vec<ApplicationId>> {
    let mut reached_from: BTreeMap<&ApplicationId, &ApplicationId> = BTreeMap::new();
    let mut frontier = VecDeque::from([of]);
    while let Some(application) = frontier.pop_front() {
        for next in edges.get(application).into_iter().flatten() {
            if next == of {
                let mut path = vec![of.clone(), application.clone()];
                let mut at = application;
                while let Some(before) = reached_from.get(at) {
                    path.push((*before).clone());
                    at = before;
                }
                path.reverse();
                if application == of {
                    return Some(vec![of.clone(), of.clone()]);
                }
                return Some(path);
            }
            if !reached_from.contains_key(next) {
                reached_from.insert(next, application);
                frontier.push_back(next);
            }
        }
    }
    None
}

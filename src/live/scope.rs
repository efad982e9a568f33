//! Which objects one watch is about. Pure.

use std::fmt;

use crate::model::{GroupKind, ObjectKey};

/// Where a destination's objects are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// A kind in the whole cluster, by one watch.
    Cluster,
    /// A namespaced kind in each namespace that is concerned, by a watch for each.
    Namespaces,
}

impl Coverage {
    /// The watch that an object is seen by.
    pub fn scope_of(self, key: &ObjectKey) -> Scope {
        let namespace = match self {
            Self::Namespaces if !key.namespace.is_empty() => Some(key.namespace.clone()),
            Self::Cluster | Self::Namespaces => None,
        };
        Scope { kind: key.group_kind(), namespace }
    }
}

/// The objects of one kind, of the whole cluster or of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The kind.
    pub kind: GroupKind,
    /// The namespace; `None` is every one, and what is in none.
    pub namespace: Option<String>,
}

impl Scope {
    /// All objects of a kind.
    pub const fn all_of(kind: GroupKind) -> Self {
        Self { kind, namespace: None }
    }

    /// Whether an object is one of them.
    pub fn covers(&self, key: &ObjectKey) -> bool {
        key.group == self.kind.group
            && key.kind == self.kind.kind
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }
}

impl fmt::Display for Scope {
    /// ``apps/Deployment``, or ``apps/Deployment in the namespace `shop` ``.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            None => write!(formatter, "{}", self.kind),
            Some(namespace) => write!(formatter, "{} in the namespace `{namespace}`", self.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespaced_object_is_seen_in_its_namespace_where_namespaces_are_watched() {
        let (deployment, role) = (
            ObjectKey::new("apps", "Deployment", "shop", "cart"),
            ObjectKey::new("rbac.authorization.k8s.io", "ClusterRole", "", "cart"),
        );
        let all = Scope::all_of(GroupKind::new("apps", "Deployment"));
        let of_shop = Scope { namespace: Some("shop".to_owned()), ..all.clone() };
        assert_eq!(Coverage::Cluster.scope_of(&deployment), all);
        assert_eq!(Coverage::Namespaces.scope_of(&deployment), of_shop);
        assert_eq!(Coverage::Namespaces.scope_of(&role), Scope::all_of(role.group_kind()));
    }

    #[test]
    fn a_scope_covers_its_kind_in_its_namespace() {
        let all = Scope::all_of(GroupKind::new("", "ConfigMap"));
        let of_shop = Scope { namespace: Some("shop".to_owned()), ..all.clone() };
        let (ours, theirs) = (ObjectKey::new("", "ConfigMap", "shop", "a"), ObjectKey::new("", "ConfigMap", "x", "a"));
        assert!(all.covers(&ours) && all.covers(&theirs) && of_shop.covers(&ours));
        assert!(!of_shop.covers(&theirs));
        assert!(!all.covers(&ObjectKey::new("", "ConfigMaps", "shop", "a")));
    }
}

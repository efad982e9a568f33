//! Walking down a set of owned fields beside the object that it is about.

use serde_json::Value;

use super::{FieldSet, Node, Step, is_item};

/// A place in a [`FieldSet`] at or below which something is owned.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    node: &'a Node,
}

impl FieldSet {
    /// The place of the object as a whole.
    pub const fn root(&self) -> Owned<'_> {
        Owned { node: &self.root }
    }
}

impl<'a> Owned<'a> {
    /// Whether everything below is owned along: a scalar, or a map or list that is atomic.
    pub fn is_whole(self) -> bool {
        self.node.is_leaf()
    }

    /// Whether the place itself is owned, not only something below it.
    pub const fn is_itself(self) -> bool {
        self.node.is_owned
    }

    /// A field of a map.
    pub fn field(self, name: &str) -> Option<Self> {
        self.node.field(name).map(|node| Self { node })
    }

    /// What a step leads to.
    pub fn child(self, step: &Step) -> Option<Self> {
        self.node.children.iter().find_map(|(own, node)| (own == step).then_some(Self { node }))
    }

    /// All that is below, in the order of the record.
    pub fn children(self) -> impl Iterator<Item = (&'a Step, Self)> {
        self.node.children.iter().map(|(step, node)| (step, Self { node }))
    }

    /// An item of a list that is keyed by fields of its items, or a member of a set.
    pub fn item(self, item: &Value) -> Option<Self> {
        self.node.children.iter().find_map(|(step, node)| match step {
            Step::Item(keys) => is_item(keys, item).then_some(Self { node }),
            Step::Member(member) => (member == item).then_some(Self { node }),
            Step::Field(_) | Step::Index(_) => None,
        })
    }

    /// The names of the fields that tell the items of this list apart, when it is such a list.
    pub fn item_keys(self) -> Option<Vec<&'a str>> {
        self.node.children.iter().find_map(|(step, _)| match step {
            Step::Item(keys) => Some(keys.iter().map(|(name, _)| &**name).collect()),
            Step::Field(_) | Step::Member(_) | Step::Index(_) => None,
        })
    }

    /// Whether this is a list whose items count as members of a set.
    pub fn is_set(self) -> bool {
        self.node.children.iter().any(|(step, _)| matches!(step, Step::Member(_)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_walk_tells_what_kind_of_list_it_meets_and_what_is_owned() {
        let set = FieldSet::parse(&json!({
            "f:metadata": {"f:finalizers": {"v:\"a\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:image": {}}}, "f:selector": {}},
        }))
        .unwrap();
        let spec = set.root().field("spec").unwrap();
        let containers = spec.field("containers").unwrap();
        assert_eq!(containers.item_keys(), Some(vec!["name"]));
        assert!(!containers.is_set() && !containers.is_itself());
        let app = containers.item(&json!({"name": "app", "image": "x"})).unwrap();
        assert!(app.is_itself() && !app.is_whole() && app.field("image").is_some_and(Owned::is_whole));
        assert!(app.field("args").is_none() && containers.item(&json!({"name": "other"})).is_none());
        assert!(spec.field("selector").is_some_and(Owned::is_whole));
        let finalizers = set.root().field("metadata").and_then(|metadata| metadata.field("finalizers")).unwrap();
        assert!(
            finalizers.is_set() && finalizers.item(&json!("a")).is_some() && finalizers.item(&json!("b")).is_none()
        );
    }
}

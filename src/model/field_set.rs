//! Who owns which field: `metadata.managedFields` read as a set of paths.
//!
//! The API server records, per manager, the fields it set by server-side apply or update, as a tree of keys: `f:name` a
//! field, `k:{…}` the item of a list with these key fields, `v:…` the item of a set with this value, `i:n` the item at
//! an index, and `.` the node itself. A node without children is owned with everything below it: a scalar, or a list or
//! map that is atomic.

mod owned;

use std::fmt::Write as _;

use serde_json::{Map, Value};
use thiserror::Error;

use super::{Hash64, json_type};
pub use owned::Owned;

/// How deep a tree may be. Deeper objects are refused by the API server long before.
const MAX_DEPTH: usize = 256;

/// A `fieldsV1` that can't be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FieldSetError {
    /// A node is no JSON object.
    #[error("managed fields at `{path}`: an object is wanted, found {found}")]
    NotAnObject {
        /// Where, from the root.
        path: String,
        /// The JSON type found.
        found: &'static str,
    },
    /// A key begins with none of the known prefixes, or what follows is malformed.
    #[error("managed fields at `{path}`: the key `{key}` can't be read; it must begin with f:, k:, v: or i:")]
    UnknownKey {
        /// Where, from the root.
        path: String,
        /// The key, cut to a length that can be shown.
        key: String,
    },
    /// The tree is deeper than any object may be.
    #[error("managed fields are more than {MAX_DEPTH} levels deep")]
    TooDeep,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A field of a map.
    Field(Box<str>),
    /// The item of a list whose fields have these values.
    Item(Box<[(Box<str>, Value)]>),
    /// The item of a set that equals this value.
    Member(Value),
    /// The item of a list at this index.
    Index(usize),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// Whether the node itself is owned, not only things below it.
    is_owned: bool,
    /// In the order of the JSON keys.
    children: Box<[(Step, Node)]>,
}

impl Node {
    /// Owned with everything below it.
    fn is_leaf(&self) -> bool {
        self.is_owned && self.children.is_empty()
    }

    fn field(&self, name: &str) -> Option<&Self> {
        self.children.iter().find_map(|(step, node)| match step {
            Step::Field(field) if &**field == name => Some(node),
            Step::Field(_) | Step::Item(_) | Step::Member(_) | Step::Index(_) => None,
        })
    }
}

/// The fields that one manager owns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldSet {
    root: Node,
}

impl FieldSet {
    /// Reads the `fieldsV1` of an entry of `metadata.managedFields`.
    pub fn parse(fields_v1: &Value) -> Result<Self, FieldSetError> {
        let mut root = parse_node(fields_v1, &mut Vec::new())?;
        // An empty tree owns nothing; the object as a whole is never a member.
        root.is_owned = false;
        Ok(Self { root })
    }

    /// Whether nothing is owned.
    pub fn is_empty(&self) -> bool {
        self.root.children.is_empty()
    }

    /// Whether every leaf of an object that was, or is to be, applied is owned.
    ///
    /// Left out are the fields that server-side apply never records: `apiVersion`, `kind`, the object's name and
    /// namespace, what the API server writes into `metadata`, and `status`, which belongs to controllers. A `null` wants
    /// the absence of a field, so there is nothing to own. Key fields of a list's item may be missing from the object
    /// when the API server defaults them (`protocol` of a port).
    pub fn covers(&self, object: &Value) -> bool {
        let Value::Object(fields) = object else { return false };
        fields.iter().all(|(name, value)| match name.as_str() {
            "apiVersion" | "kind" | "status" => true,
            "metadata" => self.covers_metadata(value),
            name => covers_field(&self.root, name, value, MAX_DEPTH),
        })
    }

    fn covers_metadata(&self, metadata: &Value) -> bool {
        let Value::Object(fields) = metadata else { return metadata.is_null() };
        let node = self.root.field("metadata");
        fields.iter().all(|(name, value)| match name.as_str() {
            "name"
            | "generateName"
            | "namespace"
            | "uid"
            | "resourceVersion"
            | "generation"
            | "creationTimestamp"
            | "deletionTimestamp"
            | "deletionGracePeriodSeconds"
            | "managedFields"
            | "selfLink" => true,
            name => is_nothing(value) || node.is_some_and(|node| covers_field(node, name, value, MAX_DEPTH)),
        })
    }

    /// The owned paths as text, `.spec.template.spec.containers[name="app"].image`, in the order of the record. Only
    /// nodes without children are told: what is above them follows.
    pub fn paths(&self) -> impl Iterator<Item = String> + '_ {
        let mut pending: Vec<(String, &Node)> = vec![(String::new(), &self.root)];
        std::iter::from_fn(move || {
            while let Some((path, node)) = pending.pop() {
                for (step, child) in node.children.iter().rev() {
                    pending.push((join(&path, step), child));
                }
                if node.is_leaf() {
                    return Some(path);
                }
            }
            None
        })
    }
}

impl Step {
    /// The path with this step after it, as text.
    pub fn after(&self, path: &str) -> String {
        join(path, self)
    }

    /// What this step leads to in the map or list that it is about.
    pub fn locate(&self, value: &Value) -> Option<Location> {
        let index = |found: Option<usize>| found.map(Location::Index);
        match self {
            Self::Field(name) => value.get(&**name).map(|_| Location::Key(name.to_string())),
            Self::Item(keys) => index(value.as_array()?.iter().position(|item| is_item(keys, item))),
            Self::Member(member) => index(value.as_array()?.iter().position(|item| item == member)),
            Self::Index(at) => index(value.get(at).map(|_| *at)),
        }
    }
}

/// One step of the way to a value in an object as it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A field of a map.
    Key(String),
    /// An item of a list, counted from 0.
    Index(usize),
}

/// The entry of `metadata.managedFields` that records what `manager` applied to the object itself (not to `status` or
/// another subresource). The API server keeps at most one.
pub fn own_entry<'a>(managed_fields: &'a [Value], manager: &str) -> Option<&'a Value> {
    let text = |entry: &'a Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    managed_fields.iter().find(|entry| {
        text(entry, "manager") == manager
            && text(entry, "operation") == "Apply"
            && text(entry, "subresource").is_empty()
    })
}

/// Identifies what an entry of `metadata.managedFields` says: it changes when the set of owned fields changes or is
/// stated for another version of the API, not when it is stated again at a later time.
pub fn entry_hash(entry: &Value) -> Hash64 {
    let part = |field: &str| entry.get(field).cloned().unwrap_or(Value::Null);
    Hash64::of_json(&Value::Array(vec![part("apiVersion"), part("fieldsV1")]))
}

fn parse_node(value: &Value, path: &mut Vec<Step>) -> Result<Node, FieldSetError> {
    if path.len() > MAX_DEPTH {
        return Err(FieldSetError::TooDeep);
    }
    let Value::Object(map) = value else {
        return Err(FieldSetError::NotAnObject { path: text_of(path), found: json_type(value) });
    };
    if map.is_empty() {
        return Ok(Node { is_owned: true, children: Box::default() });
    }
    let mut is_owned = false;
    let mut children = Vec::with_capacity(map.len());
    for (key, below) in map {
        if key == "." {
            is_owned = true;
            continue;
        }
        let Some(step) = parse_step(key) else {
            let key = key.chars().take(80).collect();
            return Err(FieldSetError::UnknownKey { path: text_of(path), key });
        };
        path.push(step);
        let node = parse_node(below, path)?;
        if let Some(step) = path.pop() {
            children.push((step, node));
        }
    }
    Ok(Node { is_owned, children: children.into_boxed_slice() })
}

fn parse_step(key: &str) -> Option<Step> {
    let (prefix, rest) = key.split_once(':')?;
    match prefix {
        "f" => Some(Step::Field(rest.into())),
        "i" => rest.parse().ok().map(Step::Index),
        "v" => serde_json::from_str(rest).ok().map(Step::Member),
        "k" => {
            let fields: Map<String, Value> = serde_json::from_str(rest).ok()?;
            (!fields.is_empty())
                .then(|| Step::Item(fields.into_iter().map(|(name, value)| (name.into_boxed_str(), value)).collect()))
        }
        _ => None,
    }
}

fn covers_field(parent: &Node, name: &str, value: &Value, depth: usize) -> bool {
    value.is_null() || parent.field(name).is_some_and(|node| covers_value(node, value, depth))
}

fn covers_value(node: &Node, value: &Value, depth: usize) -> bool {
    if node.is_leaf() || value.is_null() {
        return true;
    }
    let Some(depth) = depth.checked_sub(1) else { return false };
    match value {
        // Something below is owned, so the empty map or list itself is there by this manager's will.
        Value::Object(fields) => fields.iter().all(|(name, value)| covers_field(node, name, value, depth)),
        Value::Array(items) => items.iter().enumerate().all(|(index, item)| covers_item(node, index, item, depth)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => node.is_owned,
    }
}

fn covers_item(list: &Node, index: usize, item: &Value, depth: usize) -> bool {
    list.children.iter().any(|(step, node)| match step {
        Step::Item(keys) => is_item(keys, item) && covers_item_fields(keys, node, item, depth),
        Step::Member(member) => member == item,
        Step::Index(at) => *at == index && covers_value(node, item, depth),
        Step::Field(_) => false,
    })
}

/// Whether an item of a list is the one with these keys. A key field that the item leaves out matches whatever the API
/// server put there, but one must be stated.
fn is_item(keys: &[(Box<str>, Value)], item: &Value) -> bool {
    let stated = |name: &str| item.get(name).filter(|value| !value.is_null());
    keys.iter().all(|(name, value)| stated(name).is_none_or(|own| own == value))
        && keys.iter().any(|(name, _)| stated(name).is_some())
}

/// The key fields of an owned item are owned with it, whether or not they are recorded one by one.
fn covers_item_fields(keys: &[(Box<str>, Value)], node: &Node, item: &Value, depth: usize) -> bool {
    if node.is_leaf() {
        return true;
    }
    let Value::Object(fields) = item else { return false };
    fields.iter().all(|(name, value)| {
        (node.is_owned && keys.iter().any(|(key, _)| **key == **name)) || covers_field(node, name, value, depth)
    })
}

/// A value that a manager can't own: it asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn text_of(path: &[Step]) -> String {
    let text = path.iter().fold(String::new(), |text, step| join(&text, step));
    if text.is_empty() { ".".to_owned() } else { text }
}

fn join(path: &str, step: &Step) -> String {
    let mut text = path.to_owned();
    // Writing to a string never fails.
    let _ = match step {
        Step::Field(name) if is_plain(name) => write!(text, ".{name}"),
        Step::Field(name) => write!(text, "[{}]", Value::from(&**name)),
        Step::Item(keys) => {
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            write!(text, "[{}]", keys.join(","))
        }
        Step::Member(value) => write!(text, "[={value}]"),
        Step::Index(index) => write!(text, "[{index}]"),
    };
    text
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte == b'$')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn deployment_fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:app": {}}, "f:annotations": {"f:a.b/c": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {
                    ".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                    "f:args": {},
                }}}},
            },
        })
    }

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"a.b/c": "x"},
                         "creationTimestamp": null},
            "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"spec": {"containers": [
                    {"name": "app", "image": "web:1", "ports": [{"containerPort": 80}], "args": ["a", "b"]},
                ]}},
            },
            "status": {},
        })
    }

    #[test]
    fn an_object_is_covered_by_the_record_of_its_own_apply() {
        let set = FieldSet::parse(&deployment_fields()).unwrap();
        assert!(set.covers(&deployment()));
    }

    #[test]
    fn one_leaf_that_is_not_owned_is_noticed() {
        let set = FieldSet::parse(&deployment_fields()).unwrap();
        for (pointer, extra) in [
            ("/metadata/labels", json!({"app": "web", "tier": "front"})),
            ("/metadata", json!({"name": "web", "finalizers": ["x"]})),
            ("/spec", json!({"replicas": 2, "paused": true})),
            ("/spec/template/spec/containers/0", json!({"name": "app", "tty": false})),
            ("/spec/template/spec/containers/0", json!({"name": "other", "image": "web:1"})),
            ("/spec/template/spec/containers/0/ports/0", json!({"containerPort": 81})),
            ("/spec/template/spec/containers/0/ports/0", json!({"protocol": "UDP", "containerPort": 80})),
            ("/spec/template/spec/containers/0/ports/0", json!({})),
        ] {
            let mut object = deployment();
            *object.pointer_mut(pointer).unwrap() = extra.clone();
            assert!(!set.covers(&object), "{pointer} {extra}");
        }
    }

    #[test]
    fn atomic_fields_sets_indexes_and_empty_values_are_covered() {
        let set = FieldSet::parse(&json!({
            "f:metadata": {"f:finalizers": {".": {}, "v:\"a\"": {}}},
            "f:atomic": {}, "f:empty": {".": {}, "f:x": {}}, "f:list": {"i:0": {}, "i:1": {"f:a": {}}},
        }))
        .unwrap();
        assert!(set.covers(&json!({"metadata": {"finalizers": ["a"]}, "atomic": [{"deep": [1]}], "empty": {}})));
        assert!(set.covers(&json!({"list": ["scalar", {"a": 1}], "nothing": null})));
        assert!(!set.covers(&json!({"metadata": {"finalizers": ["a", "b"]}})));
        assert!(!set.covers(&json!({"list": ["scalar", {"b": 1}]})));
        assert!(!set.covers(&json!("no object")));
        assert!(!FieldSet::parse(&json!({})).unwrap().covers(&json!({"data": {"a": "b"}})));
    }

    #[test]
    fn owned_paths_are_told_as_text() {
        let set = FieldSet::parse(&deployment_fields()).unwrap();
        assert_eq!(
            set.paths().collect::<Vec<_>>(),
            [
                r#".metadata.annotations["a.b/c"]"#,
                ".metadata.labels.app",
                ".spec.replicas",
                ".spec.selector",
                r#".spec.template.spec.containers[name="app"].args"#,
                r#".spec.template.spec.containers[name="app"].image"#,
                r#".spec.template.spec.containers[name="app"].name"#,
                r#".spec.template.spec.containers[name="app"].ports[containerPort=80,protocol="TCP"].containerPort"#,
            ]
        );
        let set = FieldSet::parse(&json!({"f:a": {"v:1": {}, "i:3": {}}})).unwrap();
        assert_eq!(set.paths().collect::<Vec<_>>(), [".a[3]", ".a[=1]"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        assert_eq!(
            FieldSet::parse(&json!({"f:spec": {"f:x": 1}})),
            Err(FieldSetError::NotAnObject { path: ".spec.x".into(), found: "a number" })
        );
        for key in ["x", "g:spec", "k:[]", "k:{}", "v:{", "i:-1"] {
            let mut fields = Map::new();
            fields.insert(key.to_owned(), json!({}));
            assert_eq!(
                FieldSet::parse(&json!({"f:spec": fields})),
                Err(FieldSetError::UnknownKey { path: ".spec".into(), key: key.into() })
            );
        }
        let mut deep = json!({});
        for _ in 0..300 {
            deep = json!({"f:a": deep});
        }
        assert_eq!(FieldSet::parse(&deep), Err(FieldSetError::TooDeep));
    }

    #[test]
    fn our_entry_is_the_apply_of_our_manager_to_the_object_itself() {
        let entry = |manager: &str, operation: &str, subresource: Option<&str>| {
            json!({"manager": manager, "operation": operation, "subresource": subresource, "apiVersion": "apps/v1",
                   "fieldsV1": {}, "time": "2026-01-01T00:00:00Z"})
        };
        let entries = [
            json!("rubbish"),
            entry("kubectl", "Apply", None),
            entry("tidelock", "Update", None),
            entry("tidelock", "Apply", Some("status")),
            entry("tidelock", "Apply", None),
        ];
        assert_eq!(own_entry(&entries, "tidelock"), entries.get(4));
        assert_eq!(own_entry(&entries[..4], "tidelock"), None);
    }

    #[test]
    fn the_hash_of_an_entry_follows_version_and_fields_but_not_time() {
        let entry = json!({"apiVersion": "v1", "fieldsV1": {"f:data": {}}, "time": "2026-01-01T00:00:00Z"});
        let with = |field: &str, value: Value| {
            let mut entry = entry.clone();
            entry[field] = value;
            entry_hash(&entry)
        };
        assert_eq!(entry_hash(&entry), with("time", json!("2027-01-01T00:00:00Z")));
        assert_ne!(entry_hash(&entry), with("apiVersion", json!("v2")));
        assert_ne!(entry_hash(&entry), with("fieldsV1", json!({"f:data": {"f:a": {}}})));
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            3 => "f:[a-c]",
            1 => Just("k:{\"name\":\"a\"}".to_owned()),
            1 => Just("v:1".to_owned()),
            1 => "i:[0-3]",
            1 => Just(".".to_owned()),
            1 => ".{0,4}",
        ];
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from)
        ];
        scalar.prop_recursive(5, 40, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The record that applying an object would leave, were every list atomic.
    fn record_of(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (format!("f:{name}"), record_of(value))).collect())
            }
            _ => json!({}),
        }
    }

    proptest! {
        #[test]
        fn arbitrary_json_never_panics(fields in json_value(), object in json_value()) {
            if let Ok(set) = FieldSet::parse(&fields) {
                let _ = set.covers(&object);
                prop_assert!(set.paths().count() <= 10_000);
            }
            let _ = entry_hash(&fields);
            let _ = own_entry(std::slice::from_ref(&fields), "tidelock");
        }

        #[test]
        fn every_object_is_covered_by_its_own_record(spec in json_value()) {
            let object = json!({"spec": spec});
            let set = FieldSet::parse(&record_of(&object)).unwrap();
            prop_assert!(set.covers(&object));
        }
    }
}

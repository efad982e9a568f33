//! Ways to values in an object as it stands, and what can be done at them.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::{Location, Owned, Step};

/// The way from the object to a value in it.
pub(super) type Way = Vec<Location>;

/// The value at the end of a way.
pub(super) fn get<'a>(value: &'a Value, way: &[Location]) -> Option<&'a Value> {
    way.iter().try_fold(value, |value, step| match step {
        Location::Key(name) => value.get(name.as_str()),
        Location::Index(index) => value.get(*index),
    })
}

fn get_mut<'a>(value: &'a mut Value, way: &[Location]) -> Option<&'a mut Value> {
    way.iter().try_fold(value, |value, step| match step {
        Location::Key(name) => value.get_mut(name.as_str()),
        Location::Index(index) => value.get_mut(*index),
    })
}

/// Takes values out; what is not there is as good as taken out.
pub(super) fn remove_all(value: &mut Value, ways: &BTreeSet<Way>) {
    // Backwards, so that an item goes before those before it in its list, and what is inside before what is around.
    for way in ways.iter().rev() {
        let Some((last, above)) = way.split_last() else { continue };
        match (get_mut(value, above), last) {
            (Some(Value::Object(map)), Location::Key(name)) => {
                map.remove(name);
            }
            (Some(Value::Array(list)), Location::Index(index)) if *index < list.len() => {
                list.remove(*index);
            }
            (
                None
                | Some(
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_),
                ),
                _,
            ) => {}
        }
    }
}

/// Puts a value where its map or list is there, or where maps can be made on the way.
pub(super) fn put(value: &mut Value, way: &[Location], wanted: Value) {
    let Some((last, above)) = way.split_last() else { return };
    let mut place = value;
    for step in above {
        let next = match (place, step) {
            (Value::Object(map), Location::Key(name)) => {
                Some(map.entry(name.clone()).or_insert_with(|| Value::Object(serde_json::Map::new())))
            }
            (Value::Array(list), Location::Index(index)) => list.get_mut(*index),
            (
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
                _,
            ) => None,
        };
        let Some(next) = next else { return };
        place = next;
    }
    match (place, last) {
        (Value::Object(map), Location::Key(name)) => {
            map.insert(name.clone(), wanted);
        }
        (Value::Array(list), Location::Index(index)) => {
            if let Some(item) = list.get_mut(*index) {
                *item = wanted;
            }
        }
        (
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_),
            _,
        ) => {}
    }
}

/// The ways to the leaves of an owned set of fields that are there in `value`. Fields that tell the items of a list
/// apart are left out: without them nothing could be said of the item.
pub(super) fn owned_leaves(owned: Owned<'_>, value: &Value, found: &mut BTreeSet<Way>) {
    walk(owned, None, value, &mut Vec::new(), found);
}

fn walk(owned: Owned<'_>, above: Option<&Step>, value: &Value, way: &mut Way, found: &mut BTreeSet<Way>) {
    for (step, child) in owned.children() {
        let is_key = matches!((above, step), (Some(Step::Item(keys)), Step::Field(name))
            if keys.iter().any(|(key, _)| key == name));
        if is_key {
            continue;
        }
        let Some(location) = step.locate(value) else { continue };
        way.push(location);
        if child.is_whole() {
            found.insert(way.clone());
        } else if let Some(below) = way.last().and_then(|last| get(value, std::slice::from_ref(last))) {
            walk(child, Some(step), below, way, found);
        }
        way.pop();
    }
}

/// The way as a JSON pointer (RFC 6901).
pub(super) fn pointer(way: &[Location]) -> String {
    way.iter()
        .map(|step| match step {
            Location::Key(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            Location::Index(index) => format!("/{index}"),
        })
        .collect()
}

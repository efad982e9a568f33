//! Counts in a status: so many ready of so many wanted.

use serde_json::{Map, Value};

use super::object::{Object, as_int};
use super::words::split;

/// How many of the things that a status counts are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Nothing is counted.
    None,
    /// All are there, and at least one is wanted or known.
    Complete,
    /// Some are missing; the text says which.
    Short(String),
}

/// What may be counted.
const NOUNS: &[&str] = &["replicas", "size", "members", "nodes", "instances", "pods", "shards", "brokers", "workers"];
/// Adjectives of a total.
const TOTALS: &[&str] = &["desired", "expected", "matched", "total", "wanted"];
/// Adjectives of a part that must reach the total.
const PARTS: &[&str] = &["ready", "available", "updated", "healthy"];
/// How deep maps are searched below `status`.
const DEPTH: usize = 2;

/// Reads the counts of `status`, and of the maps below it.
pub fn read(object: Object<'_>) -> Counts {
    let Some(status) = object.at("/status").and_then(Value::as_object) else { return Counts::None };
    let wanted = object.int("/spec/replicas").or_else(|| sum_of_groups(object));
    let mut found = Counts::None;
    walk(status, wanted, DEPTH, &mut found);
    found
}

fn walk(map: &Map<String, Value>, wanted: Option<i64>, depth: usize, found: &mut Counts) {
    match read_map(map, wanted) {
        Counts::None => {}
        Counts::Complete => {
            if *found == Counts::None {
                *found = Counts::Complete;
            }
        }
        short @ Counts::Short(_) => {
            *found = short;
            return;
        }
    }
    if depth == 0 {
        return;
    }
    // Lists further down hold counts of other objects.
    let lists = map.values().filter_map(Value::as_array).filter(|_| depth == DEPTH).flatten();
    for value in map.values().chain(lists).filter_map(Value::as_object) {
        walk(value, None, depth - 1, found);
        if matches!(found, Counts::Short(_)) {
            return;
        }
    }
}

fn read_map(map: &Map<String, Value>, wanted: Option<i64>) -> Counts {
    let mut total = wanted;
    let mut parts: Vec<(&str, i64)> = Vec::new();
    for (key, value) in map {
        if let Some((ready, all)) = value.as_str().and_then(fraction) {
            return if ready < all { Counts::Short(format!("{key} is {ready}/{all}")) } else { Counts::Complete };
        }
        let Some(count) = as_int(value).filter(|_| value.is_number()) else { continue };
        let words = split(key);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["unavailable", "replicas"] if count > 0 => {
                return Counts::Short(format!("{count} replicas are unavailable"));
            }
            [noun] if NOUNS.contains(noun) => total = total.max(Some(count)),
            [adjective, noun] if TOTALS.contains(adjective) && NOUNS.contains(noun) => total = total.max(Some(count)),
            // With `number` and `scheduled`: the names that daemon sets have for the same.
            ["desired", "number", "scheduled"] => total = total.max(Some(count)),
            ["ready"] | ["number", "ready" | "available"] | ["updated", "number", "scheduled"] => {
                parts.push((key, count));
            }
            [adjective, .., noun] if PARTS.contains(adjective) && NOUNS.contains(noun) => parts.push((key, count)),
            _ => {}
        }
    }
    let Some(total) = total else { return Counts::None };
    match parts.iter().find(|(_, count)| *count < total) {
        Some((key, count)) => Counts::Short(format!("{key} is {count} of {total}")),
        None if parts.is_empty() || total == 0 => Counts::None,
        None => Counts::Complete,
    }
}

/// `2/3` as two counts.
fn fraction(text: &str) -> Option<(i64, i64)> {
    let (ready, all) = text.split_once('/')?;
    Some((ready.parse().ok()?, all.parse().ok()?))
}

/// What a spec that lists groups of equal members (`nodeSets: [{count: 3}]`) wants in all.
fn sum_of_groups(object: Object<'_>) -> Option<i64> {
    let spec = object.at("/spec")?.as_object()?;
    let mut lists = spec.values().filter_map(Value::as_array).filter_map(|list| {
        let counts: Vec<i64> = list
            .iter()
            .filter_map(|item| item.get("count").or_else(|| item.get("replicas")).and_then(as_int))
            .collect();
        (!counts.is_empty()).then(|| counts.iter().fold(0_i64, |sum, count| sum.saturating_add(*count)))
    });
    let only = lists.next()?;
    lists.next().is_none().then_some(only)
}

//! Pairs of revisions in a status: the one that runs and the one that is to run.

use serde_json::{Map, Value};

use super::object::Object;

/// Fields that describe what is and what is to be, as maps that hold revisions.
const STATES: [(&str, &str); 3] = [("active", "proposed"), ("current", "desired"), ("current", "target")];
/// Beginnings of fields that name what is and what is to be.
const PREFIXES: [(&str, &str); 3] = [("current", "update"), ("current", "target"), ("current", "desired")];
/// Ends of fields that identify a revision.
const IDENTITIES: [&str; 5] = ["sha", "revision", "version", "hash", "digest"];

/// What differs, if the status says that one revision runs and another is to. Searched in `status` and in the items of
/// the lists directly in it.
pub fn read(object: Object<'_>) -> Option<String> {
    let status = object.at("/status")?.as_object()?;
    let items = status.values().filter_map(Value::as_array).flatten().filter_map(Value::as_object);
    std::iter::once(status)
        .chain(items)
        .find_map(|map| differing_states(map).or_else(|| differing_fields(map)))
        .or_else(|| status.iter().find_map(|(field, list)| differing_items(field, list.as_array()?)))
}

/// The items of one list (environments, regions) that are to run different revisions: a change has not reached all.
fn differing_items(field: &str, items: &[Value]) -> Option<String> {
    let (_, next) = STATES.iter().find(|(_, next)| items.iter().any(|item| item.get(*next).is_some()))?;
    let mut wanted = items.iter().filter_map(|item| item.get(*next)?.as_object()).map(revisions);
    let first = wanted.next()?;
    let agree = wanted.all(|own| own.iter().any(|revision| first.contains(revision)));
    (!agree).then(|| format!("the items of {field} differ in their {next} revision"))
}

/// Two described states differ when they share no revision: one may be stated in several forms, of which some (the
/// commit of a merge) always differ.
fn differing_states(map: &Map<String, Value>) -> Option<String> {
    STATES.iter().find_map(|(now, next)| {
        let (is, wanted) = (revisions(map.get(*now)?.as_object()?), revisions(map.get(*next)?.as_object()?));
        let is_told = !is.is_empty() || !wanted.is_empty();
        let agree = is.iter().any(|revision| wanted.contains(revision));
        (is_told && !agree).then(|| format!("the {next} revision is not {now} yet"))
    })
}

/// The revisions in the maps of a described state, with the field they were found in.
fn revisions(state: &Map<String, Value>) -> Vec<(&str, &str)> {
    state
        .iter()
        .filter_map(|(field, value)| Some((field.as_str(), value.as_object()?)))
        .flat_map(|(field, inner)| {
            IDENTITIES.iter().filter_map(move |identity| Some((field, inner.get(*identity)?.as_str()?)))
        })
        .collect()
}

fn differing_fields(map: &Map<String, Value>) -> Option<String> {
    map.iter().find_map(|(field, value)| {
        let (now, next) = PREFIXES.iter().find(|(now, next)| {
            let rest = field.strip_prefix(now).unwrap_or_default();
            is_identity(rest) && map.contains_key(&format!("{next}{rest}"))
        })?;
        let rest = field.strip_prefix(now)?;
        let (is, wanted) = (value.as_str()?, map.get(&format!("{next}{rest}"))?.as_str()?);
        (is != wanted && !wanted.is_empty()).then(|| format!("{field} is {is}, not yet {wanted}"))
    })
}

fn is_identity(rest: &str) -> bool {
    IDENTITIES.iter().any(|identity| rest.eq_ignore_ascii_case(identity))
}

//! Differences that do not count: `ignoreDifferences` of an Application, and those that are in force for all.
//!
//! A rule names objects (group and kind by glob; name and namespace, or any) and fields of them (JSON pointers, jq path
//! expressions, or all that some field managers own). Both what is live and what would be are looked at without those fields.

mod jq;
mod pointer;

use std::collections::BTreeSet;

use bytes::Bytes;
use globset::{Glob, GlobMatcher};
use serde_json::Value;

use self::jq::JqPath;
use self::pointer::Pointer;
use super::location::{self, Way};
use crate::api::IgnoreDifferences;
use crate::desired::Problem;
use crate::model::{
    FIELD_MANAGER, FieldSet, Hash64, INSTANCE_LABEL, Location, ObjectKey, Owned, Reason, Step, TRACKING_ANNOTATION,
    own_entry,
};

/// Rules ready to be used. Made once for as long as the rules stay the same: expressions are compiled.
#[derive(Debug)]
pub struct IgnoreRules {
    rules: Vec<Rule>,
    fingerprint: Hash64,
}

impl Default for IgnoreRules {
    /// No rules.
    fn default() -> Self {
        Self::compile(&[], &[]).0
    }
}

#[derive(Debug)]
struct Rule {
    group: GlobMatcher,
    kind: GlobMatcher,
    name: String,
    namespace: String,
    pointers: Vec<Pointer>,
    /// With the place that the expression stands at.
    expressions: Vec<(String, JqPath)>,
    managers: Vec<String>,
}

impl Rule {
    fn matches(&self, key: &ObjectKey) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        self.kind.is_match(&key.kind)
            && self.group.is_match(&key.group)
            && is(&self.name, &key.name)
            && is(&self.namespace, &key.namespace)
    }
}

impl IgnoreRules {
    /// Makes the rules of an Application and those for all Applications ready. What can't be used is left out and told,
    /// with its place; the others count nevertheless.
    pub fn compile(application: &[IgnoreDifferences], system: &[IgnoreDifferences]) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut rules = Vec::new();
        for (place, given) in [("spec.ignoreDifferences", application), ("system-wide ignoreDifferences", system)] {
            for (index, rule) in given.iter().enumerate() {
                rules.extend(compile(&format!("{place}[{index}]"), rule, &mut problems));
            }
        }
        let told = serde_json::to_value((application, system)).unwrap_or_default();
        (Self { rules, fingerprint: Hash64::of_json(&told) }, problems)
    }

    /// Changes when the rules change.
    pub const fn fingerprint(&self) -> Hash64 {
        self.fingerprint
    }

    /// Whether there are no rules.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule is about an object.
    pub fn matches(&self, key: &ObjectKey) -> bool {
        self.rules.iter().any(|rule| rule.matches(key))
    }

    /// Takes the fields that do not count out of the live object and of what it would be. Both need their
    /// `managedFields` for rules about field managers. What is returned says which expressions could not be carried out.
    pub fn strip(&self, key: &ObjectKey, live: &mut Value, predicted: &mut Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        let owners = Managers::of(live);
        let (mut of_live, mut of_predicted) = (BTreeSet::new(), BTreeSet::new());
        for rule in self.rules.iter().filter(|rule| rule.matches(key)) {
            for (object, found) in [(&*live, &mut of_live), (&*predicted, &mut of_predicted)] {
                rule.locate(key, object, &owners, found, &mut problems);
            }
        }
        location::remove_all(live, &of_live);
        location::remove_all(predicted, &of_predicted);
        problems.dedup();
        problems
    }

    /// What is applied when fields that do not count are to stay as they are: the desired object with the live values of
    /// those fields. A field that is not live is not stated either; `status`, the identity and the ownership marks
    /// stay as desired. An item of a list is found again by what tells the items apart.
    pub fn respect(&self, key: &ObjectKey, desired: &Value, live: &Value) -> (Value, Vec<Problem>) {
        let mut problems = Vec::new();
        let owners = Managers::of(live);
        let (mut of_live, mut of_desired) = (BTreeSet::new(), BTreeSet::new());
        for rule in self.rules.iter().filter(|rule| rule.matches(key)) {
            rule.locate(key, live, &owners, &mut of_live, &mut problems);
            rule.locate(key, desired, &owners, &mut of_desired, &mut problems);
        }
        problems.dedup();
        of_live.retain(|way| may_be_kept(way));
        of_desired.retain(|way| may_be_kept(way));
        let lists = Lists { sets: owners.all() };
        let is_partial = live.get("kind").and_then(Value::as_str) == Some("PartialObjectMetadata");
        let mut body = desired.clone();
        // First the values: taking out moves the items of lists.
        let mut kept = BTreeSet::new();
        for way in &of_live {
            let Some(value) = location::get(live, way) else { continue };
            let Some(same) = lists.translate(way, live, desired) else { continue };
            let is_stated = location::get(desired, &same).is_some();
            if is_stated || owners.is_ours(way, live) {
                location::put(&mut body, &same, value.clone());
                kept.insert(same);
            }
        }
        let gone = of_desired
            .into_iter()
            .filter(|way| !kept.contains(way))
            // Of a Secret only the metadata is read. What we hold of it still has the value that we gave it, since a change by
            // somebody else takes it from us; not to state it any more would delete it.
            .filter(|way| !(is_partial && owners.hold(way)))
            .filter(|way| {
                let there = lists.translate(way, desired, live);
                there.is_none_or(|there| location::get(live, &there).is_none())
            })
            .collect();
        location::remove_all(&mut body, &gone);
        restore_marks(&mut body, desired);
        (body, problems)
    }
}

impl IgnoreRules {
    /// [`IgnoreRules::respect`] for a body in JSON. A body that is none is given back as it is.
    pub fn respectful_body(&self, key: &ObjectKey, body: &Bytes, live: &Value) -> (Bytes, Vec<Problem>) {
        let Ok(desired) = serde_json::from_slice::<Value>(body) else { return (body.clone(), Vec::new()) };
        let (kept, problems) = self.respect(key, &desired, live);
        if kept == desired { (body.clone(), problems) } else { (Bytes::from(kept.to_string()), problems) }
    }
}

impl Rule {
    /// The ways to the fields of an object that the rule names.
    fn locate(
        &self,
        key: &ObjectKey,
        object: &Value,
        owners: &Managers,
        found: &mut BTreeSet<Way>,
        problems: &mut Vec<Problem>,
    ) {
        found.extend(self.pointers.iter().filter_map(|pointer| pointer.locate(object)));
        for (place, expression) in &self.expressions {
            match expression.locate(object) {
                Ok(ways) => found.extend(ways),
                Err(problem) => problems.push(Problem {
                    reason: Reason::InvalidRule,
                    message: format!("{place}: {problem} ({key}); make it more selective"),
                }),
            }
        }
        for fields in self.managers.iter().flat_map(|manager| owners.fields_of(manager)) {
            location::owned_leaves(fields, object, found);
        }
    }
}

/// The field managers of a live object with their fields.
struct Managers {
    entries: Vec<(String, FieldSet)>,
    own: Option<FieldSet>,
}

impl Managers {
    fn of(live: &Value) -> Self {
        let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice);
        let entries = entries.unwrap_or_default();
        let read = |entry: &Value| FieldSet::parse(entry.get("fieldsV1")?).ok();
        let own = own_entry(entries, FIELD_MANAGER).and_then(read);
        let entries = entries
            .iter()
            .filter_map(|entry| Some((entry.get("manager")?.as_str()?.to_owned(), read(entry)?)))
            .collect();
        Self { entries, own }
    }

    fn fields_of<'a>(&'a self, manager: &'a str) -> impl Iterator<Item = Owned<'a>> {
        self.entries.iter().filter(move |(name, _)| name == manager).map(|(_, fields)| fields.root())
    }

    fn all(&self) -> Vec<Owned<'_>> {
        self.entries.iter().map(|(_, fields)| fields.root()).collect()
    }

    /// Whether a field was applied by us, by the record alone.
    fn hold(&self, way: &[Location]) -> bool {
        let Some(own) = &self.own else { return false };
        let mut owned = own.root();
        for step in way {
            if owned.is_whole() {
                return true;
            }
            let Location::Key(name) = step else { return false };
            let Some(below) = owned.field(name) else { return false };
            owned = below;
        }
        true
    }

    /// Whether what is at the end of a way was applied by us, all or in part.
    fn is_ours(&self, way: &[Location], live: &Value) -> bool {
        let Some(own) = &self.own else { return false };
        let mut place = (Some(own.root()), live);
        for step in way {
            let (Some(owned), value) = place else { return false };
            if owned.is_whole() {
                return true;
            }
            let next = owned.children().find(|(own, _)| own.locate(value).as_ref() == Some(step));
            let Some(below) = location::get(value, std::slice::from_ref(step)) else { return false };
            place = (next.map(|(_, owned)| owned), below);
        }
        place.0.is_some()
    }
}

/// How the items of lists are told apart, from `managedFields`.
struct Lists<'a> {
    sets: Vec<Owned<'a>>,
}

impl Lists<'_> {
    /// The way in `to` that leads to the same field as `way` in `from`; `None` when an item on it is not there.
    fn translate(&self, way: &[Location], from: &Value, to: &Value) -> Option<Way> {
        let mut owned = self.sets.clone();
        let (mut from, mut to) = (Some(from), Some(to));
        let mut translated = Way::with_capacity(way.len());
        for step in way {
            let here = from?;
            let mut below: Vec<Owned<'_>> = Vec::new();
            for set in &owned {
                below.extend(
                    set.children().filter(|(own, _)| own.locate(here).as_ref() == Some(step)).map(|(_, set)| set),
                );
            }
            let same = match step {
                Location::Key(name) => Location::Key(name.clone()),
                Location::Index(index) => {
                    let item = here.get(*index)?;
                    let items = to?.as_array()?;
                    let keys: Vec<&Step> = owned.iter().flat_map(|set| set.children().map(|(step, _)| step)).collect();
                    Location::Index(position(item, *index, here, items, &keys)?)
                }
            };
            from = location::get(here, std::slice::from_ref(step));
            to = to.and_then(|to| location::get(to, std::slice::from_ref(&same)));
            translated.push(same);
            owned = below;
        }
        Some(translated)
    }
}

/// Where an item of a list is in another list.
fn position(item: &Value, index: usize, from: &Value, to: &[Value], steps: &[&Step]) -> Option<usize> {
    for step in steps {
        match step {
            Step::Item(keys) => {
                let named: Vec<&str> = keys.iter().map(|(name, _)| &**name).collect();
                return to.iter().position(|other| {
                    named.iter().any(|name| item.get(name).is_some())
                        && named.iter().all(|name| {
                            let (one, other) = (item.get(name), other.get(name));
                            one == other || one.is_none() || other.is_none()
                        })
                });
            }
            Step::Member(_) => return to.iter().position(|other| other == item),
            Step::Field(_) | Step::Index(_) => {}
        }
    }
    if let Some(name) = item.get("name").filter(|name| name.is_string()) {
        return to.iter().position(|other| other.get("name") == Some(name));
    }
    if item.is_object() || item.is_array() {
        return (from.as_array().map_or(0, Vec::len) == to.len()).then_some(index);
    }
    to.iter().position(|other| other == item)
}

/// Whether a field may take its live value in what is applied.
fn may_be_kept(way: &[Location]) -> bool {
    let name = |index: usize| match way.get(index) {
        Some(Location::Key(name)) => Some(name.as_str()),
        Some(Location::Index(_)) | None => None,
    };
    match (name(0), name(1)) {
        (Some("status" | "apiVersion" | "kind"), _) | (Some("metadata"), None) => false,
        (Some("metadata"), Some(field)) => matches!(field, "labels" | "annotations" | "finalizers" | "ownerReferences"),
        _ => true,
    }
}

/// Whatever rules say, an object is applied with its ownership marks.
fn restore_marks(body: &mut Value, desired: &Value) {
    for (map, name) in [("labels", INSTANCE_LABEL), ("annotations", TRACKING_ANNOTATION)] {
        let Some(mark) = desired.get("metadata").and_then(|metadata| metadata.get(map)?.get(name)) else { continue };
        let way = ["metadata", map, name].map(|name| Location::Key(name.to_owned()));
        location::put(body, &way, mark.clone());
    }
}

fn compile(place: &str, given: &IgnoreDifferences, problems: &mut Vec<Problem>) -> Option<Rule> {
    let IgnoreDifferences { group, kind, name, namespace, json_pointers, jq_path_expressions, managed_fields_managers } =
        given;
    let mut wrong = |field: &str, problem: String| {
        let message = format!("{place}.{field}: {problem}");
        problems.push(Problem { reason: Reason::InvalidRule, message });
    };
    if json_pointers.is_empty() && jq_path_expressions.is_empty() && managed_fields_managers.is_empty() {
        wrong(
            "jsonPointers",
            "no field is named: set jsonPointers, jqPathExpressions or managedFieldsManagers".to_owned(),
        );
        return None;
    }
    if kind.is_empty() {
        wrong("kind", "it is empty: name a kind, or * for all".to_owned());
        return None;
    }
    let mut glob = |field: &str, pattern: &str| match Glob::new(pattern) {
        Ok(glob) => Some(glob.compile_matcher()),
        Err(error) => {
            wrong(field, format!("`{pattern}` is no pattern: {}", error.kind()));
            None
        }
    };
    let (group, kind) = (glob("group", group), glob("kind", kind));
    let mut pointers = Vec::new();
    for (index, text) in json_pointers.iter().enumerate() {
        match Pointer::parse(text) {
            Ok(pointer) => pointers.push(pointer),
            Err(problem) => wrong(&format!("jsonPointers[{index}]"), format!("`{text}` can't be used: {problem}")),
        }
    }
    let mut expressions = Vec::new();
    for (index, code) in jq_path_expressions.iter().enumerate() {
        let field = format!("jqPathExpressions[{index}]");
        match JqPath::compile(code) {
            Ok(expression) => expressions.push((format!("{place}.{field}"), expression)),
            Err(problem) => {
                let shown = crate::model::shorten(code, 80);
                wrong(&field, format!("`{shown}` can't be used: {problem}"));
            }
        }
    }
    Some(Rule {
        group: group?,
        kind: kind?,
        name: name.clone(),
        namespace: namespace.clone(),
        pointers,
        expressions,
        managers: managed_fields_managers.clone(),
    })
}

#[cfg(test)]
mod tests;

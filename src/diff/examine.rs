//! One object looked at closely: what an apply would change of it, field by field, who owns what differs, which of it
//! does not count, and what people added.
//!
//! The two sides are what the API server answers: the live object, and the object that a dry run of the apply would
//! make of it. Whatever defaulting and admission add is on both sides, so it never counts as a difference.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::location::{self, Way};
use super::path::Place;
use super::{IgnoreRules, secret};
use crate::api::ExtraFields;
use crate::desired::Problem;
use crate::model::{FIELD_MANAGER, FieldSet, ObjectKey, Owned, Step, fields_by_hand, own_entry};

/// Fields of `metadata` that the API server writes, different with each write.
const WRITTEN_BY_SERVER: [&str; 9] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generateName",
];
/// The kind of an answer that holds metadata only.
const METADATA_ONLY: &str = "PartialObjectMetadata";

/// How a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FieldCause {
    /// It has another value.
    Changed,
    /// It is not there.
    Missing,
    /// It is there by an earlier apply of ours, and git wants it no more.
    Extra,
    /// It has the wanted value, and is not recorded as a field of ours.
    Unowned,
}

impl FieldCause {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Unowned => "unowned",
        }
    }
}

/// Who owns a field, from `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldOwner {
    /// The field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource that it was written by; empty for the object itself.
    pub subresource: String,
    /// When the manager last changed its fields, in RFC 3339; empty when unknown.
    pub time: String,
    /// Whether it is our own record.
    pub ours: bool,
}

/// A field that differs. The content of Secrets is never in it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDifference {
    /// Where: `.spec.template.spec.containers[name="app"].image`.
    pub path: String,
    /// The value in the cluster.
    pub live: Option<Value>,
    /// The value that an apply would give it.
    pub desired: Option<Value>,
    /// Who owns it in the cluster; empty when nobody does, as of a field that is not there.
    pub managers: Vec<FieldOwner>,
    /// How it differs.
    pub cause: FieldCause,
}

/// A field that people added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtraField {
    /// Where, for people.
    pub path: String,
    /// Where, as a JSON pointer into the live object as it was read.
    pub pointer: String,
    /// The field manager that owns it.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When, in RFC 3339; empty when unknown.
    pub time: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examination {
    /// The differences that count.
    pub fields: Vec<FieldDifference>,
    /// How many fields differ and do not count.
    pub ignored: usize,
    /// Fields that people added, unless they do not count.
    pub extras: Vec<ExtraField>,
    /// Rules that could not be carried out on this object.
    pub problems: Vec<Problem>,
}

impl Examination {
    /// Whether nothing that counts differs of the fields that git states.
    pub fn only_ignored(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Compares a live object with what an apply would make of it. Both come from the API server, with `managedFields`.
/// Of kinds of which only metadata is read (Secrets) what is owned stands for what is there.
pub fn examine(
    key: &ObjectKey,
    live: &Value,
    predicted: &Value,
    rules: &IgnoreRules,
    extra_fields: ExtraFields,
) -> Examination {
    let is_partial = [live, predicted].iter().any(|object| object.get("kind") == Some(&Value::from(METADATA_ONLY)));
    let (whole_live, whole_predicted) = if is_partial {
        (with_owned_fields(live), with_owned_fields(predicted))
    } else {
        (live.clone(), predicted.clone())
    };
    let (mut live, mut predicted) = (whole_live.clone(), whole_predicted.clone());
    let problems = if rules.matches(key) { rules.strip(key, &mut live, &mut predicted) } else { Vec::new() };

    let mut fields = differences(&live, &predicted, &whole_live, &whole_predicted, is_partial);
    let all = if rules.matches(key) {
        differences(&whole_live, &whole_predicted, &whole_live, &whole_predicted, is_partial).len()
    } else {
        fields.len()
    };
    let extras = match extra_fields {
        ExtraFields::Ignore => Vec::new(),
        ExtraFields::Report | ExtraFields::Remove => {
            let wanted = own_entry(entries_of(&whole_predicted), FIELD_MANAGER).and_then(read);
            extras(&whole_live, &live, |steps| wanted.as_ref().is_some_and(|wanted| holds(wanted.root(), steps)))
        }
    };
    let ignored = all.saturating_sub(fields.len());
    for field in &mut fields {
        let (live, desired) = secret::hide_values(key, &field.path, field.live.take(), field.desired.take());
        (field.live, field.desired) = (live, desired);
    }
    Examination { fields, ignored, extras, problems }
}

/// Whether what is at the end of a way is owned, all or in part.
fn holds(owned: Owned<'_>, steps: &[Step]) -> bool {
    match steps.split_first() {
        None => true,
        Some(_) if owned.is_whole() => true,
        Some((step, rest)) => owned.child(step).is_some_and(|child| holds(child, rest)),
    }
}

/// The fields that people added and that are there in `counted`, an object without what does not count. What git states
/// is none of them, whoever wrote it last: that is ordinary drift.
pub(super) fn extras(live: &Value, counted: &Value, is_stated: impl Fn(&[Step]) -> bool) -> Vec<ExtraField> {
    let entries = entries_of(live);
    let found = fields_by_hand(entries, FIELD_MANAGER).into_iter().filter_map(|field| {
        if is_stated(&field.steps) {
            return None;
        }
        let way = locate(live, &field.steps)?;
        locate(counted, &field.steps)?;
        Some(ExtraField {
            path: field.path(),
            pointer: location::pointer(&way),
            manager: field.manager,
            operation: field.operation,
            time: field.time,
        })
    });
    found.collect()
}

pub(super) fn locate(value: &Value, steps: &[Step]) -> Option<Way> {
    let mut here = value;
    let mut way = Way::new();
    for step in steps {
        let location = step.locate(here)?;
        here = location::get(here, std::slice::from_ref(&location))?;
        way.push(location);
    }
    Some(way)
}

pub(super) fn entries_of(object: &Value) -> &[Value] {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn read(entry: &Value) -> Option<FieldSet> {
    FieldSet::parse(entry.get("fieldsV1")?).ok()
}

/// An object of which only metadata is known, with a mask for each field that somebody owns.
fn with_owned_fields(object: &Value) -> Value {
    let mut object = object.clone();
    let sets: Vec<FieldSet> = entries_of(&object).iter().filter_map(read).collect();
    for set in &sets {
        for (step, child) in set.root().children() {
            if *step != Step::Field("metadata".into()) && *step != Step::Field("status".into()) {
                fill(&mut object, step, child, &mut Way::new());
            }
        }
    }
    object
}

fn fill(object: &mut Value, step: &Step, owned: Owned<'_>, way: &mut Way) {
    let Step::Field(name) = step else { return };
    way.push(crate::model::Location::Key(name.to_string()));
    if owned.is_whole() {
        location::put(object, way, Value::from(secret::HIDDEN));
    } else {
        for (step, child) in owned.children() {
            fill(object, step, child, way);
        }
    }
    way.pop();
}

/// An entry of `managedFields` at some place of the object.
#[derive(Clone)]
pub(super) struct At<'a> {
    pub(super) owner: &'a FieldOwner,
    /// What it owns below; `None` when something above is owned whole.
    pub(super) owned: Option<Owned<'a>>,
}

impl<'a> At<'a> {
    pub(super) fn below(&self, step: impl Fn(Owned<'a>) -> Option<Owned<'a>>) -> Option<Self> {
        match self.owned {
            None => Some(self.clone()),
            Some(owned) if owned.is_whole() => Some(Self { owner: self.owner, owned: None }),
            Some(owned) => step(owned).map(|owned| Self { owner: self.owner, owned: Some(owned) }),
        }
    }
}

/// Who owns a place, in the cluster and after the apply.
#[derive(Clone)]
struct Owners<'a> {
    live: Vec<At<'a>>,
    predicted: Vec<Owned<'a>>,
}

impl<'a> Owners<'a> {
    fn below(&self, step: impl Fn(Owned<'a>) -> Option<Owned<'a>>) -> Self {
        Self {
            live: self.live.iter().filter_map(|at| at.below(&step)).collect(),
            predicted: self.predicted.iter().filter_map(|owned| step(*owned)).collect(),
        }
    }

    fn sets(&self) -> impl Iterator<Item = Owned<'a>> + '_ {
        self.live.iter().filter_map(|at| at.owned).chain(self.predicted.iter().copied())
    }

    fn managers(&self) -> Vec<FieldOwner> {
        self.live.iter().map(|at| at.owner.clone()).collect()
    }
}

/// Who an entry of `managedFields` is about.
pub(super) fn owner_of(entry: &Value, own: Option<&Value>) -> FieldOwner {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    FieldOwner {
        manager: text("manager"),
        operation: text("operation"),
        subresource: text("subresource"),
        time: text("time"),
        ours: own.is_some_and(|own| std::ptr::eq(own, entry)),
    }
}

/// The differences of two objects, with owners from the records of the objects as they were read.
fn differences(
    live: &Value,
    predicted: &Value,
    whole_live: &Value,
    whole_predicted: &Value,
    is_partial: bool,
) -> Vec<FieldDifference> {
    let (live_entries, predicted_entries) = (entries_of(whole_live), entries_of(whole_predicted));
    let own = own_entry(live_entries, FIELD_MANAGER);
    let records: Vec<(FieldOwner, FieldSet)> =
        live_entries.iter().filter_map(|entry| Some((owner_of(entry, own), read(entry)?))).collect();
    let future: Vec<FieldSet> = predicted_entries.iter().filter_map(read).collect();
    let owners = Owners {
        live: records.iter().map(|(owner, set)| At { owner, owned: Some(set.root()) }).collect(),
        predicted: future.iter().map(FieldSet::root).collect(),
    };
    let mut walk = Walk { found: Vec::new() };
    let none = Map::new();
    let (live_map, predicted_map) = (live.as_object().unwrap_or(&none), predicted.as_object().unwrap_or(&none));
    for name in names(live_map, predicted_map) {
        if !matches!(name, "apiVersion" | "kind" | "status") {
            let below = owners.below(|owned| owned.field(name));
            walk.compare(&Place::root().field(name), live_map.get(name), predicted_map.get(name), &below);
        }
    }
    let mut found = walk.found;
    let (ours, will_be_ours) = (own.and_then(read), own_entry(predicted_entries, FIELD_MANAGER).and_then(read));
    if let Some(will_be_ours) = will_be_ours {
        let ours = ours.unwrap_or_default();
        let mut taken = Taken { found: Vec::new(), steps: Vec::new() };
        taken.walk(will_be_ours.root(), Some(ours.root()));
        for steps in taken.found {
            let (Some(here), Some(there)) = (locate(live, &steps), locate(predicted, &steps)) else { continue };
            let (here, there) = (location::get(live, &here), location::get(predicted, &there));
            if here != there {
                continue;
            }
            let managers = steps.iter().fold(owners.clone(), |owners, step| owners.below(|owned| owned.child(step)));
            found.push(FieldDifference {
                path: steps.iter().fold(String::new(), |path, step| step.after(&path)),
                live: here.cloned(),
                desired: there.cloned(),
                managers: managers.managers(),
                // Where only owners are known, a field that we lost is one that was written by somebody else.
                cause: if is_partial && !is_metadata(&steps) { FieldCause::Changed } else { FieldCause::Unowned },
            });
        }
    }
    // An item of a list that nobody owns as such has no difference of its own to be told twice.
    let mut seen = BTreeSet::new();
    found.retain(|difference| seen.insert(difference.path.clone()));
    found
}

fn is_metadata(steps: &[Step]) -> bool {
    steps.first() == Some(&Step::Field("metadata".into()))
}

fn names<'a>(left: &'a Map<String, Value>, right: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    left.keys().chain(right.keys()).map(String::as_str).collect()
}

/// Leaves of one set that another lacks.
struct Taken {
    found: Vec<Vec<Step>>,
    steps: Vec<Step>,
}

impl Taken {
    fn walk(&mut self, wanted: Owned<'_>, had: Option<Owned<'_>>) {
        for (step, child) in wanted.children() {
            self.steps.push(step.clone());
            let had = had.and_then(|had| had.child(step));
            if child.is_whole() {
                if had.is_none() {
                    self.found.push(self.steps.clone());
                }
            } else if !had.is_some_and(Owned::is_whole) {
                self.walk(child, had);
            }
            self.steps.pop();
        }
    }
}

struct Walk {
    found: Vec<FieldDifference>,
}

impl Walk {
    fn note(&mut self, place: &Place<'_>, live: Option<&Value>, predicted: Option<&Value>, owners: &Owners<'_>) {
        let cause = match (live, predicted) {
            (None, _) => FieldCause::Missing,
            (Some(_), None) => FieldCause::Extra,
            (Some(_), Some(_)) => FieldCause::Changed,
        };
        self.found.push(FieldDifference {
            path: place.path.clone(),
            live: live.cloned(),
            desired: predicted.cloned(),
            managers: owners.managers(),
            cause,
        });
    }

    fn compare(&mut self, place: &Place<'_>, live: Option<&Value>, predicted: Option<&Value>, owners: &Owners<'_>) {
        match (live, predicted) {
            (live, predicted) if live == predicted => {}
            (Some(Value::Object(live)), Some(Value::Object(predicted))) => {
                let is_metadata = place.path == ".metadata";
                for name in names(live, predicted) {
                    if !(is_metadata && WRITTEN_BY_SERVER.contains(&name)) {
                        let below = owners.below(|owned| owned.field(name));
                        self.compare(&place.field(name), live.get(name), predicted.get(name), &below);
                    }
                }
            }
            (Some(Value::Array(live)), Some(Value::Array(predicted))) => {
                self.compare_lists(place, live, predicted, owners);
            }
            (live, predicted) => self.note(place, live, predicted, owners),
        }
    }

    fn compare_lists(&mut self, place: &Place<'_>, live: &[Value], predicted: &[Value], owners: &Owners<'_>) {
        let before = self.found.len();
        let by_name = || (names_are_unique(live) && names_are_unique(predicted)).then(|| vec!["name"]);
        let is_whole = owners.sets().any(Owned::is_whole) || owners.live.iter().any(|at| at.owned.is_none());
        let keys = owners.sets().find_map(Owned::item_keys).or_else(|| if is_whole { None } else { by_name() });
        if let Some(keys) = keys {
            let same = |one: &Value, other: &Value| keys.iter().all(|name| one.get(name) == other.get(name));
            for item in live {
                let other = predicted.iter().find(|other| same(item, other));
                self.compare(&place.item(&keys, item), Some(item), other, &owners.below(|owned| owned.item(item)));
            }
            for item in predicted.iter().filter(|item| !live.iter().any(|other| same(item, other))) {
                self.compare(&place.item(&keys, item), None, Some(item), &owners.below(|owned| owned.item(item)));
            }
        } else if owners.sets().any(Owned::is_set) {
            for member in live.iter().filter(|member| !predicted.contains(member)) {
                self.note(&place.member(member), Some(member), None, &owners.below(|owned| owned.item(member)));
            }
            for member in predicted.iter().filter(|member| !live.contains(member)) {
                self.note(&place.member(member), None, Some(member), &owners.below(|owned| owned.item(member)));
            }
        } else {
            for index in 0..live.len().max(predicted.len()) {
                let below = owners.below(|owned| owned.child(&Step::Index(index)));
                self.compare(&place.index(index), live.get(index), predicted.get(index), &below);
            }
        }
        if before == self.found.len() {
            // Only the order differs.
            self.note(place, Some(&Value::from(live)), Some(&Value::from(predicted)), owners);
        }
    }
}

fn names_are_unique(items: &[Value]) -> bool {
    let mut names = BTreeSet::new();
    items.iter().all(|item| item.get("name").and_then(Value::as_str).is_some_and(|name| names.insert(name)))
}

#[cfg(test)]
mod tests;

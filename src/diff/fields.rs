//! What applying an object would change, field by field. For people: the controller decides by hashes, without bodies.
//!
//! Desired state is a part of live state: a field that is not stated is left alone, unless it was applied by us and is
//! stated no more. Who owns what is read from `metadata.managedFields` where the live object has them (`kubectl get
//! --show-managed-fields`); without them nothing is known to be left over, and only what is stated is compared.
//!
//! Items of lists are paired by the key fields that `managedFields` name, members of sets by value, items of lists that
//! are applied as a whole by index. Where `managedFields` say nothing, items that all have a `name` of their own are
//! paired by it, others by index. Spellings that the API server brings into its own form count as equal: quantities,
//! Base64, numbers, and in its own kinds an empty value that it leaves out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};

use super::examine::{At, entries_of, extras, locate, owner_of};
use super::path::Place;
use super::{ExtraField, FieldOwner, IgnoreRules, quantity, secret};
use crate::api::ExtraFields;
use crate::desired::Problem;
use crate::model::{FIELD_MANAGER, FieldSet, ObjectKey, Owned, own_entry};

/// Maps that people fill and the API server adds nothing to: whatever is left over in one that is applied as a whole
/// would be taken away.
const NEVER_DEFAULTED: [&str; 3] = ["matchLabels", "nodeSelector", "selector"];
/// Fields of `metadata` that are identity, not content.
const IDENTITY: [&str; 2] = ["name", "namespace"];

/// What applying would do to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Not there: it would be added.
    Add,
    /// There with another value: it would be set.
    Set,
    /// There, applied by us before, and wanted no more: it would be removed.
    Remove,
    /// There with the wanted value, but not as a field of ours: it would become one.
    Own,
}

impl Change {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Set => "set",
            Self::Remove => "remove",
            Self::Own => "own",
        }
    }
}

/// One field that applying would change. The content of Secrets is never in it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldChange {
    /// Where: `.spec.template.spec.containers[name="app"].image`.
    pub path: String,
    /// What would be done.
    pub change: Change,
    /// The value in the cluster.
    pub live: Option<Value>,
    /// The value that is wanted.
    pub desired: Option<Value>,
    /// Who owns the live value, from `managedFields`; empty when nothing is known.
    pub managers: Vec<FieldOwner>,
}

/// What is known of the fields that we applied before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// The live object was given without `managedFields`.
    Unknown,
    /// `managedFields` have an entry of ours.
    Ours,
    /// `managedFields` have no entry of ours: nothing of this object is recorded as applied by us.
    NotOurs,
}

/// All that applying an object would change.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectChanges {
    /// The fields, in the order of the desired object.
    pub fields: Vec<FieldChange>,
    /// What is known of the fields that we applied before.
    pub record: Record,
    /// How many fields differ besides, and do not count.
    pub ignored: usize,
    /// Fields that people added, if those are asked for.
    pub extras: Vec<ExtraField>,
    /// Rules that could not be carried out on this object.
    pub problems: Vec<Problem>,
}

impl ObjectChanges {
    /// Whether applying would change nothing.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.record != Record::NotOurs
    }
}

/// Compares an object as it would be applied with the live one, but for the fields that do not count.
pub fn field_changes_that_count(
    key: &ObjectKey,
    desired: &Value,
    live: &Value,
    rules: &IgnoreRules,
    extra_fields: ExtraFields,
) -> ObjectChanges {
    let all = field_changes(key, desired, live);
    let (mut wanted, mut there) = (desired.clone(), live.clone());
    let mut changes = if rules.matches(key) {
        let problems = rules.strip(key, &mut there, &mut wanted);
        let mut counted = field_changes_by(key, &wanted, &there, entries_of(live), live);
        counted.ignored = all.fields.len().saturating_sub(counted.fields.len());
        ObjectChanges { problems, ..counted }
    } else {
        all
    };
    if extra_fields != ExtraFields::Ignore {
        changes.extras = extras(live, &there, |steps| locate(desired, steps).is_some());
    }
    changes
}

/// Compares an object as it would be applied with the live one.
pub fn field_changes(key: &ObjectKey, desired: &Value, live: &Value) -> ObjectChanges {
    field_changes_by(key, desired, live, entries_of(live), live)
}

/// Compares two objects by the records of field managers of the live one as it was read.
fn field_changes_by(
    key: &ObjectKey,
    desired: &Value,
    live: &Value,
    entries: &[Value],
    read_as: &Value,
) -> ObjectChanges {
    let read = |entry: &Value| entry.get("fieldsV1").and_then(|fields| FieldSet::parse(fields).ok());
    let own = own_entry(entries, FIELD_MANAGER);
    let record = match (read_as.pointer("/metadata/managedFields").is_some_and(Value::is_array), own) {
        (false, _) => Record::Unknown,
        (true, Some(_)) => Record::Ours,
        (true, None) => Record::NotOurs,
    };
    let ours = own.and_then(read);
    let others: Vec<FieldSet> =
        entries.iter().filter(|entry| !own.is_some_and(|own| std::ptr::eq(own, *entry))).filter_map(read).collect();
    let known: Vec<(FieldOwner, FieldSet)> =
        entries.iter().filter_map(|entry| Some((owner_of(entry, own), read(entry)?))).collect();
    let owners = Owners {
        who: known.iter().map(|(owner, set)| At { owner, owned: Some(set.root()) }).collect(),
        recorded: ours.is_some(),
        whole: false,
        ours: ours.as_ref().map(FieldSet::root),
        others: others.iter().map(FieldSet::root).collect(),
    };
    let mut walk = Walk { key, changes: Vec::new() };
    let none = Map::new();
    let (desired, live) = (desired.as_object().unwrap_or(&none), live.as_object().unwrap_or(&none));
    let root = Place::root();
    for (name, value) in desired {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "status") {
            walk.compare(&root.field(name), value, live.get(name), &owners.field(name));
        }
    }
    for (name, value) in live.iter().filter(|(name, _)| !desired.contains_key(*name) && name.as_str() != "status") {
        walk.absent(&root.field(name), value, &owners.field(name));
    }
    let fields = walk.changes.into_iter().map(|change| secret::hide(key, change)).collect();
    ObjectChanges { fields, record, ignored: 0, extras: Vec::new(), problems: Vec::new() }
}

/// Who owns a place.
#[derive(Clone)]
struct Owners<'a> {
    /// Whether we know what is ours.
    recorded: bool,
    /// Whether something above is ours with all that is in it.
    whole: bool,
    ours: Option<Owned<'a>>,
    others: Vec<Owned<'a>>,
    /// All of them by name.
    who: Vec<At<'a>>,
}

impl<'a> Owners<'a> {
    fn below(&self, step: impl Fn(Owned<'a>) -> Option<Owned<'a>>) -> Self {
        Self {
            recorded: self.recorded,
            whole: self.is_whole(),
            who: self.who.iter().filter_map(|at| at.below(&step)).collect(),
            ours: self.ours.and_then(&step),
            others: self.others.iter().filter_map(|other| step(*other)).collect(),
        }
    }

    fn field(&self, name: &str) -> Self {
        self.below(|owned| owned.field(name))
    }

    fn item(&self, item: &Value) -> Self {
        self.below(|owned| owned.item(item))
    }

    fn nothing_below(&self) -> Self {
        self.below(|_| None)
    }

    fn is_whole(&self) -> bool {
        self.whole || self.ours.is_some_and(Owned::is_whole)
    }

    fn managers(&self) -> Vec<FieldOwner> {
        self.who.iter().map(|at| at.owner.clone()).collect()
    }

    fn is_ours(&self) -> bool {
        self.whole || self.ours.is_some()
    }

    fn everyone(&self) -> impl Iterator<Item = Owned<'a>> + '_ {
        self.ours.into_iter().chain(self.others.iter().copied())
    }
}

/// How the items of a list are paired.
enum Pairing<'a> {
    Keys(Vec<&'a str>),
    Members,
    Index,
}

struct Walk<'a> {
    key: &'a ObjectKey,
    changes: Vec<FieldChange>,
}

impl Walk<'_> {
    fn note(
        &mut self,
        place: &Place<'_>,
        change: Change,
        live: Option<&Value>,
        desired: Option<&Value>,
        owners: &Owners<'_>,
    ) {
        let managers = if live.is_some() { owners.managers() } else { Vec::new() };
        self.changes.push(FieldChange {
            managers,
            path: place.path.clone(),
            change,
            live: live.cloned(),
            desired: desired.cloned(),
        });
    }

    fn compare(&mut self, place: &Place<'_>, desired: &Value, live: Option<&Value>, owners: &Owners<'_>) {
        let live = live.filter(|live| !live.is_null());
        match (desired, live) {
            (Value::Null, None) => {}
            (Value::Null, Some(live)) => self.absent(place, live, owners),
            (desired, None) => {
                if !(is_zero(desired) && self.leaves_out_zeros(place)) {
                    self.note(place, Change::Add, None, Some(desired), owners);
                }
            }
            (Value::Object(desired), Some(Value::Object(live))) => self.compare_maps(place, desired, live, owners),
            (Value::Array(desired), Some(Value::Array(live))) => self.compare_lists(place, desired, live, owners),
            (desired, Some(live)) if self.is_same(place, desired, live) => {
                if owners.recorded && !owners.is_ours() {
                    self.note(place, Change::Own, Some(live), Some(desired), owners);
                }
            }
            (desired, Some(live)) => self.note(place, Change::Set, Some(live), Some(desired), owners),
        }
    }

    fn compare_maps(
        &mut self,
        place: &Place<'_>,
        desired: &Map<String, Value>,
        live: &Map<String, Value>,
        owners: &Owners<'_>,
    ) {
        let is_metadata = place.path == ".metadata";
        for (name, value) in desired {
            if !(is_metadata && IDENTITY.contains(&name.as_str())) {
                self.compare(&place.field(name), value, live.get(name), &owners.field(name));
            }
        }
        for (name, value) in live.iter().filter(|(name, _)| !desired.contains_key(*name)) {
            let below = place.field(name);
            if owners.is_whole() && NEVER_DEFAULTED.contains(&place.name) {
                self.note(&below, Change::Remove, Some(value), None, &owners.field(name));
            } else {
                self.absent(&below, value, &owners.field(name));
            }
        }
    }

    fn compare_lists(&mut self, place: &Place<'_>, desired: &[Value], live: &[Value], owners: &Owners<'_>) {
        match pairing(place, desired, live, owners) {
            Pairing::Keys(keys) => {
                let mut paired = vec![false; live.len()];
                for item in desired {
                    let found = live.iter().position(|other| has_same_keys(&keys, item, other));
                    match found.and_then(|index| Some((live.get(index)?, paired.get_mut(index)?))) {
                        Some((other, paired)) => {
                            *paired = true;
                            self.compare(&place.item(&keys, other), item, Some(other), &owners.item(other));
                        }
                        None => self.note(&place.item(&keys, item), Change::Add, None, Some(item), owners),
                    }
                }
                for (item, _) in live.iter().zip(paired).filter(|(_, paired)| !paired) {
                    self.absent(&place.item(&keys, item), item, &owners.item(item));
                }
            }
            Pairing::Members => {
                for member in desired {
                    if live.contains(member) {
                        self.compare(&place.member(member), member, Some(member), &owners.item(member));
                    } else {
                        self.note(&place.member(member), Change::Add, None, Some(member), owners);
                    }
                }
                for member in live.iter().filter(|member| !desired.contains(member)) {
                    self.absent(&place.member(member), member, &owners.item(member));
                }
            }
            Pairing::Index => {
                for index in 0..desired.len().max(live.len()) {
                    let below = place.index(index);
                    match (desired.get(index), live.get(index)) {
                        (Some(item), other) => self.compare(&below, item, other, &owners.nothing_below()),
                        (None, other) => self.note(&below, Change::Remove, other, None, owners),
                    }
                }
            }
        }
    }

    /// What was applied by us and is wanted no more goes, unless somebody else wants it too.
    fn absent(&mut self, place: &Place<'_>, live: &Value, owners: &Owners<'_>) {
        let Some(ours) = owners.ours.filter(|_| !owners.whole) else { return };
        if ours.is_itself() {
            if owners.others.is_empty() {
                self.note(place, Change::Remove, Some(live), None, owners);
                return;
            }
            if ours.is_whole() {
                return;
            }
        }
        match live {
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.absent(&place.field(name), value, &owners.field(name));
                }
            }
            Value::Array(items) => {
                let keys = ours.item_keys();
                for item in items {
                    let below = match &keys {
                        Some(keys) => place.item(keys, item),
                        None => place.member(item),
                    };
                    self.absent(&below, item, &owners.item(item));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn is_same(&self, place: &Place<'_>, desired: &Value, live: &Value) -> bool {
        if desired == live {
            return true;
        }
        if let (Value::Number(desired), Value::Number(live)) = (desired, live) {
            return desired.as_f64() == live.as_f64();
        }
        let is_base64 = self.key.group.is_empty()
            && ((self.key.kind == "Secret" && place.parent == "data")
                || (self.key.kind == "ConfigMap" && place.parent == "binaryData"));
        if is_base64 {
            return matches!((bytes(desired), bytes(live)), (Some(desired), Some(live)) if desired == live);
        }
        is_builtin(&self.key.group)
            && quantity::is_quantity(place.parent, place.name)
            && quantity::same_amount(desired, live)
    }

    fn leaves_out_zeros(&self, place: &Place<'_>) -> bool {
        is_builtin(&self.key.group) || place.path.starts_with(".metadata")
    }
}

fn pairing<'a>(place: &Place<'_>, desired: &[Value], live: &[Value], owners: &Owners<'a>) -> Pairing<'a> {
    if let Some(keys) = owners.everyone().find_map(Owned::item_keys) {
        return Pairing::Keys(keys);
    }
    if owners.everyone().any(Owned::is_set) || place.path == ".metadata.finalizers" {
        return Pairing::Members;
    }
    if !owners.is_whole() && has_unique_names(desired) && has_unique_names(live) {
        return Pairing::Keys(vec!["name"]);
    }
    Pairing::Index
}

fn has_unique_names(items: &[Value]) -> bool {
    let mut names = std::collections::BTreeSet::new();
    items.iter().all(|item| item.get("name").and_then(Value::as_str).is_some_and(|name| names.insert(name)))
}

/// A key field that the desired item leaves out is what the API server makes of it, but one must be stated.
fn has_same_keys(keys: &[&str], desired: &Value, live: &Value) -> bool {
    let stated = |name: &str| desired.get(name).filter(|value| !value.is_null());
    keys.iter().any(|name| stated(name).is_some())
        && keys.iter().all(|name| match stated(name) {
            Some(value) => live.get(name) == Some(value),
            None => *name != "protocol" || live.get(name).is_none_or(|protocol| protocol == "TCP"),
        })
}

/// Whether the API server's own types serve this group: they leave empty values out and spell quantities their way.
fn is_builtin(group: &str) -> bool {
    !group.contains('.') || group.ends_with(".k8s.io")
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let text: String = value.as_str()?.split_ascii_whitespace().collect();
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests;

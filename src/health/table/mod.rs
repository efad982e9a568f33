//! Operators whose status means something else than its words say, as rows of data.
//!
//! ```text
//! object ─► row of its group and kind ─► clauses, first that holds ─► verdict
//!                     └─► roles, words, ignored fields ─► generic reading ─► verdict
//! ```
//!
//! A row corrects the generic reading where it is wrong for a kind and leaves the rest to it, so a row is as short as
//! the kind is odd. Rows are data; this file is all that interprets them.

mod configuration;
mod data;
mod delivery;
mod network;
mod platform;

use std::sync::LazyLock;

use serde_json::Value;

use super::conditions::{Truth, find};
use super::object::{Object, as_int};
use super::polarity::Polarity;
use super::words::Meaning;
use crate::model::{Health, HealthStatus};

/// What is special about the status of one kind, or of a family of kinds.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// API groups: names separated by `|`, in which `*` stands for any text.
    pub groups: &'static str,
    /// Kinds, written alike.
    pub kinds: &'static str,
    /// Decide before anything else is read; the first that holds wins.
    pub clauses: &'static [Clause],
    /// What types of conditions (written like groups) tell, where their words mislead.
    pub roles: &'static [(&'static str, Polarity)],
    /// What a text in a status field of this name means. An empty field name stands for every field.
    pub words: &'static [(&'static str, &'static str, Meaning)],
    /// Parts of the object that are not about its own health, as JSON pointers.
    pub ignored: &'static [&'static str],
    /// Types of conditions that are always to come: without them, the object is not healthy yet.
    pub awaited: &'static [&'static str],
    /// What silence means: an empty status, or one that says nothing about health.
    pub silence: Silence,
}

impl Row {
    /// Changes nothing; the base of the others.
    pub const PLAIN: Self = Self {
        groups: "",
        kinds: "*",
        clauses: &[],
        roles: &[],
        words: &[],
        ignored: &[],
        awaited: &[],
        silence: Silence::Waits,
    };

    /// What the table says of a condition's type.
    pub fn role(&self, condition: &str) -> Option<Polarity> {
        self.roles.iter().find(|(types, _)| matches_any(types, condition)).map(|(_, polarity)| *polarity)
    }

    /// What the table says of a text in a field.
    pub fn meaning(&self, field: &str, text: &str) -> Option<Meaning> {
        self.words
            .iter()
            .find(|(name, word, _)| (name.is_empty() || *name == field) && word.eq_ignore_ascii_case(text))
            .map(|(_, _, meaning)| *meaning)
    }

    /// The verdict of the first clause that holds.
    pub fn decide(&self, object: Object<'_>) -> Option<Health> {
        self.clauses.iter().find_map(|clause| clause.verdict(object))
    }

    /// The object without the parts that are not about its own health; `None` when nothing is to be left out.
    pub fn without_ignored(&self, value: &Value) -> Option<Value> {
        if self.ignored.is_empty() {
            return None;
        }
        let mut value = value.clone();
        for pointer in self.ignored {
            let Some((parent, field)) = pointer.rsplit_once('/') else { continue };
            if let Some(Value::Object(parent)) = value.pointer_mut(parent) {
                parent.remove(field);
            }
        }
        Some(value)
    }
}

/// What the lack of any word about health means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The controller has not come to it yet.
    Waits,
    /// There is nothing to tell: the object is configuration that others read, or its controller tells only of trouble.
    IsHealthy,
}

/// When all tests hold, the verdict is `then`.
#[derive(Clone, Copy, Debug)]
pub struct Clause {
    /// Must all hold.
    pub when: &'static [Test],
    /// The verdict.
    pub then: HealthStatus,
}

/// One question about an object.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// The text at the pointer is one of these, in any case.
    Is(&'static str, &'static [&'static str]),
    /// Nothing, or something empty, is at the pointer.
    Nothing(&'static str),
    /// Something that is not empty is at the pointer.
    Something(&'static str),
    /// An empty list is at the pointer.
    EmptyList(&'static str),
    /// A number above zero is at the pointer.
    Positive(&'static str),
    /// The second number is there and below the first.
    Below(&'static str, &'static str),
    /// Some item of the list has something that is not empty in this field.
    ItemHas(&'static str, &'static str),
    /// Some item of the list has a number in this field that is below the object's generation.
    ItemIsStale(&'static str, &'static str),
    /// There is a condition of this type with this value and one of these reasons; no reasons stand for any.
    Condition(&'static str, Truth, &'static [&'static str]),
    /// There is no condition of this type that is True.
    NotTrue(&'static str),
}

impl Clause {
    fn verdict(&self, object: Object<'_>) -> Option<Health> {
        let mut explanation = String::new();
        for test in self.when {
            let told = test.holds(object)?;
            if !told.is_empty() {
                explanation = told;
            }
        }
        if self.then == HealthStatus::Healthy {
            return Some(Health::healthy());
        }
        let message = ["/status/message", "/status/error"].map(|pointer| object.text(pointer).trim());
        let message = message.into_iter().find(|message| !message.is_empty()).unwrap_or_default();
        if !message.is_empty() && explanation != message && !explanation.contains(message) {
            explanation = format!("{explanation}: {message}");
        }
        Some(Health::new(self.then, explanation))
    }
}

impl Test {
    /// What is found when the test holds, as a sentence.
    fn holds(&self, object: Object<'_>) -> Option<String> {
        match *self {
            Self::Is(pointer, texts) => {
                let text = text_at(object, pointer)?;
                let is_one = texts.iter().any(|one| one.eq_ignore_ascii_case(&text));
                is_one.then(|| format!("{} is `{text}`", name_of(pointer)))
            }
            Self::Nothing(pointer) => {
                object.at(pointer).is_none_or(is_empty).then(|| format!("{} is not set", name_of(pointer)))
            }
            Self::Something(pointer) => {
                let value = object.at(pointer).filter(|value| !is_empty(value))?;
                Some(match value.as_str() {
                    Some(text) => format!("{}: {}", name_of(pointer), text.trim()),
                    None => format!("{} is set", name_of(pointer)),
                })
            }
            Self::EmptyList(pointer) => object
                .at(pointer)
                .and_then(Value::as_array)
                .is_some_and(Vec::is_empty)
                .then(|| format!("{} is empty", name_of(pointer))),
            Self::Positive(pointer) => {
                let count = object.int(pointer).filter(|count| *count > 0)?;
                Some(format!("{} is {count}", name_of(pointer)))
            }
            Self::Below(wanted, found) => {
                let (wanted_count, found_count) = (object.int(wanted)?, object.int(found)?);
                (found_count < wanted_count)
                    .then(|| format!("{} is {found_count}, not yet {wanted_count}", name_of(found)))
            }
            Self::ItemHas(list, field) => {
                let has = |item: &Value| item.get(field).is_some_and(|value| !is_empty(value));
                object.list(list).iter().any(has).then(|| format!("an item of {} has {field}", name_of(list)))
            }
            Self::ItemIsStale(list, field) => {
                let seen = |item: &Value| item.get(field).and_then(as_int);
                let oldest = object.list(list).iter().filter_map(seen).min()?;
                let generation = object.generation();
                (oldest < generation)
                    .then(|| format!("an item of {} is about generation {oldest}, not yet {generation}", name_of(list)))
            }
            Self::Condition(kind, truth, reasons) => {
                let conditions = object.conditions();
                let condition = find(&conditions, kind).filter(|condition| condition.truth == truth)?;
                (reasons.is_empty() || reasons.contains(&condition.reason)).then(|| condition.explain())
            }
            Self::NotTrue(kind) => {
                let conditions = object.conditions();
                match find(&conditions, kind) {
                    Some(condition) if condition.is_true() => None,
                    Some(condition) => Some(condition.explain()),
                    None => Some(format!("condition {kind} is not True yet")),
                }
            }
        }
    }
}

/// The row of a kind: the first that fits.
pub fn row_of(group: &str, kind: &str) -> &'static Row {
    rows().find(|row| matches_any(row.groups, group) && matches_any(row.kinds, kind)).unwrap_or(&Row::PLAIN)
}

/// All rows, of which the first that fits counts: single kinds come before the families that they are exceptions of.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    static TABLES: LazyLock<Vec<&'static [Row]>> =
        LazyLock::new(|| vec![delivery::ROWS, data::ROWS, network::ROWS, platform::ROWS, configuration::ROWS]);
    TABLES.iter().flat_map(|rows| rows.iter())
}

/// Whether a name fits one of the patterns that `|` separates.
fn matches_any(patterns: &str, name: &str) -> bool {
    patterns.split('|').any(|pattern| matches(pattern, name))
}

/// `*` stands for any text, the empty one too; everything else for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(index) = rest.find(part) else { return false };
        rest = rest.get(index + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

fn text_at(object: Object<'_>, pointer: &str) -> Option<String> {
    match object.at(pointer)? {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The field as people write it: `spec.suspend`, and of status only the last part.
fn name_of(pointer: &str) -> String {
    let path = pointer.trim_start_matches('/');
    path.strip_prefix("status/").unwrap_or(path).replace('/', ".").replace("~1", "/")
}

//! The differences as a value of plain words: what `-o json` prints, and what the text is made from.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::offline::{ApplicationName, ObjectName, Survey};
use crate::diff::{Difference, Extra, FieldChange, ObjectChanges, Record};
use crate::model::ObjectKey;

/// Version of the shape of this report; it grows with changes that readers must know of.
const FORMAT: u32 = 1;

/// All that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// Version of this shape.
    pub format: u32,
    /// Whose objects they are.
    pub application: ApplicationName,
    /// Whether live state is what is wanted. Kept objects do not count.
    pub in_sync: bool,
    /// How many objects there are by state.
    pub summary: BTreeMap<String, usize>,
    /// The objects by group, kind, namespace and name.
    pub objects: Vec<ObjectReport>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectName,
    /// `in-sync`, `missing`, `changed`, `terminating`, `conflict`, `extra` or `kept`.
    pub state: &'static str,
    /// Where it comes from, as `file:line`; empty for objects that are not wanted.
    pub origin: String,
    /// What is to be said besides; empty when there is nothing.
    pub message: String,
    /// The fields that applying would change.
    pub fields: Vec<FieldReport>,
}

/// One field. The content of Secrets is hidden.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldReport {
    /// Where.
    pub path: String,
    /// `add`, `set`, `remove` or `own`.
    pub change: &'static str,
    /// The value in the cluster; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Value>,
    /// The value that is wanted; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired: Option<Value>,
}

impl DiffReport {
    /// The differences of a survey.
    pub fn of(survey: &Survey) -> Self {
        let wanted = survey.differences.objects.iter().map(|(key, difference)| wanted(survey, key, difference));
        let extras = survey.differences.extras.iter().filter_map(|(key, state)| extra(survey, key, state));
        let mut objects: Vec<(ObjectKey, ObjectReport)> = wanted.chain(extras).collect();
        objects.sort_by(|(left, _), (right, _)| left.cmp(right));
        let objects: Vec<ObjectReport> = objects.into_iter().map(|(_, object)| object).collect();
        let mut summary = BTreeMap::new();
        for state in ["in-sync", "missing", "changed", "terminating", "conflict", "extra", "kept"] {
            summary.insert(state.to_owned(), objects.iter().filter(|object| object.state == state).count());
        }
        Self {
            format: FORMAT,
            application: ApplicationName::of(&survey.owner),
            in_sync: survey.differences.is_synced(),
            summary,
            objects,
            warnings: survey.warnings.clone(),
        }
    }
}

fn wanted(survey: &Survey, key: &ObjectKey, difference: &Difference) -> (ObjectKey, ObjectReport) {
    let (state, message) = match difference {
        Difference::InSync => ("in-sync", String::new()),
        Difference::Absent { .. } => ("missing", "it would be created".to_owned()),
        Difference::Changed(_) => ("changed", record_note(survey.changes.get(key))),
        Difference::Terminating => {
            ("terminating", "it is being deleted; it would be made again once it is gone".to_owned())
        }
        Difference::Conflict { application } => {
            ("conflict", format!("it belongs to the Application {application}, so it would be left alone"))
        }
    };
    let fields = match difference {
        Difference::Changed(_) => survey.changes.get(key).map(|changes| changes.fields.as_slice()).unwrap_or_default(),
        Difference::InSync | Difference::Absent { .. } | Difference::Terminating | Difference::Conflict { .. } => &[],
    };
    let origin = survey.desired.objects.get(key).map(|object| object.origin.to_string()).unwrap_or_default();
    let fields = fields.iter().map(field).collect();
    (key.clone(), ObjectReport { object: ObjectName::of(key), state, origin, message, fields })
}

fn record_note(changes: Option<&ObjectChanges>) -> String {
    match changes.map(|changes| changes.record) {
        Some(Record::NotOurs) => {
            "none of its fields is recorded as applied by tidelock; those that git states would be".to_owned()
        }
        Some(Record::Ours | Record::Unknown) | None => String::new(),
    }
}

fn extra(survey: &Survey, key: &ObjectKey, extra: &Extra) -> Option<(ObjectKey, ObjectReport)> {
    let blocked = survey.plan.iter().flat_map(|plan| &plan.blocked).find(|blocked| blocked.key == *key);
    let (state, message) = match (extra, blocked) {
        (Extra::Kept, _) => ("kept", "git does not have it; an annotation of it forbids to prune it".to_owned()),
        (Extra::Terminating, _) => ("extra", "git does not have it; it is being deleted".to_owned()),
        // Every live object is given here, so what is not seen is not there.
        (Extra::Unseen, _) => return None,
        (Extra::Prunable { .. } | Extra::Unrecorded, Some(blocked)) => ("extra", blocked.message.clone()),
        (Extra::Prunable { .. } | Extra::Unrecorded, None) => {
            ("extra", "git does not have it; it would be pruned".to_owned())
        }
    };
    let object = ObjectName::of(key);
    Some((key.clone(), ObjectReport { object, state, origin: String::new(), message, fields: Vec::new() }))
}

fn field(change: &FieldChange) -> FieldReport {
    let FieldChange { path, change, live, desired } = change.clone();
    FieldReport { path, change: change.as_str(), live, desired }
}

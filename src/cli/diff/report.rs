//! The differences as a value of plain words: what `-o json` prints, and what the text is made from.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::cli::offline::{ApplicationName, ObjectName, Survey};
use crate::diff::{Cause, Difference, Extra, ExtraField, FieldChange, FieldOwner, ObjectChanges, Record};
use crate::model::{Consent, ObjectKey};
use crate::plan::{Action, Step};

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
    /// How many fields differ and do not count, of all objects.
    pub ignored_fields: usize,
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
    /// How many fields differ besides, and do not count (`ignoreDifferences`).
    #[serde(skip_serializing_if = "is_zero")]
    pub ignored_fields: usize,
    /// Fields that people added, when the Application's `extraFields` says that they count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_fields: Vec<ExtraReport>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A field that people added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraReport {
    /// Where.
    pub path: String,
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Who added it.
    #[serde(flatten)]
    pub owner: OwnerReport,
}

/// Who owns a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReport {
    /// The field manager.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// The subresource that it was written by; absent for the object itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// When, in RFC 3339; absent when unknown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// Whether it is tidelock itself.
    #[serde(skip)]
    pub ours: bool,
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
    /// Who owns the live value; absent when nothing is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<OwnerReport>,
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
            ignored_fields: survey.changes.values().map(|changes| changes.ignored).sum(),
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
        Difference::Changed(Cause::Extra) => {
            ("changed", "people added fields to it; they would stay (extraFields: report)".to_owned())
        }
        Difference::Changed(Cause::ExtraToRemove) => {
            ("changed", "people added fields to it; they would be removed (extraFields: remove)".to_owned())
        }
        Difference::Changed(Cause::Desired | Cause::Live | Cause::Replaced | Cause::Marks) => {
            ("changed", record_note(survey.changes.get(key)))
        }
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
    let changes = survey.changes.get(key);
    let report = ObjectReport {
        object: ObjectName::of(key),
        state,
        origin,
        message,
        fields,
        ignored_fields: changes.map_or(0, |changes| changes.ignored),
        extra_fields: changes.map(|changes| changes.extras.iter().map(extra_field).collect()).unwrap_or_default(),
    };
    (key.clone(), report)
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
            ("extra", format!("git does not have it; {}", fate(survey, key)))
        }
    };
    let object = ObjectName::of(key);
    let report = ObjectReport {
        object,
        state,
        origin: String::new(),
        message,
        fields: Vec::new(),
        ignored_fields: 0,
        extra_fields: Vec::new(),
    };
    Some((key.clone(), report))
}

/// What becomes of an object that git does not have and that nothing keeps by itself.
fn fate(survey: &Survey, key: &ObjectKey) -> &'static str {
    let Ok(plan) = &survey.plan else { return "there is no plan that says what becomes of it" };
    let is_pruned = |step: &Step| matches!(step.action, Action::Prune { .. }) && step.id.key == *key;
    if plan.groups.iter().flat_map(|group| &group.steps).any(is_pruned) {
        "it would be pruned"
    } else if survey.desired.hooks.iter().any(|hook| hook.object.key == *key) {
        "a hook of this name takes its place"
    } else if survey.options.prune == Consent::Refused {
        "it would be kept (the sync option Prune=false of the Application)"
    } else if survey.differences.extraneous_ignored.contains(key) {
        "it would be kept, and does not count (compare-options: IgnoreExtraneous)"
    } else {
        "it would be kept"
    }
}

fn field(change: &FieldChange) -> FieldReport {
    let FieldChange { path, change, live, desired, managers } = change.clone();
    let owners = managers.into_iter().map(|owner| {
        let FieldOwner { manager, operation, subresource, time, ours } = owner;
        OwnerReport { manager, operation, subresource, time, ours }
    });
    FieldReport { path, change: change.as_str(), live, desired, owners: owners.collect() }
}

fn extra_field(extra: &ExtraField) -> ExtraReport {
    let ExtraField { path, pointer, manager, operation, time } = extra.clone();
    let owner = OwnerReport { manager, operation, subresource: String::new(), time, ours: false };
    ExtraReport { path, pointer, owner }
}

//! The differences as a patch that people read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::lines::unified;
use super::report::{DiffReport, FieldReport, ObjectReport, OwnerReport};
use crate::cli::offline::section;

/// The differences for people. Writing to a string never fails.
pub(super) fn text(report: &DiffReport) -> String {
    let DiffReport { format: _, application, in_sync: _, summary, ignored_fields, objects, warnings } = report;
    let mut text = format!("diff of {application}: {}{}\n", counts(summary), ignored(*ignored_fields));
    for object in objects.iter().filter(|object| object.state != "in-sync") {
        write_object(&mut text, object);
    }
    section(&mut text, "warnings", warnings.iter().cloned());
    text
}

fn counts(summary: &BTreeMap<String, usize>) -> String {
    let words = ["changed", "missing", "extra", "kept", "terminating", "conflict", "in-sync"];
    let counts: Vec<String> = words
        .iter()
        .filter_map(|word| Some(format!("{} {word}", summary.get(*word).filter(|count| **count > 0)?)))
        .collect();
    if counts.is_empty() { "no objects".to_owned() } else { counts.join(", ") }
}

fn ignored(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => "; 1 field differs and is ignored".to_owned(),
        count => format!("; {count} fields differ and are ignored"),
    }
}

/// Who made the live value what it is; nothing when only tidelock is known to have.
fn owners(owners: &[OwnerReport]) -> String {
    let others: Vec<String> = owners.iter().filter(|owner| !owner.ours).map(owner).collect();
    if others.is_empty() { String::new() } else { format!("  (live value by {})", others.join("; ")) }
}

fn owner(owner: &OwnerReport) -> String {
    let OwnerReport { manager, operation, subresource, time, ours: _ } = owner;
    let subresource = if subresource.is_empty() { String::new() } else { format!("of {subresource}") };
    let parts = [manager.as_str(), operation, &subresource, time];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn write_object(text: &mut String, report: &ObjectReport) {
    let ObjectReport { object, state, origin, message, fields, ignored_fields, extra_fields } = report;
    let sign = match *state {
        "missing" => '+',
        "extra" => '-',
        "changed" => '~',
        "kept" => '=',
        _ => '!',
    };
    let _ = write!(text, "\n{sign} {object}: {state}");
    if !origin.is_empty() {
        let _ = write!(text, " ({origin})");
    }
    text.push('\n');
    if !message.is_empty() {
        let _ = writeln!(text, "    {message}");
    }
    for field in fields {
        write_field(text, field);
    }
    for extra in extra_fields {
        let _ = writeln!(text, "    {}  (added by {})", extra.path, owner(&extra.owner));
    }
    match ignored_fields {
        0 => {}
        1 => text.push_str("    1 more field differs and is ignored\n"),
        count => {
            let _ = writeln!(text, "    {count} more fields differ and are ignored");
        }
    }
}

fn write_field(text: &mut String, field: &FieldReport) {
    let FieldReport { path, change, live, desired, owners: known } = field;
    let note = if *change == "own" { "  (the same value; it becomes tidelock's)".to_owned() } else { owners(known) };
    let _ = writeln!(text, "    {path}{note}");
    let lines = match (live, desired) {
        _ if *change == "own" => Vec::new(),
        (Some(Value::String(live)), Some(Value::String(desired))) if live.contains('\n') || desired.contains('\n') => {
            unified(live, desired)
        }
        (live, desired) => {
            let side = |sign: char, value: &Option<Value>| -> Vec<String> {
                value.iter().flat_map(shown).map(|line| format!("{sign} {line}").trim_end().to_owned()).collect()
            };
            [side('-', live), side('+', desired)].concat()
        }
    };
    for line in lines {
        let _ = writeln!(text, "      {line}");
    }
}

/// A value as YAML would hold it, or as JSON where that is shorter.
fn shown(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) if !map.is_empty() => block(value),
        Value::Array(items) if !items.is_empty() => block(value),
        Value::String(text) if text.starts_with('•') => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

fn block(value: &Value) -> Vec<String> {
    let yaml = serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string());
    yaml.trim_end().lines().map(str::to_owned).collect()
}

//! The differences as a patch that people read.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::lines::unified;
use super::report::{DiffReport, FieldReport, ObjectReport};
use crate::cli::offline::section;

/// The differences for people. Writing to a string never fails.
pub(super) fn text(report: &DiffReport) -> String {
    let DiffReport { format: _, application, in_sync: _, summary, objects, warnings } = report;
    let mut text = format!("diff of {application}: {}\n", counts(summary));
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

fn write_object(text: &mut String, report: &ObjectReport) {
    let ObjectReport { object, state, origin, message, fields } = report;
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
}

fn write_field(text: &mut String, field: &FieldReport) {
    let FieldReport { path, change, live, desired } = field;
    let note = if *change == "own" { "  (the same value; it becomes tidelock's)" } else { "" };
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

//! The plan in columns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::report::{BlockedReport, DeletionHookReport, HoldingReport, NextReport, PlanReport, StepReport, WaitReport};
use crate::cli::offline::{columns, section};

/// How many objects a line names before it counts the rest.
const NAMED: usize = 3;

/// The plan for people. Writing to a string never fails.
pub(super) fn text(report: &PlanReport) -> String {
    let PlanReport { format: _, application, summary, next, steps, blocked, kept, deletion_hooks, warnings } = report;
    let mut text = format!("plan of {application}: {}\n\n", counts(summary));
    if !steps.is_empty() {
        let head = ["STEP", "GROUP", "PHASE", "WAVE", "RANK", "ACTION", "OBJECT", "WAITS FOR"].map(str::to_owned);
        text.push_str(&columns(std::iter::once(head).chain(steps.iter().map(row))));
        text.push('\n');
    }
    let _ = writeln!(text, "{}", now(next));
    section(&mut text, "not met yet", gates(steps));
    section(
        &mut text,
        "left alone",
        blocked.iter().map(|one| {
            let BlockedReport { object, reason, message } = one;
            format!("{object}: {reason}: {message}")
        }),
    );
    section(&mut text, "kept although git does not have it", kept.iter().map(ToString::to_string));
    section(
        &mut text,
        "hooks of a deletion",
        deletion_hooks.iter().map(|one| {
            let DeletionHookReport { phase, wave, object } = one;
            format!("{phase} wave {wave}: {object}")
        }),
    );
    section(&mut text, "warnings", warnings.iter().cloned());
    text
}

fn counts(summary: &BTreeMap<String, usize>) -> String {
    let words = ["create", "configure", "keep", "await-gone", "prune", "hook", "blocked"];
    let counts: Vec<String> = words
        .iter()
        .filter_map(|word| Some(format!("{} {word}", summary.get(*word).filter(|count| **count > 0)?)))
        .collect();
    if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") }
}

fn row(step: &StepReport) -> [String; 8] {
    let StepReport { step, group, phase, wave, kind_rank, action, object, origin: _, waits_for } = step;
    let waits: Vec<String> = waits_for.iter().map(condition).collect();
    [
        step.to_string(),
        group.to_string(),
        (*phase).to_owned(),
        wave.to_string(),
        kind_rank.map_or_else(|| "last".to_owned(), |rank| rank.to_string()),
        (*action).to_owned(),
        object.to_string(),
        if waits.is_empty() { "-".to_owned() } else { waits.join(", ") },
    ]
}

fn condition(wait: &WaitReport) -> String {
    let WaitReport { condition, group, on, cause, met: _, count: _, objects: _ } = wait;
    match (group, on) {
        (Some(group), _) => format!("group {group} {condition}"),
        (None, Some(object)) => format!("{object} {condition} ({cause})"),
        (None, None) => format!("a {condition}"),
    }
}

fn now(next: &NextReport) -> String {
    let NextReport { action, steps, waiting, message } = next;
    let listed = |waiting: &[HoldingReport]| named(waiting, waiting.len());
    match *action {
        "run" => match (steps.first(), steps.last()) {
            (Some(first), Some(last)) if first == last => format!("next: step {first} runs"),
            (Some(first), Some(last)) if last - first + 1 == steps.len() => {
                format!("next: steps {first} to {last} run")
            }
            (Some(_), Some(_)) => {
                let numbers: Vec<String> = steps.iter().map(ToString::to_string).collect();
                format!("next: steps {} run", numbers.join(", "))
            }
            _ => "next: nothing".to_owned(),
        },
        "fail" => format!("next: fails: {message}"),
        "wait" => format!("next: waits for {}", listed(waiting)),
        _ => "next: nothing; all is done".to_owned(),
    }
}

/// Each condition that is not met, once. That a step waits for another of its own group says its row.
fn gates(steps: &[StepReport]) -> Vec<String> {
    let planned: BTreeSet<String> = steps.iter().map(|step| step.object.to_string()).collect();
    let mut lines: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for wait in steps.iter().flat_map(|step| &step.waits_for) {
        if wait.count == 0 || wait.on.as_ref().is_some_and(|object| planned.contains(&object.to_string())) {
            continue;
        }
        let line = format!("{}: {}", condition(wait), named(&wait.objects, wait.count));
        if seen.insert(line.clone()) {
            lines.push(line);
        }
    }
    lines
}

fn named(objects: &[HoldingReport], count: usize) -> String {
    let shown: Vec<String> =
        objects.iter().take(NAMED).map(|HoldingReport { object, message }| format!("{object} ({message})")).collect();
    let more = count.saturating_sub(shown.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", shown.join(", "))
}

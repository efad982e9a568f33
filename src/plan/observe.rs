//! Moves the progress of an attempt on by what is seen: results of hooks, the timers of the gate, and failure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::graph::{Action, Step};
use super::hook_life::{judge, own_record};
use super::outcome::Outcome;
use super::progress::{HookState, Progress};
use super::standing::MovesInput;
use super::survey::{Hold, Place, Survey, has_pending, places, places_on_failure, survey};
use super::timers::{Deadlines, passed};
use super::waiting::{named, seconds, sentence};
use crate::model::{HealthStatus, ObjectKey, Reason};

/// Moves the progress on. To be called after every change of the live view, of the progress or of the plan, and when a
/// timer ends, before [`super::next_moves`] is asked with the same input.
pub fn observe(progress: &mut Progress, input: &MovesInput<'_>) {
    see_hooks(progress, input);
    if progress.failed.is_none() {
        pass_gates(progress, input);
    }
    if progress.failed.is_some() && !hook_runs(progress, input) {
        pass_failure_groups(progress, input);
    }
}

/// The steps that run a hook.
pub(super) fn hook_steps<'a>(input: &MovesInput<'a>) -> impl Iterator<Item = (&'a Step, usize)> {
    let groups = input.plan.groups.iter().chain(&input.plan.on_failure);
    groups.flat_map(|group| &group.steps).filter_map(|step| match step.action {
        Action::Hook { index } => Some((step, index)),
        Action::Create | Action::Configure | Action::Keep | Action::AwaitGone | Action::Prune { .. } => None,
    })
}

/// Whether a hook of the ordinary groups runs.
pub(super) fn hook_runs(progress: &Progress, input: &MovesInput<'_>) -> bool {
    input
        .plan
        .groups
        .iter()
        .flat_map(|group| &group.steps)
        .any(|step| matches!(progress.hooks.get(&step.id), Some(HookState::Running { .. })))
}

fn see_hooks(progress: &mut Progress, input: &MovesInput<'_>) {
    for (step, _) in hook_steps(input) {
        let degraded = own_record(&step.id, input)
            .and_then(|record| record.health.as_ref())
            .is_some_and(|health| health.status == HealthStatus::Degraded);
        if matches!(progress.hooks.get(&step.id), None | Some(HookState::Running { .. })) {
            if degraded {
                progress.degraded_since.entry(step.id.key.clone()).or_insert(input.now);
            } else if progress.hooks.contains_key(&step.id) {
                progress.degraded_since.remove(&step.id.key);
            }
        }
        if let Some(state) = judge(&step.id, progress, input) {
            progress.outcomes.entry(step.id.clone()).or_insert(Outcome::Created);
            progress.hooks.insert(step.id.clone(), state);
        }
    }
}

/// Goes through the groups in order as far as their gates are open.
fn pass_gates(progress: &mut Progress, input: &MovesInput<'_>) {
    for place in places(input) {
        if progress.passed.contains(&place.id) {
            if !has_pending(place.group, progress) {
                continue;
            }
            progress.passed.remove(&place.id);
        }
        enter(progress, place, input.now);
        let now = input.now;
        let survey = survey(place, progress, input);
        let fingerprint = survey.fingerprint(input);
        if progress.fingerprint != Some(fingerprint) {
            progress.fingerprint = Some(fingerprint);
            progress.last_change = Some(now);
        }
        keep_degraded(&mut progress.degraded_since, &survey, now);
        if survey.is_done() {
            let since = *progress.healthy_since.get_or_insert(now);
            if needs_to_be_stable(place, &survey) && !passed(since, input.policy.stable_for, now) {
                return;
            }
            progress.passed.insert(place.id);
            continue;
        }
        progress.healthy_since = None;
        progress.failed = failure(&survey, place, progress, input);
        return;
    }
    // What is pruned after its users is waited for in the end; nothing of that is a group.
    progress.group = None;
}

/// Whether a group must stay healthy for a while: one in which this attempt changed something.
pub(super) fn needs_to_be_stable(place: Place<'_>, survey: &Survey<'_>) -> bool {
    place.gated && survey.touched
}

fn enter(progress: &mut Progress, place: Place<'_>, now: Timestamp) {
    if progress.group == Some(place.id) {
        return;
    }
    progress.group = Some(place.id);
    progress.group_since = Some(now);
    progress.last_change = Some(now);
    progress.fingerprint = None;
    progress.healthy_since = None;
}

fn keep_degraded(since: &mut BTreeMap<ObjectKey, Timestamp>, survey: &Survey<'_>, now: Timestamp) {
    let mut before = std::mem::take(since);
    for (key, _) in survey.degraded() {
        let start = before.remove(key).unwrap_or(now);
        since.insert(key.clone(), start);
    }
}

/// Why the attempt fails now, if it does.
fn failure(
    survey: &Survey<'_>,
    place: Place<'_>,
    progress: &Progress,
    input: &MovesInput<'_>,
) -> Option<(Reason, String)> {
    if let Some((id, reason, message)) = survey.failures.iter().find(|(id, ..)| progress.hooks.contains_key(*id)) {
        return Some((*reason, format!("hook {id} failed: {message}{}", others(survey.failures.len()))));
    }
    if !survey.failures.is_empty() && (survey.hook_failed || survey.ready.is_empty()) {
        let (id, reason, message) = survey.failures.first()?;
        let message = if message.contains(&id.key.name) { message.clone() } else { format!("{id}: {message}") };
        return Some((*reason, format!("{message}{}", others(survey.failures.len()))));
    }
    // What may still run comes before a verdict on the rest, which may be what it waits for.
    if !survey.ready.is_empty() {
        return None;
    }
    let now = input.now;
    let grace = input.policy.degraded_grace;
    let mut over = survey
        .degraded()
        .filter(|(key, _)| progress.degraded_since.get(*key).is_some_and(|since| passed(*since, grace, now)));
    if let Some((key, health)) = over.next() {
        let more = over.count() + 1;
        let grace = seconds(grace);
        return Some((
            Reason::HealthDegraded,
            format!(
                "{key} has been {} for longer than {grace} (gate.degradedGracePeriod){}{}",
                health.status,
                if health.message.is_empty() { String::new() } else { format!(": {}", health.message) },
                others(more)
            ),
        ));
    }
    let deadlines = Deadlines::new(progress, &input.policy, survey.hook_runs);
    let group = named(place.id);
    if deadlines.timeout.is_some_and(|end| end <= now) {
        let length = seconds(input.policy.timeout.unwrap_or_default());
        return Some((
            Reason::HealthTimeout,
            format!("{group} was not done within {length} (gate.timeout): {}", first_held(survey, input)),
        ));
    }
    if deadlines.no_progress.is_some_and(|end| end <= now) {
        let length = seconds(input.policy.no_progress_timeout.unwrap_or_default());
        return Some((
            Reason::NoProgress,
            format!("nothing of {group} changed for {length} (gate.noProgressTimeout): {}", first_held(survey, input)),
        ));
    }
    None
}

fn first_held(survey: &Survey<'_>, input: &MovesInput<'_>) -> String {
    let Some(first) = survey.held.first() else { return "it is not done".to_owned() };
    format!("{}{}", sentence(first, input), others(survey.held.len()))
}

/// `; and 3 more`
fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!("; and {} more", count - 1),
    }
}

/// Goes through the groups that run on failure. A hook there that can't have what it needs is left out: nothing will be
/// applied any more that could be waited for.
fn pass_failure_groups(progress: &mut Progress, input: &MovesInput<'_>) {
    if progress.is_terminated() {
        return;
    }
    for place in places_on_failure(input) {
        if progress.passed.contains(&place.id) {
            continue;
        }
        enter(progress, place, input.now);
        let patient = !passed(progress.group_since.unwrap_or(input.now), input.policy.degraded_grace, input.now);
        loop {
            let survey = survey(place, progress, input);
            if survey.ready.is_empty() && survey.clean_up.is_empty() && survey.held.is_empty() {
                break;
            }
            if patient || !survey.ready.is_empty() || survey.hook_runs {
                return;
            }
            let needing = survey.held.iter().filter(|held| matches!(held.by, Hold::Need(..)));
            let left_out: Vec<_> = needing.map(|held| (held.step.id.clone(), sentence(held, input))).collect();
            if left_out.is_empty() {
                return;
            }
            for (id, message) in left_out {
                progress.outcomes.insert(id, Outcome::Skipped { message });
            }
        }
        progress.passed.insert(place.id);
    }
}

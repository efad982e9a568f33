//! What may be done next.

use jiff::Timestamp;

use super::graph::Work;
use super::hook_life::{HookStand, Moment, hook_stand, own_record};
use super::observe::{hook_runs, hook_steps, needs_to_be_stable};
use super::progress::{Act, HookState, Move, Next, Progress, Waiting};
use super::standing::MovesInput;
use super::survey::{Place, Survey, goes_after_its_users, has_pending, places, places_on_failure, still_there, survey};
use super::timers::{Deadlines, end};
use super::waiting::{stable, used_elsewhere, waiting_for};
use crate::model::{HealthStatus, Reason};

/// Decides what may be done next. [`super::observe`] goes before it, with the same input.
///
/// Whoever acts does all the moves of [`Next::Run`], takes note of what came of each ([`Progress::note_outcome`] and its
/// like), and asks again.
pub fn next_moves(progress: &Progress, input: &MovesInput<'_>) -> Next {
    match &progress.failed {
        None => go_on(progress, input),
        Some((reason, message)) => after_failure(*reason, message, progress, input),
    }
}

fn go_on(progress: &Progress, input: &MovesInput<'_>) -> Next {
    for place in places(input) {
        if progress.passed.contains(&place.id) && !has_pending(place.group, progress) {
            continue;
        }
        let survey = survey(place, progress, input);
        // A hook that failed ends the group: nothing new starts beside what runs.
        let moves = if survey.hook_failed { Vec::new() } else { moves_of(&survey) };
        if !moves.is_empty() {
            return Next::Run(moves);
        }
        return wait_at(place, &survey, progress, input);
    }
    let held: Vec<Waiting> = input
        .plan
        .groups
        .iter()
        .filter(|group| group.work == Work::Prune)
        .flat_map(|group| &group.steps)
        .filter(|step| goes_after_its_users(step) && still_there(step, progress, input))
        .map(|step| used_elsewhere(&step.id.key))
        .collect();
    if !held.is_empty() {
        return Next::Wait { waiting: held, until: None };
    }
    match clean_up_at(Moment::Success, progress, input) {
        moves if moves.is_empty() => Next::Done,
        moves => Next::Run(moves),
    }
}

fn moves_of(survey: &Survey<'_>) -> Vec<Move> {
    survey.clean_up.iter().chain(&survey.ready).cloned().collect()
}

fn wait_at(place: Place<'_>, survey: &Survey<'_>, progress: &Progress, input: &MovesInput<'_>) -> Next {
    if survey.is_done() {
        let since = progress.healthy_since.filter(|_| needs_to_be_stable(place, survey));
        let first = place.group.steps.first();
        let (Some(since), Some(first)) = (since, first) else { return look_again(input.now) };
        let waiting = vec![stable(&first.id.key, place.id, since, &input.policy, input.now)];
        return Next::Wait { waiting, until: Some(end(since, input.policy.stable_for)) };
    }
    if !survey.failures.is_empty() {
        return look_again(input.now);
    }
    let deadlines = Deadlines::new(progress, &input.policy, survey.hook_runs);
    let graces = progress.degraded_since.values().map(|since| end(*since, input.policy.degraded_grace));
    let until = deadlines.first().map(|(end, _)| end).into_iter().chain(graces).chain(unseen(progress)).min();
    Next::Wait { waiting: waiting_for(survey, progress, input), until }
}

/// When hooks that were started and are not seen yet count as gone.
fn unseen(progress: &Progress) -> impl Iterator<Item = Timestamp> {
    progress.hooks.values().filter_map(|state| match state {
        HookState::Running { since, seen: false, .. } => Some(end(*since, super::hook_life::UNSEEN_LIMIT)),
        HookState::Running { .. } | HookState::Succeeded | HookState::Failed { .. } => None,
    })
}

/// The progress has not been moved on by what is seen: that comes first.
const fn look_again(now: Timestamp) -> Next {
    Next::Wait { waiting: Vec::new(), until: Some(now) }
}

fn after_failure(reason: Reason, message: &str, progress: &Progress, input: &MovesInput<'_>) -> Next {
    let terminated = progress.is_terminated();
    if terminated {
        let moves = end_hooks(progress, input);
        if !moves.is_empty() {
            return Next::Run(moves);
        }
    }
    if hook_runs(progress, input) {
        return await_hooks(progress, input);
    }
    let moves = clean_up_at(Moment::Underway, progress, input);
    if !moves.is_empty() {
        return Next::Run(moves);
    }
    for place in places_on_failure(input).filter(|_| !terminated) {
        if progress.passed.contains(&place.id) {
            continue;
        }
        let survey = survey(place, progress, input);
        let moves = moves_of(&survey);
        if !moves.is_empty() {
            return Next::Run(moves);
        }
        let patience = progress.group_since.map(|since| end(since, input.policy.degraded_grace));
        let graces = progress.degraded_since.values().map(|since| end(*since, input.policy.degraded_grace));
        let needs = patience.filter(|end| *end > input.now);
        let until = needs.into_iter().chain(graces).chain(unseen(progress)).min();
        if survey.held.is_empty() {
            return look_again(input.now);
        }
        return Next::Wait { waiting: waiting_for(&survey, progress, input), until };
    }
    match clean_up_at(Moment::Failure, progress, input) {
        moves if moves.is_empty() => Next::Failed { reason, message: with_failed_hooks(message, progress, input) },
        moves => Next::Run(moves),
    }
}

/// Hooks of a terminated attempt that still run, to be deleted.
fn end_hooks(progress: &Progress, input: &MovesInput<'_>) -> Vec<Move> {
    hook_steps(input)
        .filter_map(|(step, _)| match progress.hooks.get(&step.id) {
            Some(HookState::Running { uid, .. }) if progress.deleted.get(&step.id) != Some(uid) => {
                Some(Move { id: step.id.clone(), act: Act::DeleteHook { uid: uid.clone() } })
            }
            Some(HookState::Running { .. } | HookState::Succeeded | HookState::Failed { .. }) | None => None,
        })
        .filter(|next| !progress.is_refused(&next.id))
        .collect()
}

fn await_hooks(progress: &Progress, input: &MovesInput<'_>) -> Next {
    let waiting = places(input)
        .map(|place| survey(place, progress, input))
        .flat_map(|mut survey| {
            survey.held.retain(|held| matches!(held.by, super::survey::Hold::HookRuns(_)));
            waiting_for(&survey, progress, input)
        })
        .collect();
    let degraded = hook_steps(input).filter(|(step, _)| {
        own_record(&step.id, input)
            .and_then(|record| record.health.as_ref())
            .is_some_and(|health| health.status == HealthStatus::Degraded)
    });
    let graces = degraded
        .filter_map(|(step, _)| progress.degraded_since.get(&step.id.key))
        .map(|since| end(*since, input.policy.degraded_grace));
    Next::Wait { waiting, until: graces.chain(unseen(progress)).min() }
}

/// Hooks that are to be cleaned up after at a moment.
fn clean_up_at(moment: Moment, progress: &Progress, input: &MovesInput<'_>) -> Vec<Move> {
    hook_steps(input)
        .filter(|(step, _)| progress.hooks.contains_key(&step.id))
        .filter_map(|(step, index)| match hook_stand(&step.id, index, moment, progress, input) {
            HookStand::CleanUp(act) => Some(Move { id: step.id.clone(), act }),
            HookStand::Begin(_)
            | HookStand::Clearing
            | HookStand::Running
            | HookStand::Failed(..)
            | HookStand::Done => None,
        })
        .collect()
}

fn with_failed_hooks(message: &str, progress: &Progress, input: &MovesInput<'_>) -> String {
    let mut message = message.to_owned();
    for step in input.plan.on_failure.iter().flat_map(|group| &group.steps) {
        if let Some(HookState::Failed { message: how }) = progress.hooks.get(&step.id) {
            message.push_str(&format!("; hook {} failed as well: {how}", step.id));
        }
    }
    message
}

//! One look at a group: what of it may run, what holds it, and what of it failed. One pass over its steps.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::graph::{Action, Group, Need, Step, StepId, Work};
use super::hook_life::{HookStand, Moment, hook_stand};
use super::outcome::Outcome;
use super::progress::{Act, GroupId, HookState, Move, Progress};
use super::standing::{Lack, MovesInput, Needs, health_lack};
use crate::model::{Hash64, Health, HealthStatus, ObjectKey, Reason};

/// What keeps a group from being done, other than what may be run at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held<'a> {
    /// The step.
    pub(super) step: &'a Step,
    /// What holds it.
    pub(super) by: Hold<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Hold<'a> {
    /// It was applied, and is not healthy.
    Health(Lack<'a>),
    /// It can't run before something that it needs.
    Need(&'a Need, Lack<'a>),
    /// It can be made again only when the old one is gone.
    AwaitsGone,
    /// It is pruned, and still there.
    Pruned,
    /// It is a hook that runs; with the health of its object.
    HookRuns(Option<&'a Health>),
    /// It is a hook; an object of an earlier attempt is on its way out.
    HookClears,
}

/// One look at a group.
#[derive(Debug, Default)]
pub(super) struct Survey<'a> {
    /// What may run at once: the steps of the best rank of those that could.
    pub(super) ready: Vec<Move>,
    /// What may be cleaned up after.
    pub(super) clean_up: Vec<Move>,
    /// What holds the rest.
    pub(super) held: Vec<Held<'a>>,
    /// Steps that failed.
    pub(super) failures: Vec<(&'a StepId, Reason, String)>,
    /// Whether a hook failed, which ends the group at once; a refused object only ends it when nothing of it can run.
    pub(super) hook_failed: bool,
    /// Whether a hook runs.
    pub(super) hook_runs: bool,
    /// Whether this attempt has changed anything in it.
    pub(super) touched: bool,
    /// How many of its steps were tried.
    pub(super) tried: usize,
}

impl Survey<'_> {
    /// Whether the group is as its gate wants it.
    pub(super) fn is_done(&self) -> bool {
        self.ready.is_empty() && self.clean_up.is_empty() && self.held.is_empty() && self.failures.is_empty()
    }

    /// Digest of what is waited for: any real change of state changes it.
    pub(super) fn fingerprint(&self, input: &MovesInput<'_>) -> Hash64 {
        let mut hasher = DefaultHasher::new();
        self.tried.hash(&mut hasher);
        self.failures.len().hash(&mut hasher);
        for held in &self.held {
            held.step.id.hash(&mut hasher);
            let (key, lack) = match held.by {
                Hold::Need(need, lack) => (&need.on, Some(lack)),
                Hold::Health(lack) => (&held.step.id.key, Some(lack)),
                Hold::HookRuns(health) => (&held.step.id.key, Some(Lack::Running(health))),
                Hold::AwaitsGone | Hold::Pruned | Hold::HookClears => (&held.step.id.key, None),
            };
            if let Some(record) = input.live.objects.get(key) {
                (&record.uid, record.generation, record.deleting).hash(&mut hasher);
            }
            match lack {
                Some(Lack::Unhealthy(health) | Lack::Running(Some(health))) => {
                    (health.status, &health.message).hash(&mut hasher);
                }
                Some(Lack::Pending | Lack::Absent | Lack::Deleting | Lack::Stale { .. } | Lack::Running(None))
                | None => {}
            }
        }
        Hash64(hasher.finish())
    }

    /// Objects that are Degraded, whose grace runs.
    pub(super) fn degraded(&self) -> impl Iterator<Item = (&ObjectKey, &Health)> {
        self.held.iter().filter_map(|held| match held.by {
            Hold::Health(Lack::Unhealthy(health)) | Hold::HookRuns(Some(health))
                if health.status == HealthStatus::Degraded =>
            {
                Some((&held.step.id.key, health))
            }
            Hold::Health(_)
            | Hold::Need(..)
            | Hold::AwaitsGone
            | Hold::Pruned
            | Hold::HookRuns(_)
            | Hold::HookClears => None,
        })
    }
}

/// Which groups count, and whether the health of their objects does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The group.
    pub(super) group: &'a Group,
    /// Its identity.
    pub(super) id: GroupId,
    /// Whether its objects must become healthy.
    pub(super) gated: bool,
}

/// The groups of the plan in order.
pub(super) fn places<'a>(input: &MovesInput<'a>) -> impl Iterator<Item = Place<'a>> {
    let last = input.plan.groups.len();
    let last_wave = input.policy.last_wave;
    input.plan.groups.iter().enumerate().map(move |(index, group)| Place {
        group,
        id: GroupId::of(group, false),
        gated: index + 1 < last || last_wave,
    })
}

/// The groups that run on failure. They hold hooks; the health of anything else says no more than that it failed.
pub(super) fn places_on_failure<'a>(input: &MovesInput<'a>) -> impl Iterator<Item = Place<'a>> {
    input.plan.on_failure.iter().map(|group| Place { group, id: GroupId::of(group, true), gated: false })
}

/// Whether a group has a step that has not been tried.
pub(super) fn has_pending(group: &Group, progress: &Progress) -> bool {
    group.steps.iter().any(|step| step.action != Action::Keep && !progress.outcomes.contains_key(&step.id))
}

/// Looks at a group.
pub(super) fn survey<'a>(place: Place<'a>, progress: &Progress, input: &MovesInput<'a>) -> Survey<'a> {
    match place.group.work {
        Work::Apply => survey_apply(place, progress, input),
        Work::Prune => survey_prune(place, progress, input),
    }
}

fn is_pending(step: &Step, progress: &Progress) -> bool {
    match step.action {
        Action::Create | Action::Configure | Action::AwaitGone | Action::Hook { .. } => {
            !progress.outcomes.contains_key(&step.id) && !progress.hooks.contains_key(&step.id)
        }
        Action::Keep | Action::Prune { .. } => false,
    }
}

fn survey_apply<'a>(place: Place<'a>, progress: &Progress, input: &MovesInput<'a>) -> Survey<'a> {
    let pending: HashSet<&ObjectKey> =
        place.group.steps.iter().filter(|step| is_pending(step, progress)).map(|step| &step.id.key).collect();
    let needs = Needs::new(pending, progress);
    let mut found = Survey::default();
    let mut ready = Ready::lowest_first();
    for step in &place.group.steps {
        let outcome = progress.outcomes.get(&step.id);
        found.tried += usize::from(outcome.is_some());
        let mut begin = |found: &mut Survey<'a>, act: Act| match unmet(step, &needs, progress, input) {
            Some(held) => found.held.push(held),
            None => ready.offer(step, act),
        };
        match &step.action {
            Action::Hook { index } => match hook_stand(&step.id, *index, Moment::Underway, progress, input) {
                HookStand::Begin(act) => begin(&mut found, act),
                HookStand::Clearing => found.held.push(Held { step, by: Hold::HookClears }),
                HookStand::Running => {
                    let record = input.live.objects.get(&step.id.key);
                    let health = record.and_then(|record| record.health.as_ref());
                    found.held.push(Held { step, by: Hold::HookRuns(health) });
                    found.hook_runs = true;
                    found.touched = true;
                }
                HookStand::CleanUp(act) => {
                    found.clean_up.push(Move { id: step.id.clone(), act });
                    found.hook_failed |= failed_hook(&step.id, progress, &mut found.failures);
                    found.touched = true;
                }
                HookStand::Failed(reason, message) => {
                    found.failures.push((&step.id, reason, message));
                    found.hook_failed = true;
                }
                HookStand::Done => found.touched |= progress.hooks.contains_key(&step.id),
            },
            Action::AwaitGone if outcome.is_none() => {
                if input.live.objects.get(&step.id.key).is_some_and(|record| record.deleting) {
                    found.held.push(Held { step, by: Hold::AwaitsGone });
                } else {
                    begin(&mut found, Act::Apply);
                }
            }
            Action::Create | Action::Configure if outcome.is_none() => begin(&mut found, Act::Apply),
            Action::Prune { uid } if outcome.is_none() => begin(&mut found, Act::Prune { uid: uid.clone() }),
            Action::Create | Action::Configure | Action::Keep | Action::AwaitGone | Action::Prune { .. } => {
                if let Some(Outcome::Failed { reason, message }) = outcome {
                    found.failures.push((&step.id, *reason, message.clone()));
                    continue;
                }
                found.touched |= outcome.is_some();
                let absent = !input.live.objects.contains_key(&step.id.key);
                let left_out = matches!(outcome, Some(Outcome::Skipped { .. } | Outcome::Pruned { .. })) && absent;
                if place.gated
                    && !left_out
                    && let Some(lack) = health_lack(&step.id.key, progress, input)
                {
                    found.held.push(Held { step, by: Hold::Health(lack) });
                }
            }
        }
    }
    found.ready = ready.moves;
    found
}

fn failed_hook<'a>(id: &'a StepId, progress: &Progress, failures: &mut Vec<(&'a StepId, Reason, String)>) -> bool {
    let Some(HookState::Failed { message }) = progress.hooks.get(id) else { return false };
    failures.push((id, Reason::HookFailed, message.clone()));
    true
}

/// Prunes go from the highest rank to the lowest; a rank waits until what goes before it is gone.
fn survey_prune<'a>(place: Place<'a>, progress: &Progress, input: &MovesInput<'a>) -> Survey<'a> {
    let needs = Needs::new(HashSet::new(), progress);
    let mut found = Survey { touched: true, ..Survey::default() };
    let mut ready = Ready::highest_first();
    let mut held_rank = None;
    for step in &place.group.steps {
        let outcome = progress.outcomes.get(&step.id);
        found.tried += usize::from(outcome.is_some());
        if let Some(Outcome::Failed { reason, message }) = outcome {
            found.failures.push((&step.id, *reason, message.clone()));
        }
        match (&step.action, outcome) {
            (Action::Prune { uid }, None) => {
                let going = input.live.objects.get(&step.id.key).is_some_and(|record| record.deleting);
                let held = unmet(step, &needs, progress, input);
                match held {
                    None => ready.offer(step, Act::Prune { uid: uid.clone() }),
                    Some(_) if going => found.held.push(Held { step, by: Hold::Pruned }),
                    Some(held) => found.held.push(held),
                }
            }
            (Action::Prune { .. }, Some(_)) if still_there(step, progress, input) && !goes_after_its_users(step) => {
                found.held.push(Held { step, by: Hold::Pruned });
                held_rank = held_rank.max(Some(step.rank));
            }
            // Nothing else stands in a group that takes away.
            (
                Action::Prune { .. }
                | Action::Create
                | Action::Configure
                | Action::Keep
                | Action::AwaitGone
                | Action::Hook { .. },
                _,
            ) => {}
        }
    }
    if held_rank.is_none_or(|held| ready.rank.is_some_and(|rank| rank >= held)) {
        found.ready = ready.moves;
    }
    found
}

/// Whether an object whose deletion was accepted is still there. Another one of its name is not ours to wait for.
pub(super) fn still_there(step: &Step, progress: &Progress, input: &MovesInput<'_>) -> bool {
    let Action::Prune { uid } = &step.action else { return false };
    matches!(progress.outcomes.get(&step.id), Some(Outcome::Pruned { gone: false }))
        && input.live.objects.get(&step.id.key).is_some_and(|record| uid.as_ref().is_none_or(|uid| *uid == record.uid))
}

/// Kinds that the cluster itself keeps until nothing uses them any more. Their users may be in a later group (a claim
/// goes with its Namespace, the last of all), so that to wait here could be to wait for ever.
pub(super) fn goes_after_its_users(step: &Step) -> bool {
    let key = &step.id.key;
    key.group.is_empty() && matches!(key.kind.as_str(), "PersistentVolume" | "PersistentVolumeClaim")
}

fn unmet<'a>(step: &'a Step, needs: &Needs<'a, '_>, progress: &Progress, input: &MovesInput<'a>) -> Option<Held<'a>> {
    step.needs.iter().find_map(|need| {
        // An object that needs itself would wait for ever; it has what it needs once it is there.
        let lack = needs.lack(need, progress, input).filter(|_| need.on != step.id.key)?;
        Some(Held { step, by: Hold::Need(need, lack) })
    })
}

/// The moves of the best rank offered so far.
struct Ready {
    rank: Option<u16>,
    highest_first: bool,
    moves: Vec<Move>,
}

impl Ready {
    const fn lowest_first() -> Self {
        Self { rank: None, highest_first: false, moves: Vec::new() }
    }

    const fn highest_first() -> Self {
        Self { rank: None, highest_first: true, moves: Vec::new() }
    }

    fn offer(&mut self, step: &Step, act: Act) {
        let better = |rank: u16| if self.highest_first { step.rank > rank } else { step.rank < rank };
        if self.rank.is_none_or(better) {
            self.rank = Some(step.rank);
            self.moves.clear();
        }
        if self.rank == Some(step.rank) {
            self.moves.push(Move { id: step.id.clone(), act });
        }
    }
}

//! What each step of a plan waits for, and what holds it now. For people: the gate decides by itself, and more strictly, since
//! it knows what was done in this attempt.

use std::collections::BTreeMap;

use super::graph::{Action, Group, Need, Plan, Step, StepId, Work};
use crate::desired::DependencyState;
use crate::live::LiveView;
use crate::model::{HealthStatus, ObjectKey};

/// What must be so before a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Everything that a group brings is healthy, and its hooks have succeeded.
    Finished {
        /// The group's place in the plan, counted from 0; groups that run on failure are counted on.
        group: usize,
    },
    /// Everything that a group takes away is gone.
    Gone {
        /// The group.
        group: usize,
    },
    /// A group has failed.
    Failure,
    /// A need of the step's own.
    Need(Need),
}

/// An object that keeps a condition from being so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holding {
    /// The object.
    pub key: ObjectKey,
    /// What is missing.
    pub message: String,
}

/// A condition, and the objects that keep it from being so now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prerequisite {
    /// What must be so.
    pub condition: Condition,
    /// The objects that it waits for; none when it is so already.
    pub holding: Vec<Holding>,
}

/// What the steps of one group wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWaits {
    /// What all of them wait for.
    pub group: Option<Prerequisite>,
    /// What each waits for by itself, in the order of the steps.
    pub steps: Vec<Vec<Prerequisite>>,
}

/// What everything waits for, before anything is done: the groups of the plan in order, then those that run on failure.
pub fn waits(plan: &Plan, live: &LiveView) -> Vec<GroupWaits> {
    let mut known: BTreeMap<&ObjectKey, Vec<&Step>> = BTreeMap::new();
    for step in plan.groups.iter().chain(&plan.on_failure).flat_map(|group| &group.steps) {
        known.entry(&step.id.key).or_default().push(step);
    }
    let in_order = plan.groups.iter().enumerate().map(|(index, group)| {
        let before = index.checked_sub(1).and_then(|before| Some((before, plan.groups.get(before)?)));
        (group, before.map(|(before, group)| finished(before, group, live)))
    });
    let on_failure = plan.on_failure.iter().enumerate().map(|(index, group)| {
        let before = index.checked_sub(1).and_then(|before| Some((before, plan.on_failure.get(before)?)));
        let need = before.map(|(before, group)| finished(plan.groups.len() + before, group, live));
        (group, Some(need.unwrap_or(Prerequisite { condition: Condition::Failure, holding: Vec::new() })))
    });
    in_order
        .chain(on_failure)
        .map(|(group, before)| {
            let needs = |step: &Step| step.needs.iter().map(|one| need(one, &step.id, &known, live)).collect();
            GroupWaits { group: before, steps: group.steps.iter().map(needs).collect() }
        })
        .collect()
}

fn finished(index: usize, group: &Group, live: &LiveView) -> Prerequisite {
    let holding = group.steps.iter().filter_map(|step| unfinished(step, live)).collect();
    let condition = match group.work {
        Work::Apply => Condition::Finished { group: index },
        Work::Prune => Condition::Gone { group: index },
    };
    Prerequisite { condition, holding }
}

fn need(need: &Need, by: &StepId, known: &BTreeMap<&ObjectKey, Vec<&Step>>, live: &LiveView) -> Prerequisite {
    // A step that prunes the object, or one that comes later, is none that this need waits for.
    let steps = known.get(&need.on).into_iter().flatten();
    let step = steps
        .filter(|step| !matches!(step.action, Action::Prune { .. }) && step.id.phase <= by.phase)
        .max_by_key(|step| step.id.phase);
    let message = match step {
        Some(step) => pending(step).map(str::to_owned).or_else(|| missing(&need.on, need.state, live)),
        None => missing(&need.on, need.state, live),
    };
    let holding = message.map(|message| Holding { key: need.on.clone(), message });
    Prerequisite { condition: Condition::Need(need.clone()), holding: holding.into_iter().collect() }
}

fn unfinished(step: &Step, live: &LiveView) -> Option<Holding> {
    let key = &step.id.key;
    let own = match &step.action {
        Action::Prune { .. } => live.objects.contains_key(key).then(|| "it is to be pruned".to_owned()),
        Action::Keep => missing(key, DependencyState::Ready, live),
        Action::Configure => {
            let now = missing(key, DependencyState::Ready, live).map(|message| format!("; {message}"));
            Some(format!("it is to be configured{}", now.unwrap_or_default()))
        }
        Action::Create | Action::AwaitGone | Action::Hook { .. } => pending(step).map(str::to_owned),
    };
    own.map(|message| Holding { key: key.clone(), message })
}

/// What is still to be done about an object.
fn pending(step: &Step) -> Option<&'static str> {
    match step.action {
        Action::Create => Some("it is to be created"),
        Action::Configure => Some("it is to be configured"),
        Action::AwaitGone => Some("it is being deleted and will be made again"),
        Action::Hook { .. } => Some("it is to be run"),
        Action::Keep | Action::Prune { .. } => None,
    }
}

/// What an object that nothing is done about lacks.
fn missing(key: &ObjectKey, state: DependencyState, live: &LiveView) -> Option<String> {
    let Some(record) = live.objects.get(key) else { return Some("it is not in the cluster".to_owned()) };
    let health = match state {
        DependencyState::Present => return None,
        DependencyState::Ready | DependencyState::Completed => record.health.as_ref()?,
    };
    match health.status {
        HealthStatus::Healthy => None,
        _ if record.health_ignored => None,
        // As git wants it, with nothing to wait for.
        HealthStatus::Suspended if key.kind == "CronJob" => None,
        HealthStatus::Suspended
        | HealthStatus::Progressing
        | HealthStatus::Missing
        | HealthStatus::Unknown
        | HealthStatus::Degraded => Some(if health.message.is_empty() {
            health.status.to_string()
        } else {
            format!("{}: {}", health.status, health.message)
        }),
    }
}

//! What each stage of a plan waits for, and what holds it now. For people: the gate decides by itself, with the same
//! reading of health.

use super::gate::{Waiting, being_deleted, unhealthy};
use super::steps::{Action, Plan, Stage, Step};
use crate::live::LiveView;
use crate::model::Reason;

/// What must be so before a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Every step of a stage has been tried.
    Applied {
        /// The stage, counted from 0; prunes are counted on after the others.
        stage: usize,
    },
    /// Every definition of a stage is established.
    Established {
        /// The stage.
        stage: usize,
    },
    /// What a stage deletes, or makes again, is gone.
    Gone {
        /// The stage.
        stage: usize,
    },
    /// Every object of a wave is healthy.
    Healthy {
        /// The wave.
        wave: i32,
    },
}

/// A condition, and the objects that keep it from being so now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prerequisite {
    /// What must be so.
    pub condition: Condition,
    /// The objects that it waits for; none when it is so already.
    pub holding: Vec<Waiting>,
}

/// What each stage waits for: the stages of the plan in order, then its prunes.
pub fn prerequisites(plan: &Plan, live: &LiveView, gate_last_wave: bool) -> Vec<Vec<Prerequisite>> {
    let stages = &plan.stages;
    let mut all = Vec::with_capacity(stages.len() + plan.prunes.len());
    for (index, stage) in stages.iter().enumerate() {
        let start = first_of_wave(stages, index);
        let mut needs = Vec::new();
        if index > start {
            needs.push(applied(stages, index - 1));
            for (before, earlier) in stages.iter().enumerate().take(index).skip(start) {
                needs.extend(established(before, earlier, live));
                needs.extend(gone(before, earlier, live));
            }
        } else if let Some(last) = start.checked_sub(1) {
            needs.push(healthy(stages, last, live));
        }
        debug_assert_eq!(stage.wave, stages[start].wave);
        all.push(needs);
    }
    for index in 0..plan.prunes.len() {
        let before = (stages.len() + index).checked_sub(1);
        let need = match (index.checked_sub(1).and_then(|before| plan.prunes.get(before)), stages.len().checked_sub(1))
        {
            (Some(earlier), _) => {
                let holding = earlier.steps.iter().filter(|step| live.objects.contains_key(&step.key));
                let holding = holding.map(|step| coming(step, "gone", "it is to be pruned")).collect();
                before.map(|stage| Prerequisite { condition: Condition::Gone { stage }, holding })
            }
            (None, Some(last)) if gate_last_wave => Some(healthy(stages, last, live)),
            (None, Some(last)) => Some(applied(stages, last)),
            (None, None) => None,
        };
        all.push(need.into_iter().collect());
    }
    all
}

fn first_of_wave(stages: &[Stage], index: usize) -> usize {
    let wave = stages.get(index).map(|stage| stage.wave);
    stages.iter().position(|stage| Some(stage.wave) == wave).unwrap_or(index)
}

fn applied(stages: &[Stage], stage: usize) -> Prerequisite {
    let steps = stages.get(stage).map(|stage| stage.steps.as_slice()).unwrap_or_default();
    let holding = steps.iter().filter_map(|step| pending(step, "applied")).collect();
    Prerequisite { condition: Condition::Applied { stage }, holding }
}

fn established(stage: usize, earlier: &Stage, live: &LiveView) -> Option<Prerequisite> {
    earlier.defines_kinds.then(|| Prerequisite {
        condition: Condition::Established { stage },
        holding: not_yet_healthy(std::slice::from_ref(earlier), live, "established"),
    })
}

fn gone(stage: usize, earlier: &Stage, live: &LiveView) -> Option<Prerequisite> {
    let holding = being_deleted(earlier, live);
    (!holding.is_empty()).then_some(Prerequisite { condition: Condition::Gone { stage }, holding })
}

fn healthy(stages: &[Stage], last: usize, live: &LiveView) -> Prerequisite {
    let wave = stages.get(last).map(|stage| stage.wave).unwrap_or_default();
    let stages = stages.get(first_of_wave(stages, last)..=last).unwrap_or_default();
    Prerequisite { condition: Condition::Healthy { wave }, holding: not_yet_healthy(stages, live, "healthy") }
}

/// Objects that are not well, and those that will be written first and whose health after that nobody can know.
fn not_yet_healthy(stages: &[Stage], live: &LiveView, condition: &'static str) -> Vec<Waiting> {
    let mut found = unhealthy(stages, live, condition);
    for gone in stages.iter().flat_map(|stage| being_deleted(stage, live)) {
        found.retain(|waiting| waiting.key != gone.key);
        found.push(gone);
    }
    for step in stages.iter().flat_map(|stage| &stage.steps) {
        let Some(pending) = pending(step, condition) else { continue };
        match found.iter_mut().find(|waiting| waiting.key == step.key) {
            Some(waiting) if step.action == Action::Create => waiting.message = pending.message,
            Some(waiting) => waiting.message = format!("{}; {}", pending.message, waiting.message),
            None => found.push(pending),
        }
    }
    found.sort_by(|left, right| left.key.cmp(&right.key));
    found
}

fn pending(step: &Step, condition: &'static str) -> Option<Waiting> {
    match step.action {
        Action::Create => Some(coming(step, condition, "it is to be created")),
        Action::Configure => Some(coming(step, condition, "it is to be configured")),
        Action::Keep | Action::AwaitGone | Action::Prune { .. } => None,
    }
}

fn coming(step: &Step, condition: &'static str, message: &str) -> Waiting {
    Waiting { key: step.key.clone(), condition, message: message.to_owned(), reason: Reason::WaitingForHealth }
}

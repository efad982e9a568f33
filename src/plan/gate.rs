//! What may be done next, after what has been done and seen so far.

use super::outcome::{Outcome, Outcomes};
use super::steps::{Action, Plan, Stage, Step};
use crate::live::{LiveRecord, LiveView};
use crate::model::{Health, HealthStatus, ObjectKey, Reason};

/// What a gate waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The object.
    pub key: ObjectKey,
    /// What must become true of it: `healthy`, `established` or `gone`.
    pub condition: &'static str,
    /// What is missing.
    pub message: String,
    /// `WaitingForHealth`, `HealthDegraded` or `PruneWaiting`.
    pub reason: Reason,
}

/// What may be done next.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These steps, together.
    Run(Vec<Step>),
    /// Nothing until one of these changes.
    Wait(Vec<Waiting>),
    /// Nothing any more: steps of a wave failed.
    Failed,
    /// Nothing: all is done.
    Done,
}

/// What the next move is decided from.
#[derive(Clone, Copy, Debug)]
pub struct GateInput<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What came of its steps so far.
    pub outcomes: &'a Outcomes,
    /// The live view after them.
    pub live: &'a LiveView,
    /// Whether the last wave must be healthy too.
    pub gate_last_wave: bool,
}

/// Decides what may be done next.
pub fn next(input: GateInput<'_>) -> Next {
    let stages = &input.plan.stages;
    for (index, stage) in stages.iter().enumerate() {
        let ready: Vec<Step> = stage
            .steps
            .iter()
            .filter(|step| matches!(step.action, Action::Create | Action::Configure))
            .filter(|step| !input.outcomes.contains_key(&step.key))
            .cloned()
            .collect();
        if !ready.is_empty() {
            return Next::Run(ready);
        }
        let terminating = being_deleted(stage, input.live);
        if !terminating.is_empty() {
            return Next::Wait(terminating);
        }
        if stage.defines_kinds && !has_failure(std::slice::from_ref(stage), input.outcomes) {
            let waiting = unhealthy(std::slice::from_ref(stage), input.live, "established");
            if !waiting.is_empty() {
                return Next::Wait(waiting);
            }
        }
        let ends_wave = stages.get(index + 1).is_none_or(|following| following.wave != stage.wave);
        if !ends_wave {
            continue;
        }
        let start = stages.iter().position(|other| other.wave == stage.wave).unwrap_or(index);
        let wave = &stages[start..=index];
        if has_failure(wave, input.outcomes) {
            return Next::Failed;
        }
        if index + 1 < stages.len() || input.gate_last_wave {
            let waiting = unhealthy(wave, input.live, "healthy");
            if !waiting.is_empty() {
                return Next::Wait(waiting);
            }
        }
    }
    next_prune(input)
}

fn next_prune(input: GateInput<'_>) -> Next {
    let mut failed = false;
    let mut held = Vec::new();
    for stage in &input.plan.prunes {
        let ready: Vec<Step> =
            stage.steps.iter().filter(|step| !input.outcomes.contains_key(&step.key)).cloned().collect();
        if !ready.is_empty() {
            return Next::Run(ready);
        }
        failed |= has_failure(std::slice::from_ref(stage), input.outcomes);
        let (users_first, waiting): (Vec<Waiting>, Vec<Waiting>) = stage
            .steps
            .iter()
            .filter(|step| matches!(input.outcomes.get(&step.key), Some(Outcome::Pruned { gone: false })))
            .filter(|step| input.live.objects.contains_key(&step.key))
            .map(|step| Waiting {
                key: step.key.clone(),
                condition: "gone",
                message: "its deletion was accepted; a finalizer or an owned object may hold it".to_owned(),
                reason: Reason::PruneWaiting,
            })
            .partition(|waiting| goes_after_its_users(&waiting.key));
        if !waiting.is_empty() {
            return Next::Wait(waiting);
        }
        held.extend(users_first);
    }
    match (failed, held.is_empty()) {
        (true, _) => Next::Failed,
        (false, false) => Next::Wait(held),
        (false, true) => Next::Done,
    }
}

/// Kinds that the cluster itself keeps until nothing uses them any more. Their users may be in a later stage (a claim
/// goes with its Namespace, the last of all), so that to wait here could be to wait for ever.
fn goes_after_its_users(key: &ObjectKey) -> bool {
    key.group.is_empty() && matches!(key.kind.as_str(), "PersistentVolume" | "PersistentVolumeClaim")
}

fn has_failure(stages: &[Stage], outcomes: &Outcomes) -> bool {
    stages
        .iter()
        .flat_map(|stage| &stage.steps)
        .any(|step| matches!(outcomes.get(&step.key), Some(Outcome::Failed { .. })))
}

pub(super) fn being_deleted(stage: &Stage, live: &LiveView) -> Vec<Waiting> {
    stage
        .steps
        .iter()
        .filter(|step| step.action == Action::AwaitGone)
        // Once it is gone a new plan makes it again; until then nothing may count on it.
        .filter(|step| live.objects.get(&step.key).is_none_or(|record| record.deleting))
        .map(|step| Waiting {
            key: step.key.clone(),
            condition: "gone",
            message: "it is being deleted and will be made again".to_owned(),
            reason: Reason::WaitingForHealth,
        })
        .collect()
}

pub(super) fn unhealthy(stages: &[Stage], live: &LiveView, condition: &'static str) -> Vec<Waiting> {
    stages
        .iter()
        .flat_map(|stage| &stage.steps)
        .filter_map(|step| {
            let health = effective_health(&step.key, live.objects.get(&step.key).map(AsRef::as_ref));
            let reason = match health.status {
                HealthStatus::Healthy => return None,
                HealthStatus::Degraded => Reason::HealthDegraded,
                HealthStatus::Suspended | HealthStatus::Progressing | HealthStatus::Missing | HealthStatus::Unknown => {
                    Reason::WaitingForHealth
                }
            };
            let message = if health.message.is_empty() {
                health.status.to_string()
            } else {
                format!("{}: {}", health.status, health.message)
            };
            Some(Waiting { key: step.key.clone(), condition, message, reason })
        })
        .collect()
}

/// The health that a gate goes by: kinds without health are healthy by existing, and a suspended CronJob is as git wants
/// it, with nothing to wait for.
fn effective_health(key: &ObjectKey, record: Option<&LiveRecord>) -> Health {
    let Some(record) = record else { return Health::new(HealthStatus::Missing, "it is not in the cluster") };
    match &record.health {
        _ if record.health_ignored => Health::healthy(),
        None => Health::healthy(),
        Some(health) if health.status == HealthStatus::Suspended && key.kind == "CronJob" => Health::healthy(),
        Some(health) => health.clone(),
    }
}

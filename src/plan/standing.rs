//! How an object stands: what it lacks to be as a gate, or a step that needs it, wants it.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use super::graph::{Need, Plan, StepId};
use super::outcome::Outcome;
use super::progress::{GatePolicy, HookState, Progress};
use crate::desired::{DependencyState, DesiredSet};
use crate::live::LiveView;
use crate::model::{Health, HealthStatus, ObjectKey, Phase};

/// An object that steps need and that is not of the Application, as last read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideState {
    /// Whether it is in the cluster, and not on its way out.
    pub present: bool,
    /// The verdict on its health; `None` for kinds that have no health.
    pub health: Option<Health>,
}

/// What [`super::observe`] and [`super::next_moves`] read besides the progress.
#[derive(Clone, Copy, Debug)]
pub struct MovesInput<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What git wants; the hooks of the plan are in it.
    pub desired: &'a DesiredSet,
    /// The live view after what has been done.
    pub live: &'a LiveView,
    /// Objects outside the Application that steps need; one that is not listed counts as absent.
    pub outside: &'a BTreeMap<ObjectKey, OutsideState>,
    /// The gates' policy.
    pub policy: GatePolicy,
    /// Whether `HookSucceeded` and `HookFailed` mean the whole sync (`HookDeletion=AfterSync`).
    pub delete_hooks_after_sync: bool,
    /// Name of this attempt; hooks carry [`super::hook_mark`] of it.
    pub attempt: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// What an object lacks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lack<'a> {
    /// It has to be applied first.
    Pending,
    /// It is not in the cluster.
    Absent,
    /// It is on its way out.
    Deleting,
    /// What is seen of it is older than what was applied.
    Stale { seen: i64, applied: i64 },
    /// It is not healthy.
    Unhealthy(&'a Health),
    /// It is a hook that has not finished; with the health of its object.
    Running(Option<&'a Health>),
}

/// What an object lacks to be healthy at the generation that our apply returned. Kinds without health are healthy by
/// existing, and a suspended CronJob is as git wants it, with nothing to wait for.
pub(super) fn health_lack<'a>(key: &ObjectKey, progress: &Progress, input: &MovesInput<'a>) -> Option<Lack<'a>> {
    let Some(record) = input.live.objects.get(key) else { return Some(Lack::Absent) };
    if record.deleting {
        return Some(Lack::Deleting);
    }
    let applied = progress.generations.get(key).copied().unwrap_or_default();
    if record.generation < applied {
        return Some(Lack::Stale { seen: record.generation, applied });
    }
    let health = record.health.as_ref().filter(|_| !record.health_ignored)?;
    match health.status {
        HealthStatus::Healthy => None,
        HealthStatus::Suspended if key.group == "batch" && key.kind == "CronJob" => None,
        HealthStatus::Suspended
        | HealthStatus::Progressing
        | HealthStatus::Missing
        | HealthStatus::Degraded
        | HealthStatus::Unknown => Some(Lack::Unhealthy(health)),
    }
}

/// What steps may need of the group that is under way, looked up once.
pub(super) struct Needs<'a, 'p> {
    /// Objects that the group still has to apply, and hooks that it still has to start.
    pub(super) pending: HashSet<&'a ObjectKey>,
    /// Hooks that were started, by object; of several phases the last.
    hooks: HashMap<&'p ObjectKey, &'p HookState>,
}

impl<'a, 'p> Needs<'a, 'p> {
    pub(super) fn new(pending: HashSet<&'a ObjectKey>, progress: &'p Progress) -> Self {
        Self { pending, hooks: progress.hooks.iter().map(|(id, state)| (&id.key, state)).collect() }
    }

    /// What the object of a need lacks; `None` when the need is met.
    pub(super) fn lack(&self, need: &Need, progress: &Progress, input: &MovesInput<'a>) -> Option<Lack<'a>> {
        if self.pending.contains(&need.on) {
            return Some(Lack::Pending);
        }
        let record = input.live.objects.get(&need.on);
        if let Some(state) = self.hooks.get(&need.on) {
            return match (need.state, state) {
                (DependencyState::Present, _) | (_, HookState::Succeeded) => None,
                (DependencyState::Ready | DependencyState::Completed, _) => {
                    Some(Lack::Running(record.and_then(|record| record.health.as_ref())))
                }
            };
        }
        match (need.state, record) {
            (DependencyState::Present, Some(record)) => record.deleting.then_some(Lack::Deleting),
            (DependencyState::Ready | DependencyState::Completed, Some(_)) => health_lack(&need.on, progress, input),
            (DependencyState::Present, None) if was_applied(&need.on, progress) => None,
            (DependencyState::Present | DependencyState::Ready | DependencyState::Completed, None) => {
                let outside = input.outside.get(&need.on).filter(|outside| outside.present);
                match outside {
                    None => Some(Lack::Absent),
                    Some(OutsideState { health: Some(health), .. })
                        if need.state != DependencyState::Present && health.status != HealthStatus::Healthy =>
                    {
                        Some(Lack::Unhealthy(health))
                    }
                    Some(_) => None,
                }
            }
        }
    }
}

/// Whether this attempt applied an object, though the live view may not show it yet.
fn was_applied(key: &ObjectKey, progress: &Progress) -> bool {
    [Phase::PreSync, Phase::Sync, Phase::PostSync].into_iter().any(|phase| {
        let id = StepId { phase, key: key.clone() };
        matches!(progress.outcomes.get(&id), Some(Outcome::Created | Outcome::Configured | Outcome::Unchanged))
    })
}

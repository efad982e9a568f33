//! The second half of a reconcile: an attempt goes on as far as its gates are open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tracing::{Instrument as _, Span, info, info_span};

use super::driver::Driver;
use super::memory::Memory;
use super::perform::{Done, Work};
use crate::api::{Application, ExtraFields, OperationPhase};
use crate::apply::Propagation;
use crate::desired::DesiredSet;
use crate::live::LiveView;
use crate::model::{ObjectKey, Owner};
use crate::plan::{Act, GatePolicy, Move, Next};
use crate::plan::{MovesInput, Outcome, OutsideState, next_moves, observe};
use crate::plan::{Plan, Step};
use crate::spans;
use crate::status::Failure;

/// How soon objects outside the Application that a step needs are looked at again: no watch shows them.
const OUTSIDE_PAUSE: Duration = Duration::from_secs(5);
/// How long the live view is given to show what the API server has told already.
const VIEW_PAUSE: Duration = Duration::from_secs(1);
/// Reads of objects outside the Application in flight.
const READS_IN_FLIGHT: usize = 8;

impl Driver {
    /// Does what the plan's gates allow, and takes note of how the attempt stands. Returns when to look again although
    /// nothing has changed.
    pub(super) async fn carry_out(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        plan: &Plan,
        propagation: Propagation,
    ) -> Option<Timestamp> {
        let span = memory.attempt.as_mut()?.span(&self.namespace, &owner.name);
        // Of its own in the log too: an attempt outlives the reconcile that it began in.
        let log_span = info_span!(parent: None, "sync", application = %owner.name);
        self.advance(application, owner, memory, plan, propagation).instrument(log_span).instrument(span).await
    }

    async fn advance(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        plan: &Plan,
        propagation: Propagation,
    ) -> Option<Timestamp> {
        let desired = Arc::clone(&memory.attempt.as_ref()?.desired);
        let policy = GatePolicy::new(application.spec.gate.as_ref());
        let take_over = super::clear::take_over(application);
        let outside = self.outside(plan, &desired).await;
        let removes = application.spec.extra_fields == Some(ExtraFields::Remove);
        let rules = self.rules_of(application, memory);
        loop {
            let live = self.view_of(owner, memory, &desired, plan);
            let attempt = memory.attempt.as_mut()?;
            if attempt.choices.dry_run {
                self.try_out(application, owner, memory, plan).await;
                return None;
            }
            let input = MovesInput {
                plan,
                desired: &desired,
                live: &live,
                outside: &outside,
                policy,
                delete_hooks_after_sync: attempt.choices.options.delete_hooks_after_sync,
                attempt: &attempt.id,
                now: self.clock.now(),
            };
            observe(&mut attempt.progress, &input);
            match next_moves(&attempt.progress, &input) {
                Next::Run(moves) => {
                    attempt.waiting.clear();
                    attempt.waiting_since = None;
                    let brings = moves
                        .iter()
                        .any(|each| matches!(each.act, Act::Apply | Act::StartHook { .. } | Act::Prune { .. }));
                    if brings
                        && !attempt.cleared
                        && let Err(failure) = self.clear(application, owner, memory, &live, plan).await
                    {
                        self.end(memory, OperationPhase::Failed, Some(failure));
                        return None;
                    }
                    let attempt = memory.attempt.as_ref()?;
                    let work = Work {
                        owner,
                        desired: &desired,
                        live: &live,
                        inventory: memory.inventory.as_ref(),
                        options: &attempt.choices.options,
                        propagation,
                        deletes: attempt.deletes,
                        attempt: &attempt.id,
                        take_over: &take_over,
                        respected: attempt.choices.options.respect_ignore_differences.then_some(rules.as_ref()),
                        removed: removes.then_some(rules.as_ref()),
                    };
                    let span = group_span(plan, &moves);
                    let done = self.perform(work, moves).instrument(span).await;
                    let is_ahead = done.iter().all(Done::is_ahead_of_the_view);
                    if self.take_note(memory, done) {
                        self.end(memory, OperationPhase::Failed, None);
                        return None;
                    }
                    if is_ahead {
                        // To ask again before the watch has caught up would be to ask for ever.
                        return self.clock.now().checked_add(VIEW_PAUSE).ok();
                    }
                }
                Next::Wait { waiting, until } => {
                    attempt.waiting = waiting;
                    attempt.waiting_since.get_or_insert(input.now);
                    let soon =
                        (!outside.is_empty()).then(|| self.clock.now().checked_add(OUTSIDE_PAUSE).ok()).flatten();
                    return match (until, soon) {
                        (Some(until), Some(soon)) => Some(until.min(soon)),
                        (until, soon) => until.or(soon),
                    };
                }
                Next::Failed { reason, message } => {
                    self.end(memory, OperationPhase::Failed, Some(Failure { reason, message }));
                    return None;
                }
                Next::Done => {
                    self.confirm_pruned(owner, memory).await;
                    self.end(memory, OperationPhase::Succeeded, None);
                    return None;
                }
            }
        }
    }

    /// True when the lease was lost, so that nothing more may be written.
    fn take_note(&self, memory: &mut Memory, done: Vec<Done>) -> bool {
        let now = self.clock.now();
        let lost = done.iter().any(Done::lost_lease);
        let inventory = memory.inventory.get_or_insert_default();
        if let Some(attempt) = &mut memory.attempt {
            for each in done {
                each.note(&mut attempt.progress, inventory, now);
            }
        }
        lost
    }

    fn end(&self, memory: &mut Memory, phase: OperationPhase, failure: Option<Failure>) {
        let Some(attempt) = &mut memory.attempt else { return };
        attempt.end(phase, failure, self.clock.now());
        info!(?phase, revision = %attempt.revision, "sync ends");
    }

    /// What the cluster holds of an attempt: what it brings, what is recorded, and the objects of its hooks.
    pub(super) fn view_of(&self, owner: &Owner, memory: &Memory, desired: &DesiredSet, plan: &Plan) -> LiveView {
        let recorded = memory.inventory.iter().flat_map(|inventory| inventory.entries.keys());
        let steps = steps(plan).map(|step| &step.id.key);
        let live = self.destination.cache.view(&owner.instance, desired.objects.keys().chain(recorded).chain(steps));
        memory.explanations.complete(live)
    }

    /// The state of objects outside the Application that steps need.
    async fn outside(&self, plan: &Plan, desired: &DesiredSet) -> BTreeMap<ObjectKey, OutsideState> {
        let outside = desired.outside_dependencies();
        let needed = steps(plan).flat_map(|step| &step.needs).map(|need| &need.on);
        let keys: BTreeSet<ObjectKey> = needed.filter(|key| outside.contains(key)).cloned().collect();
        futures::stream::iter(keys)
            .map(|key| async move {
                // What can't be read counts as absent: the gate says so, and it is read again.
                let found = self.destination.applier.get(&key).await.ok().flatten();
                let state = found.map_or(OutsideState { present: false, health: None }, |object| {
                    let (present, health) = self
                        .destination
                        .cache
                        .reduce(&key.group_kind(), &object)
                        .map_or((true, None), |(_, record)| (!record.deleting, record.health));
                    OutsideState { present, health }
                });
                (key, state)
            })
            .buffer_unordered(READS_IN_FLIGHT)
            .collect()
            .await
    }

    /// Strikes pruned objects off the record once a live read finds them gone.
    pub(super) async fn confirm_pruned(&self, owner: &Owner, memory: &mut Memory) {
        let Some(attempt) = &memory.attempt else { return };
        let requested: Vec<_> = attempt
            .progress
            .outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Pruned { gone: false }))
            .map(|(id, _)| id.clone())
            .collect();
        if requested.is_empty() {
            return;
        }
        for id in requested {
            let gone = matches!(self.destination.applier.get_metadata(&id.key).await, Ok(None));
            if gone {
                memory.inventory.get_or_insert_default().entries.remove(&id.key);
                if let Some(attempt) = &mut memory.attempt {
                    attempt.progress.outcomes.insert(id, Outcome::Pruned { gone: true });
                }
            }
        }
        tracing::debug!(application = %owner.name, "pruned objects are confirmed gone");
    }
}

/// The span of moves that are made at the same time, by the group of the first.
fn group_span(plan: &Plan, moves: &[Move]) -> Span {
    let Some(Move { id, act: _ }) = moves.first() else { return Span::none() };
    let mut groups = plan.groups.iter().chain(&plan.on_failure);
    let group = groups.find(|group| group.steps.iter().any(|step| step.id == *id));
    spans::group(id.phase.as_str(), group.map(|group| group.wave.into()), moves.len())
}

/// All steps of a plan, those on failure included.
pub(super) fn steps(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.groups.iter().chain(&plan.on_failure).flat_map(|group| &group.steps)
}

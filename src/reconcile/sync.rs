//! Whether to sync, the start of an attempt, and how it goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::attempt::{AttemptMemory, Choices, attempt_id};
use super::attempts::{conclude, reopen_drifted, retry_of, settle_reported_revision, target_of, until};
use super::compare::Compared;
use super::drift::{Culprit, drifted, held_objects};
use super::driver::Driver;
use super::holds::Holds;
use super::memory::{Held, Memory};
use super::requests::{ENDED_BY_A_PERSON, Wish, take_termination};
use super::takeover::{goes_on, is_retried};
use crate::api::{Application, OperationPhase};
use crate::model::{Hash64, Owner, Phase};
use crate::plan::{
    DecideInput, Decision, HookNaming, LastAttempt, Outcome, Plan, PlanError, Policy, Request, StepId, Work, decide,
    runs_hooks,
};
use crate::status::{Assessment, Comparison, Failure};

/// Pause before objects that were recorded a moment ago are looked at again.
const RECORDED_PAUSE: Duration = Duration::from_secs(2);

impl Driver {
    /// Compares, decides, goes on with an attempt, and reports. Returns how long until the Application is due again.
    pub(super) async fn sync(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        held: &Held,
        source_failure: Option<Failure>,
    ) -> Option<Duration> {
        let now = self.clock.now();
        memory.recorded_now.clear();
        let policy = Policy::new(application.spec.automated()).with_drift_policy(application.spec.drift_policy);
        take_termination(application, memory);
        let holds = self.holds(application, now);
        self.explain(owner, memory, &held.desired).await;
        let mut compared = self.compare_closely(application, owner, memory, &held.desired).await;
        settle_reported_revision(memory, &compared.differences);
        let held = &memory.held.clone().unwrap_or_else(|| held.clone());
        if !self.resume(application, owner, memory, held).await {
            return None;
        }
        let wish = match self.wish(application, owner, memory, policy, &holds).await {
            Ok(wish) => wish,
            Err(failure) => return Some(self.failed(application, memory, &failure).await),
        };
        let mut due = holds.look_again.and_then(|time| until(time, now));
        let soon =
            |due: &mut Option<Duration>, pause: Duration| *due = Some(due.map_or(pause, |known| known.min(pause)));

        let asked = match wish {
            Wish::None | Wish::Pending => None,
            Wish::Ready(asked, held) => Some((asked, held)),
            Wish::Refused(failure, operation) => {
                Self::refuse(application, memory, held, failure, operation.map(|operation| *operation), now);
                None
            }
        };
        let standing = Choices::standing(application, policy, held_objects(policy, memory, &held.desired, &compared));
        let mut planned = Self::plan_unless_synced(application, memory, held, &compared, &standing, now);
        let pinned = memory.attempt.as_ref().filter(|attempt| is_retried(application, memory, attempt, held.hash));
        let target =
            pinned.map_or_else(|| target_of(held.hash, &compared.differences, policy.prune), |attempt| attempt.target);
        remember_termination(memory, held, target, now);
        let retried = memory.retry_at.is_some_and(|time| time <= now) && holds.manual.is_none();
        let goes_on = asked.is_none() && goes_on(application, memory, held, policy);
        let healing = memory.heals.hold_back(drifted(&compared.differences), now);
        let requested = memory.attempt.as_ref().is_some_and(|attempt| goes_on && !attempt.automated);
        let request = asked.as_ref().map(|(asked, _)| Request::from(&asked.request));
        memory.kept_by = None;
        memory.awaited.clear();
        memory.sync_window.clone_from(&holds.window);

        let decision = if application.spec.suspend && request.is_none() && !requested {
            Decision::Hold
        } else if goes_on {
            self.paused_by_window(application, memory, &holds, now).unwrap_or_else(|| {
                let choices = memory.attempt.as_ref().map(|attempt| &attempt.choices);
                Decision::Sync {
                    prune: choices.is_some_and(|choices| choices.prune),
                    dry_run: choices.is_some_and(|choices| choices.dry_run),
                    heal: choices.is_some_and(|choices| choices.heal),
                }
            })
        } else if retried && request.is_none() {
            Decision::Sync { prune: false, dry_run: false, heal: false }
        } else {
            decide(DecideInput {
                policy,
                request,
                differences: &compared.differences,
                held: &standing.held,
                prunes: planned.as_ref().is_ok_and(prunes),
                target,
                last_failure: memory.last_failure.as_ref(),
                automated_blocked_by: holds.automated.as_ref(),
                manual_blocked_by: holds.manual.as_ref(),
                retry: retry_of(application),
                heal_not_before: healing.not_before(),
                now,
            })
        };
        match decision {
            Decision::Sync { prune, dry_run, heal } => {
                let mut culprits = Vec::new();
                if !goes_on {
                    if asked.is_some() || !retried {
                        memory.retry_at = None;
                    }
                    let choices = Choices { prune, dry_run, heal, ..standing.clone() };
                    let started = match asked {
                        Some((asked, of_operation)) => {
                            Self::begin_asked(application, held, &compared, *asked, of_operation.as_deref(), now)
                        }
                        None if retried => Self::begin_again(application, memory, held, now),
                        None => {
                            let mut choices = choices;
                            choices.hooks = runs_hooks(heal, &choices.options);
                            if heal {
                                let free: BTreeSet<_> = drifted(&compared.differences)
                                    .filter(|key| !healing.objects.contains_key(*key) && !choices.held.contains(*key))
                                    .cloned()
                                    .collect();
                                choices.held.extend(healing.objects.keys().cloned());
                                culprits = self.culprits(memory, &held.desired, &compared, &free, now).await;
                            }
                            Self::begin_automated(application, memory, held, target, choices, now)
                        }
                    };
                    memory.attempt = Some(told_apart(application, started, memory.attempt.as_ref()));
                }
                if let Some(attempt) = memory.attempt.as_mut().filter(|attempt| attempt.automated && !attempt.deletes) {
                    attempt.choices.prune &= policy.prune;
                }
                let heal_at = reopen_drifted(memory, &compared.differences, policy, now);
                let look_again = self.go_on(application, owner, memory, held, &compared).await;
                compared = self.compare_closely(application, owner, memory, &held.desired).await;
                let now = self.clock.now();
                if let Some(pause) = conclude(application, memory, Self::failure_target(memory, held, target), now) {
                    soon(&mut due, pause);
                }
                // What is newer and had to wait for the end begins now.
                if memory.attempt.as_ref().is_some_and(|attempt| {
                    !attempt.is_running()
                        && attempt.automated
                        && attempt.spec_target != held.hash
                        && !is_retried(application, memory, attempt, held.hash)
                }) {
                    soon(&mut due, Duration::ZERO);
                }
                if memory.attempt.as_ref().is_some_and(|attempt| !attempt.is_running())
                    && Self::wants_sync(application, memory)
                    && holds.manual.is_none()
                {
                    // A wish that waited for the end.
                    soon(&mut due, Duration::ZERO);
                }
                note_heals(memory, &culprits, now);
                for time in heal_at.into_iter().chain(look_again) {
                    // Nothing else would wake it: what is missing in the cluster makes no event.
                    soon(&mut due, until(time, now).unwrap_or_default());
                }
                if let Some(rest) = memory.attempt.as_ref().and_then(|attempt| attempt.silent_for(now)) {
                    return Some(due.map_or(rest, |due| due.min(rest)));
                }
                let left = held_objects(policy, memory, &held.desired, &compared);
                let standing = Choices::standing(application, policy, left);
                planned = Self::plan_unless_synced(application, memory, held, &compared, &standing, now);
            }
            Decision::Later(time) => soon(&mut due, until(time, now).unwrap_or_default()),
            Decision::Blocked(hold) => {
                if let Some(pause) = hold.until.and_then(|time| until(time, now)) {
                    soon(&mut due, pause);
                }
                memory.awaited.clone_from(&holds.waits);
                memory.kept_by = Some(Failure { reason: hold.reason, message: hold.message });
            }
            Decision::Hold => {
                // What was under way is no longer wanted.
                if memory.attempt.as_ref().is_some_and(AttemptMemory::is_running) {
                    memory.attempt = None;
                }
            }
        }
        let is_over = memory.attempt.as_ref().is_none_or(|attempt| !attempt.is_running());
        if is_over && memory.asked.is_none() && memory.retry_at.is_none() {
            memory.overriding = None;
        }
        if let Some(pause) = memory.retry_at.and_then(|time| until(time, self.clock.now())) {
            // Whatever woke it meanwhile has taken the place of the wake-up for this.
            soon(&mut due, pause);
        }
        if memory.kept_by.is_none()
            && Self::wants_sync(application, memory)
            && let Some(hold) = &holds.manual
        {
            memory.awaited.clone_from(&holds.waits);
            memory.kept_by = Some(Failure { reason: hold.reason, message: hold.message.clone() });
        }
        let described = memory.held.as_ref().map(Held::described).unwrap_or_default();
        let blocked = planned.as_ref().map(|plan| plan.blocked.clone()).unwrap_or_default();
        let by_hand = memory
            .examined
            .iter()
            .filter(|(_, seen)| !seen.extras.is_empty())
            .map(|(key, seen)| (key.clone(), seen.extras.clone()))
            .collect();
        let comparison = Comparison {
            by_hand: &by_hand,
            revision: &held.reported,
            described: &described,
            revisions: &held.reported_revisions,
            desired: &held.desired,
            live: &compared.live,
            differences: &compared.differences,
            blocked: &blocked,
        };
        let assessment = Assessment::Compared { comparison, source_failure: source_failure.as_ref() };
        self.report(application, memory, assessment).await;
        if memory.recorded_now.is_empty() { due } else { Some(due.unwrap_or(RECORDED_PAUSE).min(RECORDED_PAUSE)) }
    }

    /// What an attempt's failure is counted for.
    fn failure_target(memory: &Memory, held: &Held, target: Hash64) -> Hash64 {
        memory.attempt.as_ref().filter(|attempt| attempt.target != held.hash).map_or(target, |attempt| attempt.target)
    }

    /// A window that has closed holds a sync that is under way, unless it says otherwise.
    fn paused_by_window(
        &self,
        application: &Application,
        memory: &Memory,
        holds: &Holds,
        now: Timestamp,
    ) -> Option<Decision> {
        let attempt = memory.attempt.as_ref()?;
        let ends = attempt.phase == OperationPhase::Terminating || attempt.hook_is_running();
        if ends || self.may_continue(application, attempt.started, !attempt.automated, now) {
            return None;
        }
        let hold = if attempt.automated { &holds.automated } else { &holds.manual };
        hold.clone().map(Decision::Blocked)
    }

    /// Goes on with the attempt that is under way, as far as its gates are open.
    async fn go_on(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        held: &Held,
        compared: &Compared,
    ) -> Option<Timestamp> {
        let attempt = memory.attempt.as_ref().filter(|attempt| attempt.is_running())?;
        let (desired, choices) = (Arc::clone(&attempt.desired), attempt.choices.clone());
        let (revision, started) = (attempt.revision.clone(), attempt.started);
        let own;
        let compared = if attempt.target == held.hash {
            compared
        } else {
            own = self.compare_closely(application, owner, memory, &desired).await;
            &own
        };
        let naming = HookNaming { revision: &revision, started };
        match Self::plan(application, memory, &desired, compared, &choices, naming) {
            Ok(plan) => {
                let spreads = choices.options.prune_propagation.into();
                self.carry_out(application, owner, memory, &plan, spreads).await
            }
            Err(error) => {
                let failure = Failure { reason: error.reason(), message: error.to_string() };
                let now = self.clock.now();
                if let Some(attempt) = &mut memory.attempt {
                    attempt.end(OperationPhase::Failed, Some(failure), now);
                }
                None
            }
        }
    }

    /// The plan of what a sync by policy would do; an empty one when nothing differs, which costs nothing.
    fn plan_unless_synced(
        application: &Application,
        memory: &Memory,
        held: &Held,
        compared: &Compared,
        standing: &Choices,
        now: Timestamp,
    ) -> Result<Plan, PlanError> {
        if compared.differences.is_synced() {
            return Ok(Plan::default());
        }
        let naming = HookNaming { revision: &held.reported, started: now };
        Self::plan(application, memory, &held.desired, compared, standing, naming)
    }
}

/// The status tells times by the second, and hooks are marked with the start of their attempt: two attempts never begin in
/// the same second.
fn told_apart(application: &Application, mut begun: AttemptMemory, last: Option<&AttemptMemory>) -> AttemptMemory {
    if let Some(last) = last.filter(|last| last.started.as_second() >= begun.started.as_second())
        && let Ok(later) = Timestamp::from_second(last.started.as_second() + 1)
    {
        begun.started = later;
        begun.id = attempt_id(application.metadata.uid.as_deref(), later);
    }
    begun
}

/// After a restart: a sync that a person ended is not begun again by itself.
fn remember_termination(memory: &mut Memory, held: &Held, target: Hash64, now: Timestamp) {
    let known = memory.attempt.is_some() || memory.last_failure.is_some();
    let Some(state) = memory.status.operation_state.as_ref().filter(|_| !known) else { return };
    let ended = state.phase == OperationPhase::Failed && state.message.starts_with(ENDED_BY_A_PERSON);
    if ended && state.revision == held.reported {
        memory.last_failure = Some(LastAttempt { target, ended: now, failures: 1, terminated: true });
    }
}

/// Takes note of what was put back. What failed, or was not begun, was not.
fn note_heals(memory: &mut Memory, culprits: &[Culprit], now: Timestamp) {
    let Some(attempt) = memory.attempt.as_ref().filter(|attempt| attempt.choices.heal) else { return };
    for Culprit { object, manager, field } in culprits {
        let id = StepId { phase: Phase::Sync, key: object.clone() };
        let done = attempt.progress.outcomes.get(&id);
        if matches!(done, Some(Outcome::Created | Outcome::Configured | Outcome::Unchanged)) {
            memory.heals.note(object, manager, field, now);
        }
    }
}

fn prunes(plan: &Plan) -> bool {
    plan.groups.iter().any(|group| group.work == Work::Prune)
}

//! Whether to sync, the start of an attempt, and how it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use super::attempt::{AttemptMemory, Choices, attempt_id, under_way};
use super::attempts::{conclude, reopen_drifted, retry_of, settle_reported_revision, target_of, until};
use super::compare::Compared;
use super::drift::{Culprit, drifted, held_objects};
use super::driver::Driver;
use super::holds::Holds;
use super::memory::{Held, Memory};
use super::observe::Desired;
use super::overriding::Overriding;
use super::requests::{Asked, Wish, refused_attempt, selected, take_termination, was_ended_by_a_person};
use crate::api::{Application, OperationPhase, OperationState, Supersede, SyncOperation};
use crate::desired::{DesiredSet, SyncOptions};
use crate::model::{Hash64, Owner};
use crate::plan::Progress;
use crate::plan::{
    DecideInput, Decision, HookNaming, PlanError, Policy, Request, Running, Takeover, decide, is_within_limit,
    runs_hooks, supersede,
};
use crate::plan::{Plan, Work};
use crate::status::{Assessment, Comparison, Failure, HOOK_RUNNING};

/// Pause before objects that were recorded a moment ago are looked at again.
const RECORDED_PAUSE: Duration = Duration::from_secs(2);

/// What an attempt brings.
struct Brought {
    desired: Arc<DesiredSet>,
    target: Hash64,
    revision: String,
    revisions: Vec<String>,
}

impl Brought {
    fn of(held: &Held) -> Self {
        Self {
            desired: Arc::clone(&held.desired),
            target: held.hash,
            revision: held.reported.clone(),
            revisions: held.reported_revisions.clone(),
        }
    }

    fn again(attempt: &AttemptMemory) -> Self {
        Self {
            desired: Arc::clone(&attempt.desired),
            target: attempt.target,
            revision: attempt.revision.clone(),
            revisions: attempt.revisions.clone(),
        }
    }
}

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
        let policy = Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()))
            .with_drift_policy(application.spec.drift_policy);
        take_termination(application, memory);
        let holds = self.holds(application, now);
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
                self.refuse(application, memory, held, failure, operation, now);
                None
            }
        };
        let standing = Choices::standing(application, policy, held_objects(policy, memory, &held.desired, &compared));
        let planned = self.plan_unless_synced(application, memory, held, &compared, &standing, now);
        let target = target_of(held.hash, &compared.differences, policy.prune);
        let retried = memory.retry_at.is_some_and(|time| time <= now) && holds.manual.is_none();
        let goes_on = asked.is_none() && goes_on(application, memory, held);
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
                    let choices = Choices { prune, dry_run, heal, ..standing.clone() };
                    let started = match asked {
                        Some((asked, of_operation)) => self.begin_asked(
                            application,
                            memory,
                            held,
                            &compared,
                            *asked,
                            of_operation.map(|held| *held),
                            now,
                        ),
                        None if retried => self.begin_again(application, memory, held, now),
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
                            self.begin_automated(application, memory, held, target, choices, now)
                        }
                    };
                    memory.attempt = Some(started);
                }
                let heal_at = reopen_drifted(memory, &compared.differences, policy, now);
                let look_again = self.go_on(application, owner, memory, held, &compared).await;
                compared = self.compare_closely(application, owner, memory, &held.desired).await;
                let now = self.clock.now();
                if let Some(pause) = conclude(application, memory, self.failure_target(memory, held, target), now) {
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
                note_heals(memory, culprits, now);
                if memory.attempt.as_ref().is_none_or(|attempt| !attempt.is_running() && memory.retry_at.is_none()) {
                    memory.overriding = None;
                }
                for time in heal_at.into_iter().chain(look_again) {
                    // Nothing else would wake it: what is missing in the cluster makes no event.
                    soon(&mut due, until(time, now).unwrap_or_default());
                }
                if let Some(rest) = memory.attempt.as_ref().and_then(|attempt| attempt.silent_for(now)) {
                    return Some(due.map_or(rest, |due| due.min(rest)));
                }
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
        if memory.kept_by.is_none()
            && Self::wants_sync(application, memory)
            && let Some(hold) = &holds.manual
        {
            memory.awaited.clone_from(&holds.waits);
            memory.kept_by = Some(Failure { reason: hold.reason, message: hold.message.clone() });
        }
        let standing = Choices::standing(application, policy, held_objects(policy, memory, &held.desired, &compared));
        let planned = self.plan_unless_synced(application, memory, held, &compared, &standing, now);
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
    fn failure_target(&self, memory: &Memory, held: &Held, target: Hash64) -> Hash64 {
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

    fn begin(
        &self,
        application: &Application,
        held: &Held,
        brought: Brought,
        choices: Choices,
        now: Timestamp,
    ) -> AttemptMemory {
        let Brought { desired, target, revision, revisions } = brought;
        AttemptMemory {
            id: attempt_id(application.metadata.uid.as_deref(), now),
            target,
            spec_target: held.hash,
            desired,
            revision,
            revisions,
            operation: None,
            automated: true,
            deletes: false,
            choices,
            cleared: false,
            phase: OperationPhase::Running,
            started: now,
            ended: None,
            retries: 0,
            progress: Progress::default(),
            waiting: Vec::new(),
            unverified: BTreeMap::new(),
            failure: None,
        }
    }

    fn begin_automated(
        &self,
        application: &Application,
        memory: &Memory,
        held: &Held,
        target: Hash64,
        choices: Choices,
        now: Timestamp,
    ) -> AttemptMemory {
        let last = memory.last_failure.as_ref().filter(|failure| failure.target == target);
        let retries = last.map_or(0, |failure| failure.failures);
        // With `supersede: never` the retries of an operation bring what it began with.
        let pinned = memory.attempt.as_ref().filter(|attempt| is_retried(application, memory, attempt, held.hash));
        let brought = pinned.map_or_else(|| Brought::of(held), Brought::again);
        info!(prune = choices.prune, heal = choices.heal, retries, revision = %brought.revision, "sync starts");
        AttemptMemory { retries, ..self.begin(application, held, brought, choices, now) }
    }

    #[expect(clippy::too_many_arguments, reason = "what is asked, what it brings, and what it is compared with")]
    fn begin_asked(
        &self,
        application: &Application,
        memory: &Memory,
        held: &Held,
        compared: &Compared,
        asked: Asked,
        of_operation: Option<Held>,
        now: Timestamp,
    ) -> AttemptMemory {
        let brought = Brought::of(of_operation.as_ref().unwrap_or(held));
        let only = selected(&asked, &compared.differences);
        let request = asked.request;
        let choices = Choices {
            prune: request.prune,
            dry_run: request.dry_run,
            heal: false,
            hooks: request.hooks,
            only: only.clone().unwrap_or_default(),
            held: BTreeSet::new(),
            options: SyncOptions { force: request.force, ..request.options },
        };
        info!(prune = choices.prune, dry_run = choices.dry_run, revision = %brought.revision, "a requested sync starts");
        let begun = self.begin(application, held, brought, choices, now);
        let _ = memory;
        match only {
            Ok(_) => AttemptMemory { operation: asked.operation, automated: false, ..begun },
            Err(failure) => refused_attempt(begun, failure, asked.operation),
        }
    }

    /// Another attempt at an operation of a person that failed.
    fn begin_again(
        &self,
        application: &Application,
        memory: &mut Memory,
        held: &Held,
        now: Timestamp,
    ) -> AttemptMemory {
        memory.retry_at = None;
        let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
        match memory.attempt.take() {
            Some(last) => {
                let brought = Brought::again(&last);
                let begun = self.begin(application, held, brought, last.choices, now);
                AttemptMemory { operation: last.operation, automated: false, retries: failures, ..begun }
            }
            None => self.begin(application, held, Brought::of(held), Choices::default(), now),
        }
    }

    /// Notes a wish that can't be carried out as the operation that failed, unless another is under way.
    fn refuse(
        &self,
        application: &Application,
        memory: &mut Memory,
        held: &Held,
        failure: Failure,
        operation: Option<crate::api::Operation>,
        now: Timestamp,
    ) {
        tracing::warn!(reason = %failure.reason, message = %failure.message, "an operation is refused");
        if memory.attempt.as_ref().is_some_and(AttemptMemory::is_running) {
            return;
        }
        let begun = self.begin(application, held, Brought::of(held), Choices::default(), now);
        memory.attempt = Some(refused_attempt(begun, failure, operation));
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
        match self.plan(application, memory, &desired, compared, &choices, naming) {
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
        &self,
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
        self.plan(application, memory, &held.desired, compared, standing, naming)
    }

    /// Takes up the operation that was under way when the operator stopped. One whose hook ran is taken up at its own
    /// revision, although git has moved on: a hook that runs is never cut. False while that revision is being looked for.
    async fn resume(&self, application: &Application, owner: &Owner, memory: &mut Memory, held: &Held) -> bool {
        if memory.attempt.is_some() {
            return true;
        }
        let Some(state) = memory.status.operation_state.clone() else { return true };
        let brought = if state.revision == held.reported {
            held.clone()
        } else if memory.asked.is_none() && runs_hook(&state) {
            let sync = SyncOperation {
                revision: state.revision.clone(),
                revisions: state.revisions.clone(),
                ..state.operation.clone().and_then(|operation| operation.sync).unwrap_or_default()
            };
            let sync = SyncOperation {
                revision: if sync.revisions.is_empty() { sync.revision } else { String::new() },
                ..sync
            };
            if memory.overriding.is_none() {
                memory.overriding = Overriding::of(&application.spec, &sync).ok().flatten();
            }
            match self.observe_operation(application, owner, memory).await {
                Desired::Pending => return false,
                Desired::Failed(failure) => {
                    tracing::warn!(message = %failure.message, "the operation that was under way can't be taken up");
                    memory.overriding = None;
                    return true;
                }
                Desired::Known { held, .. } => Held { reported: state.revision.clone(), ..*held },
            }
        } else {
            return true;
        };
        let Some((started, progress)) = under_way(&memory.status, &state.revision) else { return true };
        let policy = Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()));
        let standing = Choices::standing(application, policy, BTreeSet::new());
        let sync = state.operation.as_ref().and_then(|operation| operation.sync.as_ref());
        // What was chosen can't be told any more from what was not.
        if sync.is_some_and(|sync| !sync.resources.is_empty()) {
            return true;
        }
        let choices = Choices {
            prune: sync.map_or(standing.prune, |sync| sync.prune),
            dry_run: sync.is_some_and(|sync| sync.dry_run),
            ..standing
        };
        info!(revision = %state.revision, "the operation that was under way goes on");
        let begun = self.begin(application, &brought, Brought::of(&brought), choices, started);
        memory.attempt = Some(AttemptMemory {
            automated: state.initiated_by.automated,
            operation: state.operation,
            retries: u32::try_from(state.retry_count).unwrap_or_default(),
            progress,
            ..begun
        });
        true
    }
}

/// Whether a hook ran when a status was written.
fn runs_hook(state: &OperationState) -> bool {
    let running = matches!(state.phase, OperationPhase::Running | OperationPhase::Terminating);
    running && state.resources.iter().any(|result| result.hook_phase == HOOK_RUNNING)
}

/// Whether the attempt that is under way goes on; otherwise what is newer takes its place.
fn goes_on(application: &Application, memory: &Memory, held: &Held) -> bool {
    let Some(attempt) = memory.attempt.as_ref().filter(|attempt| attempt.is_running() && !attempt.deletes) else {
        return false;
    };
    attempt.phase == OperationPhase::Terminating || takeover(application, memory, attempt, held.hash) != Takeover::Now
}

/// Whether an operation that failed with an older target is tried again with that before anything newer.
fn is_retried(application: &Application, memory: &Memory, attempt: &AttemptMemory, newer: Hash64) -> bool {
    let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
    attempt.phase == OperationPhase::Failed
        && attempt.automated
        && attempt.spec_target != newer
        && !was_ended_by_a_person(attempt)
        && is_within_limit(failures, retry_of(application))
        && takeover(application, memory, attempt, newer) == Takeover::AfterOperation
}

fn takeover(application: &Application, memory: &Memory, attempt: &AttemptMemory, newer: Hash64) -> Takeover {
    let policy = application.spec.sync_policy.as_ref().and_then(|policy| policy.supersede).unwrap_or(Supersede::Always);
    let retry = retry_of(application);
    let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
    let running = Running {
        target: attempt.spec_target,
        waiting: !attempt.waiting.is_empty(),
        hook_running: attempt.hook_is_running(),
        retry_pending: !attempt.is_running() && is_within_limit(failures, retry),
    };
    supersede(policy, retry.is_some_and(|retry| retry.refresh), Some(&running), newer)
}

/// Takes note of what was put back, when it was.
fn note_heals(memory: &mut Memory, culprits: Vec<Culprit>, now: Timestamp) {
    let healed = memory.attempt.as_ref().is_some_and(|attempt| attempt.choices.heal);
    for Culprit { object, manager, field } in culprits.into_iter().filter(|_| healed) {
        memory.heals.note(&object, &manager, &field, now);
    }
}

impl Choices {
    /// What a sync does that nobody asked for.
    pub(super) fn standing(application: &Application, policy: Policy, held: BTreeSet<crate::model::ObjectKey>) -> Self {
        let options = application.spec.sync_policy.iter().flat_map(|policy| &policy.sync_options);
        Self {
            prune: policy.prune,
            hooks: true,
            held,
            options: SyncOptions::parse(options.map(String::as_str)),
            ..Self::default()
        }
    }
}

fn prunes(plan: &Plan) -> bool {
    plan.groups.iter().any(|group| group.work == Work::Prune)
}

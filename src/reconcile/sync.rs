//! Whether to sync, the start of an attempt, and how it goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use super::attempt::{AttemptMemory, Choices, attempt_id, under_way};
use super::attempts::{conclude, reopen_drifted, settle_reported_revision, target_of, until};
use super::compare::Compared;
use super::driver::Driver;
use super::memory::{Held, Memory};
use crate::api::{Application, OperationPhase};
use crate::desired::SyncOptions;
use crate::model::Owner;
use crate::plan::graph::Plan;
use crate::plan::{DecideInput, Decision, HookNaming, Policy, decide};
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
        let policy = Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()));
        let (request, operation) = match self.take_request(application, memory, policy).await {
            Ok(taken) => taken,
            Err(failure) => return Some(self.failed(application, memory, &failure).await),
        };
        let mut compared = self.compare(owner, memory, &held.desired);
        settle_reported_revision(memory, &compared.differences);
        let revision = memory.held.as_ref().map_or_else(|| held.reported.clone(), |held| held.reported.clone());
        self.resume(application, memory, held, &revision);
        let standing = Choices::standing(application, policy);
        let mut planned = self.plan_unless_synced(application, memory, held, &compared, &standing, now);
        let target = target_of(held.hash, &compared.differences, policy.prune);
        let running = memory
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.is_running() && attempt.spec_target == held.hash && request.is_none());
        let retry = application.spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref());
        let requested = memory.attempt.as_ref().is_some_and(|attempt| running && !attempt.automated);
        let decision = if application.spec.suspend && request.is_none() && !requested {
            Decision::Hold
        } else if running {
            let attempt = memory.attempt.as_ref();
            Decision::Sync {
                prune: attempt.is_some_and(|attempt| attempt.choices.prune),
                dry_run: attempt.is_some_and(|attempt| attempt.choices.dry_run),
                heal: attempt.is_some_and(|attempt| attempt.choices.heal),
            }
        } else {
            decide(DecideInput {
                policy,
                request,
                differences: &compared.differences,
                prunes: planned.as_ref().is_ok_and(prunes),
                target,
                last_failure: memory.last_failure.as_ref(),
                retry,
                heal_not_before: memory.heals.not_before(),
                now,
            })
        };
        let mut due = None;
        match decision {
            Decision::Sync { prune, dry_run, heal } => {
                if !running {
                    let retries = memory
                        .last_failure
                        .as_ref()
                        .filter(|failure| failure.target == target)
                        .map_or(0, |failure| failure.failures);
                    let choices = Choices { prune, dry_run, heal, ..standing.clone() };
                    let choices = Choices { hooks: !heal || choices.options.self_heal_hooks, ..choices };
                    info!(prune, dry_run, heal, retries, "sync starts");
                    memory.attempt = Some(AttemptMemory {
                        id: attempt_id(application.metadata.uid.as_deref(), now),
                        target: held.hash,
                        spec_target: held.hash,
                        desired: Arc::clone(&held.desired),
                        revision: revision.clone(),
                        revisions: held.reported_revisions.clone(),
                        automated: request.is_none(),
                        operation,
                        deletes: false,
                        choices,
                        cleared: false,
                        phase: OperationPhase::Running,
                        started: now,
                        ended: None,
                        retries,
                        progress: crate::plan::progress::Progress::default(),
                        waiting: Vec::new(),
                        unverified: BTreeMap::new(),
                        failure: None,
                    });
                }
                let heal_at = reopen_drifted(memory, &compared.differences, policy, now);
                let look_again = self.go_on(application, owner, memory, held, &compared).await;
                compared = self.compare(owner, memory, &held.desired);
                let now = self.clock.now();
                planned = self.plan_unless_synced(application, memory, held, &compared, &standing, now);
                due = conclude(application, memory, target, now);
                for time in heal_at.into_iter().chain(look_again) {
                    // Nothing else would wake it: what is missing in the cluster makes no event.
                    let pause = until(time, now).unwrap_or_default();
                    due = Some(due.map_or(pause, |due| due.min(pause)));
                }
                if let Some(rest) = memory.attempt.as_ref().and_then(|attempt| attempt.silent_for(now)) {
                    return Some(due.map_or(rest, |due| due.min(rest)));
                }
            }
            Decision::Later(time) => due = until(time, now),
            Decision::Hold => {
                // What was under way is no longer wanted.
                if memory.attempt.as_ref().is_some_and(AttemptMemory::is_running) {
                    memory.attempt = None;
                }
            }
        }
        let reported = memory.held.as_ref().map(|held| held.reported.clone()).unwrap_or_default();
        let described = memory.held.as_ref().map(Held::described).unwrap_or_default();
        let blocked = planned.as_ref().map(|plan| plan.blocked.clone()).unwrap_or_default();
        let comparison = Comparison {
            revision: &reported,
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

    /// Goes on with the attempt that is under way, as far as its gates are open.
    async fn go_on(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        held: &Held,
        compared: &Compared,
    ) -> Option<Timestamp> {
        let attempt = memory.attempt.as_ref()?;
        let (desired, choices) = (Arc::clone(&attempt.desired), attempt.choices.clone());
        let (revision, started) = (attempt.revision.clone(), attempt.started);
        let own;
        let compared = if attempt.target == held.hash {
            compared
        } else {
            own = self.compare(owner, memory, &desired);
            &own
        };
        let naming = HookNaming { revision: &revision, started };
        match self.plan(application, memory, &desired, compared, &choices, naming) {
            Ok(plan) => {
                let spreads = super::perform::propagation(choices.options.prune_propagation);
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
    ) -> Result<Plan, crate::plan::PlanError> {
        if compared.differences.is_synced() {
            return Ok(Plan::default());
        }
        let naming = HookNaming { revision: &held.reported, started: now };
        self.plan(application, memory, &held.desired, compared, standing, naming)
    }

    /// Takes up the operation that was under way when the operator stopped.
    fn resume(&self, application: &Application, memory: &mut Memory, held: &Held, revision: &str) {
        if memory.attempt.is_some() {
            return;
        }
        let Some((started, progress)) = under_way(&memory.status, revision) else { return };
        let Some(state) = memory.status.operation_state.clone() else { return };
        let policy = Policy::new(application.spec.sync_policy.as_ref().and_then(|policy| policy.automated.as_ref()));
        let standing = Choices::standing(application, policy);
        let sync = state.operation.as_ref().and_then(|operation| operation.sync.as_ref());
        let choices = Choices {
            prune: sync.map_or(standing.prune, |sync| sync.prune),
            dry_run: sync.is_some_and(|sync| sync.dry_run),
            ..standing
        };
        info!(%revision, "the operation that was under way goes on");
        memory.attempt = Some(AttemptMemory {
            id: attempt_id(application.metadata.uid.as_deref(), started),
            target: held.hash,
            spec_target: held.hash,
            desired: Arc::clone(&held.desired),
            revision: revision.to_owned(),
            revisions: held.reported_revisions.clone(),
            automated: state.initiated_by.automated,
            operation: state.operation,
            deletes: false,
            choices,
            cleared: false,
            phase: OperationPhase::Running,
            started,
            ended: None,
            retries: u32::try_from(state.retry_count).unwrap_or_default(),
            progress,
            waiting: Vec::new(),
            unverified: BTreeMap::new(),
            failure: None,
        });
    }
}

impl Choices {
    /// What a sync does that nobody asked for.
    pub(super) fn standing(application: &Application, policy: Policy) -> Self {
        let options = application.spec.sync_policy.iter().flat_map(|policy| &policy.sync_options);
        Self {
            prune: policy.prune,
            hooks: true,
            options: SyncOptions::parse(options.map(String::as_str)),
            ..Self::default()
        }
    }
}

fn prunes(plan: &Plan) -> bool {
    plan.groups.iter().any(|group| group.work == crate::plan::graph::Work::Prune)
}

//! The gates, the hooks and the timers, told by example.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::desired::{DependencyState, DesiredObject, DesiredSet, Hook, HookDeletePolicy, ObjectOptions};
use crate::live::{LiveRecord, LiveView};
use crate::model::{
    GroupVersionKind, Hash64, Health, HealthStatus, InstanceId, Marks, ObjectKey, Origin, Phase, Reason,
};
use crate::plan::graph::{Action, Group, Need, NeedCause, Plan, Step, StepId, Work};
use crate::plan::progress::{Act, GatePolicy, HookState, Move, Next, Progress, Waiting};
use crate::plan::{MovesInput, Outcome, OutsideState, hook_mark, next_moves, observe};

pub(super) const ATTEMPT: &str = "a1";

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn deployment(name: &str) -> ObjectKey {
    ObjectKey::new("apps", "Deployment", "shop", name)
}

pub(super) fn job(name: &str) -> ObjectKey {
    ObjectKey::new("batch", "Job", "shop", name)
}

pub(super) fn record(uid: &str, generation: i64, health: Option<Health>) -> LiveRecord {
    LiveRecord {
        generation,
        marks: Marks { instance: InstanceId::from_label("aaaaaaaaaaaa"), tracking_id: String::new() },
        health,
        ..LiveRecord::plain(uid)
    }
}

pub(super) fn step(phase: Phase, key: ObjectKey, action: Action, rank: u16) -> Step {
    Step { id: StepId { phase, key }, action, rank, needs: Vec::new() }
}

pub(super) fn group(phase: Phase, wave: i32, work: Work, steps: Vec<Step>) -> Group {
    Group { phase, wave, work, layer: 0, steps }
}

pub(super) fn hook(key: &ObjectKey, policies: &[HookDeletePolicy]) -> Hook {
    let object = DesiredObject {
        key: key.clone(),
        gvk: GroupVersionKind { group: key.group.clone(), version: "v1".into(), kind: key.kind.clone() },
        body: Bytes::new(),
        hash: Hash64(0),
        wave: 0,
        options: ObjectOptions::default(),
        depends_on: Vec::new(),
        origin: Origin::default(),
        kind_is_new: false,
    };
    Hook {
        object: Arc::new(object),
        phases: BTreeSet::from([Phase::Sync]),
        delete_policies: policies.iter().copied().collect(),
        generate_name: None,
    }
}

/// A cluster, an attempt and a clock.
#[derive(Default)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) desired: DesiredSet,
    pub(super) live: LiveView,
    pub(super) outside: BTreeMap<ObjectKey, OutsideState>,
    pub(super) policy: GatePolicy,
    pub(super) after_sync: bool,
    pub(super) progress: Progress,
    pub(super) second: i64,
}

impl World {
    pub(super) fn of(groups: Vec<Group>) -> Self {
        Self { plan: Plan { groups, ..Plan::default() }, ..Self::default() }
    }

    pub(super) fn next(&mut self) -> Next {
        let input = MovesInput {
            plan: &self.plan,
            desired: &self.desired,
            live: &self.live,
            outside: &self.outside,
            policy: self.policy,
            delete_hooks_after_sync: self.after_sync,
            attempt: ATTEMPT,
            now: at(self.second),
        };
        observe(&mut self.progress, &input);
        next_moves(&self.progress, &input)
    }

    pub(super) fn next_at(&mut self, second: i64) -> Next {
        self.second = second;
        self.next()
    }

    pub(super) fn put(&mut self, key: &ObjectKey, record: LiveRecord) {
        self.live.objects.insert(key.clone(), Arc::new(record));
    }

    pub(super) fn set_health(&mut self, key: &ObjectKey, status: HealthStatus, message: &str) {
        if let Some(record) = self.live.objects.get_mut(key) {
            Arc::make_mut(record).health = Some(Health::new(status, message));
        }
    }

    fn applied(&mut self, id: &StepId, generation: i64) {
        self.progress.note_outcome(id, Outcome::Configured, Some(generation));
    }

    fn start_hook(&mut self, id: &StepId, health: Option<Health>) {
        let mut made = record("h1", 1, health);
        made.hook_attempt = Some(hook_mark(ATTEMPT, id.phase).into());
        self.put(&id.key, made);
        self.progress.note_hook_started(id, "h1", at(self.second));
    }
}

fn run(id: &StepId, act: Act) -> Next {
    Next::Run(vec![Move { id: id.clone(), act }])
}

fn sync_id(key: &ObjectKey) -> StepId {
    StepId { phase: Phase::Sync, key: key.clone() }
}

fn keys_of(next: &Next) -> Vec<(String, &'static str, Reason)> {
    let Next::Wait { waiting, .. } = next else { return Vec::new() };
    waiting.iter().map(|waiting| (waiting.key.to_string(), waiting.condition, waiting.reason)).collect()
}

fn two_waves() -> World {
    World::of(vec![
        group(Phase::Sync, 0, Work::Apply, vec![step(Phase::Sync, deployment("a"), Action::Configure, 5)]),
        group(Phase::Sync, 1, Work::Apply, vec![step(Phase::Sync, deployment("b"), Action::Create, 5)]),
    ])
}

#[test]
fn health_of_an_older_generation_opens_no_gate() {
    let (a, b) = (deployment("a"), deployment("b"));
    let mut world = two_waves();
    world.put(&a, record("a", 1, Some(Health::healthy())));
    assert_eq!(world.next(), run(&sync_id(&a), Act::Apply));
    world.applied(&sync_id(&a), 2);
    assert_eq!(
        world.next(),
        Next::Wait {
            waiting: vec![Waiting {
                key: a.clone(),
                condition: "healthy",
                message: "generation 2 was applied, and generation 1 was seen last".into(),
                reason: Reason::WaitingForHealth,
                release: "is judged as soon as generation 2 is seen; nothing needs to be done".into(),
            }],
            until: None,
        }
    );
    world.put(&a, record("a", 2, Some(Health::healthy())));
    assert_eq!(world.next(), run(&sync_id(&b), Act::Apply));
}

#[test]
fn a_waiting_gate_says_what_releases_it_and_when_it_fails() {
    let a = deployment("a");
    let mut world = two_waves();
    world.policy.timeout = Some(Duration::from_secs(600));
    world.put(&a, record("a", 2, Some(Health::new(HealthStatus::Progressing, "1 of 3 replicas are available"))));
    let _ = world.next();
    world.applied(&sync_id(&a), 2);
    assert_eq!(
        world.next_at(10),
        Next::Wait {
            waiting: vec![Waiting {
                key: a,
                condition: "healthy",
                message: "Progressing: 1 of 3 replicas are available".into(),
                reason: Reason::WaitingForHealth,
                release:
                    "becomes healthy when 3 of 3 replicas are available; fails the sync at 00:10:00Z (gate.timeout)"
                        .into(),
            }],
            until: Some(at(600)),
        }
    );
    assert_eq!(
        world.next_at(600),
        Next::Failed {
            reason: Reason::HealthTimeout,
            message: "wave 0 of Sync was not done within 600 s (gate.timeout): apps/Deployment/shop/a is not healthy: \
                      Progressing: 1 of 3 replicas are available"
                .into(),
        }
    );
}

#[test]
fn flicker_fails_no_wave_and_lasting_degradation_does() {
    let a = deployment("a");
    let mut world = two_waves();
    world.put(&a, record("a", 2, Some(Health::healthy())));
    let _ = world.next();
    world.applied(&sync_id(&a), 2);
    world.set_health(&a, HealthStatus::Degraded, "pod crashed");
    let Next::Wait { waiting, until } = world.next_at(5) else { panic!("must wait") };
    assert_eq!((waiting[0].reason, until), (Reason::HealthDegraded, Some(at(35))));
    assert_eq!(waiting[0].release, "fails the sync at 00:00:35Z unless it recovers before (gate.degradedGracePeriod)");
    world.set_health(&a, HealthStatus::Progressing, "");
    let _ = world.next_at(30);
    world.set_health(&a, HealthStatus::Degraded, "pod crashed");
    let _ = world.next_at(31);
    assert!(matches!(world.next_at(60), Next::Wait { .. }));
    assert_eq!(
        world.next_at(61),
        Next::Failed {
            reason: Reason::HealthDegraded,
            message:
                "apps/Deployment/shop/a has been Degraded for longer than 30 s (gate.degradedGracePeriod): pod crashed"
                    .into(),
        }
    );
}

#[test]
fn any_change_of_state_resets_the_no_progress_timer() {
    let a = deployment("a");
    let mut world = two_waves();
    world.policy.no_progress_timeout = Some(Duration::from_secs(60));
    world.put(&a, record("a", 1, Some(Health::new(HealthStatus::Progressing, "0 of 2"))));
    let _ = world.next();
    world.applied(&sync_id(&a), 1);
    let _ = world.next_at(1);
    world.set_health(&a, HealthStatus::Progressing, "1 of 2");
    assert!(matches!(world.next_at(50), Next::Wait { until: Some(until), .. } if until == at(110)));
    assert!(matches!(world.next_at(109), Next::Wait { .. }));
    assert!(matches!(world.next_at(110), Next::Failed { reason: Reason::NoProgress, .. }));
}

#[test]
fn a_wave_that_changed_must_stay_healthy_and_one_that_did_not_need_not() {
    let (a, b) = (deployment("a"), deployment("b"));
    let mut world = two_waves();
    world.policy.stable_for = Duration::from_secs(20);
    world.put(&a, record("a", 1, Some(Health::healthy())));
    let _ = world.next();
    world.applied(&sync_id(&a), 1);
    let stable = world.next_at(3);
    assert_eq!(keys_of(&stable), [(a.to_string(), "stable", Reason::WaitingForHealth)]);
    world.set_health(&a, HealthStatus::Progressing, "x");
    let _ = world.next_at(10);
    world.set_health(&a, HealthStatus::Healthy, "");
    assert!(matches!(world.next_at(11), Next::Wait { until: Some(until), .. } if until == at(31)));
    assert_eq!(world.next_at(31), run(&sync_id(&b), Act::Apply));

    let mut kept = two_waves();
    kept.policy.stable_for = Duration::from_secs(20);
    kept.plan.groups[0].steps[0].action = Action::Keep;
    kept.put(&a, record("a", 1, Some(Health::healthy())));
    assert_eq!(kept.next(), run(&sync_id(&b), Act::Apply));
}

#[test]
fn the_last_wave_counts_unless_told_otherwise() {
    let a = deployment("a");
    for (last_wave, expected) in [(true, false), (false, true)] {
        let steps = vec![step(Phase::Sync, a.clone(), Action::Create, 5)];
        let mut world = World::of(vec![group(Phase::Sync, 0, Work::Apply, steps)]);
        world.policy.last_wave = last_wave;
        let _ = world.next();
        world.applied(&sync_id(&a), 1);
        world.put(&a, record("a", 1, Some(Health::new(HealthStatus::Progressing, ""))));
        assert_eq!(world.next() == Next::Done, expected);
    }
}

#[test]
fn a_step_whose_need_is_unmet_holds_no_other_and_says_what_it_waits_for() {
    let (a, b) = (deployment("a"), deployment("b"));
    let database = ObjectKey::new("db.example.com", "Database", "data", "main");
    let mut needing = step(Phase::Sync, a.clone(), Action::Create, 1);
    needing.needs = vec![Need { on: database.clone(), state: DependencyState::Ready, cause: NeedCause::Explicit }];
    let steps = vec![needing, step(Phase::Sync, b.clone(), Action::Create, 9)];
    let mut world = World::of(vec![group(Phase::Sync, 0, Work::Apply, steps)]);
    assert_eq!(world.next(), run(&sync_id(&b), Act::Apply));
    world.applied(&sync_id(&b), 1);
    world.put(&b, record("b", 1, None));
    assert_eq!(
        world.next(),
        Next::Wait {
            waiting: vec![Waiting {
                key: database.clone(),
                condition: "healthy",
                message:
                    "it is not in the cluster; needed by apps/Deployment/shop/a (annotation tidelock.dev/depends-on)"
                        .into(),
                reason: Reason::WaitingForDependency,
                release:
                    "goes on when db.example.com/Database/data/main exists and is healthy; it is not part of this \
                          Application, so something else has to make it"
                        .into(),
            }],
            until: None,
        }
    );
    world.outside.insert(database, OutsideState { present: true, health: Some(Health::healthy()) });
    assert_eq!(world.next(), run(&sync_id(&a), Act::Apply));
}

#[test]
fn the_rest_of_a_wave_is_tried_before_a_refusal_fails_it() {
    let (a, b) = (deployment("a"), deployment("b"));
    let steps = vec![step(Phase::Sync, a.clone(), Action::Create, 1), step(Phase::Sync, b.clone(), Action::Create, 9)];
    let mut world = World::of(vec![group(Phase::Sync, 0, Work::Apply, steps)]);
    assert_eq!(world.next(), run(&sync_id(&a), Act::Apply));
    world.progress.note_refused(&sync_id(&a), Reason::AdmissionDenied, "denied by policy");
    assert_eq!(world.next(), run(&sync_id(&b), Act::Apply));
    world.applied(&sync_id(&b), 1);
    assert_eq!(
        world.next(),
        Next::Failed { reason: Reason::AdmissionDenied, message: "apps/Deployment/shop/a: denied by policy".into() }
    );
}

fn hook_world(policies: &[HookDeletePolicy]) -> (World, StepId) {
    let key = job("migrate");
    let id = StepId { phase: Phase::PreSync, key: key.clone() };
    let mut world = World::of(vec![
        group(Phase::PreSync, 0, Work::Apply, vec![step(Phase::PreSync, key.clone(), Action::Hook { index: 0 }, 5)]),
        group(Phase::Sync, 0, Work::Apply, vec![step(Phase::Sync, deployment("a"), Action::Create, 5)]),
    ]);
    world.desired.hooks.push(hook(&key, policies));
    (world, id)
}

#[test]
fn a_hook_of_an_earlier_attempt_goes_first_then_it_runs_is_released_and_deleted_by_its_policy() {
    let (mut world, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation, HookDeletePolicy::HookSucceeded]);
    let mut old = record("old", 1, Some(Health::healthy()));
    old.hook_attempt = Some(hook_mark("a0", Phase::PreSync).into());
    world.put(&id.key, old);
    assert_eq!(world.next(), run(&id, Act::DeleteHook { uid: "old".into() }));
    world.progress.note_hook_deleted(&id, "old");
    assert_eq!(keys_of(&world.next()), [(id.key.to_string(), "gone", Reason::WaitingForHook)]);
    world.live.objects.remove(&id.key);
    assert_eq!(world.next(), run(&id, Act::StartHook { index: 0 }));
    world.start_hook(&id, Some(Health::new(HealthStatus::Progressing, "0 of 1 completions")));
    assert_eq!(keys_of(&world.next()), [(id.key.to_string(), "completed", Reason::WaitingForHook)]);
    world.set_health(&id.key, HealthStatus::Healthy, "");
    assert_eq!(world.next(), run(&id, Act::ReleaseHook { uid: "h1".into() }));
    world.progress.note_hook_released(&id);
    assert_eq!(world.next(), run(&id, Act::DeleteHook { uid: "h1".into() }));
    world.progress.note_hook_deleted(&id, "h1");
    assert_eq!(world.next(), run(&sync_id(&deployment("a")), Act::Apply));
}

#[test]
fn a_result_survives_the_deletion_of_its_object_and_a_hook_is_not_run_again() {
    let (mut world, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation]);
    let _ = world.next();
    world.start_hook(&id, Some(Health::healthy()));
    let _ = world.next();
    world.live.objects.remove(&id.key);
    assert_eq!(world.next(), run(&sync_id(&deployment("a")), Act::Apply));

    // After a restart the mark on its object tells.
    let (mut restarted, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation]);
    restarted.start_hook(&id, Some(Health::new(HealthStatus::Progressing, "")));
    restarted.progress = Progress::default();
    assert_eq!(keys_of(&restarted.next()), [(id.key.to_string(), "completed", Reason::WaitingForHook)]);
}

#[test]
fn hooks_fail_at_once_after_grace_or_when_they_vanish() {
    let (mut world, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation]);
    let _ = world.next();
    world.start_hook(&id, Some(Health::new(HealthStatus::Degraded, "BackoffLimitExceeded")));
    assert_eq!(world.next(), run(&id, Act::ReleaseHook { uid: "h1".into() }));
    world.progress.note_hook_released(&id);
    assert_eq!(
        world.next(),
        Next::Failed {
            reason: Reason::HookFailed,
            message: "hook batch/Job/shop/migrate (PreSync) failed: Degraded: BackoffLimitExceeded".into(),
        }
    );

    let (mut vanished, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation]);
    let _ = vanished.next();
    vanished.start_hook(&id, Some(Health::new(HealthStatus::Progressing, "")));
    vanished.live.objects.remove(&id.key);
    assert!(matches!(vanished.next(), Next::Wait { .. }), "the live view may lag behind the start");
    vanished.start_hook(&id, Some(Health::new(HealthStatus::Progressing, "")));
    let _ = vanished.next();
    vanished.live.objects.remove(&id.key);
    assert!(
        matches!(vanished.next(), Next::Failed { reason: Reason::HookFailed, message } if message.contains("vanished"))
    );
}

#[test]
fn a_failure_waits_for_running_hooks_then_runs_sync_fail_hooks() {
    let (mut world, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation]);
    let notify = job("notify");
    let fail_id = StepId { phase: Phase::SyncFail, key: notify.clone() };
    world.desired.hooks.push(hook(&notify, &[HookDeletePolicy::BeforeHookCreation]));
    world.plan.on_failure =
        vec![group(Phase::SyncFail, 0, Work::Apply, vec![step(Phase::SyncFail, notify, Action::Hook { index: 1 }, 5)])];
    world.policy.timeout = Some(Duration::from_secs(60));
    let _ = world.next();
    world.start_hook(&id, Some(Health::new(HealthStatus::Progressing, "")));
    assert_eq!(keys_of(&world.next_at(60)), [(id.key.to_string(), "completed", Reason::WaitingForHook)]);
    world.set_health(&id.key, HealthStatus::Healthy, "");
    assert_eq!(world.next(), run(&id, Act::ReleaseHook { uid: "h1".into() }));
    world.progress.note_hook_released(&id);
    assert_eq!(world.next(), run(&fail_id, Act::StartHook { index: 1 }));
    world.start_hook(&fail_id, None);
    assert_eq!(world.next(), run(&fail_id, Act::ReleaseHook { uid: "h1".into() }));
    world.progress.note_hook_released(&fail_id);
    assert!(matches!(world.next(), Next::Failed { reason: Reason::HealthTimeout, .. }));
    assert_eq!(world.progress.hooks.get(&fail_id), Some(&HookState::Succeeded));
}

#[test]
fn a_person_who_ends_the_operation_ends_its_hooks() {
    let (mut world, id) = hook_world(&[HookDeletePolicy::BeforeHookCreation]);
    let _ = world.next();
    world.start_hook(&id, Some(Health::new(HealthStatus::Progressing, "")));
    let _ = world.next();
    world.progress.terminate("ended by a person");
    assert_eq!(world.next(), run(&id, Act::DeleteHook { uid: "h1".into() }));
    world.progress.note_hook_deleted(&id, "h1");
    world.live.objects.remove(&id.key);
    assert_eq!(world.next(), Next::Failed { reason: Reason::Terminated, message: "ended by a person".into() });
}

#[test]
fn argo_cds_meaning_deletes_succeeded_hooks_when_the_whole_sync_has() {
    let (mut world, id) = hook_world(&[HookDeletePolicy::HookSucceeded]);
    world.after_sync = true;
    let a = deployment("a");
    let _ = world.next();
    world.start_hook(&id, Some(Health::healthy()));
    let _ = world.next();
    world.progress.note_hook_released(&id);
    assert_eq!(world.next(), run(&sync_id(&a), Act::Apply));
    world.applied(&sync_id(&a), 1);
    world.put(&a, record("a", 1, Some(Health::healthy())));
    assert_eq!(world.next(), run(&id, Act::DeleteHook { uid: "h1".into() }));
    world.progress.note_hook_deleted(&id, "h1");
    assert_eq!(world.next(), Next::Done);
}

#[test]
fn prunes_go_by_rank_wait_until_gone_and_leave_claims_to_their_users() {
    let claim = ObjectKey::new("", "PersistentVolumeClaim", "shop", "data");
    let (web, config) = (deployment("web"), ObjectKey::new("", "ConfigMap", "shop", "c"));
    let prune = |key: &ObjectKey, rank| step(Phase::Sync, key.clone(), Action::Prune { uid: Some("u".into()) }, rank);
    let mut world = World::of(vec![group(
        Phase::Sync,
        0,
        Work::Prune,
        vec![prune(&web, 22), prune(&claim, 11), prune(&config, 8)],
    )]);
    for key in [&web, &claim, &config] {
        world.put(key, record("u", 1, None));
    }
    let act = || Act::Prune { uid: Some("u".into()) };
    assert_eq!(world.next(), run(&sync_id(&web), act()));
    world.progress.note_outcome(&sync_id(&web), Outcome::Pruned { gone: false }, None);
    assert_eq!(keys_of(&world.next()), [(web.to_string(), "gone", Reason::PruneWaiting)]);
    world.live.objects.remove(&web);
    assert_eq!(world.next(), run(&sync_id(&claim), act()));
    world.progress.note_outcome(&sync_id(&claim), Outcome::Pruned { gone: false }, None);
    assert_eq!(world.next(), run(&sync_id(&config), act()));
    world.progress.note_outcome(&sync_id(&config), Outcome::Pruned { gone: true }, None);
    world.live.objects.remove(&config);
    assert_eq!(keys_of(&world.next()), [(claim.to_string(), "gone", Reason::PruneWaiting)]);
    world.live.objects.remove(&claim);
    assert_eq!(world.next(), Next::Done);
}

#[test]
fn what_is_being_deleted_is_made_again_when_it_is_gone() {
    let a = deployment("a");
    let mut world = two_waves();
    world.plan.groups[0].steps[0].action = Action::AwaitGone;
    let mut going = record("a", 1, Some(Health::healthy()));
    going.deleting = true;
    world.put(&a, going);
    assert_eq!(keys_of(&world.next()), [(a.to_string(), "gone", Reason::WaitingForHealth)]);
    world.live.objects.remove(&a);
    assert_eq!(world.next(), run(&sync_id(&a), Act::Apply));
}

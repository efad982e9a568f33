//! What holds of the gates whatever the plan and whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::gate_rules::{ATTEMPT, World, deployment, group, hook, job, record, step};
use crate::desired::{DependencyState, HookDeletePolicy};
use crate::model::{Health, HealthStatus, ObjectKey, Phase};
use crate::plan::graph::{Action, Group, Need, NeedCause, Step, StepId, Work};
use crate::plan::progress::{Act, GatePolicy, GroupId, HookState, Move, Next};
use crate::plan::{Outcome, hook_mark};

#[derive(Clone, Debug)]
enum Kind {
    Create,
    Configure,
    Keep,
    Hook { policies: Vec<HookDeletePolicy>, leftover: bool },
}

#[derive(Clone, Debug)]
struct Piece {
    kind: Kind,
    rank: u16,
    /// Needs of pieces of the same group that stand before it, by distance.
    needs: Vec<(usize, DependencyState)>,
}

#[derive(Clone, Debug)]
enum Event {
    Time(i64),
    /// Something becomes healthy or falls ill, by place among the live objects.
    Health(usize, HealthStatus),
    /// The live view catches up with what was applied.
    CatchUp,
    /// A finished hook's object is taken away.
    Sweep,
}

fn pieces() -> impl Strategy<Value = Vec<Vec<Piece>>> {
    let policy = prop::sample::select(vec![
        HookDeletePolicy::BeforeHookCreation,
        HookDeletePolicy::HookSucceeded,
        HookDeletePolicy::HookFailed,
    ]);
    let kind = prop_oneof![
        Just(Kind::Create),
        Just(Kind::Configure),
        Just(Kind::Keep),
        (prop::collection::vec(policy, 1..3), any::<bool>())
            .prop_map(|(policies, leftover)| Kind::Hook { policies, leftover }),
    ];
    let state =
        prop::sample::select(vec![DependencyState::Present, DependencyState::Ready, DependencyState::Completed]);
    let piece = (kind, 0_u16..4, prop::collection::vec((1_usize..4, state), 0..3))
        .prop_map(|(kind, rank, needs)| Piece { kind, rank, needs });
    prop::collection::vec(prop::collection::vec(piece, 1..6), 1..5)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let status = prop::sample::select(vec![
        HealthStatus::Healthy,
        HealthStatus::Progressing,
        HealthStatus::Suspended,
        HealthStatus::Unknown,
    ]);
    let event = prop_oneof![
        (1_i64..30).prop_map(Event::Time),
        (0_usize..20, status).prop_map(|(place, status)| Event::Health(place, status)),
        Just(Event::CatchUp),
        Just(Event::Sweep),
    ];
    prop::collection::vec(event, 0..60)
}

fn world_of(groups: &[Vec<Piece>], after_sync: bool, stable_for: u64) -> World {
    let mut world = World { after_sync, ..World::default() };
    world.policy = GatePolicy { stable_for: Duration::from_secs(stable_for), ..GatePolicy::default() };
    for (wave, pieces) in groups.iter().enumerate() {
        let keys: Vec<ObjectKey> = pieces
            .iter()
            .enumerate()
            .map(|(place, piece)| match piece.kind {
                Kind::Hook { .. } => job(&format!("j-{wave}-{place}")),
                Kind::Create | Kind::Configure | Kind::Keep => deployment(&format!("d-{wave}-{place}")),
            })
            .collect();
        let mut steps = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            let key = &keys[place];
            let progressing = Some(Health::new(HealthStatus::Progressing, "old"));
            let action = match &piece.kind {
                Kind::Create => Action::Create,
                Kind::Configure | Kind::Keep => {
                    world.put(key, record(&key.name, 1, progressing));
                    if matches!(piece.kind, Kind::Keep) { Action::Keep } else { Action::Configure }
                }
                Kind::Hook { policies, leftover } => {
                    if *leftover {
                        let mut old = record("old", 1, Some(Health::healthy()));
                        old.hook_attempt = Some(hook_mark("a0", Phase::Sync).into());
                        world.put(key, old);
                    }
                    world.desired.hooks.push(hook(key, policies));
                    Action::Hook { index: world.desired.hooks.len() - 1 }
                }
            };
            let mut made = step(Phase::Sync, key.clone(), action, piece.rank);
            made.needs = piece
                .needs
                .iter()
                .filter_map(|(distance, state)| Some((place.checked_sub(*distance)?, *state)))
                .map(|(on, state)| Need { on: keys[on].clone(), state, cause: NeedCause::Explicit })
                .collect();
            steps.push(made);
        }
        let wave = i32::try_from(wave).unwrap();
        world.plan.groups.push(group(Phase::Sync, wave, Work::Apply, steps));
    }
    world
}

/// What has really happened, apart from what the progress believes.
#[derive(Default)]
struct Truth {
    ran: BTreeSet<StepId>,
    applied: BTreeMap<ObjectKey, i64>,
    finished: BTreeSet<StepId>,
    /// Applied, and not yet to be seen.
    unseen: Vec<(ObjectKey, i64)>,
}

impl Truth {
    fn is_healthy(&self, world: &World, key: &ObjectKey) -> bool {
        world.live.objects.get(key).is_some_and(|record| {
            record.generation >= self.applied.get(key).copied().unwrap_or_default()
                && record.health.as_ref().is_none_or(|health| health.status == HealthStatus::Healthy)
        })
    }

    fn step_is_done(&self, world: &World, step: &Step) -> bool {
        match step.action {
            Action::Hook { .. } => self.finished.contains(&step.id),
            Action::Keep => self.is_healthy(world, &step.id.key),
            Action::Create | Action::Configure | Action::AwaitGone | Action::Prune { .. } => {
                self.ran.contains(&step.id) && self.is_healthy(world, &step.id.key)
            }
        }
    }

    fn act(&mut self, world: &mut World, next: &Move) {
        let id = &next.id;
        match &next.act {
            Act::Apply => {
                assert!(self.ran.insert(id.clone()), "{id} ran twice");
                let before = world.live.objects.get(&id.key).map_or(0, |record| record.generation);
                let generation = before + 1;
                self.applied.insert(id.key.clone(), generation);
                self.unseen.push((id.key.clone(), generation));
                world.progress.note_outcome(id, Outcome::Configured, Some(generation));
            }
            Act::StartHook { .. } => {
                assert!(self.ran.insert(id.clone()), "{id} ran twice");
                assert!(!world.live.objects.contains_key(&id.key), "{id} started over an object");
                let mut made = record("new", 1, Some(Health::new(HealthStatus::Progressing, "")));
                made.hook_attempt = Some(hook_mark(ATTEMPT, id.phase).into());
                world.put(&id.key, made);
                let now = super::gate_rules::at(world.second);
                world.progress.note_hook_started(id, "new", now);
            }
            Act::DeleteHook { uid } => {
                assert!(uid == "old" || self.finished.contains(id), "{id} was cut");
                world.live.objects.remove(&id.key);
                world.progress.note_hook_deleted(id, uid.clone());
            }
            Act::ReleaseHook { .. } => {
                assert!(self.finished.contains(id), "{id} was released while it ran");
                world.progress.note_hook_released(id);
            }
            Act::Prune { .. } => panic!("nothing is to be pruned"),
        }
    }

    fn happen(&mut self, world: &mut World, event: &Event) {
        match event {
            Event::Time(seconds) => world.second += seconds,
            Event::CatchUp => {
                for (key, generation) in std::mem::take(&mut self.unseen) {
                    world.put(&key, record(&key.name, generation, Some(Health::new(HealthStatus::Progressing, "new"))));
                }
            }
            Event::Health(place, status) => {
                let keys: Vec<ObjectKey> = world.live.objects.keys().cloned().collect();
                if let Some(key) = keys.get(place % keys.len().max(1)) {
                    world.set_health(key, *status, "");
                }
            }
            Event::Sweep => {
                let swept: Vec<ObjectKey> = world
                    .progress
                    .hooks
                    .iter()
                    .filter(|(_, state)| **state == HookState::Succeeded)
                    .map(|(id, _)| id.key.clone())
                    .collect();
                for key in swept {
                    world.live.objects.remove(&key);
                }
            }
        }
        for id in self.ran.clone() {
            let record = world.live.objects.get(&id.key);
            let healthy = record.is_some_and(|record| {
                record.hook_attempt.is_some()
                    && record.uid == "new"
                    && record.health.as_ref().is_some_and(|health| health.status == HealthStatus::Healthy)
            });
            if healthy {
                self.finished.insert(id);
            }
        }
    }

    /// One look, with all that must hold of it.
    fn look(&mut self, world: &mut World) -> Next {
        let before = world.progress.passed.clone();
        let next = world.next();
        for place in world.plan.groups.iter().filter(|group| {
            let id = GroupId::of(group, false);
            world.progress.passed.contains(&id) && !before.contains(&id)
        }) {
            for step in &place.steps {
                assert!(self.step_is_done(world, step), "the gate opened before {} was done", step.id);
            }
        }
        if let Next::Run(moves) = &next {
            assert!(!moves.is_empty());
            for one in moves {
                self.must_be_allowed(world, one);
            }
            for one in moves {
                self.act(world, one);
            }
        }
        next
    }

    fn must_be_allowed(&self, world: &World, next: &Move) {
        if !matches!(next.act, Act::Apply | Act::StartHook { .. }) {
            return;
        }
        let holds = |group: &Group| group.steps.iter().any(|step| step.id == next.id);
        let place = world.plan.groups.iter().position(holds).unwrap();
        for earlier in &world.plan.groups[..place] {
            assert!(world.progress.passed.contains(&GroupId::of(earlier, false)), "{} ran before its group", next.id);
        }
        let step = world.plan.groups[place].steps.iter().find(|step| step.id == next.id).unwrap();
        for need in &step.needs {
            let on = world.plan.groups[place].steps.iter().find(|step| step.id.key == need.on).unwrap();
            let met = match need.state {
                DependencyState::Present => on.action == Action::Keep || self.ran.contains(&on.id),
                DependencyState::Ready | DependencyState::Completed => self.step_is_done(world, on),
            };
            assert!(met, "{} ran before {} was {}", next.id, need.on, need.state.as_str());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_gate_opens_early_no_step_runs_twice_or_is_skipped_and_health_ends_every_plan(
        groups in pieces(),
        events in events(),
        after_sync: bool,
        stable_for in prop::sample::select(vec![0_u64, 15]),
    ) {
        let mut world = world_of(&groups, after_sync, stable_for);
        let mut truth = Truth::default();
        for event in &events {
            let _ = truth.look(&mut world);
            truth.happen(&mut world, event);
        }
        // From now on everything becomes healthy.
        let mut rounds = 0;
        loop {
            rounds += 1;
            prop_assert!(rounds < 2_000, "it never ends: {:?}", world.next());
            match truth.look(&mut world) {
                Next::Done => break,
                Next::Run(_) => {}
                Next::Failed { message, .. } => prop_assert!(false, "failed: {message}"),
                Next::Wait { waiting, .. } => {
                    prop_assert!(!waiting.is_empty(), "waits for nothing");
                    truth.happen(&mut world, &Event::CatchUp);
                    for place in 0..world.live.objects.len() {
                        truth.happen(&mut world, &Event::Health(place, HealthStatus::Healthy));
                    }
                    truth.happen(&mut world, &Event::Time(7));
                }
            }
        }
        for step in world.plan.groups.iter().flat_map(|group| &group.steps) {
            prop_assert!(step.action == Action::Keep || truth.ran.contains(&step.id), "{} was skipped", step.id);
        }
        prop_assert_eq!(world.next(), Next::Done);
    }
}

#[test]
fn five_thousand_objects_that_wait_for_one_are_told_in_one_entry() {
    let first = deployment("d-0");
    let steps = (0..5_000).map(|number| {
        let mut made = step(Phase::Sync, deployment(&format!("d-{number}")), Action::Create, 5);
        if number > 0 {
            made.needs = vec![Need { on: first.clone(), state: DependencyState::Ready, cause: NeedCause::Explicit }];
        }
        made
    });
    let mut world = World::of(vec![group(Phase::Sync, 0, Work::Apply, steps.collect())]);
    assert!(matches!(world.next(), Next::Run(moves) if moves.len() == 1));
    let id = world.plan.groups[0].steps[0].id.clone();
    world.progress.note_outcome(&id, Outcome::Created, Some(1));
    world.put(&first, record("d", 1, Some(Health::new(HealthStatus::Progressing, ""))));
    let Next::Wait { waiting, .. } = world.next() else { panic!("must wait") };
    let told: Vec<(&str, &str)> = waiting.iter().map(|one| (one.condition, one.message.as_str())).collect();
    let dependents = "apps/Deployment/shop/d-1, apps/Deployment/shop/d-2, apps/Deployment/shop/d-3, 4996 more";
    let needed = format!("Progressing; needed by {dependents} (annotation tidelock.dev/depends-on)");
    assert_eq!(told, [("healthy", "Progressing"), ("healthy", needed.as_str())]);
}

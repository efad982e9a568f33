//! What holds for any plan that is compiled.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::compiled::{Input, depending, made, told_groups};
use super::*;
use crate::desired::DependencyState;
use crate::diff::Cause;
use crate::model::Phase;
use crate::plan::graph::{self, Group, NeedCause, StepId, Work};

fn key() -> impl Strategy<Value = ObjectKey> {
    let name = "[a-c]";
    prop_oneof![
        1 => prop_oneof![Just("shop"), Just("other")].prop_map(namespace),
        1 => Just(definition()),
        2 => name.prop_map(|name| widget(&name)),
        3 => name.prop_map(|name| config(&name)),
        3 => name.prop_map(|name| deployment(&name)),
        1 => name.prop_map(|name| ObjectKey::new("", "ServiceAccount", "shop", name)),
        1 => name.prop_map(|name| ObjectKey::new("", "Service", "shop", name)),
        1 => name.prop_map(|name| ObjectKey::new("apiregistration.k8s.io", "APIService", "", name)),
    ]
}

fn body(key: &ObjectKey, refers: &str) -> serde_json::Value {
    match key.kind.as_str() {
        "CustomResourceDefinition" => {
            json!({"spec": {"group": "example.com", "names": {"kind": "Widget"}, "conversion":
            {"webhook": {"clientConfig": {"service": {"name": refers, "namespace": "shop"}}}}}})
        }
        "Deployment" | "Widget" => json!({"spec": {"template": {"metadata": {"labels": {"app": refers}}, "spec": {
            "serviceAccountName": refers, "containers": [{"name": "m", "envFrom": [{"configMapRef": {"name": refers}}]}]}}}}),
        "Service" => json!({"spec": {"selector": {"app": refers}}}),
        "APIService" => json!({"spec": {"service": {"name": refers, "namespace": "shop"}}}),
        _ => json!({}),
    }
}

/// One object: what is wanted of it, in which wave, what it refers to, and what it depends on by annotation.
#[derive(Clone, Debug)]
enum Part {
    Object(DesiredObject, Difference),
    Hook(DesiredObject, Vec<Phase>),
    Extra(ObjectKey, i32),
}

fn object_of(with_dependencies: bool) -> impl Strategy<Value = DesiredObject> {
    let on = prop::collection::vec(key(), 0..if with_dependencies { 3 } else { 1 });
    (key(), -1..2_i32, "[a-c]", on).prop_map(move |(key, wave, refers, on)| {
        let object = made(&key, wave, &body(&key, &refers));
        let on: Vec<String> = on.iter().filter(|_| with_dependencies).map(|key| format!("{key}:present")).collect();
        depending(object, &on.join(","))
    })
}

fn part(with_dependencies: bool) -> impl Strategy<Value = Part> {
    let difference = prop_oneof![
        2 => Just(Difference::InSync),
        4 => Just(absent()),
        2 => Just(Difference::Changed(Cause::Desired)),
        1 => Just(Difference::Terminating),
        1 => Just(Difference::Conflict { application: "tidelock/other".into() }),
    ];
    let phases = prop_oneof![
        Just(vec![Phase::PreSync]),
        Just(vec![Phase::Sync]),
        Just(vec![Phase::PreSync, Phase::PostSync]),
        Just(vec![Phase::SyncFail]),
        Just(vec![Phase::PostDelete]),
    ];
    prop_oneof![
        5 => (object_of(with_dependencies), difference).prop_map(|(object, difference)| Part::Object(object, difference)),
        2 => (object_of(with_dependencies), phases).prop_map(|(object, phases)| Part::Hook(object, phases)),
        2 => (key(), -1..2_i32).prop_map(|(key, wave)| Part::Extra(key, wave)),
    ]
}

fn parts(with_dependencies: bool) -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec(part(with_dependencies), 0..16).prop_map(|parts| {
        let mut seen = BTreeSet::new();
        let key = |part: &Part| match part {
            Part::Object(object, _) | Part::Hook(object, _) => object.key.clone(),
            Part::Extra(key, _) => key.clone(),
        };
        parts.into_iter().filter(|part| seen.insert(key(part))).collect()
    })
}

fn input(parts: Vec<Part>) -> Input {
    let mut input = Input::default();
    for part in parts {
        match part {
            Part::Object(object, difference) => input.add(object, difference),
            Part::Hook(object, phases) => input = input.with_hook(object, &phases),
            Part::Extra(key, wave) => input = input.with_extra(key, record(wave, None)),
        }
    }
    // As assembling leaves them.
    input.desired.hooks.sort_by(|left, right| left.object.key.cmp(&right.object.key));
    input
}

fn all(plan: &graph::Plan) -> impl Iterator<Item = (usize, &Group, &graph::Step)> {
    let groups = plan.groups.iter().chain(&plan.on_failure).enumerate();
    groups.flat_map(|(index, group)| group.steps.iter().map(move |step| (index, group, step)))
}

/// The place of each step in the order of groups, and of steps inside them.
fn places(plan: &graph::Plan) -> HashMap<StepId, (usize, usize)> {
    let groups = plan.groups.iter().chain(&plan.on_failure).enumerate();
    groups
        .flat_map(|(index, group)| group.steps.iter().enumerate().map(move |(at, step)| (step.id.clone(), (index, at))))
        .collect()
}

/// Where an annotation or a holder puts each object that waits for another: the edges that no plan may break.
fn stated_edges(input: &Input) -> Vec<(ObjectKey, ObjectKey)> {
    let mut edges = Vec::new();
    for object in input.desired.objects.values() {
        edges.extend(object.depends_on.iter().map(|on| (object.key.clone(), on.key.clone())));
        if !object.key.namespace.is_empty() {
            edges.push((object.key.clone(), namespace(&object.key.namespace)));
        }
        if object.key.kind == "Widget" {
            edges.push((object.key.clone(), definition()));
        }
    }
    edges
}

proptest! {
    #[test]
    fn every_object_is_in_the_plan_exactly_once(parts in parts(false), consent: bool, prune_last: bool) {
        let mut input = input(parts);
        input.consents.protected_kinds = consent;
        input.options.prune_last = prune_last;
        let plan = input.compile().unwrap();
        let mut ids: Vec<StepId> = all(&plan).map(|(_, _, step)| step.id.clone()).collect();
        let blocked = plan.blocked.iter().map(|blocked| StepId { phase: Phase::Sync, key: blocked.key.clone() });
        ids.extend(blocked);
        ids.sort();
        let objects = input.differences.objects.keys().chain(input.differences.extras.keys());
        let mut expected: Vec<StepId> = objects.map(|key| StepId { phase: Phase::Sync, key: key.clone() }).collect();
        for hook in &input.desired.hooks {
            let phases = hook.phases.iter().filter(|phase| **phase < Phase::PreDelete);
            expected.extend(phases.map(|phase| StepId { phase: *phase, key: hook.object.key.clone() }));
        }
        expected.sort();
        prop_assert_eq!(ids, expected);
    }

    #[test]
    fn what_a_step_needs_is_never_planned_after_it(parts in parts(true)) {
        let input = input(parts);
        let Ok(plan) = input.compile() else { return Ok(()) };
        let places = places(&plan);
        let steps = |key: &ObjectKey| -> Vec<(usize, usize)> {
            places.iter().filter(|(id, _)| id.key == *key).map(|(_, place)| *place).collect()
        };
        for (_, group, step) in all(&plan) {
            let own = places[&step.id];
            for need in &step.needs {
                let others = steps(&need.on);
                let pruned = input.differences.extras.contains_key(&need.on);
                prop_assert!(
                    others.is_empty() || pruned || others.iter().any(|other| *other < own),
                    "{} needs {}: {:?}", step.id, need.on, told_groups(&plan.groups)
                );
            }
            prop_assert!(group.work == Work::Apply || step.needs.is_empty());
        }
        for (from, to) in stated_edges(&input) {
            let sync = |key: &ObjectKey| places.get(&StepId { phase: Phase::Sync, key: key.clone() }).copied();
            let planned = |key: &ObjectKey| input.differences.objects.contains_key(key);
            if let (Some(from), Some(to)) = (sync(&from).filter(|_| planned(&from)), sync(&to).filter(|_| planned(&to))) {
                prop_assert!(to < from, "{:?}", told_groups(&plan.groups));
            }
        }
    }

    #[test]
    fn groups_come_in_the_order_of_phases_and_waves_and_prunes_after_the_gate_of_what_stays(
        parts in parts(true), prune_last: bool,
    ) {
        let mut input = input(parts);
        input.options.prune_last = prune_last;
        let Ok(plan) = input.compile() else { return Ok(()) };
        let applies: Vec<(Phase, i32)> = plan
            .groups
            .iter()
            .filter(|group| group.work == Work::Apply)
            .map(|group| (group.phase, group.wave))
            .collect();
        prop_assert!(applies.is_sorted_by(|left, right| left < right), "{applies:?}");
        let prunes: Vec<i32> =
            plan.groups.iter().filter(|group| group.work == Work::Prune).map(|group| group.wave).collect();
        prop_assert!(prunes.is_sorted_by(|left, right| left > right), "{prunes:?}");
        if let Some(first) = plan.groups.iter().position(|group| group.work == Work::Prune) {
            let later = plan.groups[first..].iter().filter(|group| group.work == Work::Apply);
            let last = if prune_last { Phase::PreSync } else { Phase::PostSync };
            prop_assert!(later.map(|group| group.phase).all(|phase| phase >= last && !prune_last));
        }
        prop_assert!(plan.groups.iter().all(|group| !group.steps.is_empty()));
        prop_assert!(plan.on_failure.iter().all(|group| group.phase == Phase::SyncFail));
    }

    #[test]
    fn the_order_of_the_input_changes_nothing_in_what_is_compiled(parts in parts(true), seed: u64) {
        let mut shuffled = parts.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(input(shuffled).compile(), input(parts).compile());
    }

    #[test]
    fn a_plan_can_be_carried_out_to_its_end_by_its_needs_alone(parts in parts(true)) {
        let Ok(plan) = input(parts).compile() else { return Ok(()) };
        let keys: BTreeSet<ObjectKey> = all(&plan).map(|(_, _, step)| step.id.key.clone()).collect();
        let mut done: BTreeSet<ObjectKey> = BTreeSet::new();
        for group in &plan.groups {
            let mut left: Vec<&graph::Step> = group.steps.iter().collect();
            while !left.is_empty() {
                let free = |step: &&graph::Step| {
                    step.needs.iter().all(|need| done.contains(&need.on) || !keys.contains(&need.on) || is_pruned(&plan, &need.on))
                };
                let (ready, waiting): (Vec<&graph::Step>, Vec<&graph::Step>) = left.iter().copied().partition(free);
                prop_assert!(!ready.is_empty(), "{waiting:?} wait for ever: {:?}", told_groups(&plan.groups));
                done.extend(ready.iter().map(|step| step.id.key.clone()));
                left = waiting;
            }
        }
    }

    #[test]
    fn a_circle_that_is_told_is_one(parts in parts(true)) {
        let input = input(parts);
        let Err(PlanError::Cycle(cycle)) = input.compile() else { return Ok(()) };
        prop_assert!(!cycle.links.is_empty());
        let mut bodies: HashMap<ObjectKey, Arc<DesiredObject>> =
            input.desired.objects.iter().map(|(key, object)| (key.clone(), Arc::clone(object))).collect();
        bodies.extend(input.desired.hooks.iter().map(|hook| (hook.object.key.clone(), Arc::clone(&hook.object))));
        let next = cycle.links.iter().cycle().skip(1);
        for ((from, why), (to, _)) in cycle.links.iter().zip(next) {
            let depends = bodies[&from.key].depends_on.iter().any(|on| on.key == to.key);
            let holds = to.key.kind == "Namespace" && from.key.namespace == to.key.name;
            let defines = to.key == definition() && from.key.kind == "Widget";
            prop_assert!(match why.as_str() {
                "tidelock.dev/depends-on" => depends,
                "that is its Namespace" => holds,
                "that defines its kind" => defines,
                other => other.contains(" comes after "),
            }, "{cycle}");
        }
    }

    #[test]
    fn a_circle_of_any_length_is_found(length in 1_usize..12, beside in 0_usize..5) {
        let name = |number: usize| ObjectKey::new("", "ConfigMap", "shop", format!("c{number:02}"));
        let mut objects: Vec<DesiredObject> = (0..length)
            .map(|number| depending(made(&name(number), 0, &json!({})), &name((number + 1) % length).to_string()))
            .collect();
        objects.extend((0..beside).map(|number| depending(made(&name(50 + number), 0, &json!({})), &name(0).to_string())));
        let Err(PlanError::Cycle(cycle)) = Input::of(objects).compile() else {
            return Err(TestCaseError::fail("it is not found"));
        };
        prop_assert_eq!(cycle.links.len(), length);
    }

    #[test]
    fn without_explicit_dependencies_there_is_always_a_plan(parts in parts(false)) {
        let plan = input(parts).compile().unwrap();
        for (_, _, step) in all(&plan) {
            for need in &step.needs {
                prop_assert!(need.cause != NeedCause::Explicit);
                prop_assert!(need.state != DependencyState::Completed);
            }
        }
    }

    #[test]
    fn a_deletion_takes_everything_once_and_in_reverse(parts in parts(true)) {
        let input = input(parts);
        let owner = crate::model::Owner::new("tidelock", "tidelock", "shop");
        let owned: BTreeMap<ObjectKey, Option<String>> =
            input.desired.objects.keys().chain(input.live.objects.keys()).map(|key| (key.clone(), None)).collect();
        let compiled = compile_deletion(DeletionInput {
            owner: &owner,
            owned: &owned,
            desired: &input.desired,
            live: &input.live,
            options: &input.options,
            consents: input.consents,
            hooks: Some(super::compiled::naming()),
        });
        let Ok(plan) = compiled else { return Ok(()) };
        let mut pruned: Vec<ObjectKey> = all(&plan)
            .filter(|(_, group, _)| group.work == Work::Prune)
            .map(|(_, _, step)| step.id.key.clone())
            .collect();
        pruned.sort();
        let hooks = input.desired.hooks.iter().filter(|hook| hook.phases.contains(&Phase::PostDelete));
        let mut expected: BTreeSet<ObjectKey> = owned.keys().cloned().collect();
        expected.extend(hooks.map(|hook| hook.object.key.clone()));
        prop_assert_eq!(pruned, expected.into_iter().collect::<Vec<_>>());
        let places = places(&plan);
        prop_assert_eq!(places.len(), all(&plan).count(), "each step is one of its own");
    }
}

fn is_pruned(plan: &graph::Plan, key: &ObjectKey) -> bool {
    all(plan).any(|(_, group, step)| group.work == Work::Prune && step.id.key == *key)
}

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::diff::Cause;
use crate::model::Reason;

/// How an object takes what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Healthy,
    NeverHealthy,
    Refused,
}

fn key() -> impl Strategy<Value = ObjectKey> {
    let name = "[a-d]";
    prop_oneof![
        1 => prop_oneof![Just("shop"), Just("other")].prop_map(namespace),
        1 => Just(definition()),
        2 => name.prop_map(|name| widget(&name)),
        3 => name.prop_map(|name| config(&name)),
        3 => name.prop_map(|name| deployment(&name)),
        1 => name.prop_map(|name| ObjectKey::new("", "Service", "other", name)),
    ]
}

fn state() -> impl Strategy<Value = State> {
    let wanted = prop_oneof![
        Just(Difference::InSync),
        any::<bool>().prop_map(|drift| Difference::Absent { drift }),
        Just(Difference::Changed(Cause::Desired)),
        Just(Difference::Changed(Cause::Live)),
        Just(Difference::Terminating),
        Just(Difference::Conflict { application: "tidelock/other".into() }),
    ];
    let extras = prop_oneof![
        Just(prunable()),
        Just(Extra::Kept),
        Just(Extra::Unseen),
        Just(Extra::Unrecorded),
        Just(Extra::Terminating),
    ];
    prop_oneof![3 => wanted.prop_map(State::Wanted), 1 => extras.prop_map(State::Extra)]
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let health = prop_oneof![Just(None), Just(Some(Health::healthy())), Just(progressing())];
    let one =
        (key(), -2..3_i32, state(), health).prop_map(|(key, wave, state, health)| Item { key, wave, state, health });
    prop::collection::vec(one, 0..14).prop_map(|items| {
        let mut seen = BTreeSet::new();
        items.into_iter().filter(|item| seen.insert(item.key.clone())).collect()
    })
}

fn lucks() -> impl Strategy<Value = Vec<Luck>> {
    let luck = prop_oneof![6 => Just(Luck::Healthy), 1 => Just(Luck::NeverHealthy), 1 => Just(Luck::Refused)];
    prop::collection::vec(luck, 14)
}

fn steps(plan: &Plan) -> impl Iterator<Item = &Step> {
    plan.stages.iter().chain(&plan.prunes).flat_map(|stage| &stage.steps)
}

fn wave_of(plan: &Plan, key: &ObjectKey) -> Option<i32> {
    plan.stages.iter().find(|stage| stage.steps.iter().any(|step| step.key == *key)).map(|stage| stage.wave)
}

/// Carries a plan out in an imagined cluster until it ends or waits for good; checks each move on the way.
fn carry_out(case: &Case, plan: &Plan, luck: &HashMap<ObjectKey, Luck>) -> (Next, Outcomes) {
    let mut live = case.live.clone();
    let mut outcomes = Outcomes::new();
    let luck_of = |key: &ObjectKey| luck.get(key).copied().unwrap_or(Luck::Healthy);
    for _ in 0..100 {
        let steps = match next(GateInput { plan, outcomes: &outcomes, live: &live, gate_last_wave: true }) {
            Next::Run(steps) => steps,
            ended => return (ended, outcomes),
        };
        assert!(!steps.is_empty());
        for Step { key, action } in steps {
            assert!(!outcomes.contains_key(&key), "{key} is done twice");
            if let Some(wave) = wave_of(plan, &key) {
                for (earlier, record) in &live.objects {
                    let is_well = record.health.as_ref().is_none_or(|health| health.status == HealthStatus::Healthy);
                    assert!(
                        is_well || wave_of(plan, earlier).is_none_or(|other| other >= wave),
                        "{key} is begun although {earlier} of an earlier wave is not healthy"
                    );
                }
            }
            let outcome = match (action, luck_of(&key)) {
                (Action::Keep | Action::AwaitGone, _) => panic!("{key}: nothing to do"),
                (_, Luck::Refused) => Outcome::Failed { reason: Reason::ApplyFailed, message: "refused".into() },
                (Action::Prune { .. }, _) => {
                    let applies = plan.stages.iter().flat_map(|stage| &stage.steps);
                    let mut open = applies.filter(|step| matches!(step.action, Action::Create | Action::Configure));
                    assert!(open.all(|step| outcomes.contains_key(&step.key)), "{key} is pruned before all is applied");
                    live.objects.remove(&key);
                    Outcome::Pruned { gone: true }
                }
                (Action::Create | Action::Configure, luck) => {
                    let health = if luck == Luck::Healthy { Some(Health::healthy()) } else { progressing() };
                    live.objects.insert(key.clone(), Arc::new(record(0, health)));
                    Outcome::Created
                }
            };
            outcomes.insert(key, outcome);
        }
    }
    panic!("it never ends");
}

proptest! {
    #[test]
    fn every_object_has_exactly_one_place(items in items(), prune: bool, consent: bool) {
        let case = Case::of(items);
        let plan = case.plan(prune, consent);
        let mut places: Vec<&ObjectKey> =
            steps(&plan).map(|step| &step.key).chain(plan.blocked.iter().map(|blocked| &blocked.key)).collect();
        places.sort();
        let silent = |extra: &Extra| matches!(extra, Extra::Kept | Extra::Terminating);
        let extras = case.differences.extras.iter().filter(|(_, extra)| !silent(extra)).map(|(key, _)| key);
        let mut all: Vec<&ObjectKey> = case.differences.objects.keys().chain(extras).collect();
        all.sort();
        prop_assert_eq!(places, all);
    }

    #[test]
    fn stages_are_in_order_and_hold_one_kind_group_each(items in items(), consent: bool) {
        let plan = Case::of(items).plan(true, consent);
        let places = |stages: &[Stage]| -> Vec<(i32, u16)> { stages.iter().map(|stage| (stage.wave, stage.rank)).collect() };
        prop_assert!(places(&plan.stages).is_sorted_by(|left, right| left < right));
        prop_assert!(places(&plan.prunes).is_sorted_by(|left, right| left > right));
        for stage in plan.stages.iter().chain(&plan.prunes) {
            prop_assert!(!stage.steps.is_empty());
            prop_assert!(stage.steps.iter().all(|step| kind_rank(&step.key.group, &step.key.kind) == stage.rank));
        }
        for stage in &plan.prunes {
            let prunes_only = stage.steps.iter().all(|step| matches!(step.action, Action::Prune { .. }));
            prop_assert!(prunes_only);
        }
    }

    #[test]
    fn the_order_of_the_input_changes_nothing(items in items(), seed: u64) {
        let plan = Case::of(items.clone()).plan(true, false);
        let mut shuffled = items;
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(Case::of(shuffled).plan(true, false), plan);
    }

    #[test]
    fn nothing_that_a_person_must_consent_to_is_deleted_without(items in items()) {
        let case = Case::of(items);
        for stage in &case.plan(true, false).prunes {
            for step in &stage.steps {
                let seen = case.live.objects.contains_key(&step.key);
                prop_assert!(!(seen && matches!(step.key.kind.as_str(), "Namespace" | "CustomResourceDefinition")));
            }
        }
        let unseen = Action::Prune { uid: None };
        let only_unseen =
            case.plan(false, true).prunes.iter().flat_map(|stage| &stage.steps).all(|step| step.action == unseen);
        prop_assert!(only_unseen);
    }

    #[test]
    fn no_wave_begins_before_the_one_before_is_healthy_and_every_sync_ends(items in items(), lucks in lucks()) {
        let case = Case::of(items);
        let plan = case.plan(true, true);
        let luck: HashMap<ObjectKey, Luck> = steps(&plan).map(|step| step.key.clone()).zip(lucks).collect();
        let (end, outcomes) = carry_out(&case, &plan, &luck);
        let failed: Vec<&ObjectKey> =
            outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. })).map(|(key, _)| key).collect();
        match end {
            Next::Run(_) => prop_assert!(false, "it can't end with work left"),
            Next::Done => {
                prop_assert!(failed.is_empty());
                prop_assert!(steps(&plan).all(|step| step.action == Action::Keep || outcomes.contains_key(&step.key)));
            }
            Next::Failed => {
                prop_assert!(!failed.is_empty());
                // The rest of the wave was tried all the same.
                for wave in failed.iter().filter_map(|key| wave_of(&plan, key)) {
                    let of_wave = plan.stages.iter().filter(|stage| stage.wave == wave).flat_map(|stage| &stage.steps);
                    for step in of_wave.filter(|step| matches!(step.action, Action::Create | Action::Configure)) {
                        prop_assert!(outcomes.contains_key(&step.key), "{} was not tried", step.key);
                    }
                }
            }
            Next::Wait(waiting) => prop_assert!(!waiting.is_empty()),
        }
    }

    #[test]
    fn what_holds_the_first_stage_that_waits_is_explained(items in items()) {
        let case = Case::of(items);
        let plan = case.plan(true, true);
        let explained = prerequisites(&plan, &case.live, true);
        prop_assert_eq!(explained.len(), plan.stages.len() + plan.prunes.len());
        let named: BTreeSet<&ObjectKey> = explained.iter().flatten().flat_map(|need| &need.holding).map(|one| &one.key).collect();
        let outcomes = Outcomes::new();
        let last = plan.stages.last().map(|stage| stage.wave);
        if let Next::Wait(waiting) = next(GateInput { plan: &plan, outcomes: &outcomes, live: &case.live, gate_last_wave: true }) {
            // Nothing stands behind the gate of the last wave when there is nothing to prune.
            for one in waiting.iter().filter(|one| wave_of(&plan, &one.key) != last || !plan.prunes.is_empty()) {
                prop_assert!(named.contains(&one.key), "{} is not named", one.key);
            }
        }
    }
}

use super::*;
use crate::model::Reason;

fn step_of(key: ObjectKey, action: Action) -> Step {
    Step { key, action }
}

fn next_of<'a>(plan: &'a Plan, outcomes: &'a Outcomes, live: &'a LiveView) -> Next {
    next(GateInput { plan, outcomes, live, gate_last_wave: true })
}

#[test]
fn what_others_need_is_pulled_forward_and_kinds_come_in_their_order() {
    let case = Case::of([
        wanted(widget("w"), 1, absent()),
        wanted(definition(), 5, absent()),
        wanted(namespace("shop"), 9, absent()),
        wanted(deployment("d"), 1, absent()),
        wanted(config("c"), 1, absent()),
        wanted(config("first"), -1, absent()),
    ]);
    let plan = case.plan(false, false);
    assert_eq!(
        told(&plan.stages),
        [
            "-1 Namespace shop create",
            "-1 ConfigMap first create",
            "1 ConfigMap c create",
            "1 CustomResourceDefinition widgets.example.com create",
            "1 Deployment d create",
            "1 Widget w create",
        ]
    );
    let defining: Vec<bool> = plan.stages.iter().map(|stage| stage.defines_kinds).collect();
    assert_eq!(defining, [false, false, false, true, false, false]);
}

#[test]
fn prunes_go_in_reverse_and_what_holds_others_goes_after_them_whatever_its_wave() {
    let case = Case::of([
        extra(namespace("shop"), 9, prunable()),
        extra(definition(), 5, prunable()),
        extra(widget("w"), 0, prunable()),
        extra(config("c"), 0, prunable()),
        extra(deployment("late"), 3, prunable()),
        extra(config("unseen"), 0, Extra::Unseen),
    ]);
    let order = [
        "3 Deployment late prune",
        "0 Widget w prune",
        "0 CustomResourceDefinition widgets.example.com prune",
        "0 ConfigMap c prune",
        "0 ConfigMap unseen prune",
        "0 Namespace shop prune",
    ];
    assert_eq!(told(&case.plan(true, true).prunes), order);
    let all = case.differences.extras.keys().map(|key| (key.clone(), None));
    assert_eq!(told(&plan_deletion(all, &case.live).prunes), order);
}

#[test]
fn kinds_that_hold_more_than_themselves_wait_for_consent() {
    let case = Case::of([extra(namespace("old"), 0, prunable()), extra(config("c"), 0, prunable())]);
    let plan = case.plan(true, false);
    assert_eq!(told(&plan.prunes), ["0 ConfigMap c prune"]);
    let blocked: Vec<(&ObjectKey, Reason)> = plan.blocked.iter().map(|one| (&one.key, one.reason)).collect();
    assert_eq!(blocked, [(&namespace("old"), Reason::PruneWaiting)]);
    assert_eq!(case.plan(true, true).blocked, []);
    assert_eq!(case.plan(false, true).prunes, []);
    assert_eq!(case.plan(false, true).blocked.len(), 2);
}

#[test]
fn objects_of_others_kept_ones_and_those_on_their_way_out_have_no_step() {
    let theirs = Difference::Conflict { application: "tidelock/other".into() };
    let case = Case::of([
        wanted(config("theirs"), 0, theirs),
        extra(config("kept"), 0, Extra::Kept),
        extra(config("going"), 0, Extra::Terminating),
        extra(config("unrecorded"), 0, Extra::Unrecorded),
    ]);
    let plan = case.plan(true, true);
    assert_eq!((told(&plan.stages), told(&plan.prunes)), (Vec::new(), Vec::new()));
    let blocked: Vec<(String, Reason)> = plan.blocked.iter().map(|one| (one.key.name.clone(), one.reason)).collect();
    assert_eq!(blocked, [("theirs".into(), Reason::OwnedByOther), ("unrecorded".into(), Reason::PruneWaiting)]);
    assert!(!plan.writes());
}

#[test]
fn a_wave_waits_until_the_one_before_is_healthy() {
    let case = Case::of([
        Item { health: progressing(), ..wanted(deployment("d"), 0, Difference::InSync) },
        wanted(config("c"), 1, absent()),
    ]);
    let plan = case.plan(false, false);
    let outcomes = Outcomes::new();
    assert_eq!(
        next_of(&plan, &outcomes, &case.live),
        Next::Wait(vec![Waiting {
            key: deployment("d"),
            condition: "healthy",
            message: "Progressing: 1 of 2 replicas are ready".into(),
            reason: Reason::WaitingForHealth,
        }])
    );
    let healthy = live_with(&case, &deployment("d"), |objects| {
        objects.insert(deployment("d"), Arc::new(record(0, Some(Health::healthy()))));
    });
    assert_eq!(next_of(&plan, &outcomes, &healthy), Next::Run(vec![step_of(config("c"), Action::Create)]));
}

#[test]
fn objects_of_a_new_kind_wait_for_its_definition() {
    let case = Case::of([wanted(definition(), 0, absent()), wanted(widget("w"), 0, absent())]);
    let plan = case.plan(false, false);
    let outcomes = Outcomes::from([(definition(), Outcome::Created)]);
    let with = |health: Health| {
        live_with(&case, &definition(), |objects| {
            objects.insert(definition(), Arc::new(record(0, Some(health))));
        })
    };
    let pending = with(Health::new(HealthStatus::Progressing, "names are not accepted yet"));
    let Next::Wait(waiting) = next_of(&plan, &outcomes, &pending) else { panic!("it does not wait") };
    assert_eq!((&waiting[0].key, waiting[0].condition), (&definition(), "established"));
    let ready = with(Health::healthy());
    assert_eq!(next_of(&plan, &outcomes, &ready), Next::Run(vec![step_of(widget("w"), Action::Create)]));
}

#[test]
fn nothing_counts_on_an_object_that_is_gone_and_not_made_again_yet() {
    let case = Case::of([wanted(namespace("shop"), 0, Difference::Terminating), wanted(config("c"), 0, absent())]);
    let plan = case.plan(false, false);
    assert_eq!(told(&plan.stages), ["0 Namespace shop await-gone", "0 ConfigMap c create"]);
    let gone = live_with(&case, &namespace("shop"), |_| ());
    for live in [&case.live, &gone] {
        let Next::Wait(waiting) = next_of(&plan, &Outcomes::new(), live) else { panic!("it does not wait") };
        assert_eq!((&waiting[0].key, waiting[0].condition), (&namespace("shop"), "gone"));
    }
}

#[test]
fn a_failure_ends_the_sync_after_the_rest_of_its_wave_was_tried() {
    let case = Case::of([
        wanted(config("a"), 0, absent()),
        wanted(deployment("b"), 0, absent()),
        wanted(config("c"), 1, absent()),
        extra(config("old"), 0, prunable()),
    ]);
    let plan = case.plan(true, false);
    let failed = Outcome::Failed { reason: Reason::InvalidObject, message: "refused".into() };
    let mut outcomes = Outcomes::from([(config("a"), failed)]);
    assert_eq!(next_of(&plan, &outcomes, &case.live), Next::Run(vec![step_of(deployment("b"), Action::Create)]));
    outcomes.insert(deployment("b"), Outcome::Created);
    assert_eq!(next_of(&plan, &outcomes, &case.live), Next::Failed);
}

#[test]
fn a_prune_waits_until_the_one_before_is_gone() {
    let case = Case::of([extra(deployment("d"), 0, prunable()), extra(config("c"), 0, prunable())]);
    let plan = case.plan(true, false);
    let outcomes = Outcomes::from([(deployment("d"), Outcome::Pruned { gone: false })]);
    let Next::Wait(waiting) = next_of(&plan, &outcomes, &case.live) else { panic!("it does not wait") };
    assert_eq!((&waiting[0].key, waiting[0].condition), (&deployment("d"), "gone"));
    let gone = live_with(&case, &deployment("d"), |_| ());
    let prune = Action::Prune { uid: Some("u1".into()) };
    assert_eq!(next_of(&plan, &outcomes, &gone), Next::Run(vec![step_of(config("c"), prune)]));
    let outcomes = Outcomes::from([
        (deployment("d"), Outcome::Pruned { gone: true }),
        (config("c"), Outcome::Pruned { gone: true }),
    ]);
    assert_eq!(next_of(&plan, &outcomes, &LiveView::default()), Next::Done);
}

#[test]
fn the_last_wave_need_not_be_healthy_when_its_gate_is_off() {
    let case = Case::of([Item { health: progressing(), ..wanted(deployment("d"), 0, Difference::InSync) }]);
    let plan = case.plan(false, false);
    let outcomes = Outcomes::new();
    let input = GateInput { plan: &plan, outcomes: &outcomes, live: &case.live, gate_last_wave: false };
    assert_eq!(next(input), Next::Done);
    assert!(matches!(next(GateInput { gate_last_wave: true, ..input }), Next::Wait(_)));
}

//! What each step waits for, as it is told to people.

use super::compiled::{Input, depending};
use super::*;
use crate::diff::Cause;
use crate::model::Phase;

/// For each group what holds it, and for each of its steps its own needs.
fn told_waits(input: &Input) -> Vec<String> {
    let plan = input.compile().unwrap();
    let prerequisite = |need: &Prerequisite| {
        let what = match &need.condition {
            Condition::Finished { group } => format!("group {group} finished"),
            Condition::Gone { group } => format!("group {group} gone"),
            Condition::Failure => "failure".to_owned(),
            Condition::Need(need) => format!("{} {}", need.on.name, need.state.as_str()),
        };
        let holding: Vec<String> =
            need.holding.iter().map(|one| format!("{} ({})", one.key.name, one.message)).collect();
        format!("{what}: [{}]", holding.join(", "))
    };
    let group = |waits: &GroupWaits| {
        waits.group.iter().chain(waits.steps.iter().flatten()).map(prerequisite).collect::<Vec<String>>().join("; ")
    };
    waits(&plan, &input.live).iter().map(group).collect()
}

#[test]
fn every_group_tells_what_holds_it_and_every_step_its_own_needs() {
    let mut input = Input::of([
        object(&config("new"), 0),
        depending(object(&config("waits"), 1), "/ConfigMap/shop/new:present, apps/Deployment/infra/proxy"),
    ])
    .with_hook(object(&ObjectKey::new("batch", "Job", "shop", "migrate"), 0), &[Phase::PreSync])
    .with_hook(object(&ObjectKey::new("batch", "Job", "shop", "tell"), 0), &[Phase::SyncFail])
    .with_extra(config("old"), record(0, None))
    .with_extra(config("older"), record(-1, None));
    input.add(object(&deployment("up"), 0), Difference::InSync);
    input.live.objects.insert(deployment("up"), Arc::new(record(0, Some(Health::healthy()))));
    input.add(object(&deployment("slow"), 0), Difference::Changed(Cause::Desired));
    input.live.objects.insert(deployment("slow"), Arc::new(record(0, progressing())));
    assert_eq!(
        told_waits(&input),
        [
            "",
            "group 0 finished: [migrate (it is to be run)]",
            "group 1 finished: [new (it is to be created), slow (it is to be configured; Progressing: 1 of 2 replicas are \
             ready)]; new present: [new (it is to be created)]; proxy ready: [proxy (it is not in the cluster)]",
            "group 2 finished: [waits (it is to be created)]",
            "group 3 gone: [old (it is to be pruned)]",
            "failure: []",
        ]
    );
}

#[test]
fn what_is_there_and_healthy_holds_nothing() {
    let mut input = Input::default();
    input.add(object(&config("a"), 0), Difference::InSync);
    input.add(depending(object(&config("b"), 1), "apps/Deployment/infra/proxy"), Difference::InSync);
    let proxy = ObjectKey::new("apps", "Deployment", "infra", "proxy");
    input.live.objects.insert(config("a"), Arc::new(record(0, None)));
    input.live.objects.insert(proxy, Arc::new(record(0, Some(Health::healthy()))));
    assert_eq!(told_waits(&input), ["", "group 0 finished: []; proxy ready: []"]);
}

//! The objects of hooks: made once for each attempt, held until their result is known, let go, deleted.

use serde_json::{Value, json};
use tidelock::apply::{ApplyOptions, Deleted, HookStart, Released, StartedHook, Trial, Validation};
use tidelock::desired::{Hook, HookDeletePolicy};
use tidelock::model::{ObjectKey, Phase, Reason};
use tidelock::preflight::Change;

use crate::support::cluster::{CONFIG_MAP, Kind};
use crate::support::direct::Direct;
use crate::support::waiting::{PATIENCE, wait_until};

const JOB: Kind = Kind("batch/v1", "Job");

fn job() -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "seed"},
        "spec": {
            "ttlSecondsAfterFinished": 0,
            "template": {"spec": {
                "restartPolicy": "Never",
                "containers": [{"name": "app", "image": "tidelock.local/demo:1", "args": ["run"]}],
            }},
        },
    })
}

async fn start(direct: &Direct, object: Value, attempt: &str) -> (ObjectKey, HookStart) {
    let desired = direct.desired(object);
    let (key, gvk) = (desired.key.clone(), desired.gvk.clone());
    let hook = Hook {
        object: desired.into(),
        phases: [Phase::PreSync].into(),
        delete_policies: [HookDeletePolicy::BeforeHookCreation].into(),
        generate_name: None,
    };
    let body = hook.body_for(&key.name, attempt, &direct.owner);
    let started = direct.applier.start_hook(&key, &gvk, body, &direct.owner, Validation::Strict).await.unwrap();
    (key, started)
}

fn must_be_started(start: HookStart) -> StartedHook {
    match start {
        HookStart::Started(started) => started,
        other => panic!("the hook was not started: {other:?}"),
    }
}

#[tokio::test]
async fn a_job_that_lives_no_second_after_its_end_is_held_until_it_is_released() {
    let direct = Direct::start("hook-ttl").await;
    let (key, started) = start(&direct, job(), "1").await;
    let started = must_be_started(started);
    // The TTL controller has asked for the deletion, and the finalizer holds what the hook's result is read from.
    let held = wait_until(PATIENCE, async || {
        let live = direct.cluster.get(JOB, &direct.namespace, "seed").await.ok_or("the Job is gone".to_owned())?;
        if live["metadata"].get("deletionTimestamp").is_some() { Ok(live) } else { Err(format!("{}", live["status"])) }
    })
    .await
    .unwrap();
    assert_eq!(held["status"]["succeeded"], json!(1));
    assert_eq!(direct.applier.release_hook(&key, "another").await.unwrap(), Released::Gone);
    assert!(direct.cluster.get(JOB, &direct.namespace, "seed").await.is_some());
    assert_eq!(direct.applier.release_hook(&key, &started.uid).await.unwrap(), Released::Released);
    wait_until(PATIENCE, async || match direct.cluster.get(JOB, &direct.namespace, "seed").await {
        None => Ok(()),
        Some(live) => Err(format!("the Job is still there: {}", live["metadata"]["finalizers"])),
    })
    .await
    .unwrap();
    assert_eq!(direct.applier.release_hook(&key, &started.uid).await.unwrap(), Released::Gone);
    direct.finish().await;
}

#[tokio::test]
async fn a_hook_is_made_once_for_an_attempt_and_never_takes_an_object_over() {
    let direct = Direct::start("hook-once").await;
    let config = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let (key, first) = start(&direct, config("a"), "1").await;
    let first = must_be_started(first);
    let (_, repeated) = start(&direct, config("a"), "1").await;
    assert!(matches!(&repeated, HookStart::AlreadyStarted(started) if started.uid == first.uid), "{repeated:?}");
    let (_, next) = start(&direct, config("a"), "2").await;
    assert_eq!(next, HookStart::EarlierAttempt { uid: first.uid.clone(), attempt: "1".to_owned(), deleting: false });
    let deleted = direct.applier.delete_hook(&key, &direct.owner, &first.uid).await.unwrap();
    assert_eq!(deleted, Deleted::Requested);
    assert_eq!(direct.cluster.get(CONFIG_MAP, &direct.namespace, "a").await, None);
    assert_eq!(direct.applier.delete_hook(&key, &direct.owner, &first.uid).await.unwrap(), Deleted::AlreadyGone);
    let (_, second) = start(&direct, config("a"), "2").await;
    let second = must_be_started(second);
    direct.applier.delete_hook(&key, &direct.owner, &second.uid).await.unwrap();

    let mut theirs = config("b");
    theirs["metadata"]["namespace"] = json!(direct.namespace);
    direct.cluster.apply(theirs).await;
    let (_, refused) = start(&direct, config("b"), "1").await;
    assert!(matches!(refused, HookStart::NotOurs(_)), "{refused:?}");
    direct.finish().await;
}

#[tokio::test]
async fn a_hook_is_tried_as_what_is_made_anew_and_not_as_a_change_of_what_an_earlier_attempt_left() {
    let direct = Direct::start("hook-trial").await;
    let job = |image: &str, restart: &str| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "seed"}, "spec": {
            "suspend": true,
            "template": {"spec": {"restartPolicy": restart, "containers": [{"name": "app", "image": image}]}},
        }})
    };
    let (key, earlier) = start(&direct, job("tidelock.local/demo:1", "Never"), "1").await;
    let earlier = must_be_started(earlier);
    let mut nameless = job("tidelock.local/demo:2", "Never");
    nameless["metadata"] = json!({"generateName": "seed-"});
    let objects = [job("tidelock.local/demo:2", "Never"), nameless, job("tidelock.local/demo:2", "Sometimes")];
    let trials = objects.map(|object| Trial {
        object: direct.desired(object).into(),
        options: ApplyOptions::default(),
        skips_missing: false,
        is_made_anew: true,
    });
    let report = direct.applier.preflight(trials.into(), &Change::default()).await;
    assert_eq!((report.verified, report.unverified.len()), (2, 0), "{report:#?}");
    assert_eq!(report.refused.iter().map(|found| found.reason).collect::<Vec<_>>(), [Reason::InvalidObject]);
    assert_eq!(direct.cluster.list(JOB, &direct.namespace).await.len(), 1);
    direct.applier.delete_hook(&key, &direct.owner, &earlier.uid).await.unwrap();
    direct.finish().await;
}

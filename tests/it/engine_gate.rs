//! What opens a gate, what fails it, and what takes its place.

use std::time::Duration;

use serde_json::json;

use crate::support::application::{Application, condition, ready_message, ready_reason, revision, sync_state};
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, DEPLOYMENT, JOB};
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::{Deployment, HookPod, config_map, config_map_in_wave, custom, definition};

#[tokio::test]
async fn degraded_in_passing_fails_no_wave_and_degraded_for_good_does() {
    let installation = Installation::start("flicker").await;
    let target = installation.target("t").await;
    let repository = installation.repository("flicker");
    let flicker = installation.own_kind("Flicker");
    let commit = repository.commit([
        ("app/kind.yaml", file(definition(&installation.group(), "Flicker", "flickers", 0))),
        ("app/one.yaml", file(custom(&installation.group(), "Flicker", "one", 1, 0))),
        ("app/next.yaml", file(config_map_in_wave("next", "1", 1))),
    ]);
    let gate = json!({"degradedGracePeriod": "6s"});
    installation.declare(Application::named("app", &repository.url, "app", &target).spec("gate", gate)).await;
    installation
        .wait("the object is there", async || {
            installation.cluster.get(flicker, &target, "one").await.map(|_| ()).ok_or_else(|| "absent".to_owned())
        })
        .await;
    let status = |ready: &str, degraded: &str| {
        json!({"status": {"observedGeneration": 1, "conditions": [
            {"type": "Ready", "status": ready, "reason": "Test", "message": "as the test says"},
            {"type": "Degraded", "status": degraded, "reason": "Test", "message": "as the test says"},
        ]}})
    };
    installation.cluster.merge_status(flicker, &target, "one", status("False", "True")).await;
    let object = installation
        .wait_application("app", "waits for an object that is degraded", |object| {
            object["status"]["waitingOn"][0]["message"].as_str().is_some_and(|message| message.contains("Degraded"))
        })
        .await;
    assert_eq!(object["status"]["operationState"]["phase"], "Running", "degraded in passing");
    assert!(!object["status"]["waitingOn"][0]["release"].as_str().unwrap_or_default().is_empty(), "{object:#}");
    assert_eq!(installation.cluster.get(CONFIG_MAP, &target, "next").await, None);
    installation.cluster.merge_status(flicker, &target, "one", status("True", "False")).await;
    installation.healthy("app", &commit).await;

    // A status about an older generation says nothing about the new one.
    repository.commit([
        ("app/one.yaml", file(custom(&installation.group(), "Flicker", "one", 2, 0))),
        ("app/next.yaml", file(config_map_in_wave("next", "2", 1))),
    ]);
    installation.ask_refresh(APPLICATION, "app").await;
    installation
        .wait_application("app", "waits for the new generation", |object| {
            object["status"]["waitingOn"][0]["object"] == format!("{}/Flicker/{target}/one", installation.group())
        })
        .await;
    assert_eq!(installation.cluster.must_get(CONFIG_MAP, &target, "next").await["data"]["value"], "1");
    let mut failed = status("False", "True");
    failed["status"]["observedGeneration"] = json!(2);
    installation.cluster.merge_status(flicker, &target, "one", failed).await;
    let object = installation
        .wait_application("app", "has failed by an object that stays degraded", |object| {
            object["status"]["operationState"]["phase"] == "Failed"
        })
        .await;
    assert_eq!(ready_reason(&object), "HealthDegraded");
    assert!(ready_message(&object).contains("Flicker"), "{}", ready_message(&object));
    assert_eq!(installation.cluster.must_get(CONFIG_MAP, &target, "next").await["data"]["value"], "1");
    installation.finish().await;
}

#[tokio::test]
async fn a_newer_commit_takes_the_place_of_a_sync_that_waits_and_a_policy_can_forbid_it() {
    let installation = Installation::start("supersede").await;
    let target = installation.target("t").await;
    let held = installation.target("h").await;
    let repository = installation.repository("supersede");
    repository.commit([
        ("app/web.yaml", file(Deployment::named("web").env("NOT_READY", "1").yaml())),
        ("app/next.yaml", file(config_map_in_wave("next", "1", 1))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let mut never = Application::named("held", &repository.url, "app", &held).object();
    never["spec"]["syncPolicy"]["supersede"] = json!("never");
    installation.apply(never).await;
    for name in ["app", "held"] {
        installation
            .wait_application(name, "waits for the Deployment", |object| ready_reason(object) == "WaitingForHealth")
            .await;
    }
    let newer = repository.commit([("app/web.yaml", file(Deployment::named("web").yaml()))]);
    installation.follow("app", &newer).await;
    installation.healthy("app", &newer).await;
    installation.refresh("held").await;
    let object = installation
        .wait_application("held", "has seen the newer commit and still waits with the older", |object| {
            object["status"]["sync"]["revision"] == newer.as_str()
                && object["status"]["operationState"]["phase"] == "Running"
        })
        .await;
    assert_ne!(object["status"]["operationState"]["revision"], newer.as_str());
    assert_eq!(installation.cluster.get(CONFIG_MAP, &held, "next").await, None);
    // A person ends it, and the newer commit goes through.
    installation
        .cluster
        .merge(
            APPLICATION,
            &installation.namespace,
            "held",
            json!({"metadata": {"annotations": {"tidelock.dev/terminate": "1"}}}),
        )
        .await;
    installation.healthy("held", &newer).await;
    installation.finish().await;
}

#[tokio::test]
async fn a_terminated_sync_deletes_its_running_hook_and_is_not_tried_again_until_asked() {
    let installation = Installation::start("terminate").await;
    let target = installation.target("t").await;
    let repository = installation.repository("terminate");
    let commit = repository.commit([
        ("app/migrate.yaml", file(HookPod::job("migrate", "PreSync").lasting("300s").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    installation.wait_application("app", "runs the hook", |object| ready_reason(object) == "WaitingForHook").await;
    let annotate = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "app", annotate("tidelock.dev/terminate", "now"))
        .await;
    let object = installation
        .wait_application("app", "has ended as told", |object| object["status"]["operationState"]["phase"] == "Failed")
        .await;
    assert_eq!(ready_reason(&object), "Terminated", "{}", ready_message(&object));
    installation
        .wait("the hook is deleted", async || {
            installation
                .cluster
                .get(JOB, &target, "migrate")
                .await
                .map_or(Ok(()), |job| Err(job["metadata"].to_string()))
        })
        .await;
    installation.refresh("app").await;
    assert_eq!(installation.cluster.get(JOB, &target, "migrate").await, None, "not tried again");
    repository.commit([("app/migrate.yaml", file(HookPod::job("migrate", "PreSync").yaml()))]);
    let fixed = repository.commit([("app/settings.yaml", file(config_map("settings", "2")))]);
    installation.follow("app", &fixed).await;
    installation.healthy("app", &fixed).await;
    assert_ne!(fixed, commit);
    installation.finish().await;
}

#[tokio::test]
async fn a_gate_without_progress_fails_when_its_time_is_over() {
    let installation = Installation::start("noprogress").await;
    let target = installation.target("t").await;
    let repository = installation.repository("noprogress");
    repository.commit([("app/web.yaml", file(Deployment::named("web").env("NOT_READY", "1").yaml()))]);
    let gate = json!({"noProgressTimeout": "4s"});
    installation.declare(Application::named("app", &repository.url, "app", &target).spec("gate", gate)).await;
    let object = installation
        .wait_application("app", "has failed for lack of progress", |object| {
            object["status"]["operationState"]["phase"] == "Failed"
        })
        .await;
    assert_eq!(ready_reason(&object), "NoProgress");
    assert!(ready_message(&object).contains("web"), "{}", ready_message(&object));
    installation.finish().await;
}

#[tokio::test]
async fn sixty_objects_in_eight_waves_with_hooks_go_in_order() {
    let installation = Installation::start("sixty").await;
    let target = installation.target("t").await;
    let repository = installation.repository("sixty");
    let mut changes: Vec<(String, Change)> = Vec::new();
    for wave in 0..8 {
        for number in 0..6 {
            let name = format!("settings-{wave}-{number}");
            changes.push((format!("app/{name}.yaml"), file(config_map_in_wave(&name, "1", wave))));
        }
    }
    for wave in [1, 3, 5, 7] {
        changes
            .push((format!("app/web-{wave}.yaml"), file(Deployment::named(&format!("web-{wave}")).wave(wave).yaml())));
    }
    for (number, phase) in
        ["PreSync", "PreSync", "Sync", "Sync", "Sync", "PostSync", "PostSync", "PostSync"].iter().enumerate()
    {
        let wave = number.to_string();
        let hook = HookPod::job(&format!("hook-{number}"), phase).annotated("argocd.argoproj.io/sync-wave", &wave);
        changes.push((format!("app/hook-{number}.yaml"), file(hook.yaml())));
    }
    assert_eq!(changes.len(), 60);
    let commit = repository.commit(changes);
    let audit = installation.audit();
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let object = installation.wait_for_healthy("app", &commit, Duration::from_secs(180)).await;
    assert_eq!((sync_state(&object), revision(&object)), ("Synced", commit.as_str()));
    let writes = audit.writes_in(&target);
    let place = |name: &str| {
        writes.iter().position(|write| write.name == name).unwrap_or_else(|| panic!("{name}: {:?}", lines(&writes)))
    };
    for wave in 0..7 {
        let last = (0..6).map(|number| place(&format!("settings-{wave}-{number}"))).max();
        let first = (0..6).map(|number| place(&format!("settings-{}-{number}", wave + 1))).min();
        assert!(last < first, "wave {wave}: {:?}", lines(&writes));
    }
    for (before, after) in [
        ("hook-0", "hook-1"),
        ("hook-1", "settings-0-0"),
        ("hook-2", "settings-3-0"),
        ("settings-7-5", "hook-5"),
        ("web-7", "hook-5"),
        ("hook-5", "hook-6"),
        ("hook-6", "hook-7"),
    ] {
        assert!(place(before) < place(after), "{before} before {after}: {:?}", lines(&writes));
    }
    installation.finish().await;
}

#[tokio::test]
async fn a_definition_goes_before_its_objects_although_its_wave_says_otherwise() {
    let installation = Installation::start("contradict").await;
    let target = installation.target("t").await;
    let repository = installation.repository("contradict");
    repository.commit([
        ("app/kind.yaml", file(definition(&installation.group(), "Contrary", "contraries", 5))),
        ("app/one.yaml", file(custom(&installation.group(), "Contrary", "one", 0, -2))),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    let gate = json!({"lastWave": false});
    let mut application = Application::named("app", &repository.url, "app", &target).spec("gate", gate).object();
    application["spec"]["preflight"] = json!("always");
    application["spec"]["healthCheckExprs"] =
        json!([{"apiVersion": format!("{}/v1", installation.group()), "kind": "Contrary", "current": "spec.size > 0"}]);
    let audit = installation.audit();
    installation.apply(application).await;
    let object = installation
        .wait_application("app", "is refused by the schema that comes with the change", |object| {
            object["status"]["operationState"]["phase"] == "Failed"
        })
        .await;
    let message = ready_message(&object);
    assert!(message.contains("spec.size") && message.contains("nothing was written"), "{message}");
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    let commit = repository.commit([("app/one.yaml", file(custom(&installation.group(), "Contrary", "one", 1, -2)))]);
    installation.follow("app", &commit).await;
    let object = installation.healthy("app", &commit).await;
    assert_eq!(sync_state(&object), "Synced");
    let results = object["status"]["operationState"]["resources"].as_array().cloned().unwrap_or_default();
    let one = results.iter().find(|result| result["name"] == "one").expect("the object's result");
    assert!(one["message"].as_str().is_some_and(|message| message.starts_with("not verified by admission")), "{one:#}");

    // Dependencies against the waves are refused with the circle, and nothing is written.
    let audit = installation.audit();
    let circle = format!("/ConfigMap/{target}/late");
    repository.commit([
        ("app/late.yaml", file(config_map_in_wave("late", "1", 3))),
        (
            "app/early.yaml",
            file(
                config_map_in_wave("early", "1", 1)
                    .replace("  annotations:\n", &format!("  annotations:\n    tidelock.dev/depends-on: {circle}\n")),
            ),
        ),
    ]);
    installation.refresh("app").await;
    let object = installation
        .wait_application("app", "is told of the circle", |object| ready_reason(object) == "DependencyCycle")
        .await;
    let message = ready_message(&object);
    assert!(message.contains("early") && message.contains("late") && message.contains("wave"), "{message}");
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    assert!(condition(&object, "Stalled").is_some_and(|condition| condition["status"] == "True"));
    assert!(installation.cluster.get(DEPLOYMENT, &target, "web").await.is_none());
    installation.finish().await;
}

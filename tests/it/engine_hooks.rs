//! Hooks run at their phase, are waited for, and are known by their results.

use serde_json::{Value, json};

use crate::support::application::{Application, ready_message, ready_reason, revision, sync_state};
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, JOB, POD};
use crate::support::git::file;
use crate::support::installation::Installation;
use crate::support::manifests::{HookPod, config_map};

fn result_of<'a>(application: &'a Value, name: &str) -> Option<&'a Value> {
    application["status"]["operationState"]["resources"].as_array()?.iter().find(|result| result["name"] == name)
}

fn hook_phase(application: &Value, name: &str) -> String {
    result_of(application, name).and_then(|result| result["hookPhase"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn hooks_of_every_phase_run_in_order_and_only_with_a_sync() {
    let installation = Installation::start("hooks").await;
    let target = installation.target("t").await;
    let repository = installation.repository("hooks");
    let commit = repository.commit([
        ("app/before.yaml", file(HookPod::job("before", "PreSync").yaml())),
        ("app/amid.yaml", file(HookPod::pod("amid", "Sync").annotated("argocd.argoproj.io/sync-wave", "1").yaml())),
        ("app/after.yaml", file(HookPod::job("after", "PostSync").yaml())),
        ("app/rescue.yaml", file(HookPod::job("rescue", "SyncFail").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    let audit = installation.audit();
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let object = installation.healthy("app", &commit).await;
    assert_eq!(
        ["before", "amid", "after", "rescue"].map(|name| hook_phase(&object, name)),
        ["Succeeded", "Succeeded", "Succeeded", ""]
    );
    let writes = audit.writes_in(&target);
    let first = |name: &str| {
        writes.iter().position(|write| write.name == name).unwrap_or_else(|| panic!("{name}: {:?}", lines(&writes)))
    };
    assert!(first("before") < first("settings") && first("settings") < first("amid") && first("amid") < first("after"));
    let ended = |job: &Value| job["status"]["completionTime"].as_str().unwrap_or_default().to_owned();
    let before = installation.cluster.must_get(JOB, &target, "before").await;
    assert!(
        writes[first("settings")].received.as_str() >= ended(&before).trim_end_matches('Z'),
        "settings was written before the hook had ended"
    );
    assert_eq!(before["metadata"]["finalizers"], Value::Null, "our finalizer is taken off");

    // Another look at the same commit, and a hand edit that is healed, run nothing.
    let uid = before["metadata"]["uid"].clone();
    installation.refresh("app").await;
    installation.cluster.merge(CONFIG_MAP, &target, "settings", json!({"data": {"value": "9"}})).await;
    installation
        .wait("the hand edit is healed", async || {
            let settings = installation.cluster.must_get(CONFIG_MAP, &target, "settings").await;
            if settings["data"]["value"] == "1" { Ok(()) } else { Err(settings["data"].to_string()) }
        })
        .await;
    assert_eq!(installation.cluster.must_get(JOB, &target, "before").await["metadata"]["uid"], uid);

    // The next commit runs them anew.
    let next = repository.commit([("app/settings.yaml", file(config_map("settings", "2")))]);
    installation.follow("app", &next).await;
    installation.healthy("app", &next).await;
    assert_ne!(installation.cluster.must_get(JOB, &target, "before").await["metadata"]["uid"], uid);
    installation.finish().await;
}

#[tokio::test]
async fn a_failing_hook_stops_the_sync_runs_what_is_meant_for_failure_and_names_its_cause() {
    let installation = Installation::start("hookfail").await;
    let target = installation.target("t").await;
    let repository = installation.repository("hookfail");
    repository.commit([
        (
            "app/migrate.yaml",
            file(
                HookPod::job("migrate", "PreSync")
                    .annotated("argocd.argoproj.io/hook-delete-policy", "HookFailed")
                    .failing()
                    .yaml(),
            ),
        ),
        ("app/rescue.yaml", file(HookPod::job("rescue", "SyncFail").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let object = installation
        .wait_application("app", "has failed, and has run the hook for failure", |object| {
            object["status"]["operationState"]["phase"] == "Failed" && hook_phase(object, "rescue") == "Succeeded"
        })
        .await;
    assert_eq!(ready_reason(&object), "HookFailed");
    let message = ready_message(&object);
    assert!(message.contains("migrate") && message.contains("PreSync"), "{message}");
    assert_eq!(hook_phase(&object, "migrate"), "Failed");
    assert_eq!(installation.cluster.get(CONFIG_MAP, &target, "settings").await, None, "nothing was applied");
    installation
        .wait("the failed hook is deleted, as its policy says", async || {
            installation
                .cluster
                .get(JOB, &target, "migrate")
                .await
                .map_or(Ok(()), |job| Err(job["metadata"].to_string()))
        })
        .await;

    let fixed = repository.commit([("app/migrate.yaml", file(HookPod::job("migrate", "PreSync").yaml()))]);
    installation.follow("app", &fixed).await;
    let object = installation.healthy("app", &fixed).await;
    assert_eq!(hook_phase(&object, "migrate"), "Succeeded");
    installation.finish().await;
}

#[tokio::test]
async fn a_hook_that_the_cluster_deletes_as_soon_as_it_ends_still_counts() {
    let installation = Installation::start("hookttl").await;
    let target = installation.target("t").await;
    let repository = installation.repository("hookttl");
    let commit = repository.commit([
        ("app/migrate.yaml", file(HookPod::job("migrate", "PreSync").ttl(0).yaml())),
        (
            "app/named-by-us.yaml",
            file(HookPod::job("x", "PostSync").ttl(0).yaml().replace("  name: x\n", "  generateName: report-\n")),
        ),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let object = installation.healthy("app", &commit).await;
    assert_eq!(hook_phase(&object, "migrate"), "Succeeded");
    let results = object["status"]["operationState"]["resources"].as_array().cloned().unwrap_or_default();
    let generated = results.iter().find(|result| result["syncPhase"] == "PostSync").expect("the hook after the sync");
    let name = generated["name"].as_str().unwrap_or_default();
    assert!(name.starts_with(&format!("report-{}-postsync-", &commit[..7])), "{name}");
    assert_eq!(generated["hookPhase"], "Succeeded");
    installation
        .wait("both Jobs are gone", async || {
            let jobs = installation.cluster.list(JOB, &target).await;
            if jobs.is_empty() { Ok(()) } else { Err(format!("{} Jobs", jobs.len())) }
        })
        .await;
    // Their absence makes nothing out of sync.
    installation.refresh("app").await;
    let object = installation.application("app").await;
    assert_eq!((sync_state(&object), revision(&object)), ("Synced", commit.as_str()));
    installation.finish().await;
}

#[tokio::test]
async fn a_running_hook_is_not_cut_by_a_newer_commit_nor_by_a_restart_of_the_operator() {
    let mut installation = Installation::start("hookrun").await;
    let target = installation.target("t").await;
    let repository = installation.repository("hookrun");
    repository.commit([
        ("app/migrate.yaml", file(HookPod::job("migrate", "PreSync").lasting("6s").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let running = installation
        .wait("the hook runs", async || {
            let job = installation.cluster.get(JOB, &target, "migrate").await.ok_or("no Job")?;
            if job["status"]["active"] == 1 { Ok(job) } else { Err(job["status"].to_string()) }
        })
        .await;
    let newer = repository.commit([("app/settings.yaml", file(config_map("settings", "2")))]);
    installation.operator.kill9();
    installation.operator.start().await;
    let ended = installation
        .wait("the hook that ran has ended", async || {
            let job = installation.cluster.get(JOB, &target, "migrate").await.ok_or("the Job was deleted")?;
            if job["metadata"]["uid"] != running["metadata"]["uid"] {
                return Err("another Job has its name".to_owned());
            }
            if job["status"]["succeeded"] == 1 { Ok(job) } else { Err(job["status"].to_string()) }
        })
        .await;
    assert_eq!(ended["metadata"]["uid"], running["metadata"]["uid"]);
    installation.follow("app", &newer).await;
    installation.healthy("app", &newer).await;
    installation.finish().await;
}

#[tokio::test]
async fn hooks_before_and_after_a_deletion_run_around_it() {
    let installation = Installation::start("hookdel").await;
    let target = installation.target("t").await;
    let repository = installation.repository("hookdel");
    let commit = repository.commit([
        ("app/drain.yaml", file(HookPod::job("drain", "PreDelete").lasting("2s").yaml())),
        ("app/report.yaml", file(HookPod::pod("report", "PostDelete").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target).with_finalizer()).await;
    installation.healthy("app", &commit).await;
    assert_eq!(installation.cluster.get(JOB, &target, "drain").await, None, "not before the deletion");
    let audit = installation.audit();
    installation.cluster.delete(APPLICATION, &installation.namespace, "app").await;
    installation
        .wait("the Application is gone", async || {
            installation
                .cluster
                .get(APPLICATION, &installation.namespace, "app")
                .await
                .map_or(Ok(()), |object| Err(object["status"]["conditions"].to_string()))
        })
        .await;
    let writes = lines(&audit.writes_in(&target));
    let at =
        |text: &str| writes.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {writes:?}"));
    assert!(at("/drain") < at("delete configmaps") && at("delete configmaps") < at("/report"), "{writes:?}");
    for (kind, name) in [(JOB, "drain"), (POD, "report"), (CONFIG_MAP, "settings")] {
        installation
            .wait("nothing is left", async || {
                installation.cluster.get(kind, &target, name).await.map_or(Ok(()), |_| Err(name.to_owned()))
            })
            .await;
    }
    installation.finish().await;
}

#[tokio::test]
async fn hooks_of_a_deletion_do_not_run_without_the_project_that_allowed_them() {
    let installation = Installation::start("hookdelproj").await;
    let target = installation.target("t").await;
    let repository = installation.repository("hookdelproj");
    let commit = repository.commit([
        ("app/drain.yaml", file(HookPod::job("drain", "PreDelete").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target).with_finalizer()).await;
    installation.healthy("app", &commit).await;
    let audit = installation.audit();
    let elsewhere = json!({"spec": {"project": "gone"}});
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", elsewhere).await;
    installation
        .wait_application("app", "it misses its project", |app| ready_message(app).contains("AppProject `gone`"))
        .await;
    installation.cluster.delete(APPLICATION, &installation.namespace, "app").await;
    let blocked = installation
        .wait_application("app", "its deletion is blocked", |app| ready_reason(app) == "DeletionBlocked")
        .await;
    let said = ready_message(&blocked);
    assert!(said.contains("AppProject `gone`") && said.contains("tidelock.dev/skip-deletion-hooks=true"), "{said}");
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());

    let skip = json!({"metadata": {"annotations": {"tidelock.dev/skip-deletion-hooks": "true"}}});
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", skip).await;
    installation
        .wait("the Application is gone", async || {
            let object = installation.cluster.get(APPLICATION, &installation.namespace, "app").await;
            object.map_or(Ok(()), |object| Err(object["status"]["conditions"].to_string()))
        })
        .await;
    let writes = lines(&audit.writes_in(&target));
    assert!(writes.iter().any(|line| line.contains("delete configmaps")), "{writes:?}");
    assert!(!writes.iter().any(|line| line.contains("drain")), "{writes:?}");
    installation.finish().await;
}

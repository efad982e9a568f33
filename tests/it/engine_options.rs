//! Sync options, adoption, drift and dependencies on a real API server.

use serde_json::{Value, json};

use crate::support::application::{Application, condition, ready_message, ready_reason, sync_state};
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, DEPLOYMENT, JOB, Kind};
use crate::support::git::file;
use crate::support::installation::Installation;
use crate::support::manifests::{Deployment, HookPod, config_map};

const APP_PROJECT: Kind = Kind("tidelock.dev/v1alpha1", "AppProject");

/// A ConfigMap that can't be changed.
fn immutable(value: &str, options: &str) -> String {
    let annotations = if options.is_empty() {
        String::new()
    } else {
        format!("  annotations:\n    argocd.argoproj.io/sync-options: {options}\n")
    };
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: fixed\n{annotations}immutable: true\ndata:\n  value: {value:?}\n"
    )
}

fn data(object: &Value) -> String {
    object["data"].to_string()
}

#[tokio::test]
async fn what_can_not_be_changed_is_refused_before_anything_is_written_and_made_again_by_force() {
    let installation = Installation::start("force").await;
    let target = installation.target("t").await;
    let repository = installation.repository("force");
    let first = repository.commit([
        ("app/fixed.yaml", file(immutable("1", ""))),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target).retrying_soon()).await;
    installation.healthy("app", &first).await;
    let before = installation.cluster.must_get(CONFIG_MAP, &target, "fixed").await;

    let audit = installation.audit();
    repository.commit([
        ("app/fixed.yaml", file(immutable("2", ""))),
        ("app/settings.yaml", file(config_map("settings", "2"))),
    ]);
    installation.refresh("app").await;
    let object = installation
        .wait_application("app", "is told that the object can't be changed", |object| {
            object["status"]["operationState"]["phase"] == "Failed"
        })
        .await;
    assert!(ready_message(&object).contains("fixed"), "{}", ready_message(&object));
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new(), "a refusal writes nothing");

    let forced = repository.commit([("app/fixed.yaml", file(immutable("3", "Force=true")))]);
    installation.follow("app", &forced).await;
    installation.healthy("app", &forced).await;
    let after = installation.cluster.must_get(CONFIG_MAP, &target, "fixed").await;
    assert_eq!(data(&after), r#"{"value":"3"}"#);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);

    // Replace drops what a person added, and the object stays the same one.
    let merge = json!({"data": {"by-hand": "1"}});
    installation.cluster.merge(CONFIG_MAP, &target, "settings", merge).await;
    let replaced = repository.commit([(
        "app/settings.yaml",
        file(
            config_map("settings", "4")
                .replace("metadata:\n", "metadata:\n  annotations: {argocd.argoproj.io/sync-options: Replace=true}\n"),
        ),
    )]);
    let uid = installation.cluster.must_get(CONFIG_MAP, &target, "settings").await["metadata"]["uid"].clone();
    installation.follow("app", &replaced).await;
    installation.healthy("app", &replaced).await;
    let settings = installation.cluster.must_get(CONFIG_MAP, &target, "settings").await;
    assert_eq!((data(&settings), &settings["metadata"]["uid"]), (r#"{"value":"4"}"#.to_owned(), &uid));
    installation.finish().await;
}

#[tokio::test]
async fn objects_of_kubectl_and_of_argo_cd_are_adopted_so_that_git_alone_decides() {
    let installation = Installation::start("adopt").await;
    let target = installation.target("t").await;
    let repository = installation.repository("adopt");
    let named = |name: &str, values: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "namespace": target,
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "argocd.argoproj.io/tracking-id": "shop:/ConfigMap:x/y"},
                "labels": {"app.kubernetes.io/instance": "shop"},
            },
            "data": values,
        })
    };
    let values = json!({"kept": "1", "dropped": "1"});
    installation.cluster.update_as("kubectl-client-side-apply", named("by-kubectl", values.clone())).await;
    installation.cluster.apply_as("argocd-controller", named("by-argo", values)).await;
    let body = |name: &str, rest: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  kept: \"1\"\n{rest}")
    };
    let dropped = "  dropped: \"1\"\n";
    let both = repository
        .commit([("app/a.yaml", file(body("by-kubectl", dropped))), ("app/b.yaml", file(body("by-argo", dropped)))]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    installation.healthy("app", &both).await;
    let less =
        repository.commit([("app/a.yaml", file(body("by-kubectl", ""))), ("app/b.yaml", file(body("by-argo", "")))]);
    installation.follow("app", &less).await;
    for name in ["by-kubectl", "by-argo"] {
        let object = installation.cluster.must_get(CONFIG_MAP, &target, name).await;
        assert_eq!(data(&object), r#"{"kept":"1"}"#, "{name}");
    }
    installation.finish().await;
}

#[tokio::test]
async fn a_difference_that_is_ignored_is_neither_drift_nor_overwritten_when_it_is_respected() {
    let installation = Installation::start("ignore").await;
    let target = installation.target("t").await;
    let repository = installation.repository("ignore");
    let commit = repository.commit([
        ("app/web.yaml", file(Deployment::named("web").yaml())),
        ("app/settings.yaml", file(config_map("settings", "1"))),
    ]);
    let mut application = Application::named("app", &repository.url, "app", &target)
        .spec("ignoreDifferences", json!([{"group": "apps", "kind": "*", "jqPathExpressions": [".spec.replicas"]}]))
        .object();
    application["spec"]["syncPolicy"]["syncOptions"] = json!(["RespectIgnoreDifferences=true"]);
    installation.apply(application).await;
    installation.healthy("app", &commit).await;
    let audit = installation.audit();
    installation.cluster.merge(DEPLOYMENT, &target, "web", json!({"spec": {"replicas": 2}})).await;
    installation
        .wait("both replicas are available", async || {
            let web = installation.cluster.must_get(DEPLOYMENT, &target, "web").await;
            if web["status"]["availableReplicas"] == 2 { Ok(()) } else { Err(web["status"].to_string()) }
        })
        .await;
    installation.refresh("app").await;
    let object =
        installation.wait_application("app", "is in sync all the same", |object| sync_state(object) == "Synced").await;
    assert_eq!(ready_reason(&object), "Succeeded");
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    // A change of git leaves the ignored field as it is.
    let changed = repository.commit([("app/web.yaml", file(Deployment::named("web").env("COLOR", "blue").yaml()))]);
    installation.follow("app", &changed).await;
    installation.healthy("app", &changed).await;
    let web = installation.cluster.must_get(DEPLOYMENT, &target, "web").await;
    assert_eq!(web["spec"]["replicas"], 2);
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "blue");
    installation.finish().await;
}

#[tokio::test]
async fn two_controllers_that_disagree_are_reported_with_manager_and_field() {
    let installation = Installation::start("fight").await;
    let target = installation.target("t").await;
    let repository = installation.repository("fight");
    let commit = repository.commit([
        ("app/settings.yaml", file(config_map("settings", "1"))),
        ("app/other.yaml", file(config_map("other", "1"))),
    ]);
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    installation.healthy("app", &commit).await;
    for round in 0..5 {
        installation
            .cluster
            .merge(CONFIG_MAP, &target, "settings", json!({"data": {"value": format!("theirs-{round}")}}))
            .await;
        installation
            .wait("it is put back", async || {
                let settings = installation.cluster.must_get(CONFIG_MAP, &target, "settings").await;
                if settings["data"]["value"] == "1" { Ok(()) } else { Err(data(&settings)) }
            })
            .await;
    }
    let object = installation
        .wait_application("app", "reports the fight", |object| condition(object, "DriftFight").is_some())
        .await;
    let message = condition(&object, "DriftFight").and_then(|fight| fight["message"].as_str()).unwrap_or_default();
    assert!(message.contains("settings") && message.contains("a-person") && message.contains("data"), "{message}");
    // The fight over one object holds nothing else back.
    installation.cluster.merge(CONFIG_MAP, &target, "other", json!({"data": {"value": "theirs"}})).await;
    installation
        .wait("the other object is put back", async || {
            let other = installation.cluster.must_get(CONFIG_MAP, &target, "other").await;
            if other["data"]["value"] == "1" { Ok(()) } else { Err(data(&other)) }
        })
        .await;
    installation.finish().await;
}

#[tokio::test]
async fn fields_added_by_hand_are_reported_or_removed_and_those_of_controllers_are_left() {
    let installation = Installation::start("extra").await;
    let target = installation.target("t").await;
    let repository = installation.repository("extra");
    let commit = repository.commit([("app/settings.yaml", file(config_map("settings", "1")))]);
    let application = Application::named("app", &repository.url, "app", &target).spec("extraFields", json!("report"));
    installation.declare(application).await;
    installation.healthy("app", &commit).await;
    installation
        .cluster
        .merge_as("a-controller", CONFIG_MAP, &target, "settings", json!({"data": {"theirs": "1"}}))
        .await;
    installation
        .cluster
        .merge_as("kubectl-edit", CONFIG_MAP, &target, "settings", json!({"data": {"by-hand": "1"}}))
        .await;
    let object = installation
        .wait_application("app", "is out of sync by what was added", |object| sync_state(object) == "OutOfSync")
        .await;
    let settings = &object["status"]["resources"][0];
    assert!(settings["message"].as_str().is_some_and(|message| message.contains("by-hand")), "{settings:#}");
    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "app", json!({"spec": {"extraFields": "remove"}}))
        .await;
    installation.healthy("app", &commit).await;
    let settings = installation.cluster.must_get(CONFIG_MAP, &target, "settings").await;
    assert_eq!(data(&settings), r#"{"theirs":"1","value":"1"}"#);
    installation.finish().await;
}

#[tokio::test]
async fn chosen_objects_are_synced_alone_without_hooks_and_a_dry_run_writes_nothing() {
    let installation = Installation::start("select").await;
    let target = installation.target("t").await;
    let repository = installation.repository("select");
    let commit = repository.commit([
        ("app/one.yaml", file(config_map("one", "1"))),
        ("app/two.yaml", file(config_map("two", "1"))),
        ("app/hook.yaml", file(HookPod::job("before", "PreSync").yaml())),
    ]);
    let mut application = Application::named("app", &repository.url, "app", &target).object();
    application["spec"]["syncPolicy"] = json!({});
    installation.apply(application).await;
    installation.wait_application("app", "waits to be asked", |object| sync_state(object) == "OutOfSync").await;
    let ask = |sync: Value| json!({"operation": {"sync": sync, "initiatedBy": {"username": "ana"}}});
    let phase = |object: &Value| object["status"]["operationState"]["phase"].as_str().unwrap_or_default().to_owned();

    let audit = installation.audit();
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", ask(json!({"dryRun": true}))).await;
    installation.wait_application("app", "was tried", |object| phase(object) == "Succeeded").await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());

    let only = json!({"resources": [{"kind": "ConfigMap", "name": "two", "namespace": target}]});
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", ask(only)).await;
    installation
        .wait("the chosen object is there", async || {
            installation.cluster.get(CONFIG_MAP, &target, "two").await.map(|_| ()).ok_or_else(|| "absent".to_owned())
        })
        .await;
    let object = installation
        .wait_application("app", "has ended the operation", |object| {
            phase(object) == "Succeeded"
                && object["status"]["operationState"]["operation"]["sync"]["resources"][0]["name"] == "two"
        })
        .await;
    assert_eq!(sync_state(&object), "OutOfSync");
    assert_eq!(object["status"]["history"], Value::Null, "no state to go back to");
    assert_eq!(installation.cluster.get(JOB, &target, "before").await, None);
    assert_eq!(installation.cluster.get(CONFIG_MAP, &target, "one").await, None);

    installation.cluster.merge(APPLICATION, &installation.namespace, "app", ask(json!({}))).await;
    installation.healthy("app", &commit).await;
    assert!(installation.cluster.get(JOB, &target, "before").await.is_some());
    installation.finish().await;
}

#[tokio::test]
async fn an_application_waits_for_another_and_for_its_window() {
    let installation = Installation::start("depend").await;
    let (first, second) = (installation.target("a").await, installation.target("b").await);
    let repository = installation.repository("depend");
    let commit = repository.commit([
        ("db/db.yaml", file(Deployment::named("db").env("NOT_READY", "1").yaml())),
        ("web/settings.yaml", file(config_map("settings", "1"))),
    ]);
    let application = Application::named("web", &repository.url, "web", &second).with_finalizer();
    installation.declare(application.spec("dependsOn", json!([{"name": "db"}]))).await;
    let object = installation
        .wait_application("web", "waits for an Application that is not there", |object| {
            ready_reason(object) == "WaitingForDependency"
        })
        .await;
    assert!(ready_message(&object).contains("db"), "{}", ready_message(&object));
    installation.declare(Application::named("db", &repository.url, "db", &first).with_finalizer()).await;
    installation
        .wait_application("db", "waits for its Deployment", |object| ready_reason(object) == "WaitingForHealth")
        .await;
    let object = installation.application("web").await;
    assert_eq!(
        object["status"]["waitingOn"][0]["object"],
        format!("tidelock.dev/Application/{}/db", installation.namespace)
    );
    assert_eq!(installation.cluster.get(CONFIG_MAP, &second, "settings").await, None);
    let ready = repository.commit([("db/db.yaml", file(Deployment::named("db").yaml()))]);
    installation.follow("db", &ready).await;
    installation.wait_application("web", "goes on", |object| sync_state(object) == "Synced").await;

    // What others depend on goes last.
    installation.cluster.delete(APPLICATION, &installation.namespace, "db").await;
    installation
        .wait_application("db", "waits for its dependents", |object| {
            object["status"]["waitingOn"][0]["object"]
                == format!("tidelock.dev/Application/{}/web", installation.namespace)
        })
        .await;
    assert!(installation.cluster.get(DEPLOYMENT, &first, "db").await.is_some());
    installation.cluster.delete(APPLICATION, &installation.namespace, "web").await;
    installation
        .wait("both are gone", async || {
            let left = installation.cluster.list(APPLICATION, &installation.namespace).await;
            if left.is_empty() { Ok(()) } else { Err(format!("{} Applications", left.len())) }
        })
        .await;

    // A closed window holds an automated sync, and lets one through that a person asks for when it says so.
    let project = json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": "frozen"},
        "spec": {
            "sourceRepos": ["*"], "destinations": [{"namespace": "*", "server": "*"}],
            "syncWindows": [{"kind": "deny", "schedule": "0 0 * * *", "duration": "24h", "applications": ["*"], "manualSync": true}],
        },
    });
    installation.apply(project).await;
    let application = Application::named("frozen", &repository.url, "web", &second).spec("project", json!("frozen"));
    installation.declare(application).await;
    let object = installation
        .wait_application("frozen", "is held by its window", |object| ready_reason(object) == "WindowClosed")
        .await;
    assert_eq!(object["status"]["syncWindow"]["open"], false);
    assert_eq!(installation.cluster.get(CONFIG_MAP, &second, "settings").await, None);
    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "frozen", json!({"operation": {"sync": {}}}))
        .await;
    installation.wait_application("frozen", "was synced by hand", |object| sync_state(object) == "Synced").await;
    installation.cluster.delete(APP_PROJECT, &installation.namespace, "frozen").await;
    assert!(!commit.is_empty());
    installation.finish().await;
}

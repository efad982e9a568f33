//! Health rules of users, Applications of Applications, and drift policies on a real API server.

use serde_json::{Value, json};

use crate::support::application::{Application, health, ready_reason, sync_state};
use crate::support::cluster::{APPLICATION, CONFIG_MAP, DEPLOYMENT};
use crate::support::git::file;
use crate::support::installation::Installation;
use crate::support::manifests::{Deployment, config_map, config_map_in_wave, custom, definition};

#[tokio::test]
async fn a_script_of_the_fleet_and_an_expression_of_the_application_decide_what_a_gate_waits_for() {
    let installation = Installation::start("rules").await;
    let target = installation.target("t").await;
    let repository = installation.repository("rules");
    let (group, gauge) = (installation.group(), installation.own_kind("Gauge"));
    let commit = repository.commit([
        ("app/kind.yaml", file(definition(&group, "Gauge", "gauges", 0))),
        ("app/one.yaml", file(custom(&group, "Gauge", "one", 1, 0))),
        ("app/next.yaml", file(config_map_in_wave("next", "1", 1))),
    ]);
    let script = "if obj.status ~= nil and obj.status.level == 'high' then\n  return {status = 'Healthy', message = 'high enough'}\nend\n\
                  return {status = 'Progressing', message = 'level of ' .. obj.metadata.name .. ' is too low'}\n";
    installation
        .apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tidelock-cm"},
            "data": {format!("resource.customizations.health.{group}_Gauge"): script},
        }))
        .await;
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let object = installation
        .wait_application("app", "waits for what the script says", |object| {
            object["status"]["waitingOn"][0]["message"]
                .as_str()
                .is_some_and(|message| message.contains("level of one is too low"))
        })
        .await;
    assert_eq!(object["status"]["waitingOn"][0]["object"], format!("{group}/Gauge/{target}/one"));
    assert_eq!(installation.cluster.get(CONFIG_MAP, &target, "next").await, None);
    // A rule of the Application comes before those of the fleet, and takes effect at once.
    let rule = json!([{"apiVersion": group, "kind": "Gauge", "current": "spec.size == 1"}]);
    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "app", json!({"spec": {"healthCheckExprs": rule}}))
        .await;
    installation.healthy("app", &commit).await;
    // Without it the script counts again; a status that satisfies it makes the object healthy.
    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "app", json!({"spec": {"healthCheckExprs": null}}))
        .await;
    installation
        .wait_application("app", "is Progressing by the script", |object| health(object) == "Progressing")
        .await;
    installation.cluster.merge_status(gauge, &target, "one", json!({"status": {"level": "high"}})).await;
    installation.healthy("app", &commit).await;
    installation.finish().await;
}

#[tokio::test]
async fn a_wave_of_child_applications_is_waited_for() {
    let installation = Installation::start("children").await;
    let target = installation.target("t").await;
    let repository = installation.repository("children");
    let child = |path: &str| {
        let mut object = Application::named("child", &repository.url, path, &target).object();
        object["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": "0"});
        serde_json::to_string(&object).expect("an object")
    };
    let commit = repository.commit([
        ("parent/child.json", file(child("child"))),
        (
            "parent/after.yaml",
            file(
                config_map_in_wave("after", "1", 1)
                    .replace("metadata:\n", &format!("metadata:\n  namespace: {target}\n")),
            ),
        ),
        ("child/web.yaml", file(Deployment::named("web").env("NOT_READY", "1").yaml())),
    ]);
    // Applications are power over the cluster: only a project that names the operator's namespace may bring them.
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": "parents"},
            "spec": {"sourceRepos": ["*"], "destinations": [
                {"namespace": installation.namespace, "server": "*"}, {"namespace": target, "server": "*"},
            ]},
        }))
        .await;
    let parent = Application::named("parent", &repository.url, "parent", &installation.namespace);
    installation.declare(parent.spec("project", json!("parents"))).await;
    installation
        .wait_application("parent", "waits for its child", |object| {
            object["status"]["waitingOn"][0]["object"]
                == format!("tidelock.dev/Application/{}/child", installation.namespace)
        })
        .await;
    installation
        .wait_application("child", "waits for its Deployment", |object| ready_reason(object) == "WaitingForHealth")
        .await;
    assert_eq!(installation.cluster.get(CONFIG_MAP, &target, "after").await, None);
    let ready = repository.commit([("child/web.yaml", file(Deployment::named("web").yaml()))]);
    installation.follow("child", &ready).await;
    installation.healthy("parent", &commit).await;
    assert!(installation.cluster.get(CONFIG_MAP, &target, "after").await.is_some());
    installation.finish().await;
}

#[tokio::test]
async fn drift_is_reported_or_held_as_the_policy_says() {
    let installation = Installation::start("policy").await;
    let target = installation.target("t").await;
    let repository = installation.repository("policy");
    let commit = repository.commit([
        ("app/settings.yaml", file(config_map("settings", "1"))),
        ("app/other.yaml", file(config_map("other", "1"))),
    ]);
    let application = Application::named("app", &repository.url, "app", &target).spec("driftPolicy", json!("report"));
    installation.declare(application).await;
    installation.healthy("app", &commit).await;
    let value = |object: &Value| object["data"]["value"].as_str().unwrap_or_default().to_owned();
    let edit = json!({"data": {"value": "by hand"}});

    installation.cluster.merge(CONFIG_MAP, &target, "settings", edit.clone()).await;
    installation.wait_application("app", "reports the drift", |object| sync_state(object) == "OutOfSync").await;
    installation.refresh("app").await;
    assert_eq!(value(&installation.cluster.must_get(CONFIG_MAP, &target, "settings").await), "by hand");
    let next = repository.commit([("app/other.yaml", file(config_map("other", "2")))]);
    installation.follow("app", &next).await;
    assert_eq!(
        value(&installation.cluster.must_get(CONFIG_MAP, &target, "settings").await),
        "1",
        "put back by the next sync"
    );

    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "app", json!({"spec": {"driftPolicy": "hold"}}))
        .await;
    installation.cluster.merge(CONFIG_MAP, &target, "settings", edit).await;
    installation.wait_application("app", "shows the drift", |object| sync_state(object) == "OutOfSync").await;
    repository.commit([
        ("app/settings.yaml", file(config_map("settings", "3"))),
        ("app/other.yaml", file(config_map("other", "3"))),
    ]);
    installation.refresh("app").await;
    installation
        .wait("the other object is synced", async || {
            let other = installation.cluster.must_get(CONFIG_MAP, &target, "other").await;
            if value(&other) == "3" { Ok(()) } else { Err(value(&other)) }
        })
        .await;
    assert_eq!(value(&installation.cluster.must_get(CONFIG_MAP, &target, "settings").await), "by hand", "held");
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", json!({"operation": {"sync": {}}})).await;
    installation.wait_application("app", "is in sync by request", |object| sync_state(object) == "Synced").await;
    assert_eq!(value(&installation.cluster.must_get(CONFIG_MAP, &target, "settings").await), "3");
    assert!(installation.cluster.get(DEPLOYMENT, &target, "web").await.is_none());
    installation.finish().await;
}

#[tokio::test]
async fn a_person_syncs_to_another_revision_and_back() {
    let installation = Installation::start("revisions").await;
    let target = installation.target("t").await;
    let repository = installation.repository("revisions");
    let old = repository.commit([("app/settings.yaml", file(config_map("settings", "1")))]);
    let new = repository.commit([("app/settings.yaml", file(config_map("settings", "2")))]);
    let mut application = Application::named("app", &repository.url, "app", &target).object();
    application["spec"]["syncPolicy"] = json!({});
    installation.apply(application).await;
    installation.wait_application("app", "waits to be asked", |object| sync_state(object) == "OutOfSync").await;
    let ask = |sync: Value| json!({"operation": {"sync": sync, "initiatedBy": {"username": "ana"}}});
    let sync_to = async |sync: Value, wanted: &str| {
        installation.cluster.merge(APPLICATION, &installation.namespace, "app", ask(sync)).await;
        installation
            .wait("the object is as that revision has it", async || {
                let settings = installation.cluster.get(CONFIG_MAP, &target, "settings").await.ok_or("absent")?;
                if settings["data"]["value"] == wanted { Ok(()) } else { Err(settings["data"].to_string()) }
            })
            .await;
    };
    sync_to(json!({}), "2").await;
    installation.healthy("app", &new).await;
    sync_to(json!({"revision": old}), "1").await;
    let object = installation
        .wait_application("app", "is out of sync with what its spec wants", |object| {
            sync_state(object) == "OutOfSync" && object["status"]["operationState"]["phase"] == "Succeeded"
        })
        .await;
    assert_eq!(object["status"]["operationState"]["revision"], old.as_str());
    assert_eq!(object["status"]["sync"]["revision"], new.as_str());
    sync_to(json!({}), "2").await;
    installation.healthy("app", &new).await;
    // What automation would undo at once is refused.
    installation
        .cluster
        .merge(APPLICATION, &installation.namespace, "app", json!({"spec": {"syncPolicy": {"automated": {}}}}))
        .await;
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", ask(json!({"revision": old}))).await;
    let object = installation
        .wait_application("app", "is told why not", |object| object["status"]["operationState"]["phase"] == "Failed")
        .await;
    let message = object["status"]["operationState"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("syncPolicy.automated"), "{message}");
    let settings = installation.cluster.must_get(CONFIG_MAP, &target, "settings").await;
    assert_eq!(settings["data"]["value"], "2");
    installation.finish().await;
}

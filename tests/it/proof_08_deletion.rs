//! Deleting an Application: with the finalizer it takes what it owns along, in reverse order; without, nothing.

use serde_json::json;

use crate::support::application::Application;
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, Kind, SECRET, SERVICE, SERVICE_ACCOUNT};
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::{config_map, config_map_in_wave};

const ACCOUNT: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: account}\n";
const LOGIN: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {token: abc}\n";
const PORT: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: port}\nspec: {selector: {app: x}, ports: [{port: 80}]}\n";
const OBJECTS: [(Kind, &str); 6] = [
    (SERVICE_ACCOUNT, "account"),
    (SECRET, "login"),
    (CONFIG_MAP, "first"),
    (SERVICE, "port"),
    (CONFIG_MAP, "second"),
    (CONFIG_MAP, "third"),
];

fn files() -> Vec<(&'static str, Change)> {
    vec![
        ("app/account.yaml", file(ACCOUNT)),
        ("app/login.yaml", file(LOGIN)),
        ("app/first.yaml", file(config_map("first", "1"))),
        ("app/port.yaml", file(PORT)),
        ("app/second.yaml", file(config_map_in_wave("second", "1", 1))),
        ("app/third.yaml", file(config_map_in_wave("third", "1", 2))),
    ]
}

#[tokio::test]
async fn with_the_finalizer_everything_owned_is_deleted_in_reverse_order_and_nothing_else() {
    let installation = Installation::start("cascade").await;
    let target = installation.target("t").await;
    let repository = installation.repository("cascade");
    let commit = repository.commit(files().into_iter().chain([("other/other.yaml", file(config_map("other", "1")))]));
    installation.declare(Application::named("app", &repository.url, "app", &target).with_finalizer()).await;
    installation.declare(Application::named("other", &repository.url, "other", &target).with_finalizer()).await;
    installation.healthy("app", &commit).await;
    installation.healthy("other", &commit).await;
    let cluster = &installation.cluster;
    let marks = cluster.must_get(CONFIG_MAP, &target, "first").await["metadata"].clone();
    for (name, metadata) in
        [("copied", json!({"labels": marks["labels"], "annotations": marks["annotations"]})), ("plain", json!({}))]
    {
        let mut object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": "precious"}});
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(target);
        cluster.apply(object).await;
    }

    let audit = installation.audit();
    cluster.delete(APPLICATION, &installation.namespace, "app").await;
    installation
        .wait("the Application is gone", async || {
            match cluster.get(APPLICATION, &installation.namespace, "app").await {
                None => Ok(()),
                Some(object) => Err(format!("{:#}", object["status"])),
            }
        })
        .await;
    let deletions: Vec<_> = audit.deletions().into_iter().filter(|deletion| deletion.namespace == target).collect();
    assert_eq!(
        lines(&deletions),
        [
            format!("delete configmaps {target}/third"),
            format!("delete configmaps {target}/second"),
            format!("delete services {target}/port"),
            format!("delete configmaps {target}/first"),
            format!("delete secrets {target}/login"),
            format!("delete serviceaccounts {target}/account"),
        ]
    );
    assert!(deletions.iter().all(|deletion| deletion.body["preconditions"]["uid"].is_string()), "{deletions:#?}");
    for (kind, name) in OBJECTS {
        assert_eq!(cluster.get(kind, &target, name).await, None, "{name} was owned");
    }
    for name in ["other", "copied", "plain"] {
        assert!(cluster.get(CONFIG_MAP, &target, name).await.is_some(), "{name} was not owned");
    }
    installation.synced("other", &commit).await;
    installation.finish().await;
}

#[tokio::test]
async fn without_the_finalizer_everything_stays() {
    let installation = Installation::start("orphan").await;
    let target = installation.target("t").await;
    let repository = installation.repository("orphan");
    let commit = repository.commit(files().into_iter().chain([("other/other.yaml", file(config_map("other", "1")))]));
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    installation.healthy("app", &commit).await;
    let audit = installation.audit();
    installation.cluster.delete(APPLICATION, &installation.namespace, "app").await;
    installation
        .wait("the Application is gone", async || {
            match installation.cluster.get(APPLICATION, &installation.namespace, "app").await {
                None => Ok(()),
                Some(object) => Err(format!("{object:#}")),
            }
        })
        .await;
    // By the time a later Application is deployed, the deletion of the first has been seen.
    installation.declare(Application::named("other", &repository.url, "other", &target)).await;
    installation.healthy("other", &commit).await;
    assert_eq!(lines(&audit.writes_in(&target)), [format!("patch configmaps {target}/other")]);
    for (kind, name) in OBJECTS {
        assert!(installation.cluster.get(kind, &target, name).await.is_some(), "{name} must stay");
    }
    installation.finish().await;
}

#[tokio::test]
async fn a_deletion_needs_neither_git_nor_the_proxy() {
    let installation = Installation::start("offline").await;
    let target = installation.target("t").await;
    let repository = installation.repository("offline");
    let commit = repository.commit(files());
    installation.declare(Application::named("app", &repository.url, "app", &target).with_finalizer()).await;
    installation.healthy("app", &commit).await;
    crate::support::git_faults::set(&repository.path, "down");
    installation.cluster.delete(APPLICATION, &installation.namespace, "app").await;
    installation
        .wait("the Application is gone", async || {
            match installation.cluster.get(APPLICATION, &installation.namespace, "app").await {
                None => Ok(()),
                Some(object) => Err(format!("{:#}", object["status"])),
            }
        })
        .await;
    crate::support::git_faults::clear(&repository.path);
    for (kind, name) in OBJECTS {
        assert_eq!(installation.cluster.get(kind, &target, name).await, None, "{name} was owned");
    }
    installation.finish().await;
}

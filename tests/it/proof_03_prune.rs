//! What git no longer has is deleted; what only looks like it stays.

use serde_json::json;

use crate::support::application::{Application, condition, ready_reason, sync_state};
use crate::support::audit::{lines, sorted};
use crate::support::cluster::{APPLICATION, CONFIG_MAP, uid_of};
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::config_map;

#[tokio::test]
async fn a_removed_file_is_pruned_and_foreign_objects_and_copied_labels_are_not() {
    let installation = Installation::start("prune").await;
    let target = installation.target("t").await;
    let repository = installation.repository("apps");
    let first = repository.commit([
        ("one/kept.yaml", file(config_map("kept", "1"))),
        ("one/removed.yaml", file(config_map("removed", "1"))),
        ("one/renamed.yaml", file(config_map("old-name", "1"))),
        ("two/other.yaml", file(config_map("other", "1"))),
    ]);
    for name in ["one", "two"] {
        installation.declare(Application::named(name, &repository.url, name, &target)).await;
        installation.synced(name, &first).await;
    }
    let cluster = &installation.cluster;
    let removed = cluster.must_get(CONFIG_MAP, &target, "removed").await;
    // As `kubectl get -o yaml | sed s/removed/copied/ | kubectl apply -f -` does it.
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "copied", "namespace": target,
                "labels": removed["metadata"]["labels"],
                "annotations": removed["metadata"]["annotations"],
            },
            "data": {"value": "precious"},
        }))
        .await;
    cluster
        .apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "foreign", "namespace": target}, "data": {"value": "precious"},
        }))
        .await;

    let audit = installation.audit();
    let second = repository
        .commit([("one/removed.yaml", Change::Gone), ("one/renamed.yaml", file(config_map("new-name", "1")))]);
    installation.follow("one", &second).await;
    installation.refresh("two").await;
    installation.synced("two", &first).await;

    assert_eq!(
        sorted(&audit.deletions()),
        [format!("delete configmaps {target}/old-name"), format!("delete configmaps {target}/removed")]
    );
    for deletion in audit.deletions() {
        assert!(
            deletion.body["preconditions"]["uid"].is_string(),
            "a deletion names the uid of the very object it means: {deletion:?}"
        );
    }
    for (name, there) in [
        ("removed", false),
        ("old-name", false),
        ("new-name", true),
        ("kept", true),
        ("other", true),
        ("copied", true),
        ("foreign", true),
    ] {
        assert_eq!(cluster.get(CONFIG_MAP, &target, name).await.is_some(), there, "{name}");
    }
    installation.finish().await;
}

#[tokio::test]
async fn without_prune_nothing_is_deleted_and_the_application_says_what_waits() {
    let installation = Installation::start("noprune").await;
    let target = installation.target("t").await;
    let repository = installation.repository("apps");
    let first = repository.commit([
        ("app/kept.yaml", file(config_map("kept", "1"))),
        ("app/removed.yaml", file(config_map("removed", "1"))),
    ]);
    installation
        .declare(
            Application::named("app", &repository.url, "app", &target)
                .spec("syncPolicy", json!({"automated": {"selfHeal": true}})),
        )
        .await;
    installation.synced("app", &first).await;
    let audit = installation.audit();
    let second =
        repository.commit([("app/removed.yaml", Change::Gone), ("app/kept.yaml", file(config_map("kept", "2")))]);
    installation.ask_refresh(APPLICATION, "app").await;
    let object = installation
        .wait_application("app", "is OutOfSync because an object waits to be pruned", |object| {
            object["status"]["sync"]["revision"] == second.as_str()
                && sync_state(object) == "OutOfSync"
                && ready_reason(object) == "PruneWaiting"
        })
        .await;
    assert!(
        condition(&object, "Ready").unwrap()["message"].as_str().unwrap().contains("removed"),
        "{:#}",
        object["status"]
    );
    assert_eq!(lines(&audit.writes_in(&target)), [format!("patch configmaps {target}/kept")]);

    // A person who asks for a sync with prune gets it.
    let operation = json!({"operation": {"sync": {"prune": true}, "initiatedBy": {"username": "ada"}}});
    installation.cluster.merge(APPLICATION, &installation.namespace, "app", operation).await;
    installation.synced("app", &second).await;
    assert_eq!(lines(&audit.deletions()), [format!("delete configmaps {target}/removed")]);
    installation.finish().await;
}

#[tokio::test]
async fn an_object_of_another_application_is_a_conflict_and_stays_as_it_is() {
    let installation = Installation::start("owner").await;
    let target = installation.target("t").await;
    let repository = installation.repository("apps");
    let commit = repository.commit([
        ("one/shared.yaml", file(config_map("shared", "of one"))),
        ("two/shared.yaml", file(config_map("shared", "of two"))),
        ("two/own.yaml", file(config_map("own", "of two"))),
    ]);
    installation.declare(Application::named("one", &repository.url, "one", &target)).await;
    installation.synced("one", &commit).await;
    let before = installation.cluster.must_get(CONFIG_MAP, &target, "shared").await;

    installation.declare(Application::named("two", &repository.url, "two", &target).with_finalizer()).await;
    let object = installation
        .wait_application("two", "reports the conflict", |object| ready_reason(object) == "OwnedByOther")
        .await;
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("shared") && message.contains(&format!("{}/one", installation.namespace)), "{message}");

    installation.cluster.delete(APPLICATION, &installation.namespace, "two").await;
    installation
        .wait("two is gone", async || {
            match installation.cluster.get(APPLICATION, &installation.namespace, "two").await {
                None => Ok(()),
                Some(object) => Err(format!("{:#}", object["status"])),
            }
        })
        .await;
    let after = installation.cluster.must_get(CONFIG_MAP, &target, "shared").await;
    assert_eq!((uid_of(&after), &after["data"]), (uid_of(&before), &before["data"]));
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    installation.finish().await;
}

//! What git wants is put back; what others own is theirs; and a cluster at rest is left alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::application::{Application, sync_state};
use crate::support::audit::lines;
use crate::support::cluster::{
    APPLICATION, CONFIG_MAP, DEPLOYMENT, Kind, ROLE, SECRET, SERVICE, SERVICE_ACCOUNT, uid_of,
};
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::{Deployment, config_map};

const SERVICE_YAML: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {team: shop}
spec:
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: 8080}
";
const SECRET_YAML: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: login
stringData:
  token: from-git
";
const ROLE_YAML: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: reader
rules:
  - apiGroups: ['']
    resources: [configmaps]
    verbs: [get, list]
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: reader
  annotations:
    team: shop
";

/// A hand edit: of which object, the patch, the field, and what it must be again.
struct Edit {
    kind: Kind,
    name: &'static str,
    patch: Value,
    pointer: &'static str,
    wanted: Value,
}

/// Edits in rounds: those of one round touch different objects and are healed together, because healing slows down for
/// an Application that is edited again and again.
fn rounds(image: &str) -> Vec<Vec<Edit>> {
    let edit = |kind, name, patch, pointer, wanted| Edit { kind, name, patch, pointer, wanted };
    vec![
        vec![
            edit(CONFIG_MAP, "settings", json!({"data": {"value": "by hand"}}), "/data/value", json!("from git")),
            edit(SECRET, "login", json!({"data": {"token": "YnkgaGFuZA=="}}), "/data/token", json!("ZnJvbS1naXQ=")),
            edit(
                SERVICE,
                "web",
                json!({"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 9999, "protocol": "TCP"}]}}),
                "/spec/ports/0/targetPort",
                json!(8080),
            ),
            edit(ROLE, "reader", json!({"rules": []}), "/rules/0/verbs", json!(["get", "list"])),
            edit(
                DEPLOYMENT,
                "web",
                json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "example.com/wrong:1"}]}}}}),
                "/spec/template/spec/containers/0/image",
                json!(image),
            ),
        ],
        vec![
            edit(CONFIG_MAP, "settings", json!({"data": {"value": null}}), "/data/value", json!("from git")),
            edit(
                SERVICE,
                "web",
                json!({"metadata": {"labels": {"team": "mine"}}}),
                "/metadata/labels/team",
                json!("shop"),
            ),
            edit(
                SERVICE_ACCOUNT,
                "reader",
                json!({"metadata": {"annotations": {"team": "mine"}}}),
                "/metadata/annotations/team",
                json!("shop"),
            ),
            edit(DEPLOYMENT, "web", json!({"spec": {"replicas": 0}}), "/spec/replicas", json!(1)),
        ],
        vec![edit(
            SERVICE,
            "web",
            json!({"metadata": {"labels": {"team": null}}}),
            "/metadata/labels/team",
            json!("shop"),
        )],
    ]
}

#[tokio::test]
async fn a_hand_edit_of_any_owned_field_heals() {
    let installation = Installation::start("heal").await;
    let target = installation.target("t").await;
    let repository = installation.repository("web");
    let commit = repository.commit([
        ("app/settings.yaml", file(config_map("settings", "from git"))),
        ("app/service.yaml", file(SERVICE_YAML)),
        ("app/secret.yaml", file(SECRET_YAML)),
        ("app/role.yaml", file(ROLE_YAML)),
        ("app/web.yaml", file(Deployment::named("web").yaml())),
    ]);
    installation.declare(Application::named("web", &repository.url, "app", &target)).await;
    installation.healthy("web", &commit).await;
    let cluster = &installation.cluster;

    for round in rounds("tidelock.local/demo:1") {
        for edit in &round {
            cluster.merge(edit.kind, &target, edit.name, edit.patch.clone()).await;
        }
        for Edit { kind, name, patch, pointer, wanted } in round {
            installation
                .wait(&format!("{patch} of {name} is undone"), async || {
                    let object = cluster.must_get(kind, &target, name).await;
                    if object.pointer(pointer) == Some(&wanted) { Ok(()) } else { Err(format!("{object:#}")) }
                })
                .await;
        }
    }

    // The marks of ownership are owned fields too.
    let marks = cluster.must_get(CONFIG_MAP, &target, "settings").await["metadata"].clone();
    let strip = json!({"metadata": {"labels": {"tidelock.dev/instance": null}, "annotations": {"tidelock.dev/tracking-id": null}}});
    cluster.merge(CONFIG_MAP, &target, "settings", strip).await;
    installation
        .wait("the marks are back", async || {
            let object = cluster.must_get(CONFIG_MAP, &target, "settings").await;
            let metadata = &object["metadata"];
            let same = metadata["labels"] == marks["labels"] && metadata["annotations"] == marks["annotations"];
            if same { Ok(()) } else { Err(format!("{object:#}")) }
        })
        .await;

    // A deleted object comes back.
    let before = cluster.must_get(SECRET, &target, "login").await;
    cluster.delete(SECRET, &target, "login").await;
    installation
        .wait("the deleted Secret is back", async || match cluster.get(SECRET, &target, "login").await {
            Some(object) if uid_of(&object) != uid_of(&before) => Ok(assert_eq!(object["data"], before["data"])),
            _ => Err("it is not there".to_owned()),
        })
        .await;
    installation.healthy("web", &commit).await;
    installation.finish().await;
}

#[tokio::test]
async fn fields_of_others_stay_and_cause_no_write() {
    let installation = Installation::start("foreign").await;
    let target = installation.target("t").await;
    let repository = installation.repository("web");
    let commit = repository.commit([
        ("app/settings.yaml", file(config_map("settings", "from git"))),
        ("app/web.yaml", file(Deployment::named("web").without_replicas().yaml())),
    ]);
    installation.declare(Application::named("web", &repository.url, "app", &target)).await;
    installation.healthy("web", &commit).await;
    let cluster = &installation.cluster;

    let audit = installation.audit();
    // An autoscaler, a sidecar injector, and a person with `kubectl annotate` and `kubectl label`.
    cluster
        .apply_as(
            "autoscaler",
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": target},
                "spec": {"replicas": 2},
            }),
        )
        .await;
    let restricted =
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    cluster
        .apply_as(
            "injector",
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": target},
                "spec": {"template": {"spec": {"containers": [{
                    "name": "sidecar", "image": "tidelock.local/demo:2", "args": ["serve"],
                    "env": [{"name": "PORT", "value": "9090"}], "securityContext": restricted,
                }]}}},
            }),
        )
        .await;
    cluster
        .merge(
            DEPLOYMENT,
            &target,
            "web",
            json!({"metadata": {"annotations": {"who": "ada"}, "labels": {"seen": "yes"}}}),
        )
        .await;
    let foreign = |object: &Value| {
        let containers =
            object.pointer("/spec/template/spec/containers").and_then(Value::as_array).cloned().unwrap_or_default();
        (
            object["spec"]["replicas"].clone(),
            containers.iter().map(|container| container["name"].clone()).collect::<Vec<_>>(),
            object["metadata"]["annotations"]["who"].clone(),
            object["metadata"]["labels"]["seen"].clone(),
        )
    };
    let expected = (json!(2), vec![json!("app"), json!("sidecar")], json!("ada"), json!("yes"));
    let mut before = foreign(&cluster.must_get(DEPLOYMENT, &target, "web").await);
    before.1.sort_by_key(Value::to_string);
    assert_eq!(before, expected);

    // Another object of the same Application is edited and healed: by then the foreign edits have been seen too.
    cluster.merge(CONFIG_MAP, &target, "settings", json!({"data": {"value": "by hand"}})).await;
    installation
        .wait("the edit is healed", async || {
            let object = cluster.must_get(CONFIG_MAP, &target, "settings").await;
            if object["data"]["value"] == "from git" { Ok(()) } else { Err(format!("{object:#}")) }
        })
        .await;
    installation.refresh("web").await;
    installation.healthy("web", &commit).await;
    assert_eq!(lines(&audit.writes_in(&target)), [format!("patch configmaps {target}/settings")]);

    // An owned field of the very object is edited: healing it leaves the foreign fields in place.
    let wrong = json!({"spec": {"template": {"metadata": {"labels": {"app": "web"}, "annotations": null}, "spec": {"terminationGracePeriodSeconds": 7}}}});
    cluster.merge(DEPLOYMENT, &target, "web", wrong).await;
    installation
        .wait("the owned field is healed", async || {
            let object = cluster.must_get(DEPLOYMENT, &target, "web").await;
            if object.pointer("/spec/template/spec/terminationGracePeriodSeconds") == Some(&json!(1)) {
                Ok(())
            } else {
                Err(format!("{object:#}"))
            }
        })
        .await;
    let mut after = foreign(&cluster.must_get(DEPLOYMENT, &target, "web").await);
    after.1.sort_by_key(Value::to_string);
    assert_eq!(after, expected);
    installation.finish().await;
}

#[tokio::test]
async fn without_self_heal_drift_is_shown_and_not_undone() {
    let installation = Installation::start("noheal").await;
    let target = installation.target("t").await;
    let repository = installation.repository("web");
    let commit = repository.commit([("app/settings.yaml", file(config_map("settings", "from git")))]);
    installation
        .declare(
            Application::named("web", &repository.url, "app", &target)
                .spec("syncPolicy", json!({"automated": {"prune": true}})),
        )
        .await;
    installation.synced("web", &commit).await;
    let audit = installation.audit();
    installation.cluster.merge(CONFIG_MAP, &target, "settings", json!({"data": {"value": "by hand"}})).await;
    installation.wait_application("web", "is OutOfSync", |object| sync_state(object) == "OutOfSync").await;
    installation.refresh("web").await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());

    installation
        .cluster
        .merge(
            APPLICATION,
            &installation.namespace,
            "web",
            json!({"metadata": {"annotations": {"tidelock.dev/sync": "now"}}}),
        )
        .await;
    installation.synced("web", &commit).await;
    assert_eq!(lines(&audit.writes_in(&target)), [format!("patch configmaps {target}/settings")]);
    installation.finish().await;
}

/// How long the operator is watched doing nothing.
const REST: Duration = Duration::from_secs(120);
/// Work that trails a sync (events, a last status) is over when this long passed without a write.
const CALM: Duration = Duration::from_secs(5);

#[tokio::test]
async fn at_rest_over_two_minutes_there_is_no_write_and_no_list() {
    let installation = Installation::start("rest").await;
    let repository = installation.repository("rest");
    let mut changes: Vec<(String, Change)> = vec![
        ("web/service.yaml".to_owned(), file(SERVICE_YAML)),
        ("web/secret.yaml".to_owned(), file(SECRET_YAML)),
        ("web/role.yaml".to_owned(), file(ROLE_YAML)),
        ("web/web.yaml".to_owned(), file(Deployment::named("web").yaml())),
        ("kust/kustomization.yaml".to_owned(), file("resources: [cm.yaml]\nnamePrefix: k-\n")),
        ("kust/cm.yaml".to_owned(), file(config_map("settings", "1"))),
        ("chart/Chart.yaml".to_owned(), file("apiVersion: v2\nname: chart\nversion: 1.0.0\n")),
        ("chart/templates/cm.yaml".to_owned(), file(config_map("from-helm", "{{ .Release.Name }}"))),
    ];
    for index in 0..20 {
        changes.push((format!("many/cm-{index}.yaml"), file(config_map(&format!("cm-{index}"), "1"))));
    }
    let commit = repository.commit(changes);
    let names = ["web", "kust", "chart", "many"];
    for name in names {
        let target = installation.target(name).await;
        installation.declare(Application::named(name, &repository.url, name, &target).polled_every("10s")).await;
    }
    for name in names {
        installation.healthy(name, &commit).await;
    }
    let mut calm = installation.audit();
    let mut since = Instant::now();
    installation
        .wait("the writes that trail a sync are over", async || {
            let writes: Vec<_> = calm
                .requests()
                .into_iter()
                .filter(|request| request.is_write() && request.resource != "leases")
                .collect();
            if !writes.is_empty() {
                calm = installation.audit();
                since = Instant::now();
            }
            if since.elapsed() >= CALM { Ok(()) } else { Err(format!("{:?}", lines(&writes))) }
        })
        .await;

    let audit = installation.audit();
    let git = crate::support::journals::git_mark();
    tokio::time::sleep(REST).await;
    let requests = audit.requests();
    let (leases, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(|request| request.resource == "leases");
    let unwanted: Vec<_> = others.iter().filter(|request| request.is_write() || request.verb == "list").collect();
    assert!(unwanted.is_empty(), "writes and lists at rest: {unwanted:#?}");
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in &others {
        *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
    }
    assert!(
        others.iter().all(|request| request.verb == "watch"),
        "requests at rest other than renewed watches: {counts:?}"
    );
    assert!(leases.len() <= 40, "{} requests for the lease in two minutes", leases.len());
    let polls = crate::support::journals::git_requests(&git, &repository.path);
    let listings = polls.iter().filter(|request| request.command == "ls-refs").count();
    assert!(
        (6..=18).contains(&listings),
        "four Applications polled every 10 s share their polls: {listings} in two minutes"
    );
    assert!(
        polls.iter().all(|request| request.command != "fetch"),
        "nothing is fetched when nothing changed: {polls:#?}"
    );
    installation.finish().await;
}

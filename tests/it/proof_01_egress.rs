//! From a namespace whose only way out is the proxy, the company's three repositories are deployed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::application::{Application, health, sync_state};
use crate::support::cluster::{APPLICATION, Cluster, Kind, NAMESPACE, name_of};
use crate::support::fixtures::sample;
use crate::support::git::{GitRepository, file, tree};
use crate::support::installation::{GIT_CREDENTIALS, Installation, PROXY};
use crate::support::journals::{alone_at_the_proxy, dns_mark, git_mark, git_requests, proxy_mark, proxy_requests};
use crate::support::manifests::config_map;
use crate::support::testbed::{Testbed, e2e};

/// Name of the Application, number of its objects (`e2e/fixtures/README.md`), sample that declares it.
const APPLICATIONS: [(&str, i64, &str); 3] =
    [("shop", 97, "40-shop.yaml"), ("platform", 21, "41-platform.yaml"), ("payments", 20, "42-payments.yaml")];
const NAMESPACES: [&str; 5] = ["shop-data", "shop-services", "shop-edge", "platform-dev", "payments-dev"];
/// Kinds without a namespace that the fixtures hold.
const CLUSTER_KINDS: [Kind; 6] = [
    Kind("v1", "PersistentVolume"),
    Kind("storage.k8s.io/v1", "StorageClass"),
    Kind("scheduling.k8s.io/v1", "PriorityClass"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
];
/// Thirty pods start on a small machine.
const ROLLOUT: Duration = Duration::from_secs(300);

#[tokio::test]
async fn three_applications_become_synced_and_healthy_through_the_proxy_and_nothing_else_is_asked_for() {
    let bed = Testbed::shared();
    let _alone = alone_at_the_proxy().await;
    let mut installation = Installation::prepare("fixtures").await;
    remove_leftovers(&installation.cluster).await;
    let dialled_before = dialled(bed);
    let (proxy, dns, git) = (proxy_mark(), dns_mark(), git_mark());
    let mut revisions = Vec::new();
    for (name, _, _) in APPLICATIONS {
        revisions.push(GitRepository::create(name).commit(tree(&e2e().join("fixtures").join(name))));
    }

    installation.operator.start().await;
    for file in ["00-secrets.yaml", "10-egress-proxy.yaml", "20-repositories.yaml", "30-project-shop.yaml"] {
        for object in sample(file) {
            installation.apply(on_the_test_bed(object, bed)).await;
        }
    }
    for (_, _, file) in APPLICATIONS {
        for object in sample(file) {
            installation.apply(object).await;
        }
    }

    for ((name, objects, _), revision) in APPLICATIONS.into_iter().zip(&revisions) {
        let object = installation
            .wait_for(ROLLOUT, &format!("{name} is Synced and Healthy"), async || {
                let object = installation.application(name).await;
                let good = sync_state(&object) == "Synced"
                    && health(&object) == "Healthy"
                    && object["status"]["sync"]["revision"] == revision.as_str();
                if good { Ok(object) } else { Err(format!("{:#}", object["status"])) }
            })
            .await;
        assert_eq!(object["status"]["resourceCount"], json!(objects), "objects of {name}");
    }

    for (name, _, _) in APPLICATIONS {
        installation.cluster.delete(APPLICATION, &installation.namespace, name).await;
    }
    installation
        .wait_for(ROLLOUT, "the Applications have deleted what they owned and are gone", async || {
            let left = installation.cluster.list(APPLICATION, &installation.namespace).await;
            if left.is_empty() { Ok(()) } else { Err(format!("{:#}", left[0]["status"])) }
        })
        .await;
    assert_eq!(owned_by_us(&installation.cluster, &installation.namespace).await, Vec::<String>::new(), "left over");

    for namespace in NAMESPACES {
        installation.clean_up_later(namespace);
    }
    let git_seen = git_requests(&git, "/");
    installation.finish().await;

    let asked = proxy_requests(&proxy);
    assert!(!asked.is_empty(), "nothing went through the proxy");
    let hosts: BTreeSet<&str> = asked.iter().map(super::support::journals::ProxyRequest::host).collect();
    assert_eq!(hosts, BTreeSet::from([bed.git_host()]), "hosts in the proxy's log: {asked:#?}");
    for request in &asked {
        // A tunnel whose client went away before it was open is logged with status 0.
        assert!(
            request.user == bed.proxy_username && request.method == "CONNECT" && [200, 0].contains(&request.status),
            "each tunnel is opened with the login, at once: {request:?}"
        );
    }
    for (name, _, _) in APPLICATIONS {
        assert!(
            git_seen.iter().any(|request| request.path.starts_with(&format!("/{name}.git"))),
            "{name} was not fetched"
        );
    }
    let questions: Vec<String> =
        dns.entries::<crate::support::journals::DnsQuestion>().into_iter().map(|question| question.name).collect();
    assert!(
        !questions.iter().any(|name| name.trim_end_matches('.').ends_with("corp.test")),
        "names that left the operator's place: {questions:?}"
    );
    assert_eq!(dialled(bed), dialled_before, "addresses dialled past the proxy");
}

#[tokio::test]
async fn a_plain_http_repository_is_read_through_the_proxy_too() {
    let bed = Testbed::shared();
    let _alone = alone_at_the_proxy().await;
    let installation = Installation::start("plain").await;
    let target = installation.target("t").await;
    let repository = installation.repository("plain");
    let url = repository.url.replace(&bed.git_https_url, &bed.git_http_url);
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "plain"},
            "spec": {"url": url, "credentialsSecretRef": {"name": GIT_CREDENTIALS}, "egress": {"proxyRef": {"name": PROXY}}},
        }))
        .await;
    let (proxy, git) = (proxy_mark(), git_mark());
    let commit = repository.commit([("app/cm.yaml", file(config_map("plain", "1")))]);
    installation.declare(Application::named("plain", &url, "app", &target)).await;
    installation.healthy("plain", &commit).await;
    let asked = proxy_requests(&proxy);
    let by_url: Vec<_> = asked.iter().filter(|request| request.target.starts_with(&url)).collect();
    assert!(!by_url.is_empty() && by_url.iter().all(|request| request.status == 200), "{asked:#?}");
    let seen = git_requests(&git, &repository.path);
    assert!(seen.iter().all(|request| request.via.contains("squid")), "every request came by the proxy: {seen:#?}");
    installation.finish().await;
}

/// The samples' placeholders, replaced by what the test bed has.
fn on_the_test_bed(mut object: Value, bed: &Testbed) -> Value {
    match name_of(&object) {
        "proxy-credentials" => {
            object["stringData"] = json!({"username": bed.proxy_username, "password": bed.proxy_password});
        }
        "git-credentials" => {
            object["stringData"] = json!({"username": bed.git_username, "password": bed.git_password});
        }
        "git-ca" => object["stringData"] = json!({"ca.crt": bed.git_ca_pem()}),
        _ if object["kind"] == "EgressProxy" => object["spec"]["url"] = json!(bed.proxy_url),
        _ => {}
    }
    object
}

fn dialled(bed: &Testbed) -> BTreeSet<String> {
    // The count of packets grows; the address does not.
    let address = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("a JSON line");
        format!("{} {} {}", entry["address"], entry["protocol"], entry["port"])
    };
    bed.run(["dialled"]).lines().map(address).filter(|entry| !entry.contains("\"udp\" 53")).collect()
}

/// The names of the fixtures' namespaces are their own; an earlier run that failed may have left them.
async fn remove_leftovers(cluster: &Cluster) {
    for kind in CLUSTER_KINDS {
        for object in cluster.list_labelled(kind, "", "tidelock.dev/instance").await {
            if object["metadata"]["annotations"]["tidelock.dev/tracking-id"]
                .as_str()
                .unwrap_or_default()
                .starts_with("it-fixtures-")
            {
                cluster.delete(kind, "", name_of(&object)).await;
            }
        }
    }
    for namespace in NAMESPACES {
        cluster.delete(NAMESPACE, "", namespace).await;
    }
    crate::support::waiting::wait_until(ROLLOUT, async || {
        for namespace in NAMESPACES {
            if cluster.get(NAMESPACE, "", namespace).await.is_some() {
                return Err(format!("namespace {namespace} of an earlier run is still there"));
            }
        }
        Ok(())
    })
    .await
    .unwrap_or_else(|state| panic!("{state}"));
}

async fn owned_by_us(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let mut left = Vec::new();
    for kind in CLUSTER_KINDS.into_iter().chain([NAMESPACE]) {
        for object in cluster.list_labelled(kind, "", "tidelock.dev/instance").await {
            let tracking = object["metadata"]["annotations"]["tidelock.dev/tracking-id"].as_str().unwrap_or_default();
            if tracking.starts_with(&format!("{namespace}/")) {
                left.push(format!("{kind:?} {}", name_of(&object)));
            }
        }
    }
    left
}

//! Submodules and LFS: off by default; once they are on, each host is led by its own rules and credentials.

use serde_json::{Value, json};

use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::audit::lines;
use crate::support::cluster::CONFIG_MAP;
use crate::support::git::{Change, GitRepository, file};
use crate::support::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY};
use crate::support::journals::{alone_at_the_proxy, git_mark, git_requests, proxy_mark, proxy_requests};
use crate::support::manifests::config_map;
use crate::support::testbed::Testbed;

const MIRROR: &str = "https://mirror.corp.test";

/// A Repository for one URL, or for all below one, with more fields.
fn repository(name: &str, covers: (&str, &str), more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name},
        "spec": {
            "credentialsSecretRef": {"name": GIT_CREDENTIALS},
            "caSecretRef": {"name": GIT_CA},
            "egress": {"proxyRef": {"name": PROXY}},
        },
    });
    object["spec"][covers.0] = json!(covers.1);
    let spec = object["spec"].as_object_mut().expect("a spec");
    spec.extend(more.as_object().cloned().unwrap_or_default());
    spec.retain(|_, value| !value.is_null());
    object
}

fn name_of(repository: &GitRepository) -> &str {
    repository.path.trim_start_matches('/')
}

async fn fails(installation: &Installation, name: &str, reason: &str, parts: &[&str]) -> Value {
    installation
        .wait_application(name, &format!("fails by {reason} with {parts:?}"), |object| {
            ready_reason(object) == reason && parts.iter().all(|part| ready_message(object).contains(part))
        })
        .await
}

#[tokio::test]
async fn airgap_30_submodules_are_off_by_default_a_denied_host_is_named_and_each_host_has_its_own_access() {
    let _alone = alone_at_the_proxy().await;
    let installation = Installation::start("submodules").await;
    let (target, other) = (installation.target("t").await, installation.target("o").await);
    let (app, lib, leaf) =
        (installation.repository("app"), installation.repository("lib"), installation.repository("leaf"));
    let leaf_commit = leaf.commit([("cm.yaml", file(config_map("leaf", "one")))]);
    let lib_commit = lib.commit([
        ("base/cm.yaml", file(config_map("lib", "one"))),
        ("base/leaf", Change::Submodule(leaf_commit)),
        (".gitmodules", file(format!("[submodule \"l\"]\n\tpath = base/leaf\n\turl = ../{}\n", name_of(&leaf)))),
    ]);
    let modules = format!(
        "[submodule \"own\"]\n\tpath = vendor/own\n\turl = ../{name}\n\
         [submodule \"far\"]\n\tpath = vendor/far\n\turl = {MIRROR}/{name}\n",
        name = name_of(&lib)
    );
    let first = app.commit([
        (".gitmodules", file(modules)),
        ("vendor/own", Change::Submodule(lib_commit.clone())),
        ("vendor/far", Change::Submodule(lib_commit.clone())),
        ("plain/cm.yaml", file(config_map("plain", "one"))),
    ]);
    let declare = async |name: &str, path: &str, target: &str| {
        let source = json!({"repoURL": app.url, "path": path, "directory": {"recurse": true}});
        installation.declare(Application::named(name, &app.url, path, target).spec("source", source)).await;
    };

    // Off: a submodule is empty, and who wants its files is told what to set.
    let (git, proxy) = (git_mark(), proxy_mark());
    declare("own", "vendor/own/base", &target).await;
    declare("far", "vendor/far/base", &other).await;
    let off = ["`vendor/own` is a submodule", "submodules.enabled: true"];
    fails(&installation, "own", "SubmoduleFailed", &off).await;
    assert_eq!(git_requests(&git, &lib.path).len(), 0);

    // On: the own host is allowed, another is named with what to do, and nothing was asked of it.
    let enabled = json!({"submodules": {"enabled": true}});
    installation.apply(repository("app", ("url", &app.url), &enabled)).await;
    installation.synced("own", &first).await;
    let value = async |name: &str| installation.cluster.must_get(CONFIG_MAP, &target, name).await["data"].clone();
    assert_eq!(value("lib").await, json!({"value": "one"}));
    assert_eq!(value("leaf").await, json!({"value": "one"}), "a submodule of the submodule");
    let denied = ["submodule `vendor/far`", "mirror.corp.test, which is not allowed", "submodules.allowedHosts"];
    fails(&installation, "far", "SubmoduleFailed", &denied).await;
    assert!(proxy_requests(&proxy).iter().all(|request| request.host() != "mirror.corp.test"));

    // Allowed: reached by the access of its own host, to which the password of the other is not shown.
    let git = git_mark();
    let stranger = repository("mirror", ("urlPrefix", MIRROR), &json!({"credentialsSecretRef": null}));
    installation.apply(stranger).await;
    let allowed = json!({"submodules": {"enabled": true, "allowedHosts": ["mirror.corp.test"]}});
    installation.apply(repository("app", ("url", &app.url), &allowed)).await;
    fails(&installation, "far", "AuthFailed", &["submodule `vendor/far`", "wants credentials (401)"]).await;
    assert_eq!(git_requests(&git, &lib.path).len(), 1, "one attempt, however often it is looked at");
    installation.apply(repository("mirror", ("urlPrefix", MIRROR), &json!({}))).await;
    installation.refresh("far").await;
    installation.synced("far", &first).await;

    // A new commit of the submodule arrives with the commit that names it; one beside it costs no fetch of it.
    let changed = lib.commit([("base/cm.yaml", file(config_map("lib", "two")))]);
    let beside = app.commit([("plain/cm.yaml", file(config_map("plain", "two")))]);
    let git = git_mark();
    installation.refresh("own").await;
    assert_eq!(value("lib").await, json!({"value": "one"}), "{beside} names the old one");
    assert_eq!(git_requests(&git, &lib.path).len(), 0);
    let moved = app.commit([("vendor/own", Change::Submodule(changed))]);
    installation.follow("own", &moved).await;
    assert_eq!(value("lib").await, json!({"value": "two"}));
    installation.finish().await;
}

#[tokio::test]
async fn airgap_30_an_lfs_pointer_is_never_applied_and_its_content_comes_through_the_proxy_once_lfs_is_on() {
    let _alone = alone_at_the_proxy().await;
    let installation = Installation::start("lfs").await;
    let target = installation.target("t").await;
    let app = installation.repository("app");
    let pointer = app.keep_lfs(&config_map("big", "one"));
    let first = app.commit([("app/big.yaml", pointer), ("app/small.yaml", file(config_map("small", "one")))]);
    app.lfs_downloads_at("mirror.corp.test");
    let audit = installation.audit();
    let proxy = proxy_mark();
    installation.declare(Application::named("app", &app.url, "app", &target)).await;
    let off = ["app/big.yaml", "git LFS pointer", "lfs.enabled: true"];
    fails(&installation, "app", "LfsFailed", &off).await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    assert!(proxy_requests(&proxy).iter().all(|request| request.host() != "mirror.corp.test"));

    let git = git_mark();
    installation.apply(repository("app", ("url", &app.url), &json!({"lfs": {"enabled": true}}))).await;
    installation.synced("app", &first).await;
    let value = async |name: &str| installation.cluster.must_get(CONFIG_MAP, &target, name).await["data"].clone();
    assert_eq!(value("big").await, json!({"value": "one"}));
    assert_eq!(value("small").await, json!({"value": "one"}));
    let asked = |requests: &[crate::support::journals::GitRequest]| {
        let lfs = requests.iter().filter(|request| request.path.contains("/info/lfs/"));
        lfs.map(|request| request.path.contains("/media/")).collect::<Vec<_>>()
    };
    assert_eq!(asked(&git_requests(&git, &app.path)), [false, true], "one question, one download");

    // What is there is not fetched again; a content that the server does not have is named.
    let git = git_mark();
    let second = app.commit([("app/small.yaml", file(config_map("small", "two")))]);
    installation.refresh("app").await;
    installation.follow("app", &second).await;
    assert_eq!(asked(&git_requests(&git, &app.path)), Vec::<bool>::new());
    let missing = "version https://git-lfs.github.com/spec/v1\n\
                   oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 7\n";
    app.commit([("app/big.yaml", file(missing))]);
    installation.refresh("app").await;
    fails(&installation, "app", "LfsFailed", &["`app/big.yaml`", "Object does not exist on the server"]).await;
    assert_eq!(value("big").await, json!({"value": "one"}), "what runs stays");
    let bed = Testbed::shared();
    let log = installation.operator.logs();
    assert!(!log.contains(&bed.git_password), "no password in the log");
    installation.finish().await;
}

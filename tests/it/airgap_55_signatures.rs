//! What is not signed as the project demands is not deployed; what was verified before stays in force.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::cluster::CONFIG_MAP;
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::config_map;
use crate::support::testbed::run;

/// A pair of SSH keys.
struct Key {
    home: TempDir,
}

impl Key {
    fn new(principal: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", principal, "-f"])
            .arg(home.path().join("key")));
        Self { home }
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("key")
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.home.path().join("key.pub")).expect("ssh-keygen writes the public key")
    }
}

/// The keys that count from now on.
async fn trust(installation: &Installation, keys: &[&Key]) {
    let all: String = keys.iter().map(|key| key.public()).collect();
    installation
        .apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tidelock-ssh-signers-cm"},
            "data": {"team": format!("# people\n{all}")},
        }))
        .await;
}

async fn demand(installation: &Installation, signers: &[&str]) {
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": "signed"},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "*"}],
                "sourceIntegrity": {"git": {"policies": [{"repos": [{"url": "*"}], "ssh": {"signers": signers}}]}},
            },
        }))
        .await;
}

fn value(text: &str) -> [(&'static str, Change); 1] {
    [("app/one.yaml", file(config_map("one", text)))]
}

async fn refused(installation: &Installation, why: &str) -> Value {
    installation
        .wait_application("app", &format!("is refused: {why}"), |object| {
            ready_reason(object) == "SignatureInvalid" && ready_message(object).contains(why)
        })
        .await
}

async fn deployed(installation: &Installation, target: &str) -> Value {
    installation.cluster.must_get(CONFIG_MAP, target, "one").await["data"]["value"].clone()
}

async fn start(name: &str, ada: &Key) -> (Installation, String) {
    let installation = Installation::start(name).await;
    let target = installation.target("t").await;
    trust(&installation, &[ada]).await;
    demand(&installation, &["ada@*"]).await;
    (installation, target)
}

#[tokio::test]
async fn airgap_55_an_unsigned_commit_is_refused_and_the_last_verified_one_stays_in_force_over_a_restart() {
    let (ada, bob) = (Key::new("ada@corp.test"), Key::new("bob@corp.test"));
    let (mut installation, target) = start("signed", &ada).await;
    let repository = installation.repository("signed");
    let first = repository.commit_signed(&ada.path(), value("first"));
    let application = Application::named("app", &repository.url, "app", &target).spec("project", json!("signed"));
    installation.declare(application).await;
    installation.synced("app", &first).await;

    repository.commit(value("unsigned"));
    installation.refresh("app").await;
    let object = refused(&installation, "is not signed").await;
    assert_eq!(object["status"]["sync"]["revision"], first.as_str());
    assert!(ready_message(&object).contains("last good revision"), "{}", ready_message(&object));
    // What was verified is still enforced, also by a process that never saw anything else.
    let drift = json!({"data": {"value": "by hand"}});
    let healed = async |installation: &Installation| {
        installation.cluster.merge(CONFIG_MAP, &target, "one", drift.clone()).await;
        installation
            .wait("the drift is healed", async || match deployed(installation, &target).await {
                found if found == "first" => Ok(()),
                found => Err(found.to_string()),
            })
            .await;
    };
    healed(&installation).await;
    installation.operator.kill9();
    installation.operator.start().await;
    healed(&installation).await;
    let object = refused(&installation, "is not signed").await;
    assert_eq!(object["status"]["sync"]["revision"], first.as_str());

    repository.commit_signed(&bob.path(), value("bob"));
    installation.refresh("app").await;
    refused(&installation, "which is not known").await;
    trust(&installation, &[&ada, &bob]).await;
    refused(&installation, "(bob@corp.test), which is not allowed; to allow it, add bob@corp.test").await;
    assert_eq!(deployed(&installation, &target).await, "first");
    let signed = repository.commit_signed(&ada.path(), value("second"));
    installation.follow("app", &signed).await;
    assert_eq!(deployed(&installation, &target).await, "second");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_55_a_key_that_is_taken_out_of_the_config_map_counts_no_more_at_once() {
    let (ada, bob) = (Key::new("ada@corp.test"), Key::new("bob@corp.test"));
    let (installation, target) = start("revoked", &ada).await;
    let repository = installation.repository("revoked");
    let first = repository.commit_signed(&ada.path(), value("first"));
    let application = Application::named("app", &repository.url, "app", &target).spec("project", json!("signed"));
    installation.declare(application).await;
    installation.synced("app", &first).await;

    trust(&installation, &[&bob]).await;
    refused(&installation, "none of the signers that the project allows (ada@*) is in the ConfigMap").await;
    assert_eq!(deployed(&installation, &target).await, "first", "nothing is deleted");
    let second = repository.commit_signed(&ada.path(), value("second"));
    installation.refresh("app").await;
    refused(&installation, "none of the signers").await;
    assert_eq!(deployed(&installation, &target).await, "first");
    trust(&installation, &[&ada]).await;
    installation.synced("app", &second).await;
    installation.finish().await;
}

#[tokio::test]
async fn airgap_55_a_signed_tag_is_deployed_although_its_commit_is_not_signed() {
    let ada = Key::new("ada@corp.test");
    let (installation, target) = start("tagged", &ada).await;
    let repository = installation.repository("tagged");
    let first = repository.commit(value("first"));
    repository.tag_signed(&ada.path(), "v1.0.0", &first);
    let application = Application::named("app", &repository.url, "app", &target).at("v1.0.0");
    installation.declare(application.spec("project", json!("signed"))).await;
    installation.synced("app", &first).await;
    // The tag is moved to another commit by somebody who can't sign.
    let second = repository.commit(value("second"));
    repository.tag("v1.0.0", &second);
    installation.refresh("app").await;
    refused(&installation, "is not signed").await;
    assert_eq!(deployed(&installation, &target).await, "first");
    installation.finish().await;
}

//! A mirror that no longer moves looks like one that has nothing new, until `maxAge` says how old its tip may be.

use serde_json::{Value, json};

use crate::support::application::{Application, condition, ready_reason, sync_state};
use crate::support::cluster::{APPLICATION, Kind, REPOSITORY};
use crate::support::git::file;
use crate::support::git_faults;
use crate::support::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY};
use crate::support::manifests::config_map;

/// Commits of the tests are dated 2025-06-15.
const MADE: &str = "2025-06-15T15:06:40Z";

fn repository(url: &str, max_age: Option<&str>) -> Value {
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "mirror"},
        "spec": {
            "url": url,
            "credentialsSecretRef": {"name": GIT_CREDENTIALS},
            "caSecretRef": {"name": GIT_CA},
            "egress": {"proxyRef": {"name": PROXY}},
            "maxAge": max_age,
        },
    })
}

/// Waits until both objects say the same of `Stale`: its status and reason, or nothing.
async fn both_say(installation: &Installation, wanted: Option<(&str, &str)>, says: &str) -> String {
    let mut message = String::new();
    let objects: [(Kind, &str); 2] = [(REPOSITORY, "mirror"), (APPLICATION, "app")];
    for (kind, name) in objects {
        message = installation
            .wait(&format!("{name}: Stale is {wanted:?} and says {says}"), async || {
                let object = installation.cluster.must_get(kind, &installation.namespace, name).await;
                let found = condition(&object, "Stale");
                let is = found.map(|found| (found["status"].as_str().unwrap(), found["reason"].as_str().unwrap()));
                let message = found.map(|found| found["message"].as_str().unwrap()).unwrap_or_default();
                if is == wanted && message.contains(says) { Ok(message.to_owned()) } else { Err(format!("{found:?}")) }
            })
            .await;
    }
    message
}

#[tokio::test]
async fn airgap_57_a_tip_older_than_max_age_raises_stale_and_syncing_goes_on() {
    let installation = Installation::start("stale").await;
    let target = installation.target("t").await;
    let git = installation.repository("stale");
    let commit = git.commit([("app/one.yaml", file(config_map("one", "1")))]);
    installation.apply(repository(&git.url, Some("720h"))).await;
    installation.declare(Application::named("app", &git.url, "app", &target).polled_every("2s").retrying_soon()).await;
    let object = installation.synced("app", &commit).await;
    assert_eq!((sync_state(&object), ready_reason(&object)), ("Synced", "Succeeded"));
    let message = both_say(&installation, Some(("True", "Stale")), "the source answers and has nothing newer").await;
    for part in [&commit[..7], MADE, "maxAge 30 days", "main of https://"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let metrics = installation.operator.metrics().0;
    let tip = metrics.lines().find(|line| line.starts_with("tidelock_repository_tip_timestamp_seconds{"));
    assert!(tip.is_some_and(|line| line.ends_with(" 1750000000")), "{tip:?}");

    // The source falls silent: since when is said, and the condition stays.
    git_faults::set(&git.path, "down");
    both_say(&installation, Some(("True", "Stale")), "the source was last reached at 20").await;
    git_faults::clear(&git.path);
    both_say(&installation, Some(("True", "Stale")), "the source answers").await;

    // A commit is followed however old its date is.
    let next = git.commit([("app/one.yaml", file(config_map("one", "2")))]);
    installation.follow("app", &next).await;
    both_say(&installation, Some(("True", "Stale")), &next[..7]).await;

    installation.apply(repository(&git.url, Some("876000h"))).await;
    both_say(&installation, Some(("False", "Fresh")), "as young as maxAge wants it").await;
    installation.apply(repository(&git.url, None)).await;
    both_say(&installation, None, "").await;
    installation.finish().await;
}

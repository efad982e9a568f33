//! A webhook makes a poll sooner, and nothing else does anything.

use std::process::Command;
use std::time::Instant;

use ring::hmac;
use serde_json::json;

use crate::support::application::Application;
use crate::support::git::file;
use crate::support::installation::Installation;
use crate::support::journals::{Mark, git_mark, git_requests};
use crate::support::manifests::config_map;
use crate::support::operator::Operator;

/// Sends a push of GitHub's shape; the status of the answer.
fn push(address: &str, secret: &str, delivery: &str, url: &str) -> u16 {
    let body = json!({"ref": "refs/heads/main", "repository": {"clone_url": url}}).to_string();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
    let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"])
        .args(["-H", "Content-Type: application/json", "-H", "X-GitHub-Event: push"])
        .args(["-H", &format!("X-GitHub-Delivery: {delivery}"), "-H", &format!("X-Hub-Signature-256: sha256={digits}")])
        .args(["--data-binary", &body, &format!("http://{address}/api/webhook")])
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).parse().unwrap_or(0)
}

fn polls(mark: &Mark, path: &str) -> usize {
    git_requests(mark, path).iter().filter(|request| request.command == "ls-refs").count()
}

#[tokio::test]
async fn a_push_is_followed_at_once_by_one_poll_and_what_is_not_proved_makes_none() {
    let mut installation = Installation::prepare("hooks").await;
    installation.apply_access().await;
    let secret = |value: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tidelock-webhook"},
            "stringData": {"webhook.github.secret": value},
        })
    };
    installation.apply(secret("canary-one")).await;
    let address = Operator::another_address();
    installation.operator.add_arguments(&["--webhook-listen", &address]);
    installation.operator.start().await;
    let target = installation.target("a").await;
    let repository = installation.repository("shop");
    let first = repository.commit([("app/cm.yaml", file(config_map("main", "first")))]);
    installation.declare(Application::named("a", &repository.url, "app", &target)).await;
    installation.healthy("a", &first).await;

    let mark = git_mark();
    let second = repository.commit([("app/cm.yaml", file(config_map("main", "second")))]);
    for index in 0..5 {
        assert_eq!(push(&address, "wrong", &format!("wrong-{index}"), &repository.url), 401);
    }
    assert_eq!(push(&address, "canary-one", "elsewhere", "https://git.corp.test/nobody/knows.git"), 202);
    assert_eq!(push(&address, "canary-one", "one", &repository.url), 202);
    // Its next poll by itself is ten minutes away.
    installation.healthy("a", &second).await;
    assert_eq!(polls(&mark, &repository.path), 1, "one poll, of the push that was proved");
    assert_eq!(push(&address, "canary-one", "one", &repository.url), 202);

    // As many as come, polls keep their distance.
    let (mark, start) = (git_mark(), Instant::now());
    let third = repository.commit([("app/cm.yaml", file(config_map("main", "third")))]);
    for index in 0..30 {
        assert_eq!(push(&address, "canary-one", &format!("burst-{index}"), &repository.url), 202);
    }
    installation.healthy("a", &third).await;
    let most = 2 + usize::try_from(start.elapsed().as_secs()).expect("a short test");
    let made = polls(&mark, &repository.path);
    assert!((1..=most).contains(&made), "{made} polls for 30 webhooks, at most {most}");

    // Another secret counts at once, and the former one no more.
    installation.apply(secret("canary-two")).await;
    let fourth = repository.commit([("app/cm.yaml", file(config_map("main", "fourth")))]);
    installation
        .wait("the new secret counts", async || match push(&address, "canary-two", "rotated", &repository.url) {
            202 => Ok(()),
            status => Err(format!("status {status}")),
        })
        .await;
    installation.healthy("a", &fourth).await;
    assert_eq!(push(&address, "canary-one", "old", &repository.url), 401);
    let counted = |outcome: &str| {
        let labels = ["vendor=\"github\"".to_owned(), format!("outcome=\"{outcome}\"")];
        installation.operator.metrics().sum("tidelock_webhook_requests_total", &[&labels[0], &labels[1]])
    };
    assert!((counted("accepted") - 32.0).abs() < 0.5, "{}", counted("accepted"));
    assert!((counted("ignored") - 1.0).abs() < 0.5);
    assert!((counted("replayed") - 1.0).abs() < 0.5);
    assert!(counted("unauthorized") >= 6.0);
    assert!(!installation.operator.logs().contains("canary"), "no secret in the log");
    installation.finish().await;
}

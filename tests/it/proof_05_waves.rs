//! A wave is written when the wave before it is healthy, and not earlier.

use serde_json::Value;

use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::audit::lines;
use crate::support::cluster::{CONFIG_MAP, DEPLOYMENT};
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::{Deployment, config_map_in_wave};

#[tokio::test]
async fn each_wave_is_written_only_after_the_wave_before_it_is_healthy() {
    let installation = Installation::start("waves").await;
    let target = installation.target("t").await;
    let repository = installation.repository("waves");
    let mut changes: Vec<(String, Change)> = Vec::new();
    for wave in 0..3 {
        let deployment = Deployment::named(&format!("tier-{wave}")).wave(wave).env("READY_DELAY", "1.5");
        changes.push((format!("app/tier-{wave}.yaml"), file(deployment.yaml())));
        changes.push((
            format!("app/settings-{wave}.yaml"),
            file(config_map_in_wave(&format!("settings-{wave}"), "1", wave)),
        ));
    }
    let commit = repository.commit(changes);
    let audit = installation.audit();
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    installation.healthy("app", &commit).await;

    let writes = audit.writes_in(&target);
    for wave in 0..2 {
        let deployment = installation.cluster.must_get(DEPLOYMENT, &target, &format!("tier-{wave}")).await;
        let available = available_since(&deployment);
        let later: Vec<_> = writes.iter().filter(|write| write.name.ends_with(&format!("-{}", wave + 1))).collect();
        assert_eq!(later.len(), 2, "one write for each object of wave {}: {:?}", wave + 1, lines(&writes));
        for write in later {
            // RFC 3339 in UTC sorts as text; the condition's time is cut to whole seconds.
            assert!(
                write.received.as_str() >= available.trim_end_matches('Z'),
                "{} was written at {}, before tier-{wave} became available at {available}",
                write.name,
                write.received
            );
        }
    }
    installation.finish().await;
}

#[tokio::test]
async fn a_wave_that_never_becomes_healthy_names_what_is_missing_and_a_fixing_commit_gets_through() {
    let installation = Installation::start("stuck").await;
    let target = installation.target("t").await;
    let repository = installation.repository("stuck");
    let broken = repository.commit([
        ("app/db.yaml", file(Deployment::named("db").env("NOT_READY", "1").yaml())),
        ("app/web.yaml", file(Deployment::named("web").wave(1).yaml())),
        ("app/settings.yaml", file(config_map_in_wave("settings", "1", 1))),
    ]);
    let audit = installation.audit();
    installation.declare(Application::named("app", &repository.url, "app", &target)).await;
    let object = installation
        .wait_application("app", "waits for the Deployment of wave 0, whose pod runs and is not ready", |object| {
            ready_reason(object) == "WaitingForHealth" && object["status"]["sync"]["revision"] == broken.as_str()
        })
        .await;
    let message = ready_message(&object);
    assert!(message.contains("Deployment") && message.contains("db"), "the object: {message}");
    let waiting = &object["status"]["waitingOn"];
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting:#}");
    assert_eq!(waiting[0]["object"], format!("apps/Deployment/{target}/db"));
    assert_eq!(waiting[0]["condition"], "healthy");
    assert!(!waiting[0]["message"].as_str().unwrap_or_default().is_empty(), "what is missing: {waiting:#}");
    assert_eq!(object["status"]["operationState"]["phase"], "Running");

    // Another poll at the same commit must not talk it into going on.
    installation.refresh("app").await;
    assert_eq!(lines(&audit.writes_in(&target)), [format!("patch deployments {target}/db")]);
    assert_eq!(installation.cluster.get(CONFIG_MAP, &target, "settings").await, None);

    let fixed = repository.commit([("app/db.yaml", file(Deployment::named("db").yaml()))]);
    installation.follow("app", &fixed).await;
    let object = installation.healthy("app", &fixed).await;
    assert_eq!(ready_reason(&object), "Succeeded");
    let db = installation.cluster.must_get(DEPLOYMENT, &target, "db").await;
    let available = available_since(&db);
    for write in audit.writes_in(&target).iter().filter(|write| write.name != "db") {
        assert!(write.received.as_str() >= available.trim_end_matches('Z'), "{write:?} before {available}");
    }
    installation.finish().await;
}

fn available_since(deployment: &Value) -> &str {
    let conditions = deployment["status"]["conditions"].as_array().expect("a Deployment that was rolled out");
    let available =
        conditions.iter().find(|condition| condition["type"] == "Available").expect("the condition Available");
    assert_eq!(available["status"], "True");
    available["lastTransitionTime"].as_str().expect("a time")
}

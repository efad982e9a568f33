//! Many Applications of one repository cost git one question.

use std::time::Duration;

use futures::StreamExt as _;

use crate::support::application::Application;
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, name_of};
use crate::support::git::{Change, file};
use crate::support::installation::{CORP, Installation, is_synced};
use crate::support::journals::{git_mark, git_requests};
use crate::support::manifests::config_map;

const APPLICATIONS: usize = 200;
const OBJECTS: usize = 5;
/// A thousand objects on a small machine that runs other tests too.
const ROLLOUT: Duration = Duration::from_secs(240);

#[tokio::test]
async fn two_hundred_applications_of_one_repository_ask_git_once_per_poll() {
    let installation = Installation::start("scale").await;
    let target = installation.target("t").await;
    let repository = installation.repository("mono");
    let mut changes: Vec<(String, Change)> = Vec::new();
    for application in 0..APPLICATIONS {
        for object in 0..OBJECTS {
            let name = format!("cm-{application}-{object}");
            changes.push((format!("apps/{application}/{name}.yaml"), file(config_map(&name, "1"))));
        }
    }
    let first = repository.commit(changes);
    let git = git_mark();
    futures::stream::iter(0..APPLICATIONS)
        .for_each_concurrent(16, |index| {
            let application =
                Application::named(&format!("app-{index}"), &repository.url, &format!("apps/{index}"), &target);
            installation.declare(application.polled_every("5m"))
        })
        .await;
    all_synced_but(&installation, &first, "").await;
    assert_eq!(
        installation
            .cluster
            .list(CONFIG_MAP, &target)
            .await
            .iter()
            .filter(|object| name_of(object).starts_with("cm-"))
            .count(),
        APPLICATIONS * OBJECTS
    );
    let (questions, fetches) = asked(&git, &repository.path);
    assert!((1..=3).contains(&questions), "ls-refs while 200 Applications came: {questions}");
    assert_eq!(fetches, 1, "fetches while 200 Applications came");

    let (git, audit) = (git_mark(), installation.audit());
    let second = repository.commit([("apps/77/cm-77-3.yaml", file(config_map("cm-77-3", "2")))]);
    installation.ask_refresh(APPLICATION, "app-77").await;
    installation.synced("app-77", &second).await;
    installation.refresh("app-78").await;
    all_synced_but(&installation, &first, "app-77").await;
    let (questions, fetches) = asked(&git, &repository.path);
    assert!((1..=2).contains(&questions), "ls-refs for two requested polls: {questions}");
    assert_eq!(fetches, 1, "fetches of one commit");
    assert_eq!(lines(&audit.writes_in(&target)), [format!("patch configmaps {target}/cm-77-3")]);

    // By the interval, too, they ask together. An unchanged repository is asked for refs and nothing else.
    for index in 0..APPLICATIONS {
        let patch = serde_json::json!({"spec": {"pollInterval": "4s"}});
        installation.cluster.merge(APPLICATION, &installation.namespace, &format!("app-{index}"), patch).await;
    }
    installation.refresh_repository(CORP).await;
    let git = git_mark();
    let times = installation
        .wait("git was polled five times", async || {
            let times: Vec<String> = git_requests(&git, &repository.path)
                .into_iter()
                .filter(|request| request.command == "ls-refs")
                .map(|request| request.time)
                .collect();
            if times.len() >= 5 { Ok(times) } else { Err(format!("{times:?}")) }
        })
        .await;
    for pair in times.windows(2) {
        let [earlier, later] =
            [&pair[0], &pair[1]].map(|time| time.parse::<jiff::Timestamp>().expect("a time in git's log"));
        let pause = later.duration_since(earlier).as_secs_f64();
        assert!(pause >= 2.5, "two polls of one repository within {pause:.1} s at an interval of 4 s: {times:?}");
    }
    assert_eq!(asked(&git, &repository.path).1, 0, "fetches although nothing changed");
    installation.finish().await;
}

/// Waits until every Application but one is Synced at a revision.
async fn all_synced_but(installation: &Installation, revision: &str, other: &str) {
    installation
        .wait_for(ROLLOUT, &format!("all Applications are Synced at {revision}"), async || {
            let applications = installation.cluster.list(APPLICATION, &installation.namespace).await;
            let missing: Vec<&str> = applications
                .iter()
                .filter(|object| name_of(object) != other && !is_synced(object, revision))
                .map(name_of)
                .collect();
            if applications.len() == APPLICATIONS && missing.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            Err(format!("{} of {APPLICATIONS} are not: {missing:?}", missing.len()))
        })
        .await;
}

/// How often git was asked for refs and for objects.
fn asked(mark: &crate::support::journals::Mark, path: &str) -> (usize, usize) {
    let requests = git_requests(mark, path);
    let count = |command: &str| requests.iter().filter(|request| request.command == command).count();
    (count("ls-refs"), count("fetch"))
}

//! A commit costs what it changes, and nothing more.

use crate::support::application::Application;
use crate::support::audit::{lines, sorted};
use crate::support::cluster::CONFIG_MAP;
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::journals::{git_mark, git_requests};
use crate::support::manifests::config_map;

#[tokio::test]
async fn a_commit_writes_only_the_objects_it_changes_and_renders_only_the_applications_it_touches() {
    let installation = Installation::start("least").await;
    let target = installation.target("a").await;
    let other = installation.target("b").await;
    let repository = installation.repository("mono");
    let mut changes: Vec<(String, Change)> = Vec::new();
    for index in 0..8 {
        changes.push((format!("a/cm-{index}.yaml"), file(config_map(&format!("cm-{index}"), "first"))));
        changes.push((format!("b/cm-{index}.yaml"), file(config_map(&format!("cm-{index}"), "first"))));
    }
    let first = repository.commit(changes);
    installation.declare(Application::named("a", &repository.url, "a", &target)).await;
    installation.declare(Application::named("b", &repository.url, "b", &other)).await;
    installation.healthy("a", &first).await;
    installation.healthy("b", &first).await;
    let renders = || installation.operator.metrics().sum("tidelock_renders_total", &["result=\"done\""]);

    let (audit, renders_before) = (installation.audit(), renders());
    let second = repository.commit([
        ("a/cm-3.yaml", file(config_map("cm-3", "second"))),
        ("a/cm-8.yaml", file(config_map("cm-8", "second"))),
        // Other bytes, the same object.
        ("a/cm-5.yaml", file(format!("# a comment\n{}", config_map("cm-5", "first")))),
    ]);
    installation.follow("a", &second).await;
    installation.refresh("b").await;
    let changed = installation.cluster.must_get(CONFIG_MAP, &target, "cm-3").await;
    assert_eq!(changed["data"]["value"], "second");
    assert_eq!(
        sorted(&audit.writes_in(&target)),
        [format!("patch configmaps {target}/cm-3"), format!("patch configmaps {target}/cm-8")]
    );
    assert_eq!(
        lines(&audit.writes_in(&other)),
        Vec::<String>::new(),
        "writes for the Application that was not touched"
    );
    assert!((renders() - renders_before - 1.0).abs() < 0.5, "one render, of the Application that was touched");

    let (audit, renders_before) = (installation.audit(), renders());
    let git = git_mark();
    let third = repository.commit([("docs/notes.md", file("nothing for the cluster\n"))]);
    installation.refresh("a").await;
    installation.refresh("b").await;
    assert!(
        git_requests(&git, &repository.path).iter().any(|request| request.command == "fetch"),
        "{third} was not fetched"
    );
    assert!((renders() - renders_before).abs() < 0.5, "no render for a commit that touches no Application");
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    assert_eq!(lines(&audit.writes_in(&other)), Vec::<String>::new());
    installation.finish().await;
}

#[tokio::test]
async fn branch_tag_commit_and_head_are_followed() {
    let installation = Installation::start("refs").await;
    let repository = installation.repository("refs");
    let first = repository.commit([("app/cm.yaml", file(config_map("main", "first")))]);
    repository.tag("v1", &first);
    let branch = repository.commit_to("feature/new", [("app/cm.yaml", file(config_map("main", "branch")))]);
    let second = repository.commit([("app/cm.yaml", file(config_map("main", "second")))]);
    let cases = [
        ("head", "HEAD", &second, "second"),
        ("branch", "feature/new", &branch, "branch"),
        ("tag", "v1", &first, "first"),
        ("commit", first.as_str(), &first, "first"),
    ];
    for (name, revision, ..) in cases {
        let target = installation.target(name).await;
        installation.declare(Application::named(name, &repository.url, "app", &target).at(revision)).await;
    }
    for (name, _, wanted, value) in cases {
        installation.synced(name, wanted).await;
        let object =
            installation.cluster.must_get(CONFIG_MAP, &format!("{}-{name}", installation.namespace), "main").await;
        assert_eq!(object["data"]["value"], value, "{name}");
    }
    installation.finish().await;
}

//! Several sources make one Application: a chart by a range of versions, its values from another repository, and one
//! repository at two revisions.

use serde_json::{Value, json};

use crate::support::application::{Application, condition, ready_message, ready_reason};
use crate::support::audit::{lines, sorted};
use crate::support::cluster::CONFIG_MAP;
use crate::support::git::{Change, GitRepository, file};
use crate::support::installation::Installation;
use crate::support::journals::{git_mark, git_requests};
use crate::support::manifests::config_map;

const TEMPLATE: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\n  \
                        template: first\n  size: {{ .Values.size | quote }}\n  tag: {{ .Values.tag | quote }}\n";

fn chart(template: &str) -> [(&'static str, Change); 3] {
    [
        ("charts/web/Chart.yaml", file("apiVersion: v2\nname: web\nversion: 1.0.0\n")),
        ("charts/web/values.yaml", file("size: none\ntag: none\n")),
        ("charts/web/templates/cm.yaml", file(template)),
    ]
}

fn sources(platform: &GitRepository, environments: &GitRepository) -> Value {
    json!([
        {
            "repoURL": platform.url, "path": "charts/web", "targetRevision": "1.x", "tagPrefix": "web/",
            "helm": {
                "valueFiles": ["$env/$ARGOCD_APP_NAME/*.yaml"],
                "parameters": [{"name": "tag", "value": "$ARGOCD_APP_SOURCE_TARGET_REVISION"}],
            },
        },
        {"repoURL": environments.url, "targetRevision": "main", "path": "extra", "ref": "env", "name": "environments"},
        {"repoURL": platform.url, "targetRevision": "main", "path": "shared"},
    ])
}

fn revisions(object: &Value) -> Vec<&str> {
    let all = object["status"]["sync"]["revisions"].as_array();
    all.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn a_chart_its_values_and_one_repository_at_two_revisions_are_one_application() {
    let installation = Installation::start("sources").await;
    let target = installation.target("t").await;
    let (platform, environments) = (installation.repository("platform"), installation.repository("environments"));
    let tagged = platform.commit(chart(TEMPLATE));
    platform.tag("web/1.0.0", &tagged);
    platform.tag("other/9.0.0", &tagged);
    let newest = platform.commit([
        ("charts/web/templates/cm.yaml", file(TEMPLATE.replace("first", "unreleased"))),
        ("shared/shared.yaml", file(config_map("shared", "platform"))),
        ("shared/both.yaml", file(config_map("both", "platform"))),
    ]);
    let values = environments.commit([
        ("web/a.yaml", file("size: small\n")),
        ("web/b.yaml", file("size: large\n")),
        ("extra/both.yaml", file(config_map("both", "environments"))),
        ("extra/extra.yaml", file(config_map("extra", "environments"))),
    ]);
    let application = Application::named("web", &platform.url, "", &target);
    installation.declare(application.sources(sources(&platform, &environments))).await;

    let object = installation.synced("web", &tagged).await;
    assert_eq!(revisions(&object), [&tagged, &values, &newest]);
    assert!(ready_message(&object).contains("(web/1.0.0)"), "{}", ready_message(&object));
    let data = async |name: &str| installation.cluster.must_get(CONFIG_MAP, &target, name).await["data"].clone();
    assert_eq!(data("web").await, json!({"template": "first", "size": "large", "tag": "1.x"}));
    assert_eq!(data("shared").await["value"], "platform");
    assert_eq!(data("extra").await["value"], "environments");
    assert_eq!(data("both").await["value"], "platform", "the later source wins");
    let warning = condition(&object, "Warning").map(|condition| condition["message"].to_string()).unwrap_or_default();
    assert!(
        warning.contains("sources[2]:shared/both.yaml:1 is used")
            && warning.contains("sources[1] (environments):extra/both.yaml:1 is not"),
        "{warning}"
    );

    // One poll for both of a repository's revisions; a change of the values alone changes the chart's object alone.
    let (audit, git) = (installation.audit(), git_mark());
    let changed = environments.commit([("web/b.yaml", file("size: huge\n"))]);
    installation.refresh("web").await;
    let object = installation
        .wait_application("web", "has the new values", |object| revisions(object) == [&tagged, &changed, &newest])
        .await;
    assert_eq!(object["status"]["sync"]["revision"], tagged);
    assert_eq!(data("web").await["size"], "huge");
    assert_eq!(sorted(&audit.writes_in(&target)), [format!("patch configmaps {target}/web")]);
    let requests = git_requests(&git, &platform.path);
    assert_eq!(requests.iter().filter(|request| request.command == "ls-refs").count(), 1, "{requests:?}");

    // The next version is followed, whatever else is tagged.
    platform.tag("web/2.0.0", &newest);
    platform.tag("web/1.2.0-rc.1", &newest);
    let audit = installation.audit();
    installation.refresh("web").await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new(), "neither a 2 nor a pre-release is in 1.x");
    platform.tag("web/1.1.0", &newest);
    let object = installation.follow("web", &newest).await;
    assert_eq!(revisions(&object), [&newest, &changed, &newest]);
    assert_eq!(data("web").await["template"], "unreleased");

    // A fault of one source names it, and nothing is written or deleted.
    let audit = installation.audit();
    environments.commit([("web/a.yaml", Change::Gone), ("web/b.yaml", Change::Gone)]);
    installation.refresh("web").await;
    let object = installation.wait_application("web", "fails", |object| ready_reason(object) == "PathNotFound").await;
    let message = ready_message(&object);
    assert!(message.contains("sources[0]: ") && message.contains("$env/$ARGOCD_APP_NAME/*.yaml"), "{message}");
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    installation.finish().await;
}

#[tokio::test]
async fn a_commit_that_the_server_does_not_have_stops_only_who_wants_it() {
    let installation = Installation::start("nocommit").await;
    let target = installation.target("t").await;
    let repository = installation.repository("nocommit");
    let first = repository.commit([("app/cm.yaml", file(config_map("main", "first")))]);
    let absent = "0123456789abcdef0123456789abcdef01234567";
    installation.declare(Application::named("bad", &repository.url, "app", &target).at(absent)).await;
    installation.wait_application("bad", "fails", |object| ready_reason(object) == "RefNotFound").await;
    installation.declare(Application::named("good", &repository.url, "app", &target)).await;
    installation.synced("good", &first).await;
    let second = repository.commit([("app/cm.yaml", file(config_map("main", "second")))]);
    installation.follow("good", &second).await;
    assert_eq!(ready_reason(&installation.application("bad").await), "RefNotFound");
    installation.finish().await;
}

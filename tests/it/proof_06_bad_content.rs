//! Bad input from git: each case has its own reason and a message that leads to the mistake, and changes nothing.

use serde_json::json;

use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::audit::{lines, sorted};
use crate::support::cluster::{APPLICATION, CONFIG_MAP, Kind, name_of};
use crate::support::git::{Change, file};
use crate::support::installation::Installation;
use crate::support::manifests::config_map;

const ADMISSION_POLICY: Kind = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
const ADMISSION_BINDING: Kind = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding");
const POLICY_MESSAGE: &str = "nobody brings a ConfigMap called refused past the audit department";

/// One mistake in one folder.
struct Case {
    /// Folder, and name of the Application.
    name: &'static str,
    /// Files of the good state besides `keeper.yaml` and `victim.yaml`, relative to the folder.
    good: Vec<(&'static str, Change)>,
    /// What the bad commit does besides changing the keeper and removing the victim.
    bad: Vec<(&'static str, Change)>,
    /// Reason that the Application must show.
    reason: &'static str,
    /// What its message must contain.
    message: &'static [&'static str],
}

fn cases() -> Vec<Case> {
    let case = |name, bad, reason, message| Case { name, good: Vec::new(), bad, reason, message };
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    vec![
        case(
            "malformed",
            vec![(
                "broken.yaml",
                file("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: broken\ndata:\n\tkey: value\n"),
            )],
            "InvalidYaml",
            &["malformed/broken.yaml", "6"],
        ),
        case(
            "duplicate",
            vec![(
                "twice.yaml",
                file("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: twice\ndata:\n  port: one\n  port: two\n"),
            )],
            "DuplicateKey",
            &["duplicate/twice.yaml", "port", "7"],
        ),
        case(
            "unknown-kind",
            vec![("gizmo.yaml", file("apiVersion: example.com/v1\nkind: Gizmo\nmetadata:\n  name: g\n"))],
            "KindNotFound",
            &["Gizmo", "example.com", "unknown-kind/gizmo.yaml"],
        ),
        case(
            "admission",
            vec![("refused.yaml", file(config_map("refused", "1")))],
            "AdmissionDenied",
            &["refused", POLICY_MESSAGE],
        ),
        case("missing-path", vec![("keeper.yaml", Change::Gone)], "PathNotFound", &["missing-path"]),
        case(
            "empty",
            vec![("keeper.yaml", Change::Gone), ("README.md", file("nothing here\n"))],
            "EmptyRender",
            &["allowEmpty"],
        ),
        Case {
            name: "kustomize",
            good: vec![("kustomization.yaml", file("resources: [keeper.yaml, victim.yaml]\n"))],
            bad: vec![("kustomization.yaml", file("resources: [keeper.yaml, not-there.yaml]\n"))],
            reason: "KustomizeFailed",
            message: &["not-there.yaml"],
        },
        Case {
            name: "helm",
            good: vec![("Chart.yaml", file("apiVersion: v2\nname: helm\nversion: 1.0.0\n"))],
            bad: vec![("templates/bad.yaml", file("{{ required \"database.host must be set\" .Values.database }}\n"))],
            reason: "HelmFailed",
            message: &["database.host must be set", "templates/bad.yaml"],
        },
        case("bomb", vec![("bomb.yaml", file(bomb))], "YamlBudget", &["bomb/bomb.yaml"]),
        case(
            "symlink",
            vec![("passwd.yaml", Change::Link("../../../../../../etc/passwd".to_owned()))],
            "PathEscape",
            &["symlink/passwd.yaml"],
        ),
        case(
            "twice",
            vec![("a.yaml", file(config_map("same", "1"))), ("b.yaml", file(config_map("same", "2")))],
            "DuplicateResource",
            &["same", "twice/a.yaml", "twice/b.yaml"],
        ),
        case(
            "no-name",
            vec![("nameless.yaml", file("apiVersion: v1\nkind: ConfigMap\ndata: {}\n"))],
            "InvalidManifest",
            &["no-name/nameless.yaml", "name"],
        ),
    ]
}

/// Where a folder keeps its plain manifests.
fn manifests_of(case: &Case) -> String {
    if case.name == "helm" { format!("{}/templates", case.name) } else { case.name.to_owned() }
}

#[tokio::test]
async fn every_mistake_in_git_has_its_reason_and_neither_writes_nor_deletes() {
    let installation = Installation::start("content").await;
    let target = installation.target("t").await;
    refuse_by_policy(&installation, &target).await;
    let repository = installation.repository("content");
    let cases = cases();

    let mut good: Vec<(String, Change)> = Vec::new();
    for case in &cases {
        for role in ["keeper", "victim"] {
            good.push((
                format!("{}/{role}.yaml", manifests_of(case)),
                file(config_map(&format!("{}-{role}", case.name), "good")),
            ));
        }
        good.extend(case.good.iter().map(|(path, change)| (format!("{}/{path}", case.name), change.clone())));
    }
    let first = repository.commit(good.clone());
    for case in &cases {
        installation.declare(Application::named(case.name, &repository.url, case.name, &target).retrying_soon()).await;
    }
    for case in &cases {
        installation.healthy(case.name, &first).await;
    }

    let mut bad: Vec<(String, Change)> = Vec::new();
    let mut undo: Vec<(String, Change)> = Vec::new();
    for case in &cases {
        bad.push((
            format!("{}/keeper.yaml", manifests_of(case)),
            file(config_map(&format!("{}-keeper", case.name), "bad")),
        ));
        bad.push((format!("{}/victim.yaml", manifests_of(case)), Change::Gone));
        for (path, change) in &case.bad {
            bad.push((format!("{}/{path}", case.name), change.clone()));
            undo.push((format!("{}/{path}", case.name), Change::Gone));
        }
    }
    let audit = installation.audit();
    repository.commit(bad);
    for case in &cases {
        installation.ask_refresh(APPLICATION, case.name).await;
    }
    for case in &cases {
        expect_failure(&installation, case.name, case.reason, case.message).await;
    }
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new(), "writes because of bad input");
    assert_eq!(
        installation
            .cluster
            .list(CONFIG_MAP, &target)
            .await
            .iter()
            .filter(|object| object["data"]["value"] == "good")
            .count(),
        cases.len() * 2
    );

    undo.extend(good);
    for case in &cases {
        undo.push((
            format!("{}/keeper.yaml", manifests_of(case)),
            file(config_map(&format!("{}-keeper", case.name), "fixed")),
        ));
    }
    let fixed = repository.commit(undo);
    for case in &cases {
        installation.ask_refresh(APPLICATION, case.name).await;
    }
    for case in &cases {
        installation.healthy(case.name, &fixed).await;
    }
    let mut expected: Vec<String> =
        cases.iter().map(|case| format!("patch configmaps {target}/{}-keeper", case.name)).collect();
    expected.sort();
    assert_eq!(sorted(&audit.writes_in(&target)), expected, "the fix writes what it changes");
    installation.cluster.delete(ADMISSION_BINDING, "", &installation.namespace).await;
    installation.cluster.delete(ADMISSION_POLICY, "", &installation.namespace).await;
    installation.finish().await;
}

#[tokio::test]
async fn a_missing_ref_and_sixty_megabytes_of_yaml_are_refused() {
    let installation = Installation::start("size").await;
    let target = installation.target("t").await;
    let repository = installation.repository("size");
    let first = repository.commit([("app/keeper.yaml", file(config_map("keeper", "good")))]);
    installation.declare(Application::named("size", &repository.url, "app", &target)).await;
    installation.declare(Application::named("ref", &repository.url, "app", &target).at("release-7")).await;
    installation.healthy("size", &first).await;
    let audit = installation.audit();
    expect_failure(&installation, "ref", "RefNotFound", &["release-7"]).await;

    let one = config_map("filler", &"x".repeat(1000));
    let mut large = String::with_capacity(61 << 20);
    let mut index = 0;
    while large.len() < 60 << 20 {
        large.push_str("---\n");
        large.push_str(&one.replace("filler", &format!("filler-{index}")));
        index += 1;
    }
    repository.commit([("app/large.yaml", file(large)), ("app/keeper.yaml", file(config_map("keeper", "bad")))]);
    installation.ask_refresh(APPLICATION, "size").await;
    expect_failure(&installation, "size", "InputTooLarge", &["app/large.yaml", "limit"]).await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());

    let fixed =
        repository.commit([("app/large.yaml", Change::Gone), ("app/keeper.yaml", file(config_map("keeper", "fixed")))]);
    installation.follow("size", &fixed).await;
    installation.finish().await;
}

#[tokio::test]
async fn a_project_without_rules_allows_nothing() {
    let installation = Installation::start("project").await;
    let target = installation.target("t").await;
    let repository = installation.repository("project");
    repository.commit([("app/keeper.yaml", file(config_map("keeper", "good")))]);
    let audit = installation.audit();
    installation
        .apply(json!({"apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": "empty"}, "spec": {}}))
        .await;
    let server = "https://kubernetes.default.svc";
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": "elsewhere"},
            "spec": {"sourceRepos": ["*"], "destinations": [{"server": server, "namespace": "another-namespace"}]},
        }))
        .await;
    for (name, project, into) in [
        ("source", "empty", target.as_str()),
        ("destination", "elsewhere", target.as_str()),
        ("own", "default", installation.namespace.as_str()),
    ] {
        installation
            .declare(Application::named(name, &repository.url, "app", into).spec("project", json!(project)))
            .await;
    }
    expect_failure(&installation, "source", "NotPermitted", &[&repository.url, "empty"]).await;
    expect_failure(&installation, "destination", "NotPermitted", &[&target, "elsewhere"]).await;
    expect_failure(&installation, "own", "NotPermitted", &[&installation.namespace]).await;
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new());
    assert_eq!(installation.cluster.get(CONFIG_MAP, &installation.namespace, "keeper").await, None);
    installation.finish().await;
}

/// Waits for the reason and asserts what the message must contain.
async fn expect_failure(installation: &Installation, name: &str, reason: &str, fragments: &[&str]) {
    let object = installation
        .wait_application(name, &format!("shows the reason {reason}"), |object| ready_reason(object) == reason)
        .await;
    for fragment in fragments {
        assert!(ready_message(&object).contains(fragment), "{name}: no {fragment:?} in: {}", ready_message(&object));
    }
}

/// A policy that refuses ConfigMaps called `refused` in one namespace; returns when it is in force.
async fn refuse_by_policy(installation: &Installation, target: &str) {
    let name = &installation.namespace;
    let Kind(api_version, policy) = ADMISSION_POLICY;
    installation
        .cluster
        .apply(json!({
            "apiVersion": api_version, "kind": policy, "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"],
                }]},
                "validations": [{"expression": "object.metadata.name != 'refused'", "message": POLICY_MESSAGE}],
            },
        }))
        .await;
    let Kind(api_version, binding) = ADMISSION_BINDING;
    installation
        .cluster
        .apply(json!({
            "apiVersion": api_version, "kind": binding, "metadata": {"name": name},
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": target}}},
            },
        }))
        .await;
    let probe = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "refused", "namespace": target}});
    installation
        .wait("the admission policy is in force", async || {
            match installation.cluster.try_apply_as("test", probe.clone()).await {
                Err(kube::Error::Api(status)) if status.message.contains(POLICY_MESSAGE) => Ok(()),
                Err(error) => Err(error.to_string()),
                Ok(object) => {
                    installation.cluster.delete(CONFIG_MAP, target, name_of(&object)).await;
                    Err("it lets the object through".to_owned())
                }
            }
        })
        .await;
}

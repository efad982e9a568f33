//! Secrets appear nowhere, whatever fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::application::{Application, condition, ready_reason};
use crate::support::cluster::{APPLICATION, EGRESS_PROXY, EVENT, Kind, REPOSITORY, SECRET};
use crate::support::git::{Change, file};
use crate::support::git_faults;
use crate::support::installation::{CORP, GIT_CA, GIT_CREDENTIALS, Installation, PROXY, egress_proxy};
use crate::support::journals::alone_at_the_proxy;
use crate::support::testbed::Testbed;

const SECRET_VALUE: &str = "canary-secret-7f3a9c";
const SECRET_CHANGED: &str = "canary-changed-51b0de";
const GIT_CANARY: &str = "canary-git/p@ss:1c9e";
const PROXY_CANARY: &str = "canary-proxy/p@ss:88ad";

/// Every form in which a canary might leak.
pub fn forms(canary: &str, username: &str) -> Vec<String> {
    let percent: String = canary
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    let mut forms = vec![
        canary.to_owned(),
        percent.clone(),
        percent.to_lowercase(),
        BASE64.encode(canary),
        BASE64.encode(format!("{username}:{canary}")),
        serde_json::to_string(canary).unwrap().trim_matches('"').to_owned(),
    ];
    // Base64 of a longer text that holds the canary: its middle, at each of the three offsets.
    for pad in 0..3 {
        let encoded = BASE64.encode(format!("{}{canary}", "\0".repeat(pad)));
        let whole = &encoded[4..encoded.len() / 4 * 4 - 4];
        forms.push(whole.to_owned());
    }
    forms.sort();
    forms.dedup();
    forms
}

#[test]
fn a_canary_is_recognised_in_the_middle_of_encoded_text() {
    let forms = forms(GIT_CANARY, "ada");
    for before in ["", "a", "ab", "abc", "token=", "Basic ada:"] {
        let text = BASE64.encode(format!("{before}{GIT_CANARY} and more"));
        assert!(forms.iter().any(|form| text.contains(form.as_str())), "after {before:?}");
    }
    assert!(forms.contains(&"canary-git%2Fp%40ss%3A1c9e".to_owned()));
    assert!(!forms.iter().any(|form| "an innocent line".contains(form.as_str())));
}

fn secret(name: &str, body: &str) -> Change {
    file(format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n{body}"))
}

/// Mistakes whose explanation by parsers, tools and the API server tempts to quote what is secret; with the reason each
/// must show.
fn mistakes() -> Vec<(&'static str, Vec<(&'static str, Change)>, &'static [&'static str])> {
    let v = SECRET_VALUE;
    vec![
        (
            "malformed",
            vec![("s.yaml", secret("s", &format!("stringData:\n  token: \"{v}\" \"again\n")))],
            &["InvalidYaml"],
        ),
        (
            "duplicate",
            vec![("s.yaml", secret("s", &format!("stringData:\n  token: {v}\n  token: {v}\n")))],
            &["DuplicateKey"],
        ),
        (
            "not-base64",
            vec![("s.yaml", secret("s", &format!("data:\n  token: '{v}!'\n")))],
            &["InvalidObject", "InvalidManifest"],
        ),
        (
            "not-text",
            vec![("s.yaml", secret("s", &format!("stringData:\n  token: {{inner: {v}}}\n")))],
            &["InvalidObject", "InvalidManifest", "ApplyFailed"],
        ),
        (
            "not-map",
            vec![("s.yaml", secret("s", &format!("stringData: {v}\n")))],
            &["InvalidObject", "InvalidManifest", "ApplyFailed"],
        ),
        (
            "bad-name",
            vec![("s.yaml", secret("Not_A_Name", &format!("stringData:\n  token: {v}\n")))],
            &["InvalidObject", "InvalidManifest"],
        ),
        (
            "bad-key",
            vec![("s.yaml", secret("s", &format!("stringData:\n  'not a key': {v}\n")))],
            &["InvalidObject", "InvalidManifest"],
        ),
        (
            "bad-tls",
            vec![("s.yaml", secret("s", &format!("type: kubernetes.io/tls\nstringData:\n  tls.crt: {v}\n")))],
            &["InvalidObject"],
        ),
        (
            "bad-docker",
            vec![(
                "s.yaml",
                secret(
                    "s",
                    &format!("type: kubernetes.io/dockerconfigjson\nstringData:\n  .dockerconfigjson: '{v}'\n"),
                ),
            )],
            &["InvalidObject"],
        ),
        (
            "unknown-field",
            vec![("s.yaml", secret("s", &format!("stringDate:\n  token: {v}\n")))],
            &["InvalidObject", "InvalidManifest", "ApplyFailed", "Succeeded"],
        ),
        (
            "helm",
            vec![
                ("Chart.yaml", file("apiVersion: v2\nname: c\nversion: 1.0.0\n")),
                ("values.yaml", file(format!("password: {v}\n"))),
                (
                    "templates/s.yaml",
                    secret("s", "stringData:\n  token: {{ .Values.password | int | required \"x\" | fail }}\n"),
                ),
            ],
            &["HelmFailed"],
        ),
        (
            "helm-broken-yaml",
            vec![
                ("Chart.yaml", file("apiVersion: v2\nname: c\nversion: 1.0.0\n")),
                ("values.yaml", file(format!("password: {v}\n"))),
                ("templates/s.yaml", secret("s", "stringData:\n  token: \"{{ .Values.password }}\" \"x\n")),
            ],
            &["HelmFailed", "InvalidYaml"],
        ),
        (
            "kustomize",
            vec![(
                "kustomization.yaml",
                file(format!("secretGenerator:\n  - name: s\n    literals: [token={v}]\n    files: [not-there.txt]\n")),
            )],
            &["KustomizeFailed"],
        ),
        (
            "kustomize-patch",
            vec![
                ("kustomization.yaml", file("resources: [s.yaml]\npatches: [{path: p.yaml}]\n")),
                ("s.yaml", secret("s", &format!("stringData:\n  token: {v}\n"))),
                ("p.yaml", secret("other", &format!("stringData:\n  token: {v}\n"))),
            ],
            &["KustomizeFailed"],
        ),
    ]
}

#[tokio::test]
async fn no_secret_appears_in_logs_events_statuses_or_metrics_whatever_fails() {
    let bed = Testbed::shared();
    let _alone = alone_at_the_proxy().await;
    let installation = Installation::start("canary").await;
    let target = installation.target("t").await;
    let repository = installation.repository("canary");
    let mistakes = mistakes();
    let mut changes: Vec<(String, Change)> = vec![
        ("good/s.yaml".to_owned(), secret("good", &format!("immutable: true\nstringData:\n  token: {SECRET_VALUE}\n"))),
        ("drift/s.yaml".to_owned(), secret("drift", &format!("stringData:\n  token: {SECRET_VALUE}\n"))),
    ];
    for (name, files, _) in &mistakes {
        changes.extend(files.iter().map(|(path, change)| (format!("{name}/{path}"), change.clone())));
    }
    let first = repository.commit(changes);
    for name in ["good", "drift"] {
        installation.declare(Application::named(name, &repository.url, name, &target).retrying_soon()).await;
        installation.synced(name, &first).await;
    }
    for (name, ..) in &mistakes {
        let into = installation.target(name).await;
        installation.declare(Application::named(name, &repository.url, name, &into).retrying_soon()).await;
    }
    let mut statuses = Vec::new();
    for (name, _, reasons) in &mistakes {
        statuses.push(
            installation
                .wait_application(name, &format!("shows one of the reasons {reasons:?}"), |object| {
                    reasons.contains(&ready_reason(object))
                })
                .await,
        );
    }
    // Drift in a Secret, and a change that the API server refuses.
    let by_hand = json!({"stringData": {"token": SECRET_CHANGED}});
    installation.cluster.merge(SECRET, &target, "drift", by_hand).await;
    installation
        .wait("the Secret is healed", async || {
            let object = installation.cluster.must_get(SECRET, &target, "drift").await;
            if object["data"]["token"] == BASE64.encode(SECRET_VALUE) { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
    repository.commit([(
        "good/s.yaml",
        secret("good", &format!("immutable: true\nstringData:\n  token: {SECRET_CHANGED}\n")),
    )]);
    installation.ask_refresh(APPLICATION, "good").await;
    statuses.push(
        installation
            .wait_application("good", "may not change an immutable Secret", |object| {
                ["ImmutableField", "InvalidObject"].contains(&ready_reason(object))
            })
            .await,
    );

    // Every way not to reach git with passwords that are canaries.
    for step in [
        Reach::WrongGitPassword,
        Reach::WrongProxyPassword,
        Reach::Forbidden,
        Reach::Interception,
        Reach::Redirect,
        Reach::Broken,
    ] {
        statuses.push(provoke(&installation, &repository.path, step).await);
    }
    git_faults::clear(&repository.path);
    statuses.push(installation.cluster.must_get(REPOSITORY, &installation.namespace, CORP).await);

    let mut canaries = Vec::new();
    for (canary, username) in [
        (SECRET_VALUE, "token"),
        (SECRET_CHANGED, "token"),
        (GIT_CANARY, bed.git_username.as_str()),
        (PROXY_CANARY, bed.proxy_username.as_str()),
        (bed.git_password.as_str(), bed.git_username.as_str()),
        (bed.proxy_password.as_str(), bed.proxy_username.as_str()),
    ] {
        canaries.extend(forms(canary, username));
    }
    let mut places: Vec<(String, String)> = statuses
        .iter()
        .map(|object| (format!("{} {}", object["kind"], object["metadata"]["name"]), object.to_string()))
        .collect();
    for kind in ["Application", "AppProject", "Repository", "EgressProxy", "Cluster", "Inventory"] {
        for object in installation.cluster.list(Kind("tidelock.dev/v1alpha1", kind), &installation.namespace).await {
            places.push((format!("{kind} {}", object["metadata"]["name"]), object.to_string()));
        }
    }
    for event in installation.cluster.list(EVENT, &installation.namespace).await {
        places.push((format!("Event {}", event["metadata"]["name"]), event.to_string()));
    }
    assert!(places.iter().any(|(place, _)| place.starts_with("Event")), "there are no events to look at");
    places.push(("metrics".to_owned(), installation.operator.metrics().0));
    for line in installation.operator.logs().lines() {
        places.push(("log".to_owned(), line.to_owned()));
    }
    for (place, text) in &places {
        for canary in &canaries {
            assert!(!text.contains(canary.as_str()), "{canary} appears in {place}:\n{text}");
        }
    }
    installation.finish().await;
}

#[derive(Clone, Copy, Debug)]
enum Reach {
    WrongGitPassword,
    WrongProxyPassword,
    Forbidden,
    Interception,
    Redirect,
    Broken,
}

/// Brings one failure about and returns the Application that shows it.
async fn provoke(installation: &Installation, repository_path: &str, step: Reach) -> Value {
    let bed = Testbed::shared();
    git_faults::clear(repository_path);
    installation.apply_access().await;
    let (reason, application) = match step {
        Reach::WrongGitPassword => {
            installation.apply_login("git-canary", &bed.git_username, GIT_CANARY).await;
            let patch = json!({"spec": {"credentialsSecretRef": {"name": "git-canary"}}});
            installation.cluster.merge(REPOSITORY, &installation.namespace, CORP, patch).await;
            ("AuthFailed", "drift")
        }
        Reach::WrongProxyPassword => {
            installation.apply_login("proxy-canary", &bed.proxy_username, PROXY_CANARY).await;
            let patch = json!({"spec": {"credentialsSecretRef": {"name": "proxy-canary"}}});
            installation.cluster.merge(EGRESS_PROXY, &installation.namespace, PROXY, patch).await;
            ("ProxyAuthRequired", "drift")
        }
        Reach::Forbidden => {
            let url = format!("https://{}/x.git", bed.forbidden_host);
            installation
                .apply(json!({
                    "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "forbidden"},
                    "spec": {
                        "url": url, "credentialsSecretRef": {"name": GIT_CREDENTIALS}, "caSecretRef": {"name": GIT_CA},
                        "egress": {"proxyRef": {"name": PROXY}},
                    },
                }))
                .await;
            installation.declare(Application::named("forbidden", &url, "app", "anywhere")).await;
            ("ProxyForbidden", "forbidden")
        }
        Reach::Interception => {
            installation.apply(egress_proxy(PROXY, &bed.proxy_intercept_url)).await;
            ("TlsUntrusted", "drift")
        }
        Reach::Redirect => {
            git_faults::set(repository_path, "redirect:https://mirror.corp.test");
            ("RedirectRefused", "drift")
        }
        Reach::Broken => {
            git_faults::set(repository_path, "status:500");
            ("ServerError", "drift")
        }
    };
    installation.ask_refresh(APPLICATION, application).await;
    let object = installation
        .wait_application(application, &format!("fails as {step:?} must"), |object| ready_reason(object) == reason)
        .await;
    assert!(condition(&object, "Ready").is_some());
    object
}

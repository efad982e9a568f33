//! Git out of reach: each case has its own reason, the same on the Repository and on the Application, and changes nothing.

use serde_json::{Value, json};

use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::audit::lines;
use crate::support::cluster::{APPLICATION, CONFIG_MAP, REPOSITORY};
use crate::support::git::{GitRepository, file};
use crate::support::git_faults;
use crate::support::installation::{GIT_CA, Installation};
use crate::support::journals::alone_at_the_proxy;
use crate::support::manifests::config_map;
use crate::support::testbed::{Testbed, read};

/// What goes wrong.
enum Break {
    /// Objects are applied as they are here.
    Objects(Vec<Value>),
    /// The Application and its Repository name another host.
    Host(String),
    /// The Application alone names this URL.
    Url(String),
    /// The git server behaves badly.
    Fault(&'static str),
}

struct Case {
    name: &'static str,
    broken: Break,
    reason: &'static str,
    /// What the messages must contain.
    message: Vec<String>,
}

fn login(case: &str, what: &str, username: &str, password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{case}-{what}")},
        "stringData": {"username": username, "password": password},
    })
}

fn proxy(case: &str, url: &str) -> Value {
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": case},
        "spec": {"url": url, "credentialsSecretRef": {"name": format!("{case}-proxy")}},
    })
}

fn repository(case: &str, url: &str) -> Value {
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": case},
        "spec": {
            "url": url,
            "credentialsSecretRef": {"name": format!("{case}-git")},
            "caSecretRef": {"name": GIT_CA},
            "egress": {"proxyRef": {"name": case}},
            "timeouts": {"dial": "2s", "firstByte": "2s"},
        },
    })
}

fn url_of(installation: &Installation, case: &str) -> String {
    Testbed::shared().git_url(&format!("{}-{case}", installation.namespace))
}

fn cases(installation: &Installation) -> Vec<Case> {
    let bed = Testbed::shared();
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let case = |name: &'static str, broken, reason, message: &[&str]| Case {
        name,
        broken,
        reason,
        message: message.iter().map(|part| (*part).to_owned()).collect(),
    };
    let with = |name: &str, field: &str, value: Value| {
        let mut object = repository(name, &url_of(installation, name));
        object["spec"][field] = value;
        object
    };
    let mut wrong_proxy = proxy("proxy-password", &bed.proxy_url);
    wrong_proxy["spec"]["credentialsSecretRef"] = json!({"name": "proxy-password-wrong"});
    vec![
        case(
            "git-password",
            // Another Secret, because one that works is not read again for a while.
            Break::Objects(vec![
                login("git-password", "wrong", &bed.git_username, "wrong"),
                with("git-password", "credentialsSecretRef", json!({"name": "git-password-wrong"})),
            ]),
            "AuthFailed",
            &[bed.git_host(), "401"],
        ),
        case(
            "proxy-password",
            Break::Objects(vec![login("proxy-password", "wrong", &bed.proxy_username, "wrong"), wrong_proxy]),
            "ProxyAuthRequired",
            &[&address(&bed.proxy_url), "407"],
        ),
        case(
            "proxy-down",
            Break::Objects(vec![proxy("proxy-down", &bed.proxy_closed_url)]),
            "ProxyUnreachable",
            &[&address(&bed.proxy_closed_url)],
        ),
        case(
            "proxy-says-403",
            Break::Host(bed.forbidden_host.clone()),
            "ProxyForbidden",
            &[&bed.forbidden_host, "403"],
        ),
        case("unknown-host", Break::Host(bed.unknown_host.clone()), "ProxyUpstreamFailed", &[&bed.unknown_host]),
        case("silent-host", Break::Host(bed.silent_host.clone()), "ProxyUpstreamFailed", &[&bed.silent_host]),
        case("wrong-name", Break::Host(bed.wrong_name_host.clone()), "TlsUntrusted", &[&bed.wrong_name_host]),
        case(
            "interception",
            Break::Objects(vec![proxy("interception", &bed.proxy_intercept_url)]),
            "TlsUntrusted",
            &["Interception CA", bed.git_host()],
        ),
        case(
            "no-repository",
            Break::Url("https://git.elsewhere.test/x.git".to_owned()),
            "DnsFailed",
            &["git.elsewhere.test", "direct"],
        ),
        case("not-found", Break::Url(url_of(installation, "never-made")), "RepositoryNotFound", &["never-made"]),
        case("server-down", Break::Fault("down"), "ConnectionCut", &[bed.git_host()]),
        case("server-error", Break::Fault("status:503"), "ServerError", &[bed.git_host(), "503"]),
        case("server-silent", Break::Fault("stall"), "ServerSilent", &[bed.git_host()]),
        case("server-cuts", Break::Fault("cut:20"), "ConnectionCut", &[bed.git_host()]),
        case("not-git", Break::Fault("status:200"), "ProtocolError", &[bed.git_host()]),
        case("redirect", Break::Fault("redirect:https://mirror.corp.test"), "RedirectRefused", &["mirror.corp.test"]),
        case(
            "no-secret",
            Break::Objects(vec![with("no-secret", "credentialsSecretRef", json!({"name": "nowhere"}))]),
            "SecretNotFound",
            &["nowhere"],
        ),
        case(
            "no-proxy",
            Break::Objects(vec![with("no-proxy", "egress", json!({"proxyRef": {"name": "nowhere"}}))]),
            "EgressDenied",
            &["nowhere"],
        ),
    ]
}

#[tokio::test]
async fn every_way_not_to_reach_git_has_its_reason_and_neither_writes_nor_deletes() {
    let bed = Testbed::shared();
    let _alone = alone_at_the_proxy().await;
    let installation = Installation::start("reach").await;
    let target = installation.target("t").await;
    let cases = cases(&installation);

    let mut repositories = Vec::new();
    for Case { name, .. } in &cases {
        let git = installation.repository(name);
        let first = git.commit([("app/keeper.yaml", file(config_map(&format!("{name}-keeper"), "good")))]);
        restore(&installation, name).await;
        installation.declare(Application::named(name, &git.url, "app", &target)).await;
        repositories.push((git, first));
    }
    for (Case { name, .. }, (_, first)) in cases.iter().zip(&repositories) {
        installation.healthy(name, first).await;
    }

    let audit = installation.audit();
    for (case, (git, _)) in cases.iter().zip(&repositories) {
        break_it(&installation, case, git, &target).await;
    }
    for case in &cases {
        installation.ask_refresh(APPLICATION, case.name).await;
    }
    for Case { name, broken, reason, message } in &cases {
        let application = installation
            .wait_application(name, &format!("shows the reason {reason}"), |object| ready_reason(object) == *reason)
            .await;
        let mut reports = vec![application];
        if !matches!(broken, Break::Url(_)) {
            reports.push(
                installation
                    .wait(&format!("Repository {name} shows the reason {reason}"), async || {
                        let object = installation.cluster.must_get(REPOSITORY, &installation.namespace, name).await;
                        if ready_reason(&object) == *reason {
                            Ok(object)
                        } else {
                            Err(format!("{:#}", object["status"]))
                        }
                    })
                    .await,
            );
        }
        for report in &reports {
            for fragment in message {
                assert!(
                    ready_message(report).contains(fragment),
                    "{name}: no {fragment:?} in: {}",
                    ready_message(report)
                );
            }
        }
        if *name == "interception" {
            let text = ready_message(&reports[0]);
            assert!(has_fingerprint(text), "no SHA-256 fingerprint in: {text}");
        }
    }
    // What would be written and pruned if git could be reached.
    for (case, (git, _)) in cases.iter().zip(&repositories) {
        git.commit([("app/keeper.yaml", file(config_map(&format!("{}-other", case.name), "bad")))]);
        installation.ask_refresh(APPLICATION, case.name).await;
    }
    for case in &cases {
        installation.refresh(case.name).await;
        let object = installation.application(case.name).await;
        assert_eq!(ready_reason(&object), case.reason, "{}: {}", case.name, ready_message(&object));
    }
    assert_eq!(lines(&audit.writes_in(&target)), Vec::<String>::new(), "writes although git is out of reach");
    assert_eq!(
        installation
            .cluster
            .list(CONFIG_MAP, &target)
            .await
            .iter()
            .filter(|object| object["data"]["value"] == "good")
            .count(),
        cases.len()
    );

    // The way back: each is repaired, and what was committed in the meantime arrives.
    let mut trusted = proxy("interception", &bed.proxy_intercept_url);
    installation
        .apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "interception-ca"},
            "stringData": {"ca.crt": read(&bed.proxy_ca)},
        }))
        .await;
    trusted["spec"]["caSecretRef"] = json!({"name": "interception-ca"});
    for (Case { name, broken, .. }, (git, _)) in cases.iter().zip(&repositories) {
        if matches!(broken, Break::Fault(_)) {
            git_faults::clear(&git.path);
        }
        restore(&installation, name).await;
        installation.declare(Application::named(name, &git.url, "app", &target)).await;
    }
    installation.apply(trusted).await;
    let mut fixed = Vec::new();
    for (Case { name, .. }, (git, _)) in cases.iter().zip(&repositories) {
        fixed.push(git.commit([("app/fixed.yaml", file(config_map(&format!("{name}-fixed"), "good")))]));
        installation.ask_refresh(APPLICATION, name).await;
    }
    for (Case { name, .. }, fixed) in cases.iter().zip(&fixed) {
        installation.healthy(name, fixed).await;
    }
    installation.finish().await;
}

/// Access to git as it should be, for one case.
async fn restore(installation: &Installation, case: &str) {
    let bed = Testbed::shared();
    installation.apply(login(case, "git", &bed.git_username, &bed.git_password)).await;
    installation.apply(login(case, "proxy", &bed.proxy_username, &bed.proxy_password)).await;
    installation.apply(proxy(case, &bed.proxy_url)).await;
    installation.apply(repository(case, &url_of(installation, case))).await;
}

async fn break_it(installation: &Installation, case: &Case, git: &GitRepository, target: &str) {
    match &case.broken {
        Break::Objects(objects) => {
            for object in objects {
                installation.apply(object.clone()).await;
            }
        }
        Break::Host(host) => {
            let url = git.url.replace(Testbed::shared().git_host(), host);
            installation.apply(repository(case.name, &url)).await;
            installation.declare(Application::named(case.name, &url, "app", target)).await;
        }
        Break::Url(url) => installation.declare(Application::named(case.name, url, "app", target)).await,
        Break::Fault(fault) => git_faults::set(&git.path, fault),
    }
}

/// Whether a text holds 32 bytes in hexadecimal, with or without colons.
fn has_fingerprint(text: &str) -> bool {
    text.split(|character: char| !(character.is_ascii_hexdigit() || character == ':'))
        .any(|word| word.chars().filter(char::is_ascii_hexdigit).count() == 64)
}

//! `tidelock doctor` in the operator's place: each destination, hop by hop, with what to change, and no secret.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::application::Application;
use crate::support::git::file;
use crate::support::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY};
use crate::support::manifests::config_map;
use crate::support::testbed::Testbed;

/// Steps of a destination that is well, and of one behind a proxy.
const WELL: &str = "route ok, dns ok, tcp ok, connect ok, tls ok, auth ok, ls-refs ok";

fn repository(name: &str, url: &str, proxy: &str, credentials: &str, ca: Option<&str>) -> Value {
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name},
        "spec": {
            "url": url,
            "credentialsSecretRef": {"name": credentials},
            "caSecretRef": ca.map(|ca| json!({"name": ca})),
            "egress": {"proxyRef": {"name": proxy}},
            "timeouts": {"dial": "2s", "connect": "15s"},
        },
    })
}

fn proxy(name: &str, url: &str, credentials: &str) -> Value {
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": name},
        "spec": {"url": url, "credentialsSecretRef": {"name": credentials}},
    })
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// `route ok, dns ok, tcp ProxyUnreachable, auth -` by destination.
fn told(report: &Value) -> BTreeMap<String, String> {
    let destinations = report["destinations"].as_array().expect("destinations");
    destinations
        .iter()
        .map(|destination| {
            let steps: Vec<String> = destination["steps"]
                .as_array()
                .expect("steps")
                .iter()
                .map(|step| {
                    let outcome = match step["outcome"].as_str() {
                        Some("ok") => "ok",
                        Some("skipped") => "-",
                        _ => step["reason"].as_str().expect("a reason"),
                    };
                    format!("{} {outcome}", step["step"].as_str().expect("a name"))
                })
                .collect();
            (destination["destination"].as_str().expect("an address").to_owned(), steps.join(", "))
        })
        .collect()
}

#[tokio::test]
async fn airgap_59_the_doctor_names_the_hop_that_fails_at_each_destination() {
    let bed = Testbed::shared();
    let installation = Installation::start("doctor").await;
    let target = installation.target("t").await;
    let git = installation.repository("doctor");
    let commit = git.commit([("app/one.yaml", file(config_map("one", "1")))]);
    installation.declare(Application::named("good", &git.url, "app", &target)).await;
    installation.synced("good", &commit).await;

    let url = |case: &str| bed.git_url(&format!("{}-{case}", installation.namespace));
    let on_host = |host: &str| format!("https://{host}/x");
    installation.apply_login("wrong", "nobody", "canary-wrong").await;
    for object in [
        proxy("closed", &bed.proxy_closed_url, "proxy-credentials"),
        proxy("locked", &bed.proxy_url, "wrong"),
        proxy("intercepting", &bed.proxy_intercept_url, "proxy-credentials"),
        repository("closed", &url("closed"), "closed", GIT_CREDENTIALS, Some(GIT_CA)),
        repository("locked", &url("locked"), "locked", GIT_CREDENTIALS, Some(GIT_CA)),
        repository("intercepted", &url("intercepted"), "intercepting", GIT_CREDENTIALS, Some(GIT_CA)),
        repository("forbidden", &on_host(&bed.forbidden_host), PROXY, GIT_CREDENTIALS, Some(GIT_CA)),
        repository("unknown", &on_host(&bed.unknown_host), PROXY, GIT_CREDENTIALS, Some(GIT_CA)),
        repository("password", &git.url.replace(".git", "-password.git"), PROXY, "wrong", Some(GIT_CA)),
        repository("untrusted", &url("untrusted"), PROXY, GIT_CREDENTIALS, None),
        repository("never-made", &url("never-made"), PROXY, GIT_CREDENTIALS, Some(GIT_CA)),
        repository("no-secret", &url("no-secret"), PROXY, "nowhere", Some(GIT_CA)),
    ] {
        installation.apply(object).await;
    }
    let identity = |url: &str| url.trim_end_matches(".git").to_owned();
    let output = installation.operator.doctor(&["--output", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let found = report(&output);
    let told = told(&found);
    let expected = [
        (identity(&git.url), WELL),
        (identity(&url("closed")), "route ok, dns ok, tcp ProxyUnreachable, auth -, ls-refs -"),
        (identity(&url("locked")), "route ok, dns ok, tcp ok, connect ProxyAuthRequired, auth -, ls-refs -"),
        (identity(&url("intercepted")), "route ok, dns ok, tcp ok, connect ok, tls TlsUntrusted, auth -, ls-refs -"),
        (on_host(&bed.forbidden_host), "route ok, dns ok, tcp ok, connect ProxyForbidden, auth -, ls-refs -"),
        (on_host(&bed.unknown_host), "route ok, dns ok, tcp ok, connect ProxyUpstreamFailed, auth -, ls-refs -"),
        (
            identity(&git.url.replace(".git", "-password.git")),
            "route ok, dns ok, tcp ok, connect ok, tls ok, auth AuthFailed, ls-refs -",
        ),
        (identity(&url("untrusted")), "route ok, dns ok, tcp ok, connect ok, tls TlsUntrusted, auth -, ls-refs -"),
        (
            identity(&url("never-made")),
            "route ok, dns ok, tcp ok, connect ok, tls ok, auth -, ls-refs RepositoryNotFound",
        ),
        (identity(&url("no-secret")), "route SecretNotFound, auth -, ls-refs -"),
        (bed.proxy_closed_url.clone(), "route ok, dns ok, tcp ProxyUnreachable"),
        (bed.proxy_url.clone(), "route ok, dns ok, tcp ok"),
    ];
    for (destination, steps) in expected {
        assert_eq!(told.get(&destination).map(String::as_str), Some(steps), "{destination}: {found:#}");
    }
    let server = told.iter().find(|(destination, _)| destination.ends_with(":6443")).expect("the API server").1;
    assert_eq!(server, "route ok, dns ok, tcp ok, tls ok, answer ok, auth ok");

    // Who issued what was shown, and what to do about it.
    let of = |wanted: &str| {
        let mut all = found["destinations"].as_array().expect("destinations").iter();
        all.find(|one| one["destination"] == wanted).expect("it is there").clone()
    };
    let step = |wanted: &str, name: &str| {
        let all = of(wanted);
        let found = all["steps"].as_array().expect("steps").iter().find(|step| step["step"] == name);
        found.expect("the step").clone()
    };
    let intercepted = step(&identity(&url("intercepted")), "tls");
    assert!(intercepted["certificates"].to_string().contains("Interception CA"), "{intercepted:#}");
    assert!(intercepted["advice"].as_str().is_some_and(|advice| advice.contains("EgressProxy")), "{intercepted:#}");
    assert_eq!(of(&identity(&git.url))["usedBy"], json!(["Application good"]));
    assert_eq!(step(&identity(&git.url), "ls-refs")["detail"], format!("main is at {}", &commit[..7]));

    let text = installation.operator.doctor(&[]);
    assert_eq!(text.status.code(), Some(1));
    for output in [&output, &text] {
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        for secret in [bed.proxy_password.as_str(), &bed.git_password, "canary-wrong"] {
            assert!(!all.contains(secret), "{all}");
        }
    }
    installation.finish().await;
}

#[tokio::test]
async fn airgap_59_the_doctor_ends_with_what_it_found_and_within_its_time() {
    let bed = Testbed::shared();
    let installation = Installation::start("doctor-only").await;
    let git = installation.repository("doctor-only");
    git.commit([("app/one.yaml", file(config_map("one", "1")))]);

    let good = installation.operator.doctor(&["--only", "--output", "json", &git.url]);
    let found = report(&good);
    assert_eq!(good.status.code(), Some(0), "{found:#}");
    let expected = BTreeMap::from([(git.url.trim_end_matches(".git").to_owned(), WELL.to_owned())]);
    assert_eq!(told(&found), expected);

    // Without a rule the way is direct, and leads nowhere: what was found until the end of the time is told.
    let address = format!("{}:443", bed.black_hole_address);
    let dark = installation.operator.doctor(&["--only", "--timeout", "2s", "--output", "json", &address]);
    assert_eq!(dark.status.code(), Some(1));
    let steps = told(&report(&dark)).remove(&address).expect("the address");
    assert!(steps.ends_with("answer ServerSilent"), "{steps}");

    for misuse in [&["--only"][..], &["nonsense"], &["https://user:canary@h/x"], &["--timeout", "soon"]] {
        let output = installation.operator.doctor(misuse);
        assert_eq!(output.status.code(), Some(2), "{misuse:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    installation.finish().await;
}

//! Credentials of every kind, each refused in its own way: none is shown anywhere, and the doctor shows none either.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::application::{Application, ready_reason};
use crate::support::cluster::{EVENT, SECRET};
use crate::support::git::file;
use crate::support::installation::{GIT_CA, Installation, PROXY};
use crate::support::manifests::config_map;
use crate::support::testbed::{Testbed, read, run};

const TOKEN: &str = "canary-bearer-5c1d9a7e";
const SOCKS: &str = "canary-socks-2b8f/w@rd";

/// The lines of a key that are its own: enough of each to be found, and not its frame.
fn lines_of_key(pem: &str) -> Vec<String> {
    pem.lines().filter(|line| !line.starts_with("-----") && line.len() > 30).map(|line| line[..30].to_owned()).collect()
}

async fn secret(installation: &Installation, name: &str, values: Value) {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values});
    installation.apply(object).await;
}

#[tokio::test]
async fn airgap_24_no_kind_of_credential_is_shown_however_it_is_refused() {
    let bed = Testbed::shared();
    let installation = Installation::start("ag24kinds").await;
    let target = installation.target("t").await;
    let keys = tempfile::tempdir().expect("a directory");
    let app_key = keys.path().join("app.pem");
    run(Command::new("openssl").args(["genrsa", "-out"]).arg(&app_key).arg("2048"));
    let app_key = read(&app_key);
    let ssh_key = read(&bed.ssh_directory.join("stranger"));
    let client_key = read(Path::new(&bed.client_key));

    secret(&installation, "bearer", json!({"bearerToken": TOKEN})).await;
    let app = json!({
        "githubAppID": "12", "githubAppInstallationID": "34", "githubAppPrivateKey": app_key,
        "githubAppEnterpriseBaseUrl": format!("{}/api/v3", bed.git_https_url),
    });
    secret(&installation, "github-app", app).await;
    let ssh = json!({"sshPrivateKey": ssh_key, "known_hosts": read(&bed.ssh_directory.join("known_hosts"))});
    secret(&installation, "ssh", ssh).await;
    let pair =
        json!({"tls.crt": read(Path::new(&bed.client_certificate)), "tls.key": client_key, "bearerToken": TOKEN});
    secret(&installation, "certificate", pair).await;
    installation.apply_login("socks", "canary-user", SOCKS).await;
    let socks = json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": "socks"},
        "spec": {"url": bed.socks_password_url, "credentialsSecretRef": {"name": "socks"}},
    });
    installation.apply(socks).await;

    let git = |name: &str| {
        let git = installation.repository(name);
        git.commit([("app/cm.yaml", file(config_map(name, "1")))]);
        git
    };
    let over_ssh = git("ssh");
    let cases = [
        ("bearer", git("bearer").url, "bearer", PROXY, vec!["AuthFailed"]),
        (
            "github-app",
            git("github-app").url,
            "github-app",
            PROXY,
            vec!["AuthFailed", "ServerError", "RepositoryNotFound", "ProtocolError"],
        ),
        ("ssh", format!("ssh://git@{}{}", bed.ssh_host, over_ssh.path), "ssh", "open", vec!["AuthFailed"]),
        ("certificate", git("certificate").url, "certificate", PROXY, vec!["AuthFailed"]),
        ("socks", git("socks").url, "bearer", "socks", vec!["ProxyAuthRequired"]),
    ];
    let open = json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": "open"},
        "spec": {"url": bed.proxy_open_url},
    });
    installation.apply(open).await;
    let mut shown = String::new();
    for (name, url, credentials, proxy, _) in &cases {
        installation
            .apply(json!({
                "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name},
                "spec": {
                    "url": url, "credentialsSecretRef": {"name": credentials}, "caSecretRef": {"name": GIT_CA},
                    "egress": {"proxyRef": {"name": proxy}},
                },
            }))
            .await;
        installation.declare(Application::named(name, url, "app", &target)).await;
    }
    for (name, _, _, _, reasons) in &cases {
        let object = installation
            .wait_application(name, &format!("says one of {reasons:?}"), |object| {
                reasons.contains(&ready_reason(object))
            })
            .await;
        shown += &object.to_string();
        shown += &installation.repository_says(name, reasons).await.to_string();
    }
    let doctor = installation.operator.doctor(&[]);
    shown += &String::from_utf8_lossy(&doctor.stdout);
    shown += &String::from_utf8_lossy(&doctor.stderr);
    let doctor = installation.operator.doctor(&["--output", "json"]);
    shown += &String::from_utf8_lossy(&doctor.stdout);
    shown += &installation.operator.metrics().0;
    for event in installation.cluster.list(EVENT, &installation.namespace).await {
        shown += &event.to_string();
    }
    let store_key = installation.cluster.must_get(SECRET, &installation.namespace, "tidelock-store-key").await;
    shown += &installation.operator.logs();
    installation.finish().await;

    let mut canaries = crate::proof_09_secrets::forms(TOKEN, "x");
    canaries.extend(crate::proof_09_secrets::forms(SOCKS, "canary-user"));
    for key in [&app_key, &ssh_key, &client_key] {
        canaries.extend(lines_of_key(key));
    }
    let sealing = store_key["data"].as_object().expect("a key");
    canaries.extend(sealing.values().map(|value| value.as_str().expect("base64").to_owned()));
    assert!(canaries.len() > 30, "{}", canaries.len());
    for canary in canaries {
        assert!(!shown.contains(&canary), "{canary} is shown");
    }
}

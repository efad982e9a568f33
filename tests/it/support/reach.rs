//! Ways to a repository, as objects: an EgressProxy, a Repository and an Application with one name.

use std::path::Path;

use serde_json::{Value, json};

use super::application::{Application, ready_message, ready_reason};
use super::cluster::REPOSITORY;
use super::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY_CREDENTIALS};
use super::journals::{DnsQuestion, Mark};
use super::testbed::{Testbed, read};

/// Name of the Secret with the CA of proxies that speak TLS.
pub const PROXY_TLS_CA: &str = "proxy-tls-ca";
/// Name of the Secret with the client certificate.
pub const CLIENT_CERTIFICATE: &str = "client-certificate";
/// Timers short enough for a test, and long enough for a busy machine.
const SHORT: &str = "3s";

/// A way to one repository.
#[derive(Clone, Debug)]
pub struct Way {
    name: String,
    url: String,
    proxy: Option<Value>,
    repository: Value,
}

impl Way {
    /// To a URL, directly, with the git server's login and CA and short timers.
    pub fn direct(name: &str, url: &str) -> Self {
        let repository = json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name},
            "spec": {
                "url": url,
                "credentialsSecretRef": {"name": GIT_CREDENTIALS},
                "caSecretRef": {"name": GIT_CA},
                "egress": {"direct": true},
                "timeouts": {"dns": SHORT, "dial": SHORT, "connect": SHORT, "tls": SHORT, "firstByte": SHORT, "idle": SHORT},
            },
        });
        Self { name: name.to_owned(), url: url.to_owned(), proxy: None, repository }
    }

    /// To a URL, by a proxy of its own, with Squid's login.
    pub fn by(name: &str, proxy_url: &str, url: &str) -> Self {
        let mut way = Self::direct(name, url);
        way.proxy = Some(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": name},
            "spec": {"url": proxy_url, "credentialsSecretRef": {"name": PROXY_CREDENTIALS}},
        }));
        way.set("egress", json!({"proxyRef": {"name": name}}))
    }

    /// With a field of the Repository's spec.
    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.repository["spec"][field] = value;
        self
    }

    /// Without a field of the Repository's spec.
    pub fn unset(mut self, field: &str) -> Self {
        self.repository["spec"].as_object_mut().expect("a spec").remove(field);
        self
    }

    /// With one timer of its own.
    pub fn timer(mut self, phase: &str, limit: &str) -> Self {
        self.repository["spec"]["timeouts"][phase] = json!(limit);
        self
    }

    /// With a field of the EgressProxy's spec.
    pub fn set_proxy(mut self, field: &str, value: Value) -> Self {
        self.proxy.as_mut().expect("a way by a proxy")["spec"][field] = value;
        self
    }

    /// Without a login at the proxy.
    pub fn without_proxy_login(mut self) -> Self {
        let proxy = self.proxy.as_mut().expect("a way by a proxy");
        proxy["spec"].as_object_mut().expect("a spec").remove("credentialsSecretRef");
        self
    }

    /// The objects that say how to get there.
    pub fn objects(&self) -> Vec<Value> {
        self.proxy.iter().chain([&self.repository]).cloned().collect()
    }

    /// An Application that wants what is there.
    pub fn application(&self, namespace: &str) -> Application {
        Application::named(&self.name, &self.url, "app", namespace)
    }
}

impl Installation {
    /// The Secrets that the ways of `reach` refer to.
    pub async fn apply_secrets(&self) {
        let bed = Testbed::shared();
        self.apply_login(PROXY_CREDENTIALS, &bed.proxy_username, &bed.proxy_password).await;
        self.apply_login(GIT_CREDENTIALS, &bed.git_username, &bed.git_password).await;
        self.apply_ca(GIT_CA, &bed.git_ca).await;
        self.apply_ca(PROXY_TLS_CA, &bed.proxy_tls_ca).await;
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": CLIENT_CERTIFICATE}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": read(&bed.client_certificate), "tls.key": read(&bed.client_key)},
        }))
        .await;
    }

    /// A Secret with an authority's certificate.
    pub async fn apply_ca(&self, name: &str, file: &Path) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"ca.crt": read(file)},
        }))
        .await;
    }

    /// Opens ways.
    pub async fn open(&self, ways: &[Way]) {
        for object in ways.iter().flat_map(Way::objects) {
            self.apply(object).await;
        }
    }

    /// Opens a way, and lets an Application of its name want what is there.
    pub async fn take(&self, way: &Way, target: &str) {
        for object in way.objects() {
            self.apply(object).await;
        }
        self.declare(way.application(target)).await;
    }

    /// Waits until a Repository says one of these reasons; the object.
    pub async fn repository_says(&self, name: &str, reasons: &[&str]) -> Value {
        self.wait(&format!("Repository {name} says {}", reasons.join(" or ")), async || {
            let object = self.cluster.must_get(REPOSITORY, &self.namespace, name).await;
            if reasons.contains(&ready_reason(&object)) { Ok(object) } else { Err(format!("{:#}", object["status"])) }
        })
        .await
    }
}

/// That a report's message holds all of these words.
pub fn assert_says(report: &Value, words: &[&str]) {
    let message = ready_message(report);
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

/// Names below the test bed's domain that were asked for since a mark: what never leaves the operator's place.
pub fn asked_names(mark: &Mark) -> Vec<String> {
    let names = mark.entries::<DnsQuestion>().into_iter().map(|question| question.name);
    names.filter(|name| name.trim_end_matches('.').ends_with("corp.test")).collect()
}

/// Packets by `address protocol port` that the operator sent past the proxy.
pub fn dialled(bed: &Testbed) -> std::collections::BTreeMap<String, u64> {
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).expect("a JSON line");
        let text = |field: &str| entry[field].as_str().map_or_else(|| entry[field].to_string(), str::to_owned);
        (
            format!("{} {} {}", text("address"), text("protocol"), text("port")),
            entry["packets"].as_u64().unwrap_or_default(),
        )
    };
    bed.run(["dialled"]).lines().map(entry).filter(|(place, _)| !place.ends_with("udp 53")).collect()
}

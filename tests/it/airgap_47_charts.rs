//! Charts and artifacts instead of git: a Helm repository, a registry, and charts that depend on others, all behind the proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::application::{Application, ready_message, ready_reason};
use crate::support::cluster::CONFIG_MAP;
use crate::support::git::file;
use crate::support::installation::{GIT_CA, GIT_CREDENTIALS, Installation, PROXY, egress_proxy};
use crate::support::manifests::config_map;
use crate::support::testbed::{Testbed, run};

/// Publishes charts and artifacts below names of one installation.
struct Publisher {
    /// First part of all names.
    name: String,
    work: TempDir,
}

impl Publisher {
    fn new(installation: &Installation) -> Self {
        let charts = Testbed::shared().charts_root.join(&installation.namespace);
        fs::create_dir_all(charts).expect("a folder of charts");
        Self { name: installation.namespace.clone(), work: tempfile::tempdir().expect("a directory") }
    }

    fn helm(&self) -> Command {
        let mut helm = Command::new(Testbed::shared().bin.join("helm"));
        helm.env_clear().env("HOME", self.work.path());
        helm
    }

    /// A packaged chart of one ConfigMap that says its version.
    fn package(&self, name: &str, version: &str) -> PathBuf {
        let folder = self.work.path().join(name);
        fs::create_dir_all(folder.join("templates")).expect("a folder");
        let about = format!("apiVersion: v2\nname: {name}\nversion: {version}\n");
        fs::write(folder.join("Chart.yaml"), about).expect("a chart");
        let template = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}-of-{{{{ .Release.Name }}}}\ndata:\n  version: {{{{ .Chart.Version \
             | quote }}}}\n"
        );
        fs::write(folder.join("templates/map.yaml"), template).expect("a template");
        run(self.helm().arg("package").arg(&folder).arg("-d").arg(self.work.path()));
        self.work.path().join(format!("{name}-{version}.tgz"))
    }

    /// Publishes a chart in the Helm repository.
    fn publish(&self, name: &str, version: &str) {
        let archive = self.package(name, version);
        let charts = Testbed::shared().charts_root.join(&self.name);
        fs::copy(&archive, charts.join(archive.file_name().expect("a name"))).expect("the chart is copied");
        run(self.helm().args(["repo", "index"]).arg(&charts));
    }

    /// Publishes a chart in the registry.
    fn push(&self, name: &str, version: &str) {
        let layer = fs::read(self.package(name, version)).expect("a chart");
        let config = format!("{{\"name\":\"{name}\",\"version\":\"{version}\",\"apiVersion\":\"v2\"}}");
        self.push_artifact(
            &format!("{}/{name}", self.name),
            version,
            ("application/vnd.cncf.helm.config.v1+json", config.as_bytes()),
            ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", &layer),
        );
    }

    /// Publishes manifests in the registry; the digest.
    fn push_manifests(&self, name: &str, tag: &str, files: &[(&str, String)]) -> String {
        let folder = self.work.path().join(format!("artifact-{tag}"));
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a manifest");
        }
        let archive = self.work.path().join(format!("artifact-{tag}.tgz"));
        run(Command::new("tar").arg("czf").arg(&archive).arg("-C").arg(&folder).arg("."));
        let layer = fs::read(&archive).expect("an archive");
        self.push_artifact(
            &format!("{}/{name}", self.name),
            tag,
            ("application/vnd.cncf.flux.config.v1+json", b"{}"),
            ("application/vnd.cncf.flux.content.v1.tar+gzip", &layer),
        )
    }

    /// Signs an artifact as `cosign sign --key` does, with a private key in PEM.
    fn sign(&self, name: &str, artifact: &str, key: &Path) {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": artifact},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        let (signed, signature) = (self.file("payload", payload.as_bytes()), self.work.path().join("signature"));
        run(Command::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(key)
            .arg("-out")
            .arg(&signature)
            .arg(&signed));
        let signature = STANDARD.encode(fs::read(signature).expect("a signature"));
        self.push_annotated(
            &format!("{}/{name}", self.name),
            &format!("{}.sig", artifact.replace(':', "-")),
            ("application/vnd.oci.image.config.v1+json", b"{}"),
            ("application/vnd.dev.cosign.simplesigning.v1+json", payload.as_bytes()),
            &json!({"dev.cosignproject.cosign/signature": signature}),
        );
    }

    fn push_artifact(&self, name: &str, tag: &str, config: (&str, &[u8]), layer: (&str, &[u8])) -> String {
        self.push_annotated(name, tag, config, layer, &json!({}))
    }

    fn push_annotated(
        &self,
        name: &str,
        tag: &str,
        config: (&str, &[u8]),
        layer: (&str, &[u8]),
        annotations: &Value,
    ) -> String {
        let descriptor = |(media_type, content): (&str, &[u8])| json!({"mediaType": media_type, "digest": digest(content), "size": content.len()});
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let mut content = descriptor(layer);
        content["annotations"] = annotations.clone();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": descriptor(config), "layers": [content],
        });
        let registry = format!("https://{}/v2/{name}", Testbed::shared().registry_host);
        for (_, content) in [config, layer] {
            let begun = self.curl(&["-i", "-X", "POST", &format!("{registry}/blobs/uploads/")]);
            let location = begun.lines().find_map(|line| {
                line.to_ascii_lowercase().starts_with("location:").then(|| line[9..].trim().to_owned())
            });
            let location = location.unwrap_or_else(|| panic!("no upload began: {begun}"));
            let location = match location.strip_prefix('/') {
                Some(path) => format!("https://{}/{path}", Testbed::shared().registry_host),
                None => location,
            };
            let sign = if location.contains('?') { '&' } else { '?' };
            let blob = self.file("blob", content);
            self.curl(&[
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/octet-stream",
                "--data-binary",
                &at(&blob),
                &format!("{location}{sign}digest={}", digest(content)),
            ]);
        }
        let text = manifest.to_string();
        let place = self.file("manifest", text.as_bytes());
        let content_type = format!("Content-Type: {media_type}");
        self.curl(&[
            "-X",
            "PUT",
            "-H",
            &content_type,
            "--data-binary",
            &at(&place),
            &format!("{registry}/manifests/{tag}"),
        ]);
        digest(text.as_bytes())
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.work.path().join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    fn curl(&self, arguments: &[&str]) -> String {
        let bed = Testbed::shared();
        let mut curl = bed.in_operator_place(Path::new("/usr/bin/curl"));
        curl.args(["-sS", "--fail-with-body", "-m", "20", "-x", &bed.proxy_open_url, "--cacert"]).arg(&bed.git_ca);
        run(curl.args(arguments))
    }
}

fn at(path: &Path) -> String {
    format!("@{}", path.display())
}

fn digest(content: &[u8]) -> String {
    let hash: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// Repositories for charts and artifacts, with a login.
async fn apply_repositories(installation: &Installation) {
    let bed = Testbed::shared();
    for (name, field, url, kind) in [
        ("charts", "url", format!("https://{}/{}", bed.charts_login_host, installation.namespace), "helm"),
        ("registry", "urlPrefix", format!("oci://{}", bed.registry_login_host), "oci"),
        ("registry-redirect", "urlPrefix", format!("oci://{}", bed.registry_redirect_host), "oci"),
    ] {
        installation
            .apply(json!({
                "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": name},
                "spec": {
                    "type": kind, field: url,
                    "credentialsSecretRef": {"name": GIT_CREDENTIALS},
                    "caSecretRef": {"name": GIT_CA},
                    "egress": {"proxyRef": {"name": PROXY}},
                },
            }))
            .await;
    }
}

fn from(source: Value, name: &str, target: &str) -> Application {
    Application::named(name, "", "", target).spec("source", source)
}

async fn version(installation: &Installation, target: &str, name: &str) -> Value {
    installation.cluster.must_get(CONFIG_MAP, target, name).await["data"]["version"].clone()
}

#[tokio::test]
async fn airgap_47_charts_and_artifacts_behind_the_proxy_are_followed_and_enforced_while_their_hosts_are_dark() {
    let bed = Testbed::shared();
    let mut installation = Installation::start("charts").await;
    apply_repositories(&installation).await;
    let target = installation.target("t").await;
    let publisher = Publisher::new(&installation);
    let name = installation.namespace.clone();
    publisher.publish("web", "1.0.0");
    publisher.publish("web", "2.0.0");
    publisher.push("api", "1.0.0");
    publisher.push("api", "1.1.0-rc.1");
    let pinned = publisher.push_manifests(
        "policies",
        "v1",
        &[("production/map.yaml", config_map("policies", "first")), ("other/map.yaml", config_map("other", "first"))],
    );

    let charts = format!("https://{}/{name}", bed.charts_login_host);
    let registry = format!("oci://{}/{name}", bed.registry_login_host);
    let redirecting = format!("oci://{}/{name}/policies", bed.registry_redirect_host);
    installation
        .declare(from(json!({"repoURL": charts, "chart": "web", "targetRevision": "1.x"}), "web", &target))
        .await;
    installation
        .declare(from(json!({"repoURL": registry, "chart": "api", "targetRevision": "~1"}), "api", &target))
        .await;
    let policies = json!({"repoURL": redirecting, "targetRevision": pinned, "path": "production"});
    installation.declare(from(policies, "policies", &target)).await;
    installation.synced("web", "1.0.0").await;
    installation.synced("api", "1.0.0").await;
    installation.synced("policies", &pinned).await;
    assert_eq!(version(&installation, &target, "web-of-web").await, "1.0.0");
    assert_eq!(version(&installation, &target, "api-of-api").await, "1.0.0");
    assert!(installation.cluster.get(CONFIG_MAP, &target, "other").await.is_none(), "only the path is applied");

    // A chart in git depends on both, each behind its own login.
    let repository = installation.repository("shop");
    let commit = repository.commit([(
        "chart/Chart.yaml",
        file(format!(
            "apiVersion: v2\nname: shop\nversion: 0.1.0\ndependencies:\n- {{name: web, version: 1.x, repository: \"{charts}\"}}\n\
             - {{name: api, version: 1.0.0, repository: \"{registry}\"}}\n"
        )),
    )]);
    installation.declare(Application::named("shop", &repository.url, "chart", &target)).await;
    installation.synced("shop", &commit).await;
    assert_eq!(version(&installation, &target, "web-of-shop").await, "1.0.0");
    assert_eq!(version(&installation, &target, "api-of-shop").await, "1.0.0");

    // New versions are followed, each within its range.
    publisher.publish("web", "1.1.0");
    publisher.push("api", "1.1.0");
    installation.follow("web", "1.1.0").await;
    let object = installation.follow("api", "1.1.0").await;
    let history = object["status"]["history"].as_array().cloned().unwrap_or_default();
    let shown: Vec<&str> = history.iter().filter_map(|entry| entry["revision"].as_str()).collect();
    assert_eq!(shown, ["1.0.0", "1.1.0"]);
    assert_eq!(version(&installation, &target, "web-of-web").await, "1.1.0");

    // What is missing is named, with what there is.
    installation
        .declare(from(json!({"repoURL": charts, "chart": "webb", "targetRevision": "1.x"}), "none", &target))
        .await;
    let object = installation.wait_application("none", "fails", |object| ready_reason(object) == "ChartNotFound").await;
    assert!(ready_message(&object).contains("similar: web"), "{}", ready_message(&object));

    // With everything dark after a restart, what was last seen is enforced.
    installation.operator.stop().await;
    installation.apply(egress_proxy(PROXY, &bed.proxy_closed_url)).await;
    let gone = ["web-of-web", "api-of-api", "policies", "web-of-shop", "api-of-shop"];
    for map in gone {
        installation.cluster.delete(CONFIG_MAP, &target, map).await;
    }
    installation.operator.start().await;
    for map in gone {
        installation
            .wait(&format!("ConfigMap {map} is back"), async || {
                installation
                    .cluster
                    .get(CONFIG_MAP, &target, map)
                    .await
                    .map(|_| ())
                    .ok_or_else(|| "it is gone".to_owned())
            })
            .await;
    }
    for (application, wanted) in [("web", "1.1.0"), ("api", "1.1.0"), ("policies", &pinned), ("shop", &commit)] {
        installation.synced(application, wanted).await;
    }
    assert_eq!(version(&installation, &target, "web-of-shop").await, "1.0.0");
    installation.finish().await;
}

#[tokio::test]
async fn airgap_56_an_artifact_is_deployed_when_a_key_of_the_project_signed_it_and_not_before() {
    let bed = Testbed::shared();
    let installation = Installation::start("cosign").await;
    apply_repositories(&installation).await;
    let target = installation.target("t").await;
    let publisher = Publisher::new(&installation);
    let keys = ["release", "stranger"].map(|name| {
        let (private, public) =
            (publisher.work.path().join(format!("{name}.key")), publisher.work.path().join(format!("{name}.pub")));
        run(Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(&private));
        run(Command::new("openssl").args(["ec", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public));
        (private, fs::read_to_string(public).expect("a public key"))
    });
    installation
        .apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "tidelock-cosign-keys-cm"},
            "data": {"release": keys[0].1, "stranger": keys[1].1},
        }))
        .await;
    installation
        .apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "AppProject", "metadata": {"name": "signed"},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "*"}],
                "sourceIntegrity": {"oci": {"policies": [{"repos": [{"url": "oci://*"}], "cosign": {"keys": ["release"]}}]}},
            },
        }))
        .await;
    let first = publisher.push_manifests("app", "v1", &[("map.yaml", config_map("signed", "first"))]);
    let url = format!("oci://{}/{}/app", bed.registry_login_host, installation.namespace);
    let source = json!({"repoURL": url, "targetRevision": "v1", "directory": {"recurse": true}});
    installation.declare(from(source, "app", &target).spec("project", json!("signed"))).await;
    let refused = async |why: &str| {
        installation
            .wait_application("app", &format!("is refused: {why}"), |object| {
                ready_reason(object) == "SignatureInvalid" && ready_message(object).contains(why)
            })
            .await
    };
    refused("signed").await;
    assert!(installation.cluster.get(CONFIG_MAP, &target, "signed").await.is_none(), "nothing of it is applied");

    // By a key that the operator knows and the project does not allow.
    publisher.sign("app", &first, &keys[1].0);
    installation.refresh("app").await;
    refused("release").await;
    assert!(installation.cluster.get(CONFIG_MAP, &target, "signed").await.is_none());

    publisher.sign("app", &first, &keys[0].0);
    installation.refresh("app").await;
    installation.synced("app", &first).await;
    assert_eq!(installation.cluster.must_get(CONFIG_MAP, &target, "signed").await["data"]["value"], "first");

    // The tag moves to what nobody signed: what was verified stays.
    publisher.push_manifests("app", "v1", &[("map.yaml", config_map("signed", "second"))]);
    installation.refresh("app").await;
    let object = refused("signed").await;
    assert_eq!(object["status"]["sync"]["revision"], first.as_str());
    assert_eq!(installation.cluster.must_get(CONFIG_MAP, &target, "signed").await["data"]["value"], "first");
    installation.finish().await;
}

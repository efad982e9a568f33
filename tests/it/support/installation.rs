//! An installation of the operator for one test: its own namespace, user, proxy and repository objects, and process.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::application::{Application, condition, health, revision, sync_state};
use super::audit::Audit;
use super::cluster::{APPLICATION, CLUSTER_ROLE_BINDING, Cluster, DEFINITION, Kind, NAMESPACE, REPOSITORY, name_of};
use super::git::GitRepository;
use super::operator::Operator;
use super::testbed::{Testbed, read};
use super::waiting::{PATIENCE, wait_until};

/// Name of the EgressProxy of every installation.
pub const PROXY: &str = "corporate";
/// Name of the Repository that covers the whole git server.
pub const CORP: &str = "corp";
/// Name of the Secret with the git server's login.
pub const GIT_CREDENTIALS: &str = "git-credentials";
/// Name of the Secret with the git server's CA.
pub const GIT_CA: &str = "git-ca";
/// Name of the Secret with the proxy's login.
pub const PROXY_CREDENTIALS: &str = "proxy-credentials";

/// Operators that may run at once: the machine is small, and a cluster runs on it too.
static OPERATORS: Semaphore = Semaphore::const_new(3);

/// One operator with everything it needs.
pub struct Installation {
    /// Namespace of the operator and its Applications.
    pub namespace: String,
    /// The API server, as an administrator.
    pub cluster: Cluster,
    /// The process.
    pub operator: Operator,
    /// The operator's user, in the audit log.
    pub user: String,
    targets: RefCell<Vec<String>>,
    refreshes: AtomicU32,
    _directory: TempDir,
    _permit: SemaphorePermit<'static>,
}

impl Installation {
    /// Installs and starts an operator; `name` tells tests apart.
    pub async fn start(name: &str) -> Self {
        let mut installation = Self::prepare(name).await;
        installation.apply_access().await;
        installation.operator.start().await;
        installation
    }

    /// Makes namespace, user and rights; the operator is not started, and has no way to git yet.
    pub async fn prepare(name: &str) -> Self {
        let installation = Self::prepare_without_rights(name).await;
        let namespace = &installation.namespace;
        installation
            .cluster
            .apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": namespace},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "tidelock", "namespace": namespace}],
            }))
            .await;
        installation
    }

    /// The same with a user that may do nothing.
    pub async fn prepare_without_rights(name: &str) -> Self {
        let bed = Testbed::shared();
        let permit = OPERATORS.acquire().await.expect("never closed");
        let cluster = Cluster::connect(&bed.kubeconfig).await;
        let namespace = format!("it-{name}-{:04x}", fastrand::u16(..));
        cluster.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        cluster
            .apply(json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "tidelock", "namespace": namespace},
            }))
            .await;
        let directory = tempfile::Builder::new().prefix(&format!("{namespace}-")).tempdir().expect("a directory");
        let kubeconfig = directory.path().join("kubeconfig");
        let token = cluster.token(&namespace, "tidelock").await;
        std::fs::write(&kubeconfig, kubeconfig_with(&bed.kubeconfig, &token)).expect("a kubeconfig");
        let operator = Operator::new(&kubeconfig, &namespace, directory.path());
        Self {
            user: format!("system:serviceaccount:{namespace}:tidelock"),
            namespace,
            cluster,
            operator,
            targets: RefCell::default(),
            refreshes: AtomicU32::new(0),
            _directory: directory,
            _permit: permit,
        }
    }

    /// Another replica of the operator, with a state directory of its own; not yet started.
    pub fn replica(&self) -> Operator {
        let directory = self._directory.path();
        Operator::new(&directory.join("kubeconfig"), &self.namespace, &directory.join("replica"))
    }

    /// The way to git: EgressProxy, Repository and their Secrets.
    pub async fn apply_access(&self) {
        let bed = Testbed::shared();
        self.apply_login(PROXY_CREDENTIALS, &bed.proxy_username, &bed.proxy_password).await;
        self.apply_login(GIT_CREDENTIALS, &bed.git_username, &bed.git_password).await;
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": GIT_CA},
            "stringData": {"ca.crt": bed.git_ca_pem()},
        }))
        .await;
        self.apply(egress_proxy(PROXY, &bed.proxy_url)).await;
        self.apply(json!({
            "apiVersion": "tidelock.dev/v1alpha1", "kind": "Repository", "metadata": {"name": CORP},
            "spec": {
                "urlPrefix": format!("{}/", bed.git_https_url),
                "credentialsSecretRef": {"name": GIT_CREDENTIALS},
                "caSecretRef": {"name": GIT_CA},
                "egress": {"proxyRef": {"name": PROXY}},
            },
        }))
        .await;
    }

    /// A Secret with a login.
    pub async fn apply_login(&self, name: &str, username: &str, password: &str) {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"username": username, "password": password},
        }))
        .await;
    }

    /// Applies an object in the operator's namespace.
    pub async fn apply(&self, mut object: Value) -> Value {
        object["metadata"]["namespace"] = json!(self.namespace);
        self.cluster.apply(object).await
    }

    /// Declares an Application.
    pub async fn declare(&self, application: Application) {
        self.apply(application.object()).await;
    }

    /// A new repository whose name is of this installation alone.
    pub fn repository(&self, name: &str) -> GitRepository {
        GitRepository::create(&format!("{}-{name}", self.namespace))
    }

    /// A new namespace for objects of Applications.
    pub async fn target(&self, name: &str) -> String {
        let target = format!("{}-{name}", self.namespace);
        self.cluster.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target}})).await;
        self.targets.borrow_mut().push(target.clone());
        target
    }

    /// Takes a namespace that something else made away at the end.
    pub fn clean_up_later(&self, namespace: &str) {
        self.targets.borrow_mut().push(namespace.to_owned());
    }

    /// An API group that no other test uses.
    pub fn group(&self) -> String {
        format!("{}.example.com", self.namespace)
    }

    /// A kind of that group.
    pub fn own_kind(&self, kind: &'static str) -> Kind {
        Kind(Box::leak(format!("{}/v1", self.group()).into_boxed_str()), kind)
    }

    /// An Application as it is now.
    pub async fn application(&self, name: &str) -> Value {
        self.cluster.must_get(APPLICATION, &self.namespace, name).await
    }

    /// Waits for a condition, or fails with all that helps to understand why it does not come.
    pub async fn wait<T>(&self, what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
        self.wait_for(PATIENCE, what, probe).await
    }

    /// As `wait`, with a deadline of one's own.
    pub async fn wait_for<T>(&self, limit: Duration, what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
        match wait_until(limit, probe).await {
            Ok(value) => value,
            Err(state) => panic!(
                "not within {} s: {what}\nas it stands: {state}\n{}\n{}",
                limit.as_secs(),
                self.summary().await,
                self.operator.last_log_lines()
            ),
        }
    }

    /// Waits until a statement about an Application holds.
    pub async fn wait_application(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.wait(&format!("Application {name} {what}"), async || {
            let object = self.application(name).await;
            if holds(&object) { Ok(object) } else { Err(format!("{:#}", object["status"])) }
        })
        .await
    }

    /// Waits until an Application is Synced at a revision and its operation is over.
    pub async fn synced(&self, name: &str, wanted: &str) -> Value {
        self.wait_application(name, &format!("is Synced at {wanted}"), |object| is_synced(object, wanted)).await
    }

    /// Waits until an Application is Synced and Healthy at a revision.
    pub async fn healthy(&self, name: &str, wanted: &str) -> Value {
        self.wait_application(name, &format!("is Synced and Healthy at {wanted}"), |object| {
            is_synced(object, wanted) && health(object) == "Healthy"
        })
        .await
    }

    /// As `healthy`, with a deadline of one's own.
    pub async fn wait_for_healthy(&self, name: &str, wanted: &str, limit: Duration) -> Value {
        self.wait_for(limit, &format!("Application {name} is Synced and Healthy at {wanted}"), async || {
            let object = self.application(name).await;
            if is_synced(&object, wanted) && health(&object) == "Healthy" {
                Ok(object)
            } else {
                Err(format!("{:#}", object["status"]))
            }
        })
        .await
    }

    /// Asks for a poll after a commit and waits until the Application is Synced at it.
    pub async fn follow(&self, name: &str, wanted: &str) -> Value {
        self.ask_refresh(APPLICATION, name).await;
        self.synced(name, wanted).await
    }

    /// Asks for a poll of an Application's repository and waits until it was acted on.
    pub async fn refresh(&self, name: &str) {
        let value = self.ask_refresh(APPLICATION, name).await;
        self.wait_application(name, &format!("has handled refresh {value}"), |object| {
            object["status"]["lastHandledRefresh"] == value.as_str()
        })
        .await;
    }

    /// Asks for a poll of a Repository and waits until it was acted on.
    pub async fn refresh_repository(&self, name: &str) {
        let value = self.ask_refresh(REPOSITORY, name).await;
        self.wait(&format!("Repository {name} has handled refresh {value}"), async || {
            let object = self.cluster.must_get(REPOSITORY, &self.namespace, name).await;
            if object["status"]["lastHandledRefresh"] == value.as_str() {
                Ok(())
            } else {
                Err(format!("{:#}", object["status"]))
            }
        })
        .await;
    }

    /// Asks for a poll and does not wait; the value that will have been handled.
    pub async fn ask_refresh(&self, kind: Kind, name: &str) -> String {
        let value = format!("test-{}", self.refreshes.fetch_add(1, Ordering::Relaxed));
        let patch = json!({"metadata": {"annotations": {"tidelock.dev/refresh": value}}});
        self.cluster.merge(kind, &self.namespace, name, patch).await;
        value
    }

    /// The operator's requests from now on.
    pub fn audit(&self) -> Audit {
        Audit::from_now(&self.user)
    }

    /// Stops the operator, which must end well, and removes what the test made. Deletions go on in the background.
    pub async fn finish(mut self) {
        self.operator.stop().await;
        self.finish_stopped().await;
    }

    /// The same for an operator that was stopped already.
    pub async fn finish_stopped(self) {
        for application in self.cluster.list(APPLICATION, &self.namespace).await {
            let patch = json!({"metadata": {"finalizers": null}});
            self.cluster.merge_if_there(APPLICATION, &self.namespace, name_of(&application), patch).await;
        }
        self.cluster.delete(CLUSTER_ROLE_BINDING, "", &self.namespace).await;
        for definition in self.cluster.list(DEFINITION, "").await {
            if definition["spec"]["group"] == self.group() {
                self.cluster.delete(DEFINITION, "", name_of(&definition)).await;
            }
        }
        for target in self.targets.take() {
            self.cluster.delete(NAMESPACE, "", &target).await;
        }
        self.cluster.delete(NAMESPACE, "", &self.namespace).await;
    }

    /// One line for each Application, for messages of failed tests.
    pub async fn summary(&self) -> String {
        let mut lines = vec!["--- Applications".to_owned()];
        for object in self.cluster.list(APPLICATION, &self.namespace).await {
            let ready = condition(&object, "Ready").cloned().unwrap_or_default();
            lines.push(format!(
                "{}: {} {} at {:.8}; {} {}: {}",
                name_of(&object),
                sync_state(&object),
                health(&object),
                revision(&object),
                object["status"]["operationState"]["phase"].as_str().unwrap_or("no operation"),
                ready["reason"].as_str().unwrap_or("no condition"),
                ready["message"].as_str().unwrap_or_default(),
            ));
        }
        lines.truncate(40);
        lines.join("\n")
    }
}

/// Whether an Application is Synced at a revision and no operation runs.
pub fn is_synced(object: &Value, wanted: &str) -> bool {
    sync_state(object) == "Synced"
        && revision(object) == wanted
        && object["status"]["operationState"]["phase"] == "Succeeded"
        && object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// An EgressProxy with the installation's own login.
pub fn egress_proxy(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "tidelock.dev/v1alpha1", "kind": "EgressProxy", "metadata": {"name": name},
        "spec": {"url": url, "credentialsSecretRef": {"name": PROXY_CREDENTIALS}, "hosts": ["*.corp.test"]},
    })
}

/// The administrator's kubeconfig with another user.
fn kubeconfig_with(administrator: &Path, token: &str) -> String {
    let mut config: Value =
        serde_json::from_str(&read(administrator)).expect("the test bed writes kubeconfigs as JSON");
    let user = config["users"][0]["name"].clone();
    config["users"] = json!([{"name": user, "user": {"token": token}}]);
    config.to_string()
}

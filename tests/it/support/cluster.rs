//! The API server as the tests use it: any object as JSON, with an administrator's rights.

use std::path::Path;

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Field manager of everything the tests write, unless they play somebody else.
pub const TEST_MANAGER: &str = "test";

/// A kind with its group and version, as in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub &'static str, pub &'static str);

pub const APPLICATION: Kind = Kind("tidelock.dev/v1alpha1", "Application");
pub const REPOSITORY: Kind = Kind("tidelock.dev/v1alpha1", "Repository");
pub const EGRESS_PROXY: Kind = Kind("tidelock.dev/v1alpha1", "EgressProxy");
pub const CONFIG_MAP: Kind = Kind("v1", "ConfigMap");
pub const SECRET: Kind = Kind("v1", "Secret");
pub const SERVICE: Kind = Kind("v1", "Service");
pub const SERVICE_ACCOUNT: Kind = Kind("v1", "ServiceAccount");
pub const NAMESPACE: Kind = Kind("v1", "Namespace");
pub const EVENT: Kind = Kind("v1", "Event");
pub const POD: Kind = Kind("v1", "Pod");
pub const JOB: Kind = Kind("batch/v1", "Job");
pub const DEFINITION: Kind = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition");
pub const DEPLOYMENT: Kind = Kind("apps/v1", "Deployment");
pub const ROLE: Kind = Kind("rbac.authorization.k8s.io/v1", "Role");
pub const CLUSTER_ROLE_BINDING: Kind = Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding");

/// A connection to the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Connects as a kubeconfig says.
    pub async fn connect(kubeconfig: &Path) -> Self {
        let text = Kubeconfig::read_from(kubeconfig)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", kubeconfig.display()));
        let config = Config::from_custom_kubeconfig(text, &KubeConfigOptions::default())
            .await
            .expect("a kubeconfig of the test bed");
        Self { client: Client::try_from(config).expect("a client for the test bed") }
    }

    /// Server-side apply by the tests' own field manager.
    pub async fn apply(&self, object: Value) -> Value {
        self.apply_as(TEST_MANAGER, object).await
    }

    /// Server-side apply by a field manager, taking fields over.
    pub async fn apply_as(&self, manager: &str, object: Value) -> Value {
        self.try_apply_as(manager, object.clone())
            .await
            .unwrap_or_else(|error| panic!("the API server refuses an object of the test: {error}\n{object:#}"))
    }

    /// Server-side apply that may be refused.
    pub async fn try_apply_as(&self, manager: &str, object: Value) -> Result<Value, kube::Error> {
        let (api, name) = self.api_of(&object);
        let parameters = PatchParams::apply(manager).force();
        api.patch(&name, &parameters, &Patch::Apply(&object)).await.map(to_value)
    }

    /// Creates an object, as a tool that knows no server-side apply does.
    pub async fn update_as(&self, manager: &str, object: Value) -> Value {
        let (api, name) = self.api_of(&object);
        let parameters = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        let dynamic: DynamicObject = serde_json::from_value(object).expect("an object");
        api.create(&parameters, &dynamic)
            .await
            .map(to_value)
            .unwrap_or_else(|error| panic!("cannot create {name}: {error}"))
    }

    /// Merge patch, as a script of a person sends it.
    pub async fn merge(&self, kind: Kind, namespace: &str, name: &str, patch: Value) -> Value {
        self.merge_as("a-person", kind, namespace, name, patch).await
    }

    /// Merge patch by a manager.
    pub async fn merge_as(&self, manager: &str, kind: Kind, namespace: &str, name: &str, patch: Value) -> Value {
        let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        self.api(kind, namespace)
            .patch(name, &parameters, &Patch::Merge(&patch))
            .await
            .map(to_value)
            .unwrap_or_else(|error| panic!("cannot patch {kind:?} {namespace}/{name}: {error}\n{patch:#}"))
    }

    /// Merge patch of the status, as a controller sends it.
    pub async fn merge_status(&self, kind: Kind, namespace: &str, name: &str, patch: Value) -> Value {
        let parameters = PatchParams { field_manager: Some("a-controller".to_owned()), ..PatchParams::default() };
        self.api(kind, namespace)
            .patch_status(name, &parameters, &Patch::Merge(&patch))
            .await
            .map(to_value)
            .unwrap_or_else(|error| {
                panic!("cannot patch the status of {kind:?} {namespace}/{name}: {error}\n{patch:#}")
            })
    }

    /// Merge patch of an object that may be gone.
    pub async fn merge_if_there(&self, kind: Kind, namespace: &str, name: &str, patch: Value) {
        match self.api(kind, namespace).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("cannot patch {kind:?} {namespace}/{name}: {error}"),
        }
    }

    /// An object, if it is there.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Value> {
        match self.api(kind, namespace).get_opt(name).await {
            Ok(found) => found.map(to_value),
            // Its kind is not served.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("cannot get {kind:?} {namespace}/{name}: {error}"),
        }
    }

    /// An object that must be there.
    pub async fn must_get(&self, kind: Kind, namespace: &str, name: &str) -> Value {
        self.get(kind, namespace, name).await.unwrap_or_else(|| panic!("there is no {kind:?} {namespace}/{name}"))
    }

    /// All objects of a kind in a namespace (or all, when it is empty), by name.
    pub async fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        self.list_by(kind, namespace, &ListParams::default()).await
    }

    /// All objects of a kind with a label.
    pub async fn list_labelled(&self, kind: Kind, namespace: &str, selector: &str) -> Vec<Value> {
        self.list_by(kind, namespace, &ListParams::default().labels(selector)).await
    }

    async fn list_by(&self, kind: Kind, namespace: &str, parameters: &ListParams) -> Vec<Value> {
        self.api(kind, namespace)
            .list(parameters)
            .await
            .unwrap_or_else(|error| panic!("cannot list {kind:?} in {namespace:?}: {error}"))
            .items
            .into_iter()
            .map(to_value)
            .collect()
    }

    /// Deletes an object and does not wait; one that is gone is no mistake.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) {
        match self.api(kind, namespace).delete(name, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => panic!("cannot delete {kind:?} {namespace}/{name}: {error}"),
        }
    }

    /// A bearer token for a ServiceAccount.
    pub async fn token(&self, namespace: &str, service_account: &str) -> String {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200},
        });
        let request =
            http::Request::post(format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"))
                .header("Content-Type", "application/json")
                .body(body.to_string().into_bytes())
                .expect("a request");
        let answer: Value = self.client.request(request).await.expect("a token for the operator's ServiceAccount");
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }

    fn api(&self, Kind(api_version, kind): Kind, namespace: &str) -> Api<DynamicObject> {
        self.dynamic(api_version, kind, namespace)
    }

    fn api_of(&self, object: &Value) -> (Api<DynamicObject>, String) {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        (
            self.dynamic(text("/apiVersion"), text("/kind"), text("/metadata/namespace")),
            text("/metadata/name").to_owned(),
        )
    }

    fn dynamic(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let types = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let gvk = GroupVersionKind::try_from(types).expect("group and version of an object");
        let resource = ApiResource::from_gvk(&gvk);
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }
}

fn to_value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("an object as JSON")
}

/// Name of an object.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Uid of an object.
pub fn uid_of(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

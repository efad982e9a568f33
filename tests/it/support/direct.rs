//! Writes by the applier itself, without an operator around it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tidelock::apply::{Applied, Applier, ApplyError, ApplyOptions, Force, Limits, Propagation};
use tidelock::desired::{DesiredObject, ObjectOptions};
use tidelock::live::{SurfaceCache, client};
use tidelock::model::{
    GroupVersionKind, Hash64, INSTANCE_LABEL, ObjectKey, Origin, Owner, TRACKING_ANNOTATION, own_entry,
};

use super::cluster::{Cluster, NAMESPACE};
use super::testbed::Testbed;

/// An applier, and a namespace to write into.
pub struct Direct {
    pub cluster: Cluster,
    pub applier: Applier,
    pub surface: Arc<SurfaceCache>,
    pub owner: Owner,
    pub namespace: String,
}

impl Direct {
    /// Connects, and makes an empty namespace. What an earlier run left is deleted.
    pub async fn start(name: &str) -> Self {
        let bed = Testbed::shared();
        let cluster = Cluster::connect(&bed.kubeconfig).await;
        let connection = client::connect(Some(&bed.kubeconfig)).await.expect("a client");
        let surface = Arc::new(SurfaceCache::start(connection.clone()).await.expect("the kinds of the test bed"));
        let kinds = Arc::clone(&surface);
        let applier = Applier::new(
            connection,
            Arc::new(move || kinds.current()),
            Arc::new(|_| false),
            Arc::new(|| true),
            Limits::default(),
        );
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos();
        let namespace = format!("direct-{name}-{}", nanos % 1_000_000_000);
        cluster.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})).await;
        Self { cluster, applier, surface, owner: Owner::new("it", "it", name), namespace }
    }

    /// Deletes the namespace; nothing waits for it.
    pub async fn finish(self) {
        self.cluster.delete(NAMESPACE, "", &self.namespace).await;
    }

    /// An object as the desired set would hold it: in the namespace (unless it is in none), with our marks.
    pub fn desired(&self, mut object: Value) -> DesiredObject {
        let text = |object: &Value, pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let gvk = GroupVersionKind::from_api_version(&text(&object, "/apiVersion"), &text(&object, "/kind"));
        let cluster_scoped = matches!(gvk.kind.as_str(), "Namespace" | "CustomResourceDefinition");
        if !cluster_scoped && object["metadata"].get("namespace").is_none() {
            object["metadata"]["namespace"] = json!(self.namespace);
        }
        let key = ObjectKey::new(
            gvk.group.clone(),
            gvk.kind.clone(),
            text(&object, "/metadata/namespace"),
            text(&object, "/metadata/name"),
        );
        object["metadata"]["labels"][INSTANCE_LABEL] = json!(self.owner.instance.as_str());
        object["metadata"]["annotations"][TRACKING_ANNOTATION] = json!(self.owner.tracking_id(&key));
        DesiredObject {
            key,
            gvk,
            body: Bytes::from(object.to_string()),
            hash: Hash64(0),
            wave: 0,
            options: ObjectOptions::default(),
            depends_on: Vec::new(),
            origin: Origin::default(),
            kind_is_new: false,
        }
    }

    /// Applies an object with our marks.
    pub async fn try_apply(&self, object: Value, options: &ApplyOptions) -> Result<Applied, ApplyError> {
        let desired = self.desired(object);
        self.applier.apply_with(&desired.key, &desired.gvk, desired.body.clone(), options).await
    }

    /// Applies an object that must be taken.
    pub async fn apply(&self, object: Value, options: &ApplyOptions) -> Applied {
        let shown = format!("{object:#}");
        self.try_apply(object, options).await.unwrap_or_else(|error| panic!("{error}\n{shown}"))
    }

    /// Leave to delete what can't be changed.
    pub fn force(&self) -> Option<Force> {
        Some(Force {
            owner: self.owner.clone(),
            propagation: Propagation::Background,
            gone_within: Duration::from_secs(60),
        })
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.applier.counters().requests.load(Ordering::Relaxed)
    }

    /// `kubectl apply` as a person runs it: client-side.
    pub fn kubectl_apply(&self, mut object: Value) {
        let bed = Testbed::shared();
        object["metadata"]["namespace"] = json!(self.namespace);
        let mut kubectl = Command::new(bed.bin.join("kubectl"))
            .arg("--kubeconfig")
            .arg(&bed.kubeconfig)
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("kubectl of the test bed");
        let mut stdin = kubectl.stdin.take().expect("a pipe");
        stdin.write_all(object.to_string().as_bytes()).expect("kubectl reads");
        drop(stdin);
        assert!(kubectl.wait().expect("kubectl ends").success());
    }
}

/// The managers of an object's fields, as `manager/operation`, without those of subresources.
pub fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let mut managers: Vec<String> = entries
        .iter()
        .filter(|entry| entry.get("subresource").is_none())
        .map(|entry| {
            format!("{}/{}", entry["manager"].as_str().unwrap_or("?"), entry["operation"].as_str().unwrap_or("?"))
        })
        .collect();
    managers.sort();
    managers
}

/// The fields that our entry records.
pub fn own_fields(object: &Value) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("managed fields");
    own_entry(entries, "tidelock").expect("an entry of ours")["fieldsV1"].clone()
}

//! `Cluster`: a destination other than the operator's own cluster.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalReference, RepositoryEgress};

/// A destination cluster. Not acted on by this version: an Application that names one reports `UnsupportedField`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    category = "tidelock",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Server","type":"string","jsonPath":".spec.server"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// URL of the API server.
    #[x_kube(validation = Rule::new("self.matches('^https://[^/?#@]+/?$')").message("server must look like https://host:port"))]
    #[schemars(length(max = 2048))]
    pub server: String,
    /// Secret in the same namespace whose key `ca.crt` holds the API server's CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalReference>,
    /// Secret in the same namespace whose key `token` holds a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<LocalReference>,
    /// Which way out to take; direct when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<RepositoryEgress>,
}

/// Whether the cluster can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

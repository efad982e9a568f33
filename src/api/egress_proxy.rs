//! `EgressProxy`: a proxy as an object.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalReference};

/// A proxy: its address, its credentials, its own CA, and the hosts it serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "EgressProxy",
    plural = "egressproxies",
    category = "tidelock",
    namespaced,
    status = "EgressProxyStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"Default","type":"boolean","jsonPath":".spec.default"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
// Stated on the whole, not on the field: a refusal shows the value of the field that it is about.
#[x_kube(
    validation = Rule::new("!self.url.contains('@')").message("url must not contain a user or password: put them into the Secret that credentialsSecretRef names")
)]
pub struct EgressProxySpec {
    /// Address of the proxy: `http://host:port` (the usual kind), `https://host:port` (TLS to the proxy itself) or
    /// `socks5h://host:port` (SOCKS5; names are resolved by the proxy).
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(
        validation = Rule::new("self.contains('@') || self.matches('^(https?|socks5h)://[^/?#]+/?$')").message("url must look like http://proxy.example.com:3128 (https:// and socks5h:// are possible too)")
    )]
    pub url: String,
    /// Secret in the same namespace with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalReference>,
    /// Secret in the same namespace whose key `ca.crt` holds the certificates (PEM) that this proxy presents itself
    /// with, or signs intercepted connections with. Trusted on routes through this proxy only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalReference>,
    /// Secret in the same namespace with the keys `tls.crt` and `tls.key` (type `kubernetes.io/tls`): the client certificate
    /// that an `https://` proxy wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<LocalReference>,
    /// Hosts that go through this proxy: `git.example.com`, `.example.com`, `*.example.com`, `10.0.0.0/8`, with or
    /// without `:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Hosts that go direct, in the same forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub direct: Vec<String>,
    /// Take every host that no rule names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
}

/// Whether the proxy can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressProxyStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, with the reason of the last failure at the proxy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

//! `Repository`: a URL, or all below a prefix, with credentials, trust and way out.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalReference};

/// How to reach a repository, or every repository below a URL prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "Repository",
    plural = "repositories",
    shortname = "repo",
    category = "tidelock",
    namespaced,
    status = "RepositoryStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.url"}"#,
    printcolumn = r#"{"name":"Prefix","type":"string","jsonPath":".spec.urlPrefix"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.url) && self.url != '') != (has(self.urlPrefix) && self.urlPrefix != '')").message("set either url (one repository) or urlPrefix (all repositories below it)"),
    validation = Rule::new("[has(self.url) ? self.url : '', has(self.urlPrefix) ? self.urlPrefix : ''].all(u, u == '' || u.matches('^https?://'))").message("only https:// and http:// repositories are supported"),
    validation = Rule::new("[has(self.url) ? self.url : '', has(self.urlPrefix) ? self.urlPrefix : ''].all(u, !u.matches('^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*@'))").message("the URL must not contain a user or password: put them into the Secret that credentialsSecretRef names")
)]
pub struct RepositorySpec {
    /// URL of one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Prefix of the URLs of many repositories; the longest that matches wins, and `url` wins over any prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url_prefix: Option<String>,
    /// Secret in the same namespace with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalReference>,
    /// Secret in the same namespace whose key `ca.crt` holds certificates (PEM) that are trusted besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalReference>,
    /// Which way out to take; the EgressProxies' own rules decide when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<RepositoryEgress>,
    /// How long each part of a request may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RepositoryTimeouts>,
}

/// Which way out to take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.proxyRef) && has(self.direct) && self.direct)").message("proxyRef and direct can't be set together")
)]
pub struct RepositoryEgress {
    /// An EgressProxy in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_ref: Option<LocalReference>,
    /// Use no proxy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
}

/// How long each part of a request may take (`10s`, `1m`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryTimeouts {
    /// Resolving a name (only on direct routes and for the proxy's own); 5 s when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub dns: Option<String>,
    /// TCP connect to the server or proxy; 10 s when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub dial: Option<String>,
    /// The proxy's answer to CONNECT; 45 s when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub connect: Option<String>,
    /// TLS handshake; 10 s when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub tls: Option<String>,
    /// First byte of an answer; 60 s when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub first_byte: Option<String>,
    /// Pause between bytes of an answer; 60 s when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub idle: Option<String>,
}

/// Whether the repository can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, with the reason of the last failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The value of the refresh annotation that was last acted on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_handled_refresh: String,
}

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
    validation = Rule::new("[has(self.url) ? self.url : '', has(self.urlPrefix) ? self.urlPrefix : ''].all(u, u == '' || u.matches('^(https?|ssh|oci)://') || u.matches('^[^/@:]+@[^/:]+:'))").message("the URL must begin with https://, http://, ssh:// or oci://, or look like git@host:path"),
    validation = Rule::new("[has(self.url) ? self.url : '', has(self.urlPrefix) ? self.urlPrefix : ''].all(u, !u.matches('^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*@') || u.matches('^ssh://[^/:@]+@'))").message("the URL must not contain a user or password: put them into the Secret that credentialsSecretRef names")
)]
pub struct RepositorySpec {
    /// What lies at the URL. When unset, an `oci://` URL is of a registry, and any other of git and of charts alike, whatever
    /// an Application asks for.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<RepositoryType>,
    /// URL of one repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// Prefix of the URLs of many repositories; the longest that matches wins, and `url` wins over any prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url_prefix: Option<String>,
    /// Secret in the same namespace. Its keys say how to log in: `username` and `password` (Basic); `bearerToken`;
    /// `tls.crt` and `tls.key` (client certificate, alone or beside another); `githubAppID`, `githubAppInstallationID` and
    /// `githubAppPrivateKey`, with `githubAppEnterpriseBaseUrl` where it is not github.com; `sshPrivateKey` (or `identity`)
    /// for `ssh://` URLs, with `known_hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<LocalReference>,
    /// Secret in the same namespace whose key `ca.crt` holds certificates (PEM) that are trusted for this repository besides
    /// the system's, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<LocalReference>,
    /// Which way out to take; the EgressProxies' own rules decide when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<RepositoryEgress>,
    /// How long each part of a request may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RepositoryTimeouts>,
    /// Host keys of SSH servers, in the format of OpenSSH's `known_hosts`, besides those in the Secret. A host whose key is
    /// not listed is refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 65536))]
    pub known_hosts: String,
    /// Speak plain HTTP to an `oci://` registry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
    /// What becomes of submodules. None is fetched when unset, and a render that reaches into one fails until this is said:
    /// taking it for empty could delete what it brought before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submodules: Option<RepositorySubmodules>,
    /// Git LFS; a pointer file is an error unless enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<RepositoryLfs>,
    /// How old the newest commit (or artifact) may be before the condition `Stale` says so (`720h`): tells a mirror that no
    /// longer moves from one that has nothing new. Not looked at when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub max_age: Option<String>,
    /// What may come from the repository at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<RepositoryLimits>,
}

/// What lies at a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryType {
    /// A git repository.
    #[default]
    Git,
    /// A Helm repository: an `index.yaml` and packaged charts, over HTTP.
    Helm,
    /// A registry: charts or manifests as OCI artifacts.
    Oci,
}

/// Submodules of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySubmodules {
    /// Fetch them; `false` leaves them empty, as git does. Each is fetched by the Repository that covers its own URL: its credentials, trust and way out, never this one's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
    /// Hosts that submodules may lie on (`git.example.com`, `*.example.com`). Empty allows this repository's own host only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub allowed_hosts: Vec<String>,
}

/// Git LFS of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryLfs {
    /// Fetch the content of pointer files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub enabled: bool,
}

/// What may come from a repository at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryLimits {
    /// Mebibytes of one transfer; when unset 1024 for a pack, 128 for a chart or an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub transfer_mebibytes: Option<u64>,
    /// Objects of one pack; a million when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub objects: Option<u32>,
    /// Mebibytes of everything that is kept of the repository; 4096 when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub store_mebibytes: Option<u64>,
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
    /// One operation (a list of refs, a fetch, a download) as a whole; 30 min when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub total: Option<String>,
}

/// Whether the repository can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, with the reason of the last failure; `Stale` when the newest commit is older than `maxAge`; `Pieced` while
    /// commits are fetched in pieces, because what lies between cuts long transfers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The value of the refresh annotation that was last acted on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_handled_refresh: String,
}

//! `EgressPolicy`: what leaves by which way when no proxy's own lists say so.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, LocalReference};

/// The name of the one EgressPolicy that counts.
pub const EGRESS_POLICY_NAME: &str = "default";

/// Rules for every outgoing connection of the operator. Only the object named `default` counts; without it the fields have
/// their defaults.
///
/// First match wins: built-in direct (loopback, link-local, the cluster's own API, `.svc`, `.cluster.local`, `direct`
/// below), the route that the connecting object names, `rules` in their order, the lists of the EgressProxies, AWS API hosts, the
/// `*_PROXY` variables of the operator's environment, the default EgressProxy, `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "EgressPolicy",
    plural = "egresspolicies",
    category = "tidelock",
    namespaced,
    status = "EgressPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Default","type":"string","jsonPath":".spec.default"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct EgressPolicySpec {
    /// Destinations that go direct whatever any object says, besides those that are built in: the cluster's pod and
    /// Service networks (`10.0.0.0/16`), hosts (`.corp.internal`), with or without `:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub direct: Vec<String>,
    /// Rules in their order; the first that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub rules: Vec<EgressPolicyRule>,
    /// Take no proxy to the API hosts of AWS (all partitions), which VPC endpoints serve. True when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_direct: Option<bool>,
    /// Heed the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the operator's environment. True when
    /// unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<bool>,
    /// What becomes of a connection that nothing above is about. `Direct` when unset; `Deny` turns the minutes of a dial that
    /// no route carries into an error at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<EgressDefault>,
}

/// What becomes of a connection that no rule is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EgressDefault {
    /// It leaves without a proxy.
    #[default]
    Direct,
    /// It is refused.
    Deny,
}

/// A rule: which destinations, and their way out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.proxyRef), has(self.direct) && self.direct, has(self.deny) && self.deny].filter(x, x).size() == 1").message("set exactly one of proxyRef, direct and deny")
)]
pub struct EgressPolicyRule {
    /// Destinations: `git.example.com`, `.example.com` or `*.example.com` (what lies below), `*` (every host), `10.0.0.0/8`
    /// (literal addresses only: no name is resolved to match one), each with or without `:port`.
    #[schemars(length(min = 1, max = 256))]
    pub hosts: Vec<String>,
    /// Only these ports; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ports: Vec<u16>,
    /// Through this EgressProxy in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_ref: Option<LocalReference>,
    /// Without a proxy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// Not at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deny: bool,
}

/// Whether the policy can be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressPolicyStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

//! `AppProject`: who may deploy what from where to where. Empty means deny.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::free_form_list;
use super::{Condition, SignatureKey, SourceIntegrity};

/// What the Applications of a project may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "AppProject",
    plural = "appprojects",
    shortname = "appproj",
    category = "tidelock",
    namespaced,
    status = "AppProjectStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Description","type":"string","jsonPath":".spec.description"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.signatureKeys) || size(self.signatureKeys) == 0 || !has(self.sourceIntegrity)")
        .message("signatureKeys and sourceIntegrity can't be set together: put the keys into a policy of sourceIntegrity.git")
)]
pub struct AppProjectSpec {
    /// What the project is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 255))]
    pub description: String,
    /// Globs of repository URLs that may be used; `!` denies and wins. Empty allows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_repos: Vec<String>,
    /// Clusters and namespaces that may be deployed to. Empty allows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<ProjectDestination>,
    /// Namespaces whose Applications may use this project besides the operator's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_namespaces: Vec<String>,
    /// Cluster-scoped kinds that may be deployed. Empty allows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_resource_whitelist: Vec<ResourceRule>,
    /// Cluster-scoped kinds that may not; wins over the whitelist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_resource_blacklist: Vec<ResourceRule>,
    /// Namespaced kinds that may be deployed. Unset allows all, an empty list none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_resource_whitelist: Option<Vec<ResourceRule>>,
    /// Namespaced kinds that may not; wins over the whitelist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespace_resource_blacklist: Vec<ResourceRule>,
    /// Roles for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_form_list")]
    pub roles: Vec<Value>,
    /// When syncs may run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub sync_windows: Vec<SyncWindow>,
    /// Watch for objects that no Application owns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::free_form_object")]
    pub orphaned_resources: Option<Value>,
    /// OpenPGP keys, one of which must have signed the commit of every git source, or an annotated tag of it. The older
    /// form of `sourceIntegrity`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub signature_keys: Vec<SignatureKey>,
    /// Who must have signed what is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_integrity: Option<SourceIntegrity>,
    /// ServiceAccounts to act as, by destination: the first that matches counts. Where none does, the operator acts as itself,
    /// unless it must not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub destination_service_accounts: Vec<DestinationServiceAccount>,
    /// Allow only clusters that belong to this project.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permit_only_project_scoped_clusters: bool,
}

/// A cluster and namespace that may be deployed to; globs, `!` denies and wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectDestination {
    /// URL of the cluster's API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// Name of the cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// The ServiceAccount by which everything about managed objects is asked for, at some destinations. `defaultServiceAccount` is
/// demanded by a rule and not by the type: an entry that was stored without it must not make the project unreadable, and acts
/// as nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(!has(self.server) || self.server.matches('^[^!]*$')) && (!has(self.__namespace__) || self.__namespace__.matches('^[^!]*$'))")
        .message("server and namespace of destinationServiceAccounts can't deny by !: the first entry that matches counts, so put the narrower ones first"),
    validation = Rule::new("has(self.defaultServiceAccount) && self.defaultServiceAccount.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?:)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("defaultServiceAccount must be the name of a ServiceAccount in the destination's namespace, or namespace:name")
)]
pub struct DestinationServiceAccount {
    /// Glob of the URL of the cluster's API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub server: String,
    /// Glob of the Application's destination namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub namespace: String,
    /// The ServiceAccount: a name in the destination's namespace, or `namespace:name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 320))]
    pub default_service_account: String,
}

/// A kind; globs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceRule {
    /// API group.
    #[serde(default)]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name; empty is any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// When syncs may run. `kind`, `schedule` and `duration` are demanded by rules and not by the type: a project that lacks
/// one must still be readable, since it was stored before the rule or while it was off, and a window that can't be read
/// closes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.kind) && self.kind in ['allow', 'deny']").message("kind must be allow or deny"),
    validation = Rule::new("has(self.schedule) && self.schedule != ''").message("schedule must be a cron expression of five fields, such as '0 22 * * 1-5'"),
    validation = Rule::new("has(self.duration) && self.duration.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("duration must be one such as 30m, 8h or 1h30m")
)]
pub struct SyncWindow {
    /// `allow` or `deny`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 5))]
    pub kind: String,
    /// Cron expression of five fields: minute, hour, day of month, month, day of week.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub schedule: String,
    /// How long the window stays open (`1h`), in elapsed time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 32))]
    pub duration: String,
    /// Globs of Applications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applications: Vec<String>,
    /// Globs of namespaces that are deployed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Globs of clusters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<String>,
    /// Whether a manual sync is allowed all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub manual_sync: bool,
    /// Time zone (IANA); UTC when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub time_zone: String,
    /// Whether all of applications, namespaces and clusters must match, not any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub and_operator: bool,
    /// Whether a running sync may go on after the window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync_overrun: bool,
    /// What the window is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What the operator reports about a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppProjectStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `UnsupportedField` when a field is set that this version does not act on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_window_that_lacks_what_the_rules_demand_is_read_all_the_same() {
        let spec: AppProjectSpec = serde_json::from_value(json!({"syncWindows": [{"kind": "deny"}]})).unwrap();
        let window = SyncWindow { kind: "deny".to_owned(), ..SyncWindow::default() };
        assert_eq!(spec, AppProjectSpec { sync_windows: vec![window], ..AppProjectSpec::default() });
    }
}

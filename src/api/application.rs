//! `Application`: one deployable unit, source to destination, with its policy.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{CustomResource, CustomResourceExt, KubeSchema, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operation::OperationCarrier;
use super::{ApplicationSource, ApplicationStatus, Automated, Operation, SyncPolicy};

/// `destination.server` of the cluster that the operator runs in.
pub const IN_CLUSTER_SERVER: &str = "https://kubernetes.default.svc";
/// `destination.name` of the cluster that the operator runs in.
pub const IN_CLUSTER_NAME: &str = "in-cluster";

/// One deployable unit. As in Argo CD a requested `operation` stands beside `spec` and `status`, where the derive of
/// `kube` has no room for it; hence this struct of our own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// Name, namespace, annotations and the rest.
    pub metadata: ObjectMeta,
    /// What to deploy.
    pub spec: ApplicationSpec,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ApplicationStatus>,
    /// A requested sync; removed when it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

impl Application {
    /// The CustomResourceDefinition.
    pub fn crd() -> CustomResourceDefinition {
        let mut definition = ApplicationDefinition::crd();
        let mut carrier = OperationCarrier::crd();
        let operation = carrier.spec.versions.first_mut().and_then(|version| {
            version.schema.as_mut()?.open_api_v3_schema.as_mut()?.properties.as_mut()?.remove("spec")
        });
        for version in &mut definition.spec.versions {
            let properties = version
                .schema
                .as_mut()
                .and_then(|schema| schema.open_api_v3_schema.as_mut())
                .and_then(|schema| schema.properties.as_mut());
            if let (Some(properties), Some(operation)) = (properties, operation.clone()) {
                properties.insert("operation".to_owned(), operation);
            }
        }
        definition
    }
}

impl Resource for Application {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ApplicationDefinition::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ApplicationDefinition::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ApplicationDefinition::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ApplicationDefinition::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What to deploy, from where, to where, and by which policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "Application",
    root = "ApplicationDefinition",
    plural = "applications",
    shortname = "app",
    shortname = "apps",
    category = "tidelock",
    namespaced,
    status = "ApplicationStatus",
    printcolumn = r#"{"name":"Sync","type":"string","jsonPath":".status.sync.status"}"#,
    printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.health.status"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.sync.revision"}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.source) || (has(self.sources) && self.sources.size() > 0)").message("source is missing: set source.repoURL and source.path"),
    validation = Rule::new("!(has(self.source) && has(self.sources) && self.sources.size() > 0)").message("source and sources can't be set together")
)]
pub struct ApplicationSpec {
    /// AppProject that says what this Application may do.
    #[serde(default = "default_project")]
    #[schemars(length(min = 1, max = 253))]
    pub project: String,
    /// Where the manifests come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ApplicationSource>,
    /// Several sources; exclusive with `source`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub sources: Vec<ApplicationSource>,
    /// Where the objects go.
    pub destination: Destination,
    /// How and when to sync. Without `automated` only a requested operation syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_policy: Option<SyncPolicy>,
    /// Differences that do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore_differences: Vec<IgnoreDifferences>,
    /// Notes and links for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub info: Vec<Info>,
    /// How many past syncs `status.history` keeps; 10 when unset, 0 keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: Option<i64>,
    /// Applications that must have come far enough before this one is synced. Deletion goes the other way round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub depends_on: Vec<ApplicationDependency>,
    /// Whether every step is tried on the server before the first write; `auto` (when unset) does so for an update of
    /// an Application that already runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// What is done about fields that were changed in the cluster. When unset, `syncPolicy.automated.selfHeal` says it:
    /// `correct` when on, `report` when off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// What is done about fields that people added to our objects by hand; `ignore` when unset. Fields that controllers
    /// add are never touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_fields: Option<ExtraFields>,
    /// Health of kinds by expressions of our users, before any other rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub health_check_exprs: Vec<HealthCheckExpression>,
    /// When the gates between waves open and give up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
    /// How often to ask git for a new revision (`60s`, `5m`); 60 seconds with jitter when unset. The Applications of
    /// one repository share one poll, at the shortest of their intervals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub poll_interval: Option<String>,
    /// Do nothing for this Application, neither sync nor heal, until unset. Deletion still works.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
}

fn default_project() -> String {
    "default".to_owned()
}

impl ApplicationSpec {
    /// The sources in force: `sources` when set, else `source`.
    pub fn all_sources(&self) -> &[ApplicationSource] {
        if self.sources.is_empty() { self.source.as_slice() } else { &self.sources }
    }

    /// `syncPolicy.automated`.
    pub fn automated(&self) -> Option<&Automated> {
        self.sync_policy.as_ref()?.automated.as_ref()
    }

    /// `syncPolicy.syncOptions`.
    pub fn sync_options(&self) -> &[String] {
        self.sync_policy.as_ref().map_or(&[], |policy| &policy.sync_options)
    }
}

/// Where the objects go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!(has(self.server) && self.server != '' && has(self.name) && self.name != '')").message("destination.server and destination.name can't be set together: name the cluster by one of them")
)]
pub struct Destination {
    /// URL of the cluster's API; `https://kubernetes.default.svc` is the cluster the operator runs in (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Name of a Cluster object; `in-cluster` is the cluster the operator runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of objects that name none. It never overrides one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

/// Differences of some objects that do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgnoreDifferences {
    /// API group; a glob.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind; a glob.
    pub kind: String,
    /// Name; empty is any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace; empty is any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Fields by JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub json_pointers: Vec<String>,
    /// Fields by jq path expression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jq_path_expressions: Vec<String>,
    /// Fields that these field managers own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub managed_fields_managers: Vec<String>,
}

/// Another Application that must have come far enough first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationDependency {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; this Application's when empty. An Application of another namespace must grant it by the annotation
    /// `tidelock.dev/allow-dependents`, a list of namespaces or `*`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// How far it must have come; `Healthy` when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<DependencyCondition>,
    /// The revision that it must have come so far with: a commit id or its first seven or more digits. Any when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub revision: String,
    /// A CEL expression over `status`, `spec` and `metadata` of the other Application that must be true besides.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub when: String,
}

/// How far another Application must have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DependencyCondition {
    /// It is in sync and its last operation succeeded.
    Synced,
    /// It is in sync and healthy.
    #[default]
    Healthy,
}

/// Whether every step is tried on the server before the first write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preflight {
    /// For an update of an Application that already runs.
    #[default]
    Auto,
    /// For every sync.
    Always,
    /// For none.
    Never,
}

/// What is done about fields of ours that were changed in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftPolicy {
    /// Put them back.
    Correct,
    /// Report them; the next sync puts them back.
    Report,
    /// Report them, and leave the objects alone, also when git changes, until a person asks for a sync.
    Hold,
}

/// What is done about fields that people added to our objects by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExtraFields {
    /// Nothing.
    #[default]
    Ignore,
    /// The object is out of sync.
    Report,
    /// The object is out of sync, and a sync removes the fields.
    Remove,
}

/// Health of a kind by CEL expressions over the object, as Flux has them. The first that is true tells: `failed` is
/// Degraded, `suspended` Suspended, `inProgress` Progressing, `current` Healthy; an object for which none is true is
/// Progressing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheckExpression {
    /// Group and version, or the group alone; any version of the group counts.
    #[schemars(length(max = 320))]
    pub api_version: String,
    /// Kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// True when it is on its way.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub in_progress: String,
    /// True when it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub failed: String,
    /// True when it is held on purpose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 4096))]
    pub suspended: String,
    /// True when it does what it should.
    #[schemars(length(min = 1, max = 4096))]
    pub current: String,
}

/// A note or link for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// What it is.
    pub name: String,
    /// The text or URL.
    pub value: String,
}

/// When the gates between waves open and give up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// How long one wave may take in all (`10m`); unset waits until a newer commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub timeout: Option<String>,
    /// How long a wave may go without any change of state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub no_progress_timeout: Option<String>,
    /// How long a wave must stay healthy before the next starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub stable_for: Option<String>,
    /// How long an object may be Degraded before its wave fails; 30 seconds when unset. Many controllers report a failure
    /// in passing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')").message("must be a duration such as 90s, 5m or 1h30m"))]
    pub degraded_grace_period: Option<String>,
    /// Whether the last wave must become healthy too before the operation succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_wave: Option<bool>,
}

//! Where an Application's manifests come from, with Argo CD's field names.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::{free_form_list, free_form_object};

/// One source: a repository, a revision, and how to render what lies at its path.
///
/// Without an explicit tool block the tool follows from the files, as in Argo CD: `Chart.yaml` → Helm,
/// `kustomization.yaml|.yml|Kustomization` → Kustomize, else a plain directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.path) && self.path != '' && has(self.chart) && self.chart != '')").message("path and chart can't be set together: use path for a folder of a git repository or an artifact, chart for a chart of a Helm repository or registry"),
    // Stated on the whole, not on the field: a refusal shows the value of the field that it is about.
    validation = Rule::new("!self.repoURL.matches('^[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*@') || self.repoURL.matches('^ssh://[^/:@]+@')").message("repoURL must not contain a user or password: put them into the Secret that the Repository's credentialsSecretRef names"),
    validation = Rule::new("[has(self.helm), has(self.kustomize), has(self.directory), has(self.plugin)].filter(x, x).size() <= 1").message("only one of helm, kustomize, directory and plugin can be set")
)]
pub struct ApplicationSource {
    /// URL of the repository: of a git repository (`https://git.example.com/team/app.git`), with `chart` also of a Helm
    /// repository (`https://charts.example.com`); or of a repository in a registry (`oci://registry.example.com/team/app`).
    /// Credentials belong into a Repository's Secret.
    #[serde(rename = "repoURL")]
    #[schemars(length(min = 1, max = 2048))]
    pub repo_url: String,
    /// Folder from the root of the repository, or of an artifact. Empty or `.` is the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.split('/').exists(part, part == '..')").message("path must be relative to the root of the repository and must not contain '..'"))]
    #[schemars(length(max = 4096))]
    pub path: Option<String>,
    /// Branch, tag, commit id, range of versions over tags (`1.x`, `>=1.2 <2`) or `HEAD` (the default: the repository's
    /// default branch). Of a chart: version or range of versions; the newest release when empty. Of an artifact: tag, digest
    /// (`sha256:…`) or range of versions; the tag `latest` when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub target_revision: Option<String>,
    /// Name of a chart in a Helm repository, or below an `oci://` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<String>,
    /// Name under which other sources may refer to this one's files as `$ref/…`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// A label for this source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Keep only tags with this prefix, and strip it, before a version range is matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_prefix: Option<String>,
    /// Render as a Helm chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSource>,
    /// Render with Kustomize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<KustomizeSource>,
    /// Take the YAML and JSON files as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DirectorySource>,
    /// A config management plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginSource>,
}

/// How to read a plain directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectorySource {
    /// Also read the folders below.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recurse: bool,
    /// Glob of paths (from the source's path) to read; `{a,b}` lists alternatives. Empty reads all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub include: String,
    /// Glob of paths to leave out; it wins over `include`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub exclude: String,
    /// Jsonnet evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jsonnet: Option<Jsonnet>,
    /// Read files whatever their extension.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_extension_filter: bool,
}

/// Jsonnet evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Jsonnet {
    /// External variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ext_vars: Vec<JsonnetVariable>,
    /// Top-level arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tlas: Vec<JsonnetVariable>,
    /// Library folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libs: Vec<String>,
}

/// A Jsonnet variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JsonnetVariable {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: String,
    /// Whether the value is code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub code: bool,
}

/// How to render a Helm chart (`helm template`).
///
/// Precedence of values, highest first: `fileParameters` and `parameters`, `valuesObject`, `values`, `valueFiles`,
/// the chart's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelmSource {
    /// Values files, relative to the chart; a leading `/` means from the root of the repository, `$ref/` from the root of the
    /// source with that `ref`. Globs stand for what they match. Later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub value_files: Vec<String>,
    /// Leave out values files that do not exist instead of failing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_missing_value_files: bool,
    /// Values as YAML text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub values: String,
    /// Values as an object; wins over `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_object")]
    pub values_object: Option<Value>,
    /// Single values by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<HelmParameter>,
    /// Single values whose content is a file's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub file_parameters: Vec<HelmFileParameter>,
    /// Release name; the Application's name when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 53))]
    pub release_name: String,
    /// Accepted for compatibility and without effect: there is one Helm.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Send the credentials of a Helm repository also to the other hosts that its index names for archives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pass_credentials: bool,
    /// Leave out the chart's `crds/`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_crds: bool,
    /// Leave out the chart's tests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_tests: bool,
    /// Do not check the values against the chart's `values.schema.json`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_schema_validation: bool,
    /// Namespace given to Helm; the destination's when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `.Capabilities.KubeVersion`; the destination's when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kube_version: String,
    /// `.Capabilities.APIVersions`; the destination's when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
}

/// One Helm value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelmParameter {
    /// Path of the value (`image.tag`).
    pub name: String,
    /// The value.
    #[serde(default)]
    pub value: String,
    /// Keep the value a string even if it looks like a number or boolean.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_string: bool,
}

/// One Helm value whose content is a file's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HelmFileParameter {
    /// Path of the value.
    pub name: String,
    /// File, relative to the chart; a leading `/` means from the root of the repository, `$ref/` from the root of the source
    /// with that `ref`.
    pub path: String,
}

/// How to render with Kustomize, on top of what the kustomization says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KustomizeSource {
    /// Prefix of every name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name_prefix: String,
    /// Suffix of every name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name_suffix: String,
    /// Namespace of every namespaced object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Image overrides: `[old=]new[:tag|@digest]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Replica overrides by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<KustomizeReplica>,
    /// Labels for every object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub common_labels: BTreeMap<String, String>,
    /// Overwrite labels that exist already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_common_labels: bool,
    /// Put the labels on objects only, not into selectors.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub label_without_selector: bool,
    /// With `labelWithoutSelector`: put them into pod templates too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub label_include_templates: bool,
    /// Annotations for every object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub common_annotations: BTreeMap<String, String>,
    /// Overwrite annotations that exist already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force_common_annotations: bool,
    /// Substitute build-environment variables in the annotations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub common_annotations_envsubst: bool,
    /// Patches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<KustomizePatch>,
    /// Components, relative to the source's path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Leave out components that do not exist instead of failing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ignore_missing_components: bool,
    /// Accepted for compatibility and without effect: there is one Kustomize.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Kubernetes version for chart inflation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kube_version: String,
    /// API versions for chart inflation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
}

/// A replica override.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KustomizeReplica {
    /// Name of the workload.
    pub name: String,
    /// Replicas: a number, or its text.
    #[schemars(schema_with = "int_or_string")]
    pub count: CountOrText,
}

/// A number that some clients write as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CountOrText {
    /// As a number.
    Count(i64),
    /// As text.
    Text(String),
}

impl Default for CountOrText {
    fn default() -> Self {
        Self::Count(0)
    }
}

fn int_or_string(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "x-kubernetes-int-or-string": true })
}

/// A Kustomize patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KustomizePatch {
    /// File that holds the patch, relative to the source's path.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The patch itself: strategic merge or JSON 6902.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub patch: String,
    /// What it applies to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<KustomizePatchTarget>,
    /// Options (`allowNameChange`, `allowKindChange`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, bool>,
}

/// What a Kustomize patch applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KustomizePatchTarget {
    /// API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Label selector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
    /// Annotation selector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub annotation_selector: String,
}

/// A config management plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginSource {
    /// Name of the plugin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Environment of the plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<PluginEnv>,
    /// Parameters of the plugin.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_form_list")]
    pub parameters: Vec<Value>,
}

/// An environment variable of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginEnv {
    /// Name.
    pub name: String,
    /// Value.
    #[serde(default)]
    pub value: String,
}

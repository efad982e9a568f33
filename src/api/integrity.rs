//! `spec.signatureKeys` and `spec.sourceIntegrity` of an AppProject: who must have signed what is deployed.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key of the operator's OpenPGP keyring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.keyID.matches('^(0[xX])?([0-9a-fA-F]{16}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})$')")
    .message("keyID must be a key's long id (16 hexadecimal digits) or its fingerprint (40 or 64)"))]
pub struct SignatureKey {
    /// The key's long id (16 hexadecimal digits) or its fingerprint.
    #[serde(rename = "keyID")]
    #[schemars(length(max = 66))]
    pub key_id: String,
}

/// Who must have signed what is deployed, by kind of source. A source that no policy is about is not verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.git) || has(self.oci)").message("sourceIntegrity needs git or oci"))]
pub struct SourceIntegrity {
    /// Git repositories: signatures of commits and annotated tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitIntegrity>,
    /// OCI artifacts: cosign signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciIntegrity>,
}

/// Policies for git repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitIntegrity {
    /// The policies. At most one may be about a repository; where two are, nothing of it is deployed.
    #[schemars(length(max = 32))]
    pub policies: Vec<GitIntegrityPolicy>,
}

/// What is demanded of some git repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("size(self.repos) > 0").message("repos must name at least one repository; url: '*' is every one"),
    validation = Rule::new("has(self.gpg) || has(self.ssh)").message("a policy needs gpg or ssh; with both, either signature will do")
)]
pub struct GitIntegrityPolicy {
    /// The repositories it is about.
    #[schemars(length(max = 64))]
    pub repos: Vec<IntegrityRepository>,
    /// OpenPGP signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpg: Option<GpgIntegrity>,
    /// SSH signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshIntegrity>,
}

/// Repositories by URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntegrityRepository {
    /// A glob, in which `*` also matches `/`; with `!` before it, what it matches is left out of the policy.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
}

/// How much of a history must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IntegrityMode {
    /// Nothing is demanded.
    None,
    /// The commit that is deployed, or an annotated tag that points to it.
    #[default]
    Head,
    /// Every commit since the last one that was deployed. Not supported in this version: nothing is deployed.
    Strict,
}

/// OpenPGP signatures that are demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.keys) || self.keys.all(key, key.matches('^(0[xX])?([0-9a-fA-F]{16}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})$'))")
        .message("keys must be long key ids (16 hexadecimal digits) or fingerprints (40 or 64)")
)]
pub struct GpgIntegrity {
    /// How much must be signed.
    #[serde(default)]
    pub mode: IntegrityMode,
    /// Long ids or fingerprints of the keys that may sign. Their public keys are in the ConfigMap `tidelock-gpg-keys-cm`.
    /// Empty allows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 66)))]
    pub keys: Vec<String>,
}

/// SSH signatures that are demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshIntegrity {
    /// How much must be signed.
    #[serde(default)]
    pub mode: IntegrityMode,
    /// Who may sign: principals (globs, such as `*@corp.example`) of the ConfigMap `tidelock-ssh-signers-cm`, or fingerprints
    /// (`SHA256:…`) of keys there. Empty allows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 256)))]
    pub signers: Vec<String>,
}

/// Policies for OCI artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OciIntegrity {
    /// The policies. At most one may be about an artifact; where two are, nothing of it is deployed.
    #[schemars(length(max = 32))]
    pub policies: Vec<OciIntegrityPolicy>,
}

/// What is demanded of some OCI artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("size(self.repos) > 0").message("repos must name at least one repository; url: '*' is every one")
)]
pub struct OciIntegrityPolicy {
    /// The repositories it is about, as Applications write them (`oci://registry.example/charts/*`).
    #[schemars(length(max = 64))]
    pub repos: Vec<IntegrityRepository>,
    /// Cosign signatures.
    pub cosign: CosignIntegrity,
}

/// Cosign signatures that are demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.mode in ['none', 'head']").message("mode must be none or head"))]
pub struct CosignIntegrity {
    /// Whether a signature is demanded (`head`).
    #[serde(default)]
    pub mode: IntegrityMode,
    /// Keys of the ConfigMap `tidelock-cosign-keys-cm` whose public keys may sign. Empty allows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 253)))]
    pub keys: Vec<String>,
}

//! Which kinds are left alone altogether.

use globset::GlobMatcher;
use serde::Deserialize;

use super::pattern::{glob, has_wildcard};
use crate::api::{IN_CLUSTER_NAME, IN_CLUSTER_SERVER};

/// Globs over a text, compiled. An empty list matches every text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<String>")]
pub struct Patterns {
    texts: Vec<String>,
    globs: Vec<GlobMatcher>,
}

impl From<Vec<String>> for Patterns {
    fn from(texts: Vec<String>) -> Self {
        let globs = texts.iter().filter(|text| has_wildcard(text)).map(|text| glob(text)).collect();
        Self { texts, globs }
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Patterns {}

impl Patterns {
    fn match_any(&self, texts: &[&str]) -> bool {
        self.texts.is_empty()
            || texts.iter().any(|text| {
                self.texts.iter().any(|pattern| pattern == text) || self.globs.iter().any(|glob| glob.is_match(text))
            })
    }
}

/// Kinds by group and kind. An empty list is any; each item is a glob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ResourceFilter {
    /// Groups; empty text is core.
    pub api_groups: Patterns,
    /// Kinds.
    pub kinds: Patterns,
    /// URLs or names of clusters.
    pub clusters: Patterns,
}

impl ResourceFilter {
    /// Whether a kind of the cluster that we work on is meant.
    pub fn matches(&self, group: &str, kind: &str) -> bool {
        self.api_groups.match_any(&[group])
            && self.kinds.match_any(&[kind])
            && self.clusters.match_any(&[IN_CLUSTER_SERVER, IN_CLUSTER_NAME])
    }
}

/// Reads a list of filters.
pub(super) fn filters(text: &str) -> Result<Vec<ResourceFilter>, String> {
    let filters: Option<Vec<ResourceFilter>> =
        serde_yaml::from_str(text).map_err(|error| format!("is no list of {{apiGroups, kinds, clusters}}: {error}"))?;
    Ok(filters.unwrap_or_default())
}

/// What no setting brings in: objects that live for minutes, or are measurements.
pub(super) fn never_managed(group: &str, kind: &str) -> bool {
    matches!((group, kind), ("events.k8s.io" | "metrics.k8s.io", _) | ("", "Event"))
}

/// What Argo CD leaves alone since version 3.0: objects that controllers make in numbers and nobody keeps in git.
pub(super) fn default_exclusions() -> Vec<ResourceFilter> {
    const LISTS: [(&[&str], &[&str]); 7] = [
        (&["", "discovery.k8s.io"], &["Endpoints", "EndpointSlice"]),
        (&["coordination.k8s.io"], &["Lease"]),
        (
            &["authentication.k8s.io", "authorization.k8s.io"],
            &[
                "SelfSubjectReview",
                "TokenReview",
                "LocalSubjectAccessReview",
                "SelfSubjectAccessReview",
                "SelfSubjectRulesReview",
                "SubjectAccessReview",
            ],
        ),
        (&["certificates.k8s.io"], &["CertificateSigningRequest"]),
        (&["cert-manager.io"], &["CertificateRequest"]),
        (&["cilium.io"], &["CiliumIdentity", "CiliumEndpoint", "CiliumEndpointSlice"]),
        (
            &["kyverno.io", "reports.kyverno.io", "wgpolicyk8s.io"],
            &[
                "PolicyReport",
                "ClusterPolicyReport",
                "EphemeralReport",
                "ClusterEphemeralReport",
                "AdmissionReport",
                "ClusterAdmissionReport",
                "BackgroundScanReport",
                "ClusterBackgroundScanReport",
                "UpdateRequest",
            ],
        ),
    ];
    let owned = |list: &[&str]| Patterns::from(list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    LISTS
        .iter()
        .map(|(groups, kinds)| ResourceFilter {
            api_groups: owned(groups),
            kinds: owned(kinds),
            clusters: Patterns::default(),
        })
        .collect()
}

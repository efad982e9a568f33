//! Which kinds an API server knows, as a plain snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::{GroupKind, GroupVersionKind};

/// What is known of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// Versions that are served, the preferred one first.
    pub versions: Vec<String>,
    /// Name in URLs (`deployments`).
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it has a `status` subresource.
    pub has_status: bool,
    /// Whether it can be listed and watched.
    pub watchable: bool,
}

/// A snapshot of the kinds that an API server serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSurface {
    /// Kinds by group and kind.
    pub kinds: BTreeMap<GroupKind, KindInfo>,
    /// Groups whose server did not answer: their kinds are unknown, not absent.
    pub unavailable_groups: BTreeSet<String>,
    /// The server's version (`v1.35.4`); empty when unknown.
    pub server_version: String,
}

impl ApiSurface {
    /// What is known of a kind, when this very version is served.
    pub fn resolve(&self, gvk: &GroupVersionKind) -> Option<&KindInfo> {
        self.kinds.get(&gvk.group_kind()).filter(|info| info.versions.contains(&gvk.version))
    }

    /// A kind in its preferred version.
    pub fn preferred(&self, kind: &GroupKind) -> Option<(GroupVersionKind, &KindInfo)> {
        let info = self.kinds.get(kind)?;
        let version = info.versions.first()?;
        let gvk = GroupVersionKind { group: kind.group.clone(), version: version.clone(), kind: kind.kind.clone() };
        Some((gvk, info))
    }

    /// Every served version as Helm's `--api-versions` takes it: `group/version` and `group/version/Kind`, sorted.
    pub fn api_versions(&self) -> Vec<String> {
        let mut versions = BTreeSet::new();
        for (kind, info) in &self.kinds {
            for version in &info.versions {
                let prefix = if kind.group.is_empty() { version.clone() } else { format!("{}/{version}", kind.group) };
                versions.insert(format!("{prefix}/{}", kind.kind));
                versions.insert(prefix);
            }
        }
        versions.into_iter().collect()
    }
}

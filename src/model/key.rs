//! What names a kind and an object.

use std::fmt;

use serde::{Deserialize, Serialize};

/// API group and kind. The group of core objects is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKind {
    /// API group; empty for core.
    pub group: String,
    /// Kind in CamelCase.
    pub kind: String,
}

impl GroupKind {
    /// Group and kind from their texts.
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), kind: kind.into() }
    }
}

impl fmt::Display for GroupKind {
    /// `apps/Deployment`, or `ConfigMap` for core.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            formatter.write_str(&self.kind)
        } else {
            write!(formatter, "{}/{}", self.group, self.kind)
        }
    }
}

/// API group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupVersionKind {
    /// API group; empty for core.
    pub group: String,
    /// API version (`v1`, `v1beta1`).
    pub version: String,
    /// Kind in CamelCase.
    pub kind: String,
}

impl GroupVersionKind {
    /// Splits `apiVersion` (`apps/v1`, or `v1` for core).
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// `group/version`, or `version` for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The same without its version.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.as_str(), self.kind.as_str())
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.api_version(), self.kind)
    }
}

/// The identity of an object in one cluster: the version is not part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// API group; empty for core.
    pub group: String,
    /// Kind in CamelCase.
    pub kind: String,
    /// Namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its four parts.
    pub fn new(
        group: impl Into<String>,
        kind: impl Into<String>,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
    }

    /// Group and kind of the object.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.as_str(), self.kind.as_str())
    }

    /// Parses the form that `Display` writes: `<group>/<kind>/<namespace>/<name>`, group and namespace may be empty.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '/');
        let (group, kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (!kind.is_empty() && !name.is_empty()).then(|| Self::new(group, kind, namespace, name))
    }
}

impl fmt::Display for ObjectKey {
    /// `<group>/<kind>/<namespace>/<name>`; group and namespace are empty where the object has none.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}/{}", self.group, self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_text_round_trips_with_and_without_group_and_namespace() {
        for key in [
            ObjectKey::new("apps", "Deployment", "shop", "cart"),
            ObjectKey::new("", "Namespace", "", "shop"),
            ObjectKey::new("rbac.authorization.k8s.io", "ClusterRole", "", "system:a:b"),
        ] {
            assert_eq!(ObjectKey::parse(&key.to_string()), Some(key));
        }
        assert_eq!(ObjectKey::parse("only/three/parts"), None);
    }

    #[test]
    fn api_version_splits_into_group_and_version() {
        let core = GroupVersionKind::from_api_version("v1", "Pod");
        assert_eq!((core.group.as_str(), core.version.as_str()), ("", "v1"));
        assert_eq!(core.api_version(), "v1");
        assert_eq!(GroupVersionKind::from_api_version("apps/v1", "Deployment").group, "apps");
    }
}

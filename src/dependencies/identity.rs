//! What names an Application, and whom it lets depend on it.

use std::fmt;

use crate::api::{Application, ApplicationDependency};
use crate::model::ObjectKey;

/// Annotation of an Application that lets those of other namespaces depend on it: namespaces with commas between them,
/// or `*`.
pub const ALLOW_DEPENDENTS_ANNOTATION: &str = "tidelock.dev/allow-dependents";

/// An Application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplicationId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ApplicationId {
    /// From namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// What a dependency of an Application in `namespace` names.
    pub fn named_by(dependency: &ApplicationDependency, namespace: &str) -> Self {
        let other = dependency.namespace.as_str();
        Self::new(if other.is_empty() { namespace } else { other }, dependency.name.as_str())
    }

    /// As the status names it.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new("tidelock.dev", "Application", self.namespace.as_str(), self.name.as_str())
    }
}

impl fmt::Display for ApplicationId {
    /// `<namespace>/<name>`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Whether an Application of namespace `from` may depend on `on`, which lives in `namespace`. Without the grant nobody
/// can hold back the deletion of another team's Application, nor read its status.
pub fn grants(on: &Application, namespace: &str, from: &str) -> bool {
    let granted = on.metadata.annotations.as_ref().and_then(|all| all.get(ALLOW_DEPENDENTS_ANNOTATION));
    namespace == from
        || granted.is_some_and(|granted| granted.split(',').map(str::trim).any(|entry| entry == "*" || entry == from))
}

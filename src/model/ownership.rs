//! The marks by which an object says which Application owns it.
//!
//! The label selects what to watch; the annotation proves identity. A label that was copied onto another object (by an
//! operator, by `kubectl get -o yaml | kubectl apply`) does not make that object ours, because the annotation that came
//! along names the object it was copied from.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::ObjectKey;

/// Label on every managed object: the short id of the owning Application.
pub const INSTANCE_LABEL: &str = "tidelock.dev/instance";
/// Annotation on every managed object: owner and own identity.
pub const TRACKING_ANNOTATION: &str = "tidelock.dev/tracking-id";
/// The one field manager that applies, and is used for nothing else.
pub const FIELD_MANAGER: &str = "tidelock";

/// Short id of an Application: the value of the instance label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId(String);

impl InstanceId {
    /// The id of an Application of an installation: 80 bits of a SHA-256 in hexadecimal.
    pub fn new(installation: &str, namespace: &str, name: &str) -> Self {
        let digest = Sha256::digest(format!("{installation}\n{namespace}\n{name}"));
        let mut text = String::with_capacity(20);
        for byte in &digest[..10] {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// Takes a label's value as it is.
    pub fn from_label(value: &str) -> Self {
        Self(value.to_owned())
    }

    /// The label's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Who owns objects: an Application with its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The label's value.
    pub instance: InstanceId,
    /// Namespace of the Application.
    pub namespace: String,
    /// Name of the Application.
    pub name: String,
}

impl Owner {
    /// The owner for an Application of an installation.
    pub fn new(installation: &str, namespace: &str, name: &str) -> Self {
        Self {
            instance: InstanceId::new(installation, namespace, name),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The tracking annotation's value for one object: `<ns>/<app>:<group>/<kind>:<ns>/<name>`.
    pub fn tracking_id(&self, key: &ObjectKey) -> String {
        format!("{}/{}:{}/{}:{}/{}", self.namespace, self.name, key.group, key.kind, key.namespace, key.name)
    }
}

/// What an object's marks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Value of the instance label.
    pub instance: InstanceId,
    /// Value of the tracking annotation; empty when there is none.
    pub tracking_id: String,
}

impl Marks {
    /// The marks that a live object carries, read from its metadata alone; empty texts where it carries none.
    pub fn of(object: &Value) -> Self {
        let text = |map: &str, name: &str| {
            let value = object.get("metadata").and_then(|metadata| metadata.get(map)?.get(name)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        Self {
            instance: InstanceId(text("labels", INSTANCE_LABEL)),
            tracking_id: text("annotations", TRACKING_ANNOTATION),
        }
    }

    /// Whether these marks prove that `owner` owns the object `key`.
    pub fn prove(&self, owner: &Owner, key: &ObjectKey) -> bool {
        self.instance == owner.instance && self.is_tracking_id_of(owner, key)
    }

    /// Whether the annotation reads as [`Owner::tracking_id`] would write it; asked for every object at each comparison, so
    /// nothing is written to find out.
    fn is_tracking_id_of(&self, owner: &Owner, key: &ObjectKey) -> bool {
        let mut rest = self.tracking_id.as_str();
        let parts = [
            owner.namespace.as_str(),
            "/",
            owner.name.as_str(),
            ":",
            key.group.as_str(),
            "/",
            key.kind.as_str(),
            ":",
            key.namespace.as_str(),
            "/",
        ];
        for part in parts {
            match rest.strip_prefix(part) {
                Some(left) => rest = left,
                None => return false,
            }
        }
        rest == key.name
    }

    /// The Application (`<ns>/<app>`) named by marks that are about this very object; `None` for copied marks.
    pub fn application_of(&self, key: &ObjectKey) -> Option<&str> {
        let (application, object) = self.tracking_id.split_once(':')?;
        (object == format!("{}/{}:{}/{}", key.group, key.kind, key.namespace, key.name)).then_some(application)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_marks_prove_nothing_about_another_object() {
        let owner = Owner::new("tidelock", "tidelock", "shop");
        let ours = ObjectKey::new("apps", "Deployment", "shop", "cart");
        let copy = ObjectKey::new("apps", "Deployment", "shop", "cart-copy");
        let marks = Marks { instance: owner.instance.clone(), tracking_id: owner.tracking_id(&ours) };
        assert!(marks.prove(&owner, &ours));
        assert!(!marks.prove(&owner, &copy));
        assert_eq!(marks.application_of(&ours), Some("tidelock/shop"));
        assert_eq!(marks.application_of(&copy), None);
    }

    #[test]
    fn instance_id_is_a_valid_label_value_and_differs_by_each_part() {
        let id = InstanceId::new("tidelock", "ns", "app");
        assert_eq!(id.as_str().len(), 20);
        assert_ne!(id, InstanceId::new("other", "ns", "app"));
        assert_ne!(id, InstanceId::new("tidelock", "nsa", "pp"));
    }
}

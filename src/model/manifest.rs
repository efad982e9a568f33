//! One object as a source wants it, with the place it came from.

use std::fmt;

use serde_json::Value;

use super::{GroupVersionKind, ObjectKey};

/// Where a manifest came from, so that every complaint can point there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Path from the root of the repository, or the name of the tool that produced the document.
    pub file: String,
    /// First line of the document in that file, counted from 1; 0 when unknown.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { formatter.write_str(&self.file) } else { write!(formatter, "{}:{}", self.file, self.line) }
    }
}

/// An object as rendered: a JSON object that has `apiVersion`, `kind` and a name (or `generateName`).
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The whole object.
    pub object: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Manifest {
    fn text(&self, pointer: &str) -> &str {
        self.object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Group, version and kind as the document states them; parts that are missing are empty.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::from_api_version(self.text("/apiVersion"), self.text("/kind"))
    }

    /// `metadata.name`, or empty.
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    /// `metadata.namespace`, or empty.
    pub fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }

    /// The identity that the document states.
    pub fn key(&self) -> ObjectKey {
        let gvk = self.gvk();
        ObjectKey::new(gvk.group, gvk.kind, self.namespace(), self.name())
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.object.get("metadata")?.get("annotations")?.get(name)?.as_str()
    }
}

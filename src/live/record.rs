//! What we hold of a live object: never its body.

use crate::model::{Hash64, Health, Marks};

/// A live object reduced on arrival to what later decisions read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRecord {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`; comparable between versions of one object.
    pub resource_version: u64,
    /// `metadata.generation`; 0 for kinds that have none.
    pub generation: i64,
    /// The ownership marks it carries.
    pub marks: Marks,
    /// Hash of our entry in `managedFields`; `None` when there is none. A change of any field we own changes it,
    /// nothing else does.
    pub owned: Option<Hash64>,
    /// The verdict on its health; `None` for kinds that have no health.
    pub health: Option<Health>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether an annotation forbids to prune it (`Prune=false`, `helm.sh/resource-policy: keep`).
    pub keep_on_prune: bool,
    /// Whether an annotation forbids to delete it with its Application (`Delete=false`, `keep`).
    pub keep_on_delete: bool,
    /// Whether an annotation takes it out of the Application's health.
    pub health_ignored: bool,
    /// Its sync wave, by which a deletion goes in reverse.
    pub wave: i32,
}

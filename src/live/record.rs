//! What we hold of a live object: never its body.

pub use crate::model::HOOK_ATTEMPT_ANNOTATION;
use crate::model::{Consent, Hash64, Health, Marks};

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
    /// What an annotation says of pruning it (`Prune=false|confirm`, `helm.sh/resource-policy: keep`).
    pub prune: Option<Consent>,
    /// What an annotation says of deleting it with its Application (`Delete=false|confirm`, `keep`).
    pub delete: Option<Consent>,
    /// Whether an annotation says that it does not make the Application out of sync when git no longer has it.
    pub extraneous_ignored: bool,
    /// The attempt that it is a hook of ([`HOOK_ATTEMPT_ANNOTATION`]); `None` for ordinary objects.
    pub hook_attempt: Option<Box<str>>,
    /// Hash of the fields that people's tools own (`kubectl edit` and the like); `None` when there are none.
    pub by_hand: Option<Hash64>,
    /// Whether an annotation takes it out of the Application's health.
    pub health_ignored: bool,
    /// Its sync wave, by which a deletion goes in reverse.
    pub wave: i32,
}

#[cfg(test)]
impl LiveRecord {
    /// A record of an object that nothing is to be said of.
    pub(crate) fn plain(uid: &str) -> Self {
        let marks = Marks { instance: crate::model::InstanceId::from_label(""), tracking_id: String::new() };
        Self {
            uid: uid.to_owned(),
            resource_version: 1,
            generation: 0,
            marks,
            owned: None,
            health: None,
            deleting: false,
            prune: None,
            delete: None,
            extraneous_ignored: false,
            hook_attempt: None,
            by_hand: None,
            health_ignored: false,
            wave: 0,
        }
    }
}

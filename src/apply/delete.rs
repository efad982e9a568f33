//! Deletes that need proof: a live read shows our marks and the uid that we recorded, and the delete itself is bound to
//! exactly the state that was read.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::applier::{Applier, Target, object_is_absent, text};
use super::call::Access;
use super::error::ApplyError;
use crate::desired::PrunePropagation;
use crate::live::client::{ACCEPT_METADATA, request};
use crate::model::{Marks, ObjectKey, Owner, Reason};

/// How often a delete is tried anew when the object changed between the read and the delete.
const ROUNDS: u32 = 8;

/// What must hold for an object to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteProof {
    /// The Application that the object's marks must name.
    pub owner: Owner,
    /// The uid that the object had when it was applied or last seen as ours.
    pub uid: String,
}

/// What happens to an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go first; the object stays, marked as being deleted, until they are gone.
    Foreground,
    /// They go after the object.
    Background,
    /// They stay, without an owner.
    Orphan,
}

impl From<PrunePropagation> for Propagation {
    /// What the sync option `PrunePropagationPolicy` asks for.
    fn from(option: PrunePropagation) -> Self {
        match option {
            PrunePropagation::Foreground => Self::Foreground,
            PrunePropagation::Background => Self::Background,
            PrunePropagation::Orphan => Self::Orphan,
        }
    }
}

impl Propagation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Foreground => "Foreground",
            Self::Background => "Background",
            Self::Orphan => "Orphan",
        }
    }
}

/// What a delete found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The object is being deleted, or gone already; finalizers may hold it for a while.
    Requested,
    /// The object was not there.
    AlreadyGone,
    /// The object that is there is not the one to delete; nothing was done. The text says why.
    NotOurs(String),
}

impl Applier {
    /// Deletes an object if a live read proves that it is the one meant.
    ///
    /// An error means that nothing is known about the object; in particular a kind that the API server does not serve is
    /// an error (`KindNotFound`) and not an absent object.
    pub async fn delete(
        &self,
        key: &ObjectKey,
        proof: &DeleteProof,
        propagation: Propagation,
    ) -> Result<Deleted, ApplyError> {
        self.delete_unless(key, &self.target(key)?, propagation, |live| disproof(key, live, proof)).await
    }

    /// Deletes an object unless what a live read finds speaks against it. The delete is bound to exactly what was read.
    pub(super) async fn delete_unless(
        &self,
        key: &ObjectKey,
        target: &Target,
        propagation: Propagation,
        disproof: impl Fn(&Value) -> Option<String>,
    ) -> Result<Deleted, ApplyError> {
        for _ in 0..ROUNDS {
            let Some(live) = self.read_at(target, key, ACCEPT_METADATA).await? else {
                return Ok(Deleted::AlreadyGone);
            };
            if let Some(why) = disproof(&live) {
                return Ok(Deleted::NotOurs(why));
            }
            if !text(&live, "deletionTimestamp").is_empty() {
                return Ok(Deleted::Requested);
            }
            let options = json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": propagation.as_str(),
                "preconditions": {"uid": text(&live, "uid"), "resourceVersion": text(&live, "resourceVersion")},
            });
            let body = Bytes::from(options.to_string());
            let make = || {
                let mut delete = request(Method::DELETE, &target.path, &[], ACCEPT_METADATA, body.clone())?;
                delete.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(delete)
            };
            let answer = self
                .caller
                .send(&target.kind, Access::Write, make, |answer| answer.status == 409 || object_is_absent(answer, key))
                .await?;
            match answer.status {
                // The object changed since it was read, so the proof has to be made anew.
                409 => {}
                404 => return Ok(Deleted::AlreadyGone),
                _ => return Ok(Deleted::Requested),
            }
        }
        Err(ApplyError {
            reason: Reason::PruneFailed,
            message: format!("the object changed {ROUNDS} times between being read and being deleted"),
            retry_after: None,
            retryable: true,
        })
    }
}

/// Why a live object is not the one that the proof is about; `None` when it is.
pub(super) fn disproof(key: &ObjectKey, live: &Value, proof: &DeleteProof) -> Option<String> {
    let uid = text(live, "uid");
    if uid.is_empty() || uid != proof.uid {
        return Some(format!("another object has this name now: its uid is {uid}, ours was {}", proof.uid));
    }
    not_owned(key, live, &proof.owner)
}

/// Why a live object's marks don't prove that `owner` owns it; `None` when they do.
pub(super) fn not_owned(key: &ObjectKey, live: &Value, owner: &Owner) -> Option<String> {
    let marks = Marks::of(live);
    if marks.prove(owner, key) {
        return None;
    }
    Some(match marks.application_of(key) {
        Some(application) if marks.instance != owner.instance => {
            format!("it belongs to {application} (instance {})", marks.instance)
        }
        _ if marks.instance.as_str().is_empty() && marks.tracking_id.is_empty() => {
            "it no longer carries the marks of an Application".to_owned()
        }
        _ => format!(
            "its marks (instance {:?}, tracking-id {:?}) are not those of {}/{}",
            marks.instance.as_str(),
            marks.tracking_id,
            owner.namespace,
            owner.name
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ObjectKey {
        ObjectKey::new("apps", "Deployment", "shop", "cart")
    }

    fn proof() -> DeleteProof {
        DeleteProof { owner: Owner::new("tidelock", "tidelock", "shop"), uid: "u1".to_owned() }
    }

    fn live(uid: &str, instance: &str, tracking_id: &str) -> Value {
        json!({"metadata": {
            "name": "cart", "namespace": "shop", "uid": uid,
            "labels": {"tidelock.dev/instance": instance},
            "annotations": {"tidelock.dev/tracking-id": tracking_id},
        }})
    }

    #[test]
    fn only_the_recorded_uid_with_our_marks_is_proof() {
        let proof = proof();
        let instance = proof.owner.instance.as_str();
        let tracking = proof.owner.tracking_id(&key());
        assert_eq!(disproof(&key(), &live("u1", instance, &tracking), &proof), None);
        assert_eq!(
            disproof(&key(), &live("u2", instance, &tracking), &proof),
            Some("another object has this name now: its uid is u2, ours was u1".to_owned())
        );
    }

    #[test]
    fn an_object_of_another_application_is_named_as_such() {
        let other = Owner::new("tidelock", "tidelock", "billing");
        let object = live("u1", other.instance.as_str(), &other.tracking_id(&key()));
        assert_eq!(
            disproof(&key(), &object, &proof()),
            Some(format!("it belongs to tidelock/billing (instance {})", other.instance))
        );
    }

    #[test]
    fn copied_and_removed_marks_are_no_proof() {
        let proof = proof();
        let elsewhere = proof.owner.tracking_id(&ObjectKey::new("apps", "Deployment", "shop", "original"));
        let copied = live("u1", proof.owner.instance.as_str(), &elsewhere);
        assert!(disproof(&key(), &copied, &proof).unwrap().contains("are not those of tidelock/shop"));
        let bare = json!({"metadata": {"name": "cart", "uid": "u1"}});
        assert_eq!(
            disproof(&key(), &bare, &proof),
            Some("it no longer carries the marks of an Application".to_owned())
        );
    }

    #[test]
    fn an_empty_uid_proves_nothing() {
        let mut proof = proof();
        proof.uid = String::new();
        let tracking = proof.owner.tracking_id(&key());
        assert!(disproof(&key(), &live("", proof.owner.instance.as_str(), &tracking), &proof).is_some());
    }
}

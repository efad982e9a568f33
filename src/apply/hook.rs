//! The objects of hooks: made once for each attempt, held by a finalizer until their result is known, let go, deleted.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::applier::{Applier, object_is_absent, parse, text};
use super::call::Access;
use super::delete::{DeleteProof, Deleted, Propagation, not_owned};
use super::error::ApplyError;
use super::options::Validation;
use crate::live::HOOK_ATTEMPT_ANNOTATION;
use crate::live::client::{ACCEPT_JSON, ACCEPT_METADATA, Answer, request};
use crate::model::{FIELD_MANAGER, GroupVersionKind, HOOK_FINALIZER, ObjectKey, Owner};

/// The finalizers that are taken off a finished hook: ours and Argo CD's.
const HOOK_FINALIZERS: [&str; 2] = [HOOK_FINALIZER, "argocd.argoproj.io/hook-finalizer"];
/// How often a write is tried anew when the object changes meanwhile.
const ROUNDS: u32 = 8;

/// A hook's object in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct StartedHook {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`; 0 for kinds that have none.
    pub generation: i64,
    /// The object as the server returned it: `PartialObjectMetadata` unless it is wanted whole.
    pub response: Value,
}

/// What came of starting a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum HookStart {
    /// Its object was made.
    Started(StartedHook),
    /// Its object was made before, in this very attempt.
    AlreadyStarted(StartedHook),
    /// An object of an earlier attempt still stands, and was left as it is.
    EarlierAttempt {
        /// Its uid.
        uid: String,
        /// The attempt that made it; empty when it carries our marks and is no hook.
        attempt: String,
        /// Whether it is being deleted, so that waiting is enough.
        deleting: bool,
    },
    /// An object that is not ours has the name, and was left as it is. The text says why.
    NotOurs(String),
}

/// What came of letting a hook's object go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The finalizers were taken off.
    Released,
    /// It carries none of them.
    NotHeld,
    /// The object is gone, or another one has its name.
    Gone,
}

impl Applier {
    /// Makes the object of a hook. Never takes over an object that is there: one of this attempt (the answer to its creation
    /// was lost) is taken as started, any other is reported.
    ///
    /// `body` is as [`crate::desired::Hook::body_for`] makes it: with a name, the marks, the attempt and the finalizer.
    pub async fn start_hook(
        &self,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: Bytes,
        owner: &Owner,
        validation: Validation,
    ) -> Result<HookStart, ApplyError> {
        let target = self.target_of(key, gvk)?;
        let attempt = attempt_in(&parse(&target.kind, &body)?);
        let collection = target.path.rsplit_once('/').map_or(target.path.as_str(), |(collection, _)| collection);
        let query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", validation.as_str())];
        let accept = if self.wants_whole(&target.kind) { ACCEPT_JSON } else { ACCEPT_METADATA };
        let make = || {
            let mut post = request(Method::POST, collection, &query, accept, body.clone())?;
            post.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(post)
        };
        for _ in 0..ROUNDS {
            let answer = self.caller.send(&target.kind, Access::Write, make, exists).await?;
            if answer.is_success() {
                return Ok(HookStart::Started(started(parse(&target.kind, &answer.body)?)));
            }
            if let Some(live) = self.read_at(&target, key, accept).await? {
                return Ok(judge(key, owner, &attempt, live));
            }
        }
        Err(ApplyError::contended(ROUNDS, "made"))
    }

    /// Takes the finalizers of hooks off an object, so that it may go. Fine when it is gone.
    pub async fn release_hook(&self, key: &ObjectKey, uid: &str) -> Result<Released, ApplyError> {
        let target = self.target(key)?;
        for _ in 0..ROUNDS {
            let Some(live) = self.read_at(&target, key, ACCEPT_METADATA).await? else { return Ok(Released::Gone) };
            if text(&live, "uid") != uid {
                return Ok(Released::Gone);
            }
            let Some(patch) = release_patch(&live) else { return Ok(Released::NotHeld) };
            match self.patch_json(&target, key, &patch, ACCEPT_METADATA).await? {
                Some(answer) if object_is_absent(&answer, key) => return Ok(Released::Gone),
                Some(_) => return Ok(Released::Released),
                None => {}
            }
        }
        Err(ApplyError::contended(ROUNDS, "released"))
    }

    /// Deletes the object of a hook if a live read proves that it is ours, and lets it go.
    pub async fn delete_hook(&self, key: &ObjectKey, owner: &Owner, uid: &str) -> Result<Deleted, ApplyError> {
        let proof = DeleteProof { owner: owner.clone(), uid: uid.to_owned() };
        let deleted = self.delete(key, &proof, Propagation::Background).await?;
        if deleted == Deleted::Requested {
            self.release_hook(key, uid).await?;
        }
        Ok(deleted)
    }
}

/// Whether a creation was refused because the name is taken.
fn exists(answer: &Answer) -> bool {
    answer.status == 409
        && serde_json::from_slice::<kube::core::Status>(&answer.body)
            .is_ok_and(|status| status.reason == "AlreadyExists")
}

fn started(response: Value) -> StartedHook {
    StartedHook {
        uid: text(&response, "uid").to_owned(),
        generation: response.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
        response,
    }
}

fn attempt_in(object: &Value) -> String {
    let annotations = object.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let attempt = annotations.and_then(|annotations| annotations.get(HOOK_ATTEMPT_ANNOTATION)?.as_str());
    attempt.unwrap_or_default().to_owned()
}

/// What an object that has the hook's name already is.
fn judge(key: &ObjectKey, owner: &Owner, attempt: &str, live: Value) -> HookStart {
    if let Some(why) = not_owned(key, &live, owner) {
        return HookStart::NotOurs(why);
    }
    let made_by = attempt_in(&live);
    let deleting = !text(&live, "deletionTimestamp").is_empty();
    if made_by == attempt && !attempt.is_empty() && !deleting {
        HookStart::AlreadyStarted(started(live))
    } else {
        HookStart::EarlierAttempt { uid: text(&live, "uid").to_owned(), attempt: made_by, deleting }
    }
}

/// The JSON patch that takes the finalizers of hooks off; `None` when there are none.
fn release_patch(live: &Value) -> Option<Value> {
    let finalizers = live.get("metadata")?.get("finalizers")?.as_array()?;
    let held: Vec<(usize, &Value)> =
        finalizers.iter().enumerate().filter(|(_, name)| HOOK_FINALIZERS.iter().any(|ours| *name == ours)).collect();
    if held.is_empty() {
        return None;
    }
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": text(live, "uid")}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": text(live, "resourceVersion")}),
    ];
    // From the last on, so that the places of the others stay as they were read.
    for (index, name) in held.into_iter().rev() {
        let path = format!("/metadata/finalizers/{index}");
        operations.push(json!({"op": "test", "path": path, "value": name}));
        operations.push(json!({"op": "remove", "path": path}));
    }
    Some(Value::Array(operations))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ObjectKey {
        ObjectKey::new("batch", "Job", "shop", "seed")
    }

    fn live(owner: &Owner, attempt: &str) -> Value {
        json!({"metadata": {
            "name": "seed", "uid": "u1", "generation": 1,
            "labels": {"tidelock.dev/instance": owner.instance.as_str()},
            "annotations": {"tidelock.dev/tracking-id": owner.tracking_id(&key()), "tidelock.dev/hook-attempt": attempt},
        }})
    }

    #[test]
    fn an_object_that_is_there_is_this_attempts_or_an_earlier_ones_or_somebody_elses() {
        let owner = Owner::new("t", "t", "shop");
        let object = live(&owner, "7");
        let already = StartedHook { uid: "u1".into(), generation: 1, response: object.clone() };
        assert_eq!(judge(&key(), &owner, "7", object.clone()), HookStart::AlreadyStarted(already));
        let earlier = |deleting| HookStart::EarlierAttempt { uid: "u1".into(), attempt: "7".into(), deleting };
        assert_eq!(judge(&key(), &owner, "8", object.clone()), earlier(false));
        let mut going = object;
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(judge(&key(), &owner, "7", going), earlier(true));
        let unmarked = json!({"metadata": {"name": "seed", "uid": "u2"}});
        assert_eq!(
            judge(&key(), &owner, "7", unmarked),
            HookStart::NotOurs("it no longer carries the marks of an Application".to_owned())
        );
    }

    #[test]
    fn a_release_removes_both_finalizers_and_no_other_from_the_last_on() {
        let object = json!({"metadata": {"uid": "u1", "resourceVersion": "5", "finalizers": [
            "argocd.argoproj.io/hook-finalizer", "batch.kubernetes.io/job-tracking", "tidelock.dev/hook-finalizer",
        ]}});
        assert_eq!(
            release_patch(&object),
            Some(json!([
                {"op": "test", "path": "/metadata/uid", "value": "u1"},
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "5"},
                {"op": "test", "path": "/metadata/finalizers/2", "value": "tidelock.dev/hook-finalizer"},
                {"op": "remove", "path": "/metadata/finalizers/2"},
                {"op": "test", "path": "/metadata/finalizers/0", "value": "argocd.argoproj.io/hook-finalizer"},
                {"op": "remove", "path": "/metadata/finalizers/0"},
            ]))
        );
        assert_eq!(release_patch(&json!({"metadata": {"finalizers": ["a/b"]}})), None);
    }
}

//! Making anew what can't be changed (sync option `Force`).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::applier::{Applied, Applier, Mode, Outcome, Target, text};
use super::call::Access;
use super::delete::{Deleted, not_owned};
use super::error::ApplyError;
use super::options::{ApplyOptions, Force, Validation};
use crate::live::client::{ACCEPT_METADATA, request};
use crate::model::{GroupKind, GroupVersionKind, Marks, ObjectKey, Owner, Reason};

/// Kinds whose deletion destroys more than themselves, which nothing in git can bring back.
const NEVER: [(&str, &str); 4] = [
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
];

/// Pauses between looks at an object that is going.
const LOOKS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The name of a trial of what has none.
const TRIAL: &str = "trial";

/// The longest part of the object's name that the name of a trial repeats: the limit of most kinds is 63 bytes or more.
const TRIAL_NAME: usize = 40;

impl Applier {
    /// Deletes an object that can't be changed and applies it anew. `refusal` is why it can't be changed.
    ///
    /// Before anything is deleted the server is asked whether it would take the new object, so that what is wrong with the
    /// object itself never costs the one that runs. Killed between the delete and the creation, the object is missing and is
    /// created by the next attempt.
    pub(super) async fn recreate(
        &self,
        target: &Target,
        key: &ObjectKey,
        body: &Bytes,
        options: &ApplyOptions,
        force: &Force,
        refusal: ApplyError,
    ) -> Result<Applied, ApplyError> {
        if is_never_recreated(&target.kind) {
            let message = format!("{}; a {} is never deleted to be made anew", refusal.message, target.kind);
            return Err(ApplyError { message, ..refusal });
        }
        let Some(live) = self.read_at(target, key, ACCEPT_METADATA).await? else {
            // What was refused went meanwhile, or never was: the refusal is about the object itself.
            return Err(refusal);
        };
        if let Some(why) = foreign(key, &live, &force.owner) {
            let message = format!("{}; it is not deleted to be made anew: {why}", refusal.message);
            return Err(ApplyError { message, ..refusal });
        }
        self.try_creation(target, key, body, options.validation).await.map_err(|trial| {
            let message = if trial.message == refusal.message {
                trial.message.clone()
            } else {
                format!("{}; nothing was deleted, since making it anew would fail: {}", refusal.message, trial.message)
            };
            ApplyError { message, ..trial }
        })?;
        let uid = text(&live, "uid");
        if options.mode == Mode::DryRun {
            return Ok(Applied {
                outcome: Outcome::Configured,
                recreated: true,
                uid: uid.to_owned(),
                resource_version: text(&live, "resourceVersion").parse().unwrap_or_default(),
                generation: live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
                response: live,
            });
        }
        let disproof = |found: &Value| {
            let other = text(found, "uid") != uid;
            if other { Some("it was made anew by somebody else".to_owned()) } else { foreign(key, found, &force.owner) }
        };
        match self.delete_unless(key, target, force.propagation, disproof).await? {
            Deleted::Requested => self.await_gone(target, key, uid, force.gone_within).await?,
            Deleted::AlreadyGone => {}
            Deleted::NotOurs(why) => {
                let message = format!("{}; it was not deleted to be made anew: {why}", refusal.message);
                return Err(ApplyError { message, retryable: true, ..refusal });
            }
        }
        tracing::info!(object = %key, "an object that could not be changed was deleted and is made anew");
        let options = ApplyOptions { known_resource_version: None, ..options.clone() };
        let made = self.server_side_apply(target, body, &options).await?;
        Ok(Applied { outcome: Outcome::Configured, recreated: true, ..made })
    }

    /// Asks whether the server would create an object, whatever stands in its place. It may be without a name.
    pub(super) async fn would_create(
        &self,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: &Bytes,
        validation: Validation,
    ) -> Result<(), ApplyError> {
        let mut named = key.clone();
        if named.name.is_empty() {
            TRIAL.clone_into(&mut named.name);
        }
        self.try_creation(&self.target_of(&named, gvk)?, &named, body, validation).await
    }

    /// Asks whether the server would create the object, under a name that is free.
    async fn try_creation(
        &self,
        target: &Target,
        key: &ObjectKey,
        body: &Bytes,
        validation: Validation,
    ) -> Result<(), ApplyError> {
        let trial = trial_of(body)?;
        let collection = target.path.rsplit_once('/').map_or(target.path.as_str(), |(collection, _)| collection);
        let query = [("dryRun", "All"), ("fieldValidation", validation.as_str())];
        let make = || {
            let mut post = request(Method::POST, collection, &query, ACCEPT_METADATA, trial.clone())?;
            post.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(post)
        };
        match self.caller.send(&target.kind, Access::Try, make, |_| false).await {
            Err(error) if !is_only_in_the_way(&error) => Err(error),
            Err(error) => {
                tracing::debug!(object = %key, %error, "a trial of the creation was refused for what goes with the old object");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Waits until an object is gone.
    async fn await_gone(
        &self,
        target: &Target,
        key: &ObjectKey,
        uid: &str,
        gone_within: Duration,
    ) -> Result<(), ApplyError> {
        let end = Instant::now() + gone_within;
        let mut pause = LOOKS.0;
        loop {
            let Some(live) = self.read_at(target, key, ACCEPT_METADATA).await? else { return Ok(()) };
            if text(&live, "uid") != uid {
                return Ok(());
            }
            if Instant::now() + pause > end {
                let message = format!(
                    "it was deleted to be made anew and is still there after {} s{}; it is made anew when it is gone",
                    gone_within.as_secs(),
                    holders(&live)
                );
                return Err(ApplyError { reason: Reason::ApplyFailed, message, retry_after: None, retryable: true });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOKS.1);
        }
    }
}

fn is_never_recreated(kind: &GroupKind) -> bool {
    NEVER.iter().any(|(group, name)| kind.group == *group && kind.kind == *name)
}

/// Why an object may not be deleted on behalf of `owner`: somebody else's marks are on it. An object without any marks is one
/// that is being adopted.
fn foreign(key: &ObjectKey, live: &Value, owner: &Owner) -> Option<String> {
    let marks = Marks::of(live);
    if marks.instance.as_str().is_empty() && marks.tracking_id.is_empty() { None } else { not_owned(key, live, owner) }
}

/// The object under another name.
fn trial_of(body: &[u8]) -> Result<Bytes, ApplyError> {
    let invalid = || ApplyError::invalid("the object to make anew is not valid JSON with metadata".to_owned());
    let mut object: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut).ok_or_else(invalid)?;
    let name = metadata.remove("name").or_else(|| metadata.remove("generateName")).unwrap_or_default();
    let mut prefix: String = name.as_str().unwrap_or(TRIAL).chars().take(TRIAL_NAME).collect();
    prefix.truncate(prefix.trim_end_matches(['.', '-']).len());
    metadata.insert("generateName".to_owned(), json!(format!("{prefix}-")));
    Ok(Bytes::from(object.to_string()))
}

/// Whether a trial was refused for no more than what the old object still holds: an address, a port, a share of a quota.
fn is_only_in_the_way(error: &ApplyError) -> bool {
    ["already allocated", "exceeded quota"].iter().any(|words| error.message.contains(words))
}

/// The finalizers that hold an object, as the end of a sentence.
fn holders(live: &Value) -> String {
    let finalizers = live.get("metadata").and_then(|metadata| metadata.get("finalizers")?.as_array());
    let names: Vec<&str> = finalizers.into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { String::new() } else { format!(", held by the finalizers {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_definitions_and_volumes_are_never_made_anew() {
        for (group, kind) in NEVER {
            assert!(is_never_recreated(&GroupKind::new(group, kind)), "{kind}");
        }
        assert!(!is_never_recreated(&GroupKind::new("apps", "Deployment")));
        assert!(!is_never_recreated(&GroupKind::new("example.org", "Namespace")));
    }

    #[test]
    fn only_ours_and_nobodys_objects_are_deleted_to_be_made_anew() {
        let key = ObjectKey::new("batch", "Job", "shop", "seed");
        let (ours, other) = (Owner::new("t", "t", "shop"), Owner::new("t", "t", "billing"));
        let marked = |owner: &Owner| {
            json!({"metadata": {"labels": {"tidelock.dev/instance": owner.instance.as_str()},
                                "annotations": {"tidelock.dev/tracking-id": owner.tracking_id(&key)}}})
        };
        assert_eq!(foreign(&key, &marked(&ours), &ours), None);
        assert_eq!(foreign(&key, &json!({"metadata": {}}), &ours), None);
        let why = foreign(&key, &marked(&other), &ours);
        assert_eq!(why, Some(format!("it belongs to t/billing (instance {})", other.instance)));
    }

    #[test]
    fn a_trial_has_a_name_of_its_own() {
        let body =
            json!({"kind": "Job", "metadata": {"name": "a".repeat(39) + ".long", "labels": {"a": "b"}}}).to_string();
        let trial: Value = serde_json::from_slice(&trial_of(body.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            trial,
            json!({"kind": "Job", "metadata": {"generateName": "a".repeat(39) + "-", "labels": {"a": "b"}}})
        );
    }
}

//! Replacing an object as a whole (sync option `Replace`).

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};

use super::applier::{Applied, Applier, Mode, Target, applied, is_secret, object_is_absent, parse, text};
use super::error::ApplyError;
use super::managed_fields::REPLACE_MANAGER;
use super::options::ApplyOptions;
use crate::live::client::{ACCEPT_JSON, ACCEPT_METADATA, request};
use crate::model::{GroupVersionKind, ObjectKey};

/// How often it is tried anew when the object changes between being read and being replaced.
const ROUNDS: u32 = 8;

impl Applier {
    /// Replaces an object, or makes it.
    ///
    /// What is replaced is then applied as well: only an apply leaves the record of our fields by which drift is seen. The
    /// replacement's own record is merged into it, or else a field that git drops later would stay.
    pub(super) async fn replace(
        &self,
        target: &Target,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: &Bytes,
        options: &ApplyOptions,
    ) -> Result<Applied, ApplyError> {
        // A status that is no subresource would be lost with the rest.
        let read = if target.has_status || is_secret(&target.kind) { ACCEPT_METADATA } else { ACCEPT_JSON };
        let mut query = vec![("fieldManager", REPLACE_MANAGER), ("fieldValidation", options.validation.as_str())];
        if options.mode == Mode::DryRun {
            query.push(("dryRun", "All"));
        }
        for _ in 0..ROUNDS {
            let Some(live) = self.read_at(target, key, read).await? else {
                return self.apply_and_take_over(target, key, gvk, body, options).await;
            };
            let replacement = replacement(body, &live)?;
            let make = || {
                let mut put = request(Method::PUT, &target.path, &query, ACCEPT_METADATA, replacement.clone())?;
                put.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(put)
            };
            let answer = self
                .caller
                .send(&target.kind, options.mode.access(), make, |answer| {
                    answer.status == 409 || object_is_absent(answer, key)
                })
                .await?;
            if matches!(answer.status, 404 | 409) {
                continue;
            }
            if options.mode == Mode::DryRun {
                return applied(&target.kind, &answer, options);
            }
            let replaced = parse(&target.kind, &answer.body)?;
            self.take_over(target, key, gvk, replaced, &options.take_over).await?;
            let known_resource_version = text(&live, "resourceVersion").parse().ok();
            let options = ApplyOptions { known_resource_version, ..options.clone() };
            return self.apply_and_take_over(target, key, gvk, body, &options).await;
        }
        Err(ApplyError::contended(ROUNDS, "replaced"))
    }
}

/// The object to send: the wanted one, bound to the version that was read, with what must outlive a replacement.
fn replacement(body: &[u8], live: &Value) -> Result<Bytes, ApplyError> {
    // The text of the error could repeat what was read.
    let unreadable = |_| ApplyError::invalid("the object to replace it with is not valid JSON".to_owned());
    let mut wanted: Value = serde_json::from_slice(body).map_err(unreadable)?;
    let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Err(ApplyError::invalid("the object to replace it with has no metadata".to_owned()));
    };
    metadata.insert("uid".to_owned(), json!(text(live, "uid")));
    metadata.insert("resourceVersion".to_owned(), json!(text(live, "resourceVersion")));
    // Who set these relies on them: a finalizer that vanishes leaves behind what it guards.
    for field in ["finalizers", "ownerReferences"] {
        let Some(kept) = live.get("metadata").and_then(|metadata| metadata.get(field)?.as_array()) else { continue };
        let list = metadata.entry(field).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            let missing: Vec<Value> = kept.iter().filter(|item| !list.contains(item)).cloned().collect();
            list.extend(missing);
        }
    }
    if let (None, Some(status)) = (wanted.get("status"), live.get("status")) {
        wanted["status"] = status.clone();
    }
    Ok(Bytes::from(wanted.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_bound_to_what_was_read_and_keeps_finalizers_owners_and_status() {
        let live = json!({
            "metadata": {"name": "a", "uid": "u1", "resourceVersion": "7", "labels": {"old": "1"},
                         "finalizers": ["x/one", "x/two"], "ownerReferences": [{"uid": "o1"}]},
            "spec": {"size": 1, "extra": true}, "status": {"phase": "Ready"},
        });
        let body =
            json!({"kind": "A", "metadata": {"name": "a", "finalizers": ["x/two"]}, "spec": {"size": 2}}).to_string();
        let sent: Value = serde_json::from_slice(&replacement(body.as_bytes(), &live).unwrap()).unwrap();
        assert_eq!(
            sent,
            json!({
                "kind": "A",
                "metadata": {"name": "a", "uid": "u1", "resourceVersion": "7", "finalizers": ["x/two", "x/one"],
                             "ownerReferences": [{"uid": "o1"}]},
                "spec": {"size": 2}, "status": {"phase": "Ready"},
            })
        );
    }

    #[test]
    fn what_is_no_object_is_refused_without_being_repeated() {
        for body in ["{\"secret", "[]", "{}"] {
            let error = replacement(body.as_bytes(), &json!({})).unwrap_err();
            assert!(!error.message.contains("secret") && !error.retryable, "{error}");
        }
    }
}

//! Taking over the fields of tools that managed an object before.

use bytes::Bytes;
use serde_json::{Value, json};

use super::applier::{Applied, Applier, Mode, Outcome, Target, parse, text};
use super::error::ApplyError;
use super::managed_fields::{needs_migration, taken_over};
use super::options::ApplyOptions;
use crate::live::client::ACCEPT_METADATA;
use crate::model::{FIELD_MANAGER, GroupVersionKind, ObjectKey, own_entry};

/// How often it is tried anew when the object changes meanwhile.
const ROUNDS: u32 = 8;

/// What `kubectl apply` and Argo CD keep the last applied object in.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Applier {
    /// Applies, and when the answer shows that other tools managed the object before, takes over their fields and applies
    /// again, which removes those fields that are not wanted.
    ///
    /// The answer tells it for nothing; only who expects an adoption looks before.
    pub(super) async fn apply_and_take_over(
        &self,
        target: &Target,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: &Bytes,
        options: &ApplyOptions,
    ) -> Result<Applied, ApplyError> {
        if options.look_first
            && options.mode == Mode::Write
            && !options.take_over.is_empty()
            && let Some(live) = self.read_at(target, key, ACCEPT_METADATA).await?
        {
            self.take_over(target, key, gvk, live, &options.take_over).await?;
        }
        let applied = self.server_side_apply(target, body, options).await?;
        if options.mode == Mode::DryRun || !needs_migration(managed_fields(&applied.response), &options.take_over) {
            return Ok(applied);
        }
        self.take_over(target, key, gvk, applied.response.clone(), &options.take_over).await?;
        let again = self.server_side_apply(target, body, options).await?;
        let outcome = match applied.outcome {
            Outcome::Created => Outcome::Created,
            Outcome::Configured | Outcome::Unchanged => Outcome::Configured,
        };
        Ok(Applied { outcome, ..again })
    }

    /// Makes the fields of `managers` ours. `live` is the object as it was last read or answered.
    pub(super) async fn take_over(
        &self,
        target: &Target,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        mut live: Value,
        managers: &[String],
    ) -> Result<(), ApplyError> {
        for _ in 0..ROUNDS {
            let Some(patch) = patch_of(&live, managers, &gvk.api_version()) else { return Ok(()) };
            match self.patch_json(target, key, &patch, ACCEPT_METADATA).await? {
                // Gone: the apply that follows makes it anew.
                Some(answer) if answer.status == 404 => return Ok(()),
                Some(answer) => {
                    tracing::info!(object = %key, "fields of other tools were taken over");
                    live = parse(&target.kind, &answer.body)?;
                }
                None => match self.read_at(target, key, ACCEPT_METADATA).await? {
                    Some(newer) => live = newer,
                    None => return Ok(()),
                },
            }
        }
        Err(ApplyError::contended(ROUNDS, "taken over"))
    }
}

/// The JSON patch that makes the fields of `managers` ours; `None` when they have none.
fn patch_of(live: &Value, managers: &[String], api_version: &str) -> Option<Value> {
    let merged = taken_over(managed_fields(live), managers, api_version)?;
    let annotated = live.get("metadata").and_then(|metadata| metadata.get("annotations")?.get(LAST_APPLIED)).is_some();
    // What is ours goes with the apply that follows, without a change of its own.
    let goes_by_itself = own_entry(&merged, FIELD_MANAGER).is_some_and(|entry| {
        let annotations = entry.pointer("/fieldsV1/f:metadata/f:annotations");
        annotations.is_some_and(|annotations| annotations.get(format!("f:{LAST_APPLIED}")).is_some())
    });
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": text(live, "uid")}),
        // Not a test: a version that is stated is what makes the server refuse a patch of another one.
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": text(live, "resourceVersion")}),
        json!({"op": "replace", "path": "/metadata/managedFields", "value": merged}),
    ];
    if annotated && !goes_by_itself {
        let path = format!("/metadata/annotations/{}", LAST_APPLIED.replace('/', "~1"));
        operations.push(json!({"op": "remove", "path": path}));
    }
    Some(Value::Array(operations))
}

pub(super) fn managed_fields(object: &Value) -> &[Value] {
    let entries = object.get("metadata").and_then(|metadata| metadata.get("managedFields")?.as_array());
    entries.map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(api_version: &str) -> Value {
        json!({"metadata": {
            "uid": "u1", "resourceVersion": "7", "annotations": {LAST_APPLIED: "{}"},
            "managedFields": [
                {"manager": "tidelock", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
                 "fieldsV1": {"f:data": {}}},
                {"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": api_version,
                 "fieldsV1": {"f:metadata": {"f:annotations": {format!("f:{LAST_APPLIED}"): {}}}}},
            ],
        }})
    }

    fn paths(patch: &Value) -> Vec<String> {
        let operations = patch.as_array().into_iter().flatten();
        operations.map(|operation| format!("{} {}", operation["op"], operation["path"]).replace('"', "")).collect()
    }

    #[test]
    fn the_last_applied_object_is_removed_by_the_patch_only_when_no_apply_would_remove_it() {
        let bound = ["test /metadata/uid", "replace /metadata/resourceVersion", "replace /metadata/managedFields"]
            .map(str::to_owned);
        let managers = ["kubectl-client-side-apply".to_owned()];
        assert_eq!(paths(&patch_of(&live("v1"), &managers, "v1").unwrap()), bound);
        let mut more = bound.to_vec();
        more.push("remove /metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration".to_owned());
        assert_eq!(paths(&patch_of(&live("v1beta1"), &managers, "v1").unwrap()), more);
        assert_eq!(patch_of(&live("v1"), &[], "v1"), None);
    }
}

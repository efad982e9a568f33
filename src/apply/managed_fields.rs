//! Whose fields become ours: `metadata.managedFields` with the entries of tools that managed an object before merged into
//! our own. Pure.
//!
//! A field that such a tool set stays in the cluster when git drops it, because the tool still owns it. Once the field is
//! ours, the next apply without it removes it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::model::{FIELD_MANAGER, own_entry};

/// The field manager of whole replacements. Never holds fields for long: they become those of [`FIELD_MANAGER`].
pub(super) const REPLACE_MANAGER: &str = "tidelock-replace";

/// Field managers of `kubectl apply`, of Argo CD, and of fields that are older than the record of managers.
const PREDECESSORS: [&str; 3] = ["kubectl-client-side-apply", "argocd-controller", "before-first-apply"];

/// Annotations of an Application that name one more field manager whose fields are taken over; several, by commas.
pub const TAKE_OVER_ANNOTATIONS: [&str; 2] =
    ["tidelock.dev/client-side-apply-migration-manager", "argocd.argoproj.io/client-side-apply-migration-manager"];

/// The field managers whose fields are taken over: those that always are, and those that the values of
/// [`TAKE_OVER_ANNOTATIONS`] name.
pub fn predecessors<'a>(named: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let named = named.into_iter().flat_map(|value| value.split(',')).map(str::trim);
    let all: BTreeSet<&str> =
        PREDECESSORS.into_iter().chain(named.filter(|name| !name.is_empty() && *name != FIELD_MANAGER)).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// Whether an object's `metadata.managedFields` has entries of these managers, so that applying it means taking over first.
pub fn needs_migration(managed_fields: &[Value], managers: &[String]) -> bool {
    managed_fields.iter().any(|entry| is_predecessor(entry, managers))
}

/// `managedFields` with the entries of `managers`, and what we wrote ourselves other than by apply, merged into our entry;
/// `None` when there is none of them.
///
/// Entries of another version of the API than our entry's can't be merged and are dropped: their fields then belong to
/// nobody, and stay. Without an entry of ours, one is made for `api_version` or, when none of the entries is of that version,
/// for the version of the first.
pub(super) fn taken_over(managed_fields: &[Value], managers: &[String], api_version: &str) -> Option<Vec<Value>> {
    let ours = own_entry(managed_fields, FIELD_MANAGER);
    let theirs: Vec<&Value> = managed_fields.iter().filter(|entry| is_predecessor(entry, managers)).collect();
    let first = theirs.first()?;
    let version_of = |entry: &Value| text(entry, "apiVersion").to_owned();
    let version = match ours {
        Some(entry) => version_of(entry),
        None if theirs.iter().any(|entry| text(entry, "apiVersion") == api_version) => api_version.to_owned(),
        None => version_of(first),
    };
    let mut fields = ours.and_then(|entry| entry.get("fieldsV1")).cloned().unwrap_or_else(|| json!({}));
    for entry in theirs.iter().filter(|entry| text(entry, "apiVersion") == version) {
        if let (Value::Object(into), Some(Value::Object(from))) = (&mut fields, entry.get("fieldsV1")) {
            unite(into, from, true);
        }
    }
    let mut merged = json!({
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    });
    if let Some(time) = ours.unwrap_or(first).get("time") {
        merged["time"] = time.clone();
    }
    let others = managed_fields
        .iter()
        .filter(|entry| !is_predecessor(entry, managers) && !ours.is_some_and(|own| own == *entry));
    Some(std::iter::once(merged).chain(others.cloned()).collect())
}

fn is_predecessor(entry: &Value, managers: &[String]) -> bool {
    let manager = text(entry, "manager");
    let by_apply = text(entry, "operation") == "Apply";
    let own = manager == REPLACE_MANAGER || (manager == FIELD_MANAGER && !by_apply);
    let listed = manager != FIELD_MANAGER && managers.iter().any(|listed| listed == manager);
    text(entry, "subresource").is_empty() && (own || listed)
}

/// Adds the paths of one tree of fields to another. `{}` below the root means that the node itself is a member, which a node
/// with children says by a child named `.`.
fn unite(into: &mut Map<String, Value>, from: &Map<String, Value>, is_root: bool) {
    let into_was_leaf = into.is_empty();
    let from_is_leaf = from.is_empty();
    if !is_root && into_was_leaf != from_is_leaf {
        into.insert(".".to_owned(), json!({}));
    }
    for (name, below) in from {
        match (into.get_mut(name), below) {
            (Some(Value::Object(present)), Value::Object(more)) => {
                if name != "." {
                    unite(present, more, false);
                }
            }
            _ => {
                into.insert(name.clone(), below.clone());
            }
        }
    }
}

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, api_version: &str, fields: &Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": api_version, "fieldsType": "FieldsV1",
               "time": "2026-01-01T00:00:00Z", "fieldsV1": fields})
    }

    #[test]
    fn entries_of_predecessors_become_part_of_ours_and_others_stay() {
        let ours = entry("tidelock", "Apply", "apps/v1", &json!({"f:spec": {"f:replicas": {}, "f:selector": {}}}));
        let kubectl = entry(
            "kubectl-client-side-apply",
            "Update",
            "apps/v1",
            &json!({"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}, "f:spec": {"f:paused": {}, "f:selector": {"f:x": {}}}}),
        );
        let argo = entry("argocd-controller", "Apply", "apps/v1", &json!({"f:spec": {"f:minReadySeconds": {}}}));
        let controller = entry("kube-controller-manager", "Update", "apps/v1", &json!({"f:metadata": {}}));
        let mut status = entry("argocd-controller", "Update", "apps/v1", &json!({"f:status": {}}));
        status["subresource"] = json!("status");
        let fields = [kubectl, ours, argo, controller.clone(), status.clone()];
        let managers = predecessors([]);
        assert!(needs_migration(&fields, &managers));
        let merged = entry(
            "tidelock",
            "Apply",
            "apps/v1",
            &json!({
                "f:metadata": {"f:annotations": {".": {}, "f:a": {}}},
                "f:spec": {"f:replicas": {}, "f:paused": {}, "f:minReadySeconds": {}, "f:selector": {".": {}, "f:x": {}}},
            }),
        );
        let all = taken_over(&fields, &managers, "apps/v1").unwrap();
        assert_eq!(all, vec![merged, controller, status]);
        assert!(!needs_migration(&all, &managers));
        assert_eq!(taken_over(&all, &managers, "apps/v1"), None);
    }

    #[test]
    fn without_an_entry_of_ours_one_is_made_of_the_wanted_version() {
        let old = entry("before-first-apply", "Update", "autoscaling/v1", &json!({"f:spec": {"f:a": {}}}));
        let new = entry("kubectl-client-side-apply", "Update", "autoscaling/v2", &json!({"f:spec": {"f:b": {}}}));
        assert_eq!(
            taken_over(&[old.clone(), new], &predecessors([]), "autoscaling/v2"),
            Some(vec![entry("tidelock", "Apply", "autoscaling/v2", &json!({"f:spec": {"f:b": {}}}))])
        );
        assert_eq!(
            taken_over(&[old], &predecessors([]), "autoscaling/v2"),
            Some(vec![entry("tidelock", "Apply", "autoscaling/v1", &json!({"f:spec": {"f:a": {}}}))])
        );
    }

    #[test]
    fn nobody_else_is_taken_over_unless_named() {
        let helm = [entry("helm", "Update", "v1", &json!({"f:data": {"f:a": {}}}))];
        assert!(!needs_migration(&helm, &predecessors([])));
        assert!(needs_migration(&helm, &predecessors(["helm, flux"])));
        assert_eq!(
            predecessors(["helm, flux", "tidelock", ""]),
            ["argocd-controller", "before-first-apply", "flux", "helm", "kubectl-client-side-apply"]
        );
    }

    #[test]
    fn what_we_replaced_is_ours_even_when_nothing_is_to_be_taken_over() {
        let replaced = entry("tidelock-replace", "Update", "v1", &json!({"f:data": {}}));
        assert_eq!(
            taken_over(&[replaced], &[], "v1"),
            Some(vec![entry("tidelock", "Apply", "v1", &json!({"f:data": {}}))])
        );
    }
}

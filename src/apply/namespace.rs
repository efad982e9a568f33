//! The destination's namespace (sync option `CreateNamespace`, with `managedNamespaceMetadata`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};

use super::applier::{Applier, Mode, Outcome};
use super::error::ApplyError;
use super::options::Validation;
use super::take_over::managed_fields;
use crate::live::client::ACCEPT_METADATA;
use crate::model::{GroupVersionKind, INSTANCE_LABEL, ObjectKey, Owner, TRACKING_ANNOTATION, own_entry};

/// What a namespace is to carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMetadata {
    /// Labels. Our marks among them are left out: the namespace belongs to nobody.
    pub labels: BTreeMap<String, String>,
    /// Annotations; the same holds.
    pub annotations: BTreeMap<String, String>,
}

impl Applier {
    /// Makes the namespace if it is not there, and sees to it that it carries the wanted metadata. What the same Application
    /// asked for before and no longer does is removed. Nothing is written when nothing differs.
    ///
    /// The metadata is applied by a field manager of its own for each Application, so that several can deploy into one
    /// namespace; the namespace is never marked as owned.
    pub async fn ensure_namespace(
        &self,
        name: &str,
        owner: &Owner,
        wanted: &NamespaceMetadata,
    ) -> Result<Outcome, ApplyError> {
        let key = ObjectKey::new("", "Namespace", "", name);
        let target = self.target_of(&key, &GroupVersionKind::from_api_version("v1", "Namespace"))?;
        let live = self.read_at(&target, &key, ACCEPT_METADATA).await?;
        let manager = format!("tidelock-namespace-{}", owner.instance);
        let wanted = without_marks(wanted);
        if live.as_ref().is_some_and(|live| is_as_wanted(live, &manager, &wanted)) {
            return Ok(Outcome::Unchanged);
        }
        let mut body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        for (field, map) in [("labels", &wanted.labels), ("annotations", &wanted.annotations)] {
            if !map.is_empty() {
                body["metadata"][field] = json!(map);
            }
        }
        let body = Bytes::from(body.to_string());
        let answer =
            self.patch_apply(&target, &manager, &body, Validation::Strict, Mode::Write, ACCEPT_METADATA).await?;
        Ok(if answer.status == 201 { Outcome::Created } else { Outcome::Configured })
    }
}

fn without_marks(wanted: &NamespaceMetadata) -> NamespaceMetadata {
    let mut wanted = wanted.clone();
    wanted.labels.remove(INSTANCE_LABEL);
    wanted.annotations.remove(TRACKING_ANNOTATION);
    wanted
}

/// Whether a live namespace carries the metadata, and `manager` is recorded for exactly that.
fn is_as_wanted(live: &Value, manager: &str, wanted: &NamespaceMetadata) -> bool {
    let entry = own_entry(managed_fields(live), manager);
    [("labels", &wanted.labels), ("annotations", &wanted.annotations)].into_iter().all(|(field, map)| {
        let carried = live.get("metadata").and_then(|metadata| metadata.get(field));
        let same = map.iter().all(|(name, value)| {
            carried.and_then(|carried| carried.get(name)?.as_str()).is_some_and(|found| found == value)
        });
        let owned =
            entry.and_then(|entry| entry.get("fieldsV1")?.get("f:metadata")?.get(format!("f:{field}"))?.as_object());
        let owned: BTreeSet<&str> =
            owned.into_iter().flat_map(|fields| fields.keys()).filter_map(|name| name.strip_prefix("f:")).collect();
        same && owned == map.keys().map(String::as_str).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(labels: &[(&str, &str)]) -> NamespaceMetadata {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        NamespaceMetadata { labels, annotations: BTreeMap::new() }
    }

    fn live() -> Value {
        json!({"metadata": {
            "labels": {"team": "a", "kubernetes.io/metadata.name": "shop"},
            "managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "v1",
                               "fieldsV1": {"f:metadata": {"f:labels": {"f:team": {}}}}}],
        }})
    }

    #[test]
    fn only_what_is_carried_and_recorded_for_us_is_as_wanted() {
        assert!(is_as_wanted(&live(), "m", &wanted(&[("team", "a")])));
        assert!(!is_as_wanted(&live(), "m", &wanted(&[("team", "b")])), "another value");
        assert!(!is_as_wanted(&live(), "m", &wanted(&[])), "a label that is no longer wanted");
        assert!(!is_as_wanted(&live(), "m", &wanted(&[("team", "a"), ("tier", "1")])), "a label that is missing");
        assert!(!is_as_wanted(&live(), "other", &wanted(&[("team", "a")])), "carried by somebody else's will");
        assert!(is_as_wanted(&live(), "other", &wanted(&[])), "nothing is wanted and nothing is recorded");
    }

    #[test]
    fn marks_of_ownership_are_never_put_on_a_namespace() {
        let marked = wanted(&[("tidelock.dev/instance", "x"), ("team", "a")]);
        assert_eq!(without_marks(&marked), wanted(&[("team", "a")]));
    }
}

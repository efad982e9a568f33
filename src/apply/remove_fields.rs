//! Removing fields that people added by hand.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::applier::{Applied, Applier, Mode, Outcome, applied, object_is_absent};
use super::error::ApplyError;
use super::options::ApplyOptions;
use crate::live::client::{ACCEPT_JSON, ACCEPT_METADATA};
use crate::model::{GroupVersionKind, ObjectKey};

/// What came of removing fields.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldsRemoved {
    /// They are gone; the object afterwards.
    Removed(Box<Applied>),
    /// The object is not, or no longer, the one and the version that the fields were found in, or one of the fields is not in
    /// it: read it and decide anew.
    Changed,
    /// The object is gone.
    Gone,
}

impl Applier {
    /// Removes fields of an object, if it still has the uid and the version that they were found in.
    ///
    /// `fields` are JSON pointers into the object in the version of its kind that `gvk` states. Paths within one list may be
    /// given in any order.
    pub async fn remove_fields(
        &self,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        uid: &str,
        resource_version: u64,
        fields: &[String],
    ) -> Result<FieldsRemoved, ApplyError> {
        let target = self.target_of(key, gvk)?;
        let accept = if self.wants_whole(&target.kind) { ACCEPT_JSON } else { ACCEPT_METADATA };
        let patch = removal(uid, resource_version, fields);
        let Some(answer) = self.patch_json(&target, key, &patch, accept).await? else {
            return Ok(FieldsRemoved::Changed);
        };
        if object_is_absent(&answer, key) {
            return Ok(FieldsRemoved::Gone);
        }
        let options = ApplyOptions {
            mode: Mode::Write,
            known_resource_version: Some(resource_version),
            ..ApplyOptions::default()
        };
        let removed = applied(&target.kind, &answer, &options)?;
        debug_assert!(removed.outcome != Outcome::Created, "a JSON patch makes no object");
        Ok(FieldsRemoved::Removed(Box::new(removed)))
    }
}

fn removal(uid: &str, resource_version: u64, fields: &[String]) -> Value {
    let mut operations = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": uid}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version.to_string()}),
    ];
    let mut fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    // What is deeper, or later in a list, goes first, so that the places of the others stay as they were found.
    fields.sort_by(|left, right| by_place(right, left));
    fields.dedup();
    operations.extend(fields.into_iter().map(|path| json!({"op": "remove", "path": path})));
    Value::Array(operations)
}

fn by_place(left: &str, right: &str) -> Ordering {
    let (mut lefts, mut rights) = (left.split('/'), right.split('/'));
    loop {
        let order = match (lefts.next(), rights.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) => left.cmp(&right),
                _ => left.cmp(right),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_from_the_last_on_and_bound_to_uid_and_version() {
        let fields =
            ["/spec/a/2", "/spec/a/10", "/spec/a/10/b", "/metadata/labels/x~1y", "/spec/a/2"].map(str::to_owned);
        assert_eq!(
            removal("u1", 7, &fields),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "u1"},
                {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
                {"op": "remove", "path": "/spec/a/10/b"},
                {"op": "remove", "path": "/spec/a/10"},
                {"op": "remove", "path": "/spec/a/2"},
                {"op": "remove", "path": "/metadata/labels/x~1y"},
            ])
        );
    }
}

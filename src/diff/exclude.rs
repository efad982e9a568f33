//! Kinds that are left alone in the whole installation.

use crate::desired::DesiredSet;
use crate::model::ObjectKey;

/// Takes objects and hooks of excluded kinds out of a desired set, with a warning for each: they are neither compared
/// nor applied.
pub fn leave_out(desired: DesiredSet, is_excluded: impl Fn(&ObjectKey) -> bool) -> DesiredSet {
    let DesiredSet { mut objects, mut hooks, mut warnings } = desired;
    let warning = |key: &ObjectKey, origin: &str| {
        format!(
            "ExcludedResourceWarning: {key} ({origin}) is of a kind that is excluded from every Application \
             (resource.exclusions), so it is left out; take it out of git, or its kind out of the exclusions"
        )
    };
    objects.retain(|key, object| {
        let excluded = is_excluded(key);
        if excluded {
            warnings.push(warning(key, &object.origin.to_string()));
        }
        !excluded
    });
    hooks.retain(|hook| {
        let excluded = is_excluded(&hook.object.key);
        if excluded {
            warnings.push(warning(&hook.object.key, &hook.object.origin.to_string()));
        }
        !excluded
    });
    DesiredSet { objects, hooks, warnings }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::desired::{DesiredObject, Hook, ObjectOptions};
    use crate::model::{GroupVersionKind, Hash64, Origin};

    fn object(kind: &str) -> DesiredObject {
        DesiredObject {
            key: ObjectKey::new("", kind, "shop", "a"),
            gvk: GroupVersionKind::from_api_version("v1", kind),
            body: Bytes::new(),
            hash: Hash64(1),
            wave: 0,
            options: ObjectOptions::default(),
            depends_on: Vec::new(),
            origin: Origin { file: "all.yaml".to_owned(), line: 7 },
            kind_is_new: false,
        }
    }

    #[test]
    fn objects_and_hooks_of_excluded_kinds_are_left_out_with_a_warning() {
        let hook = |kind| Hook {
            object: Arc::new(object(kind)),
            phases: [crate::model::Phase::PreSync].into(),
            delete_policies: [crate::desired::HookDeletePolicy::BeforeHookCreation].into(),
            generate_name: None,
        };
        let set = DesiredSet {
            objects: ["Endpoints", "Service"]
                .map(|kind| (object(kind).key, Arc::new(object(kind))))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            hooks: vec![hook("Endpoints"), hook("Job")],
            warnings: vec!["before".to_owned()],
        };
        let left = leave_out(set, |key| key.kind == "Endpoints");
        assert_eq!(left.objects.keys().map(|key| key.kind.as_str()).collect::<Vec<_>>(), ["Service"]);
        assert_eq!(left.hooks, [hook("Job")]);
        assert_eq!(left.warnings.len(), 3);
        assert!(left.warnings[1].starts_with("ExcludedResourceWarning: "), "{}", left.warnings[1]);
        assert!(left.warnings[1].contains("all.yaml:7"), "{}", left.warnings[1]);
    }
}

//! What an operator that is limited to namespaces can't deploy.

use std::collections::BTreeSet;

use super::{DesiredObject, DesiredSet, Problem};
use crate::model::{ObjectKey, Reason};

/// What to do about an object that is out of reach.
const ADVICE: &str = "list the namespace in the operator's --destination-namespaces (chart: rbac.namespaces), or deploy it with an \
                      operator of another RBAC mode";

/// The objects and hooks of a set that lie outside of these namespaces, cluster-scoped ones among them; a problem for each.
pub fn outside_namespaces(set: &DesiredSet, namespaces: &BTreeSet<String>) -> Vec<Problem> {
    let hooks = set.hooks.iter().map(|hook| &hook.object);
    let outside = |object: &&std::sync::Arc<DesiredObject>| !namespaces.contains(&object.key.namespace);
    let problem = |object: &std::sync::Arc<DesiredObject>| Problem {
        reason: Reason::OutsideNamespaces,
        message: format!("{}: {}", object.origin, out_of_reach(&object.key, namespaces)),
    };
    let mut problems: Vec<Problem> = set.objects.values().chain(hooks).filter(outside).map(problem).collect();
    problems.sort();
    problems
}

/// Why an object is out of reach of an operator that is limited to these namespaces, as a sentence.
pub fn out_of_reach(key: &ObjectKey, namespaces: &BTreeSet<String>) -> String {
    let all: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let place = if key.namespace.is_empty() {
        "is cluster-scoped".to_owned()
    } else {
        format!("is in the namespace `{}`", key.namespace)
    };
    let advice = if key.namespace.is_empty() {
        "take it out, or deploy it with an operator of another RBAC mode"
    } else {
        ADVICE
    };
    format!(
        "{} `{}` {place}, and this operator is limited to the namespaces {}: {advice}",
        key.group_kind(),
        key.name,
        all.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::desired::ObjectOptions;
    use crate::model::{GroupVersionKind, Hash64, Origin};

    fn object(kind: &str, namespace: &str, name: &str) -> (ObjectKey, Arc<DesiredObject>) {
        let key = ObjectKey::new("", kind, namespace, name);
        let object = DesiredObject {
            key: key.clone(),
            gvk: GroupVersionKind::from_api_version("v1", kind),
            body: Bytes::new(),
            hash: Hash64(0),
            wave: 0,
            options: ObjectOptions::default(),
            depends_on: Vec::new(),
            origin: Origin::default(),
            kind_is_new: false,
        };
        (key, Arc::new(object))
    }

    #[test]
    fn objects_of_other_namespaces_and_of_none_are_named() {
        let set = DesiredSet {
            objects: [
                object("ConfigMap", "shop", "settings"),
                object("ConfigMap", "kube-system", "theirs"),
                object("Namespace", "", "shop"),
            ]
            .into(),
            ..DesiredSet::default()
        };
        let namespaces = BTreeSet::from(["cart".to_owned(), "shop".to_owned()]);
        let problems = outside_namespaces(&set, &namespaces);
        assert!(problems.iter().all(|problem| problem.reason == Reason::OutsideNamespaces));
        let told: Vec<&str> =
            problems.iter().map(|problem| problem.message.split_once(": ").map_or("", |(_, told)| told)).collect();
        assert_eq!(
            told,
            [
                "ConfigMap `theirs` is in the namespace `kube-system`, and this operator is limited to the namespaces cart, shop: list the \
                 namespace in the operator's --destination-namespaces (chart: rbac.namespaces), or deploy it with an operator of another \
                 RBAC mode",
                "Namespace `shop` is cluster-scoped, and this operator is limited to the namespaces cart, shop: take it out, or deploy it \
                 with an operator of another RBAC mode",
            ]
        );
    }
}

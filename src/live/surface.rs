//! Reads what an API server says about its kinds. Pure and tolerant: what can't be read is left out, and a group that did
//! not answer keeps the kinds it had.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::{ApiSurface, GroupKind, KindInfo};

/// What one group says in one or more of its versions, the preferred version first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupParts {
    group: String,
    available: bool,
    kinds: Vec<(String, KindInfo)>,
}

impl GroupParts {
    /// A group that did not answer.
    pub(super) fn unavailable(group: &str) -> Self {
        Self { group: group.to_owned(), available: false, kinds: Vec::new() }
    }
}

/// Reads an aggregated answer; `None` when the server answered in the legacy form.
pub(super) fn parse_aggregated(document: &Value) -> Option<Vec<GroupParts>> {
    (text(document, "kind") == "APIGroupDiscoveryList").then(|| list(document, "items").iter().map(group).collect())
}

fn group(item: &Value) -> GroupParts {
    let name = item.get("metadata").map(|metadata| text(metadata, "name")).unwrap_or_default();
    let mut parts = GroupParts { group: name.to_owned(), available: true, kinds: Vec::new() };
    for version in list(item, "versions") {
        // A stale version is the memory of an answer, or nothing at all: its server does not answer now.
        if text(version, "freshness") == "Stale" {
            parts.available = false;
        }
        for resource in list(version, "resources") {
            let kind = resource.get("responseKind").map(|kind| text(kind, "kind")).unwrap_or_default();
            let has_status = list(resource, "subresources").iter().any(|sub| text(sub, "subresource") == "status");
            let info = KindInfo {
                versions: vec![text(version, "version").to_owned()],
                plural: text(resource, "resource").to_owned(),
                namespaced: text(resource, "scope") == "Namespaced",
                has_status,
                watchable: watchable(list(resource, "verbs")),
            };
            parts.push(kind, info);
        }
    }
    parts
}

/// Group and version pairs of the legacy answers to `/api` and `/apis`, preferred versions first.
pub(super) fn parse_groups(document: &Value) -> Vec<(String, String)> {
    if text(document, "kind") == "APIVersions" {
        let versions = list(document, "versions").iter().filter_map(Value::as_str);
        return versions.map(|version| (String::new(), version.to_owned())).collect();
    }
    let mut pairs = Vec::new();
    for group in list(document, "groups") {
        let preferred = group.get("preferredVersion").map(|version| text(version, "version")).unwrap_or_default();
        let mut versions: Vec<&str> = list(group, "versions").iter().map(|version| text(version, "version")).collect();
        versions.sort_by_key(|version| *version != preferred);
        pairs.extend(versions.into_iter().map(|version| (text(group, "name").to_owned(), version.to_owned())));
    }
    pairs
}

/// Reads a legacy `APIResourceList` of one group and version.
pub(super) fn parse_resources(group: &str, version: &str, document: &Value) -> GroupParts {
    let mut parts = GroupParts { group: group.to_owned(), available: true, kinds: Vec::new() };
    let resources = list(document, "resources");
    for resource in resources {
        let plural = text(resource, "name");
        if plural.contains('/') {
            continue;
        }
        let status = format!("{plural}/status");
        let info = KindInfo {
            versions: vec![version.to_owned()],
            plural: plural.to_owned(),
            namespaced: resource.get("namespaced").and_then(Value::as_bool).unwrap_or_default(),
            has_status: resources.iter().any(|other| text(other, "name") == status),
            watchable: watchable(list(resource, "verbs")),
        };
        parts.push(text(resource, "kind"), info);
    }
    parts
}

impl GroupParts {
    fn push(&mut self, kind: &str, info: KindInfo) {
        let complete = !kind.is_empty() && !info.plural.is_empty() && !info.versions.iter().any(String::is_empty);
        if complete {
            self.kinds.push((kind.to_owned(), info));
        }
    }
}

/// Puts the groups together. Of a kind that several versions serve, the first (preferred) version says how it is reached.
/// The kinds of a group that did not answer completely are taken from `last`.
pub(super) fn assemble(parts: Vec<GroupParts>, last: &ApiSurface) -> ApiSurface {
    let mut surface = ApiSurface::default();
    for part in parts {
        if !part.available {
            surface.unavailable_groups.insert(part.group.clone());
        }
        for (kind, info) in part.kinds {
            add(&mut surface.kinds, GroupKind::new(part.group.clone(), kind), info);
        }
    }
    for (kind, info) in &last.kinds {
        if surface.unavailable_groups.contains(&kind.group) {
            surface.kinds.entry(kind.clone()).or_insert_with(|| info.clone());
        }
    }
    surface
}

fn add(kinds: &mut BTreeMap<GroupKind, KindInfo>, kind: GroupKind, info: KindInfo) {
    match kinds.entry(kind) {
        std::collections::btree_map::Entry::Vacant(slot) => {
            slot.insert(info);
        }
        std::collections::btree_map::Entry::Occupied(mut slot) => {
            let known = slot.get_mut();
            // One version may have several resources of one kind (requests that are no objects): the one that can be
            // watched is the kind.
            if known.versions == info.versions && known.plural != info.plural && !known.watchable && info.watchable {
                *known = info;
                return;
            }
            for version in info.versions {
                if !known.versions.contains(&version) {
                    known.versions.push(version);
                }
            }
        }
    }
}

fn watchable(verbs: &[Value]) -> bool {
    ["list", "watch"].iter().all(|verb| verbs.iter().any(|offered| offered.as_str() == Some(verb)))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn info(versions: &[&str], plural: &str, namespaced: bool, has_status: bool, watchable: bool) -> KindInfo {
        KindInfo {
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
            plural: plural.to_owned(),
            namespaced,
            has_status,
            watchable,
        }
    }

    fn resource(kind: &str, plural: &str, scope: &str, subresources: &[&str], verbs: &[&str]) -> Value {
        json!({
            "resource": plural, "scope": scope, "verbs": verbs, "responseKind": {"group": "", "version": "", "kind": kind},
            "subresources": subresources.iter().map(|name| json!({"subresource": name})).collect::<Vec<_>>(),
        })
    }

    fn aggregated(items: &Value) -> Vec<GroupParts> {
        parse_aggregated(
            &json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}),
        )
        .unwrap()
    }

    const FULL: [&str; 3] = ["get", "list", "watch"];

    #[test]
    fn kinds_of_core_and_named_groups_are_read_with_the_preferred_version_first() {
        let parts = aggregated(&json!([
            {"metadata": {"creationTimestamp": null}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
                resource("Namespace", "namespaces", "Cluster", &["finalize", "status"], &FULL),
                resource("Binding", "bindings", "Namespaced", &[], &["create"]),
            ]}]},
            {"metadata": {"name": "autoscaling"}, "versions": [
                {"version": "v2", "freshness": "Current", "resources": [
                    resource("HorizontalPodAutoscaler", "horizontalpodautoscalers", "Namespaced", &["status"], &FULL)]},
                {"version": "v1", "freshness": "Current", "resources": [
                    resource("HorizontalPodAutoscaler", "horizontalpodautoscalers", "Namespaced", &[], &FULL)]},
            ]},
        ]));
        let surface = assemble(parts, &ApiSurface::default());
        assert_eq!(
            surface.kinds,
            BTreeMap::from([
                (GroupKind::new("", "Binding"), info(&["v1"], "bindings", true, false, false)),
                (GroupKind::new("", "Namespace"), info(&["v1"], "namespaces", false, true, true)),
                (
                    GroupKind::new("autoscaling", "HorizontalPodAutoscaler"),
                    info(&["v2", "v1"], "horizontalpodautoscalers", true, true, true)
                ),
            ])
        );
        assert!(surface.unavailable_groups.is_empty());
    }

    #[test]
    fn a_stale_group_keeps_the_kinds_it_had_and_is_reported() {
        let mut last = ApiSurface::default();
        let metrics = GroupKind::new("metrics.k8s.io", "NodeMetrics");
        let gone = GroupKind::new("old.example.org", "Gone");
        last.kinds.insert(metrics.clone(), info(&["v1beta1"], "nodes", false, false, false));
        last.kinds.insert(gone, info(&["v1"], "gones", true, false, true));
        let parts = aggregated(&json!([
            {"metadata": {"name": "metrics.k8s.io"}, "versions": [{"version": "v1beta1", "freshness": "Stale"}]},
        ]));
        let surface = assemble(parts, &last);
        assert_eq!(surface.kinds.keys().collect::<Vec<_>>(), vec![&metrics]);
        assert_eq!(surface.unavailable_groups.iter().collect::<Vec<_>>(), vec!["metrics.k8s.io"]);
    }

    #[test]
    fn a_resource_without_a_kind_is_left_out_and_hides_nothing_else() {
        let parts = aggregated(&json!([
            {"metadata": {"name": "broken.example.org"}, "versions": [{"version": "v1", "resources": [
                {"resource": "nothings", "scope": "Namespaced", "responseKind": null, "verbs": ["get"]},
                "not an object",
                resource("Widget", "widgets", "Namespaced", &[], &FULL),
            ]}]},
        ]));
        let surface = assemble(parts, &ApiSurface::default());
        assert_eq!(
            surface.kinds,
            BTreeMap::from([(
                GroupKind::new("broken.example.org", "Widget"),
                info(&["v1"], "widgets", true, false, true)
            )])
        );
    }

    #[test]
    fn legacy_answers_give_the_same_kinds() {
        let groups = parse_groups(&json!({"kind": "APIGroupList", "groups": [{
            "name": "apps", "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"},
            "versions": [{"version": "v1beta1"}, {"version": "v1"}],
        }]}));
        assert_eq!(groups, vec![("apps".to_owned(), "v1".to_owned()), ("apps".to_owned(), "v1beta1".to_owned())]);
        assert_eq!(
            parse_groups(&json!({"kind": "APIVersions", "versions": ["v1"]})),
            vec![(String::new(), "v1".to_owned())]
        );
        let parts = parse_resources(
            "apps",
            "v1",
            &json!({"kind": "APIResourceList", "resources": [
                {"name": "deployments", "kind": "Deployment", "namespaced": true, "verbs": FULL},
                {"name": "deployments/status", "kind": "Deployment", "namespaced": true, "verbs": ["get"]},
            ]}),
        );
        assert_eq!(
            assemble(vec![parts], &ApiSurface::default()).kinds,
            BTreeMap::from([(GroupKind::new("apps", "Deployment"), info(&["v1"], "deployments", true, true, true))])
        );
    }
}

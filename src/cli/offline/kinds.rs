//! Which kinds there are, without a cluster to ask.
//!
//! `kinds.json` is what the discovery of a plain Kubernetes API server of the version that it names answers (`/api` and
//! `/apis`), a line each kind: group, kind, versions with the preferred one first, plural, scope, whether it has a
//! `status` subresource and whether it can be watched. Kinds of extensions come from CustomResourceDefinitions, and from
//! live objects, which exist only where their kind is served.

use serde::Deserialize;
use serde_json::Value;

use super::OfflineError;
use crate::model::{ApiSurface, GroupKind, GroupVersionKind, KindInfo, Manifest};

const TABLE: &str = include_str!("kinds.json");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Table {
    server_version: String,
    kinds: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Row {
    group: String,
    kind: String,
    versions: Vec<String>,
    plural: String,
    namespaced: bool,
    has_status: bool,
    watchable: bool,
}

/// The kinds of Kubernetes itself.
pub(super) fn built_in_kinds() -> Result<ApiSurface, OfflineError> {
    let Table { server_version, kinds } = serde_json::from_str(TABLE).map_err(OfflineError::Kinds)?;
    let kinds = kinds.into_iter().map(|row| {
        let Row { group, kind, versions, plural, namespaced, has_status, watchable } = row;
        (GroupKind::new(group, kind), KindInfo { versions, plural, namespaced, has_status, watchable })
    });
    Ok(ApiSurface { kinds: kinds.collect(), server_version, ..ApiSurface::default() })
}

/// Adds the kinds that live objects prove to be served: those of established definitions, and their own.
pub(super) fn add_live_kinds(surface: &mut ApiSurface, live: &[Manifest]) {
    for definition in live.iter().filter(|object| is_definition(object)) {
        if is_established(&definition.object) {
            add_defined_kind(surface, &definition.object);
        }
    }
    for object in live {
        assume(surface, &object.gvk(), !object.namespace().is_empty());
    }
}

/// Adds kinds of desired objects that nothing tells of, as namespaced. Returns them.
pub(super) fn assume_namespaced(surface: &mut ApiSurface, desired: &[Manifest]) -> Vec<GroupVersionKind> {
    let mut told = surface.clone();
    for definition in desired.iter().filter(|object| is_definition(object)) {
        add_defined_kind(&mut told, &definition.object);
    }
    let mut assumed: Vec<GroupVersionKind> =
        desired.iter().map(Manifest::gvk).filter(|gvk| !told.kinds.contains_key(&gvk.group_kind())).collect();
    assumed.sort();
    assumed.dedup();
    for gvk in &assumed {
        assume(surface, gvk, true);
    }
    assumed
}

fn assume(surface: &mut ApiSurface, gvk: &GroupVersionKind, namespaced: bool) {
    let info = surface.kinds.entry(gvk.group_kind()).or_insert_with(|| KindInfo {
        versions: Vec::new(),
        plural: format!("{}s", gvk.kind.to_ascii_lowercase()),
        namespaced,
        has_status: true,
        watchable: true,
    });
    if !info.versions.contains(&gvk.version) {
        info.versions.push(gvk.version.clone());
    }
}

fn is_definition(object: &Manifest) -> bool {
    let gvk = object.gvk();
    gvk.group == "apiextensions.k8s.io" && gvk.kind == "CustomResourceDefinition"
}

/// A dump without conditions says nothing against it.
fn is_established(definition: &Value) -> bool {
    let conditions = definition.pointer("/status/conditions").and_then(Value::as_array);
    let is =
        |condition: &Value, field: &str, wanted: &str| condition.get(field).and_then(Value::as_str) == Some(wanted);
    conditions.is_none_or(|conditions| {
        conditions.iter().any(|one| is(one, "type", "Established") && is(one, "status", "True"))
    })
}

fn add_defined_kind(surface: &mut ApiSurface, definition: &Value) {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (Some(group), Some(kind), Some(scope)) = (text("/spec/group"), text("/spec/names/kind"), text("/spec/scope"))
    else {
        return;
    };
    let versions =
        definition.pointer("/spec/versions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let served: Vec<&Value> =
        versions.iter().filter(|version| version.get("served") != Some(&Value::Bool(false))).collect();
    let info = KindInfo {
        versions: served.iter().filter_map(|version| Some(version.get("name")?.as_str()?.to_owned())).collect(),
        plural: text("/spec/names/plural").unwrap_or_default(),
        namespaced: scope == "Namespaced",
        has_status: served.iter().any(|version| version.pointer("/subresources/status").is_some()),
        watchable: true,
    };
    surface.kinds.insert(GroupKind::new(group, kind), info);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Origin;

    fn manifest(object: Value) -> Manifest {
        Manifest { object, origin: Origin::default() }
    }

    fn definition(kind: &str, scope: &str, status: &Value) -> Manifest {
        manifest(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
            "spec": {"group": "example.com", "scope": scope, "names": {"kind": kind, "plural": "x"}, "versions": [
                {"name": "v1", "served": true, "subresources": {"status": {}}}, {"name": "v1beta1", "served": false}]},
            "status": status,
        }))
    }

    fn scope(surface: &ApiSurface, api_version: &str, kind: &str) -> Option<bool> {
        surface.resolve(&GroupVersionKind::from_api_version(api_version, kind)).map(|info| info.namespaced)
    }

    #[test]
    fn the_table_tells_scope_versions_and_status() {
        let surface = built_in_kinds().unwrap();
        assert!(surface.server_version.starts_with("v1.35."), "{}", surface.server_version);
        for (api_version, kind, namespaced) in [
            ("v1", "ConfigMap", Some(true)),
            ("v1", "Namespace", Some(false)),
            ("apps/v1", "Deployment", Some(true)),
            ("autoscaling/v1", "HorizontalPodAutoscaler", Some(true)),
            ("autoscaling/v2", "HorizontalPodAutoscaler", Some(true)),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", Some(false)),
            ("extensions/v1beta1", "Ingress", None),
            ("apps/v1beta1", "Deployment", None),
        ] {
            assert_eq!(scope(&surface, api_version, kind), namespaced, "{api_version} {kind}");
        }
        let scaler = &surface.kinds[&GroupKind::new("autoscaling", "HorizontalPodAutoscaler")];
        assert_eq!((scaler.versions.as_slice(), scaler.has_status), (&["v2".to_owned(), "v1".to_owned()][..], true));
        assert!(!surface.kinds[&GroupKind::new("", "ConfigMap")].has_status);
    }

    #[test]
    fn live_definitions_count_once_established_and_live_objects_by_being_there() {
        let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
        let pending = json!({"conditions": [{"type": "Established", "status": "False"}]});
        let mut surface = ApiSurface::default();
        add_live_kinds(
            &mut surface,
            &[
                definition("Widget", "Cluster", &established),
                definition("Pending", "Namespaced", &pending),
                definition("Stripped", "Namespaced", &Value::Null),
                manifest(
                    json!({"apiVersion": "other.io/v2", "kind": "Thing", "metadata": {"name": "t", "namespace": "n"}}),
                ),
            ],
        );
        assert_eq!(scope(&surface, "example.com/v1", "Widget"), Some(false));
        assert_eq!(scope(&surface, "example.com/v1beta1", "Widget"), None);
        assert_eq!(scope(&surface, "example.com/v1", "Pending"), None);
        assert_eq!(scope(&surface, "example.com/v1", "Stripped"), Some(true));
        assert_eq!(scope(&surface, "other.io/v2", "Thing"), Some(true));
    }

    #[test]
    fn only_kinds_that_nothing_tells_of_are_assumed() {
        let mut surface = built_in_kinds().unwrap();
        let object = |api_version: &str, kind: &str| {
            manifest(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}}))
        };
        let desired = [
            definition("Widget", "Cluster", &Value::Null),
            object("example.com/v1", "Widget"),
            object("apps/v1beta1", "Deployment"),
            object("other.io/v2", "Thing"),
            object("other.io/v2", "Thing"),
        ];
        let assumed = assume_namespaced(&mut surface, &desired);
        assert_eq!(assumed, [GroupVersionKind::from_api_version("other.io/v2", "Thing")]);
        assert_eq!(scope(&surface, "other.io/v2", "Thing"), Some(true));
        assert_eq!(scope(&surface, "apps/v1beta1", "Deployment"), None);
        assert_eq!(scope(&surface, "example.com/v1", "Widget"), None);
    }
}

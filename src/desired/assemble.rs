//! Manifests → desired set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::hook::{Role, role_of};
use super::options::{hook_wave, object_options, sync_wave};
use super::{DEPENDS_ON_ANNOTATION, Dependency, DesiredObject, DesiredSet, Hook, ProjectRules};
use crate::api::Destination;
use crate::model::{
    ApiSurface, GroupKind, GroupVersionKind, Hash64, INSTANCE_LABEL, Manifest, ObjectKey, Owner, Reason,
    TRACKING_ANNOTATION,
};

/// Fields that only a live object has; a manifest that was read from a cluster carries them along.
const LIVE_METADATA: [&str; 7] =
    ["creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"];

/// What assembling reads besides the manifests.
#[derive(Clone, Copy, Debug)]
pub struct AssembleInput<'a> {
    /// Who will own the objects.
    pub owner: &'a Owner,
    /// Where they go.
    pub destination: &'a Destination,
    /// The kinds that the destination serves.
    pub surface: &'a ApiSurface,
    /// What the project allows.
    pub project: &'a ProjectRules,
    /// Whether an object of a kind that nobody serves yet is let through (`SkipDryRunOnMissingResource`), unless it says
    /// otherwise itself.
    pub skip_missing: bool,
}

/// Why the set can't be assembled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// What kind of mistake it is.
    pub reason: Reason,
    /// What is wrong, where, and what to do.
    pub message: String,
}

/// A kind that a CustomResourceDefinition of the same set will bring.
struct ComingKind {
    namespaced: bool,
    versions: BTreeSet<String>,
}

/// Makes the desired set of an Application, or lists everything that is wrong with it.
///
/// # Errors
/// One problem for each object that can't be part of the set; nothing is applied then.
pub fn assemble(manifests: Vec<Manifest>, input: AssembleInput<'_>) -> Result<DesiredSet, Vec<Problem>> {
    let coming = coming_kinds(&manifests);
    let mut set = DesiredSet::default();
    let mut problems = Vec::new();
    for manifest in manifests {
        let (role, warnings) = role_of(&manifest);
        if !warnings.is_empty() {
            let place = format!("{}: {} `{}`", manifest.origin, manifest.gvk().kind, stated_name(&manifest));
            set.warnings.extend(warnings.iter().map(|warning| format!("{place}: {warning}")));
        }
        if role == Role::LeftOut {
            continue;
        }
        let is_hook = role != Role::Object;
        let generate_name = (is_hook && manifest.name().is_empty()).then(|| stated_name(&manifest).to_owned());
        let object = match assemble_one(manifest, input, &coming, is_hook) {
            Ok(object) => object,
            Err(more) => {
                problems.extend(more);
                continue;
            }
        };
        set.warnings.extend(object.options.warnings.iter().map(|warning| format!("{}: {warning}", object.key)));
        match role {
            Role::Hook { phases, delete_policies } => {
                set.hooks.push(Hook { object: Arc::new(object), phases, delete_policies, generate_name });
            }
            Role::Object | Role::LeftOut => match set.objects.get(&object.key) {
                Some(first) => problems.push(twice(first, &object, "is defined twice")),
                None => {
                    set.objects.insert(object.key.clone(), Arc::new(object));
                }
            },
        }
    }
    order_hooks(&mut set.hooks);
    problems.extend(hooks_in_the_way(&set));
    if problems.is_empty() {
        Ok(set)
    } else {
        problems.sort();
        Err(problems)
    }
}

/// The name that a manifest states, or the beginning of the one that is generated.
fn stated_name(manifest: &Manifest) -> &str {
    match manifest.name() {
        "" => manifest.object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default(),
        name => name,
    }
}

fn twice(first: &DesiredObject, second: &DesiredObject, what: &str) -> Problem {
    Problem {
        reason: Reason::DuplicateResource,
        message: format!(
            "{} `{}` {what}: in {} and in {}; remove one of them",
            second.gvk.kind, second.key.name, first.origin, second.origin
        ),
    }
}

fn order_hooks(hooks: &mut [Hook]) {
    hooks.sort_by(|left, right| {
        let place = |hook: &Hook| (hook.phases.first().copied(), hook.object.wave);
        let name = |hook: &Hook| hook.generate_name.clone();
        place(left)
            .cmp(&place(right))
            .then_with(|| left.object.key.cmp(&right.object.key))
            .then_with(|| name(left).cmp(&name(right)))
            .then_with(|| left.object.origin.cmp(&right.object.origin))
            .then_with(|| left.object.hash.cmp(&right.object.hash))
    });
}

/// Hooks whose object would be in the way of another: a hook is deleted and made again, so no ordinary object may be the
/// same, nor another hook of the same phase.
fn hooks_in_the_way(set: &DesiredSet) -> Vec<Problem> {
    let mut seen: BTreeMap<&ObjectKey, Vec<&Hook>> = BTreeMap::new();
    let mut problems = Vec::new();
    for hook in set.hooks.iter().filter(|hook| hook.generate_name.is_none()) {
        let key = &hook.object.key;
        if let Some(object) = set.objects.get(key) {
            problems.push(twice(object, &hook.object, "is an ordinary object and a hook"));
        }
        let others = seen.entry(key).or_default();
        if let Some(other) = others.iter().find(|other| !other.phases.is_disjoint(&hook.phases)) {
            problems.push(twice(&other.object, &hook.object, "is a hook of the same phase twice"));
        }
        others.push(hook);
    }
    problems
}

fn coming_kinds(manifests: &[Manifest]) -> BTreeMap<GroupKind, ComingKind> {
    let text = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    manifests
        .iter()
        .filter(|manifest| {
            let gvk = manifest.gvk();
            gvk.group == "apiextensions.k8s.io" && gvk.kind == "CustomResourceDefinition"
        })
        .filter_map(|manifest| {
            let object = &manifest.object;
            let kind = GroupKind::new(text(object, "/spec/group")?, text(object, "/spec/names/kind")?);
            let namespaced = text(object, "/spec/scope")? == "Namespaced";
            let versions = object.pointer("/spec/versions")?.as_array()?;
            let versions = versions
                .iter()
                .filter(|version| version.get("served") != Some(&Value::Bool(false)))
                .filter_map(|version| text(version, "/name"))
                .collect();
            Some((kind, ComingKind { namespaced, versions }))
        })
        .collect()
}

fn assemble_one(
    manifest: Manifest,
    input: AssembleInput<'_>,
    coming: &BTreeMap<GroupKind, ComingKind>,
    is_hook: bool,
) -> Result<DesiredObject, Vec<Problem>> {
    let depends_on = depends_on(&manifest, input.surface, coming)?;
    Ok(DesiredObject {
        depends_on,
        ..assemble_body(manifest, input, coming, is_hook).map_err(|problem| vec![problem])?
    })
}

fn assemble_body(
    mut manifest: Manifest,
    input: AssembleInput<'_>,
    coming: &BTreeMap<GroupKind, ComingKind>,
    is_hook: bool,
) -> Result<DesiredObject, Problem> {
    let gvk = manifest.gvk();
    let name = manifest.name().to_owned();
    let told_name = stated_name(&manifest).to_owned();
    let origin = std::mem::take(&mut manifest.origin);
    if told_name.is_empty() {
        return Err(Problem {
            reason: Reason::InvalidManifest,
            message: format!("{origin}: {} has no metadata.name", gvk.kind),
        });
    }
    if name.is_empty() && !is_hook {
        return Err(Problem {
            reason: Reason::InvalidManifest,
            message: format!("{origin}: {} has no metadata.name; generateName works for hooks only", gvk.kind),
        });
    }
    let mut options = object_options(&manifest);
    let skips_missing = options.skip_dry_run_on_missing_resource.unwrap_or(input.skip_missing);
    let (namespaced, kind_is_new) = match scope_of(&gvk, input.surface, coming) {
        Ok(scope) => scope,
        // Held to the rules for namespaced kinds; one that turns out to be cluster-wide is not applied as if it were.
        Err((Reason::KindNotFound, _)) if skips_missing && !input.surface.kinds.contains_key(&gvk.group_kind()) => {
            options.warnings.push(format!(
                "the cluster does not serve the kind {gvk} yet (SkipDryRunOnMissingResource=true); it is taken as namespaced \
                 and applied once the kind is served"
            ));
            (true, true)
        }
        Err((reason, why)) => {
            return Err(Problem { reason, message: format!("{origin}: {} `{told_name}`: {why}", gvk.kind) });
        }
    };
    let namespace = match (namespaced, manifest.namespace()) {
        (false, _) => String::new(),
        (true, "") => input.destination.namespace.clone().unwrap_or_default(),
        (true, namespace) => namespace.to_owned(),
    };
    let denied = |message| Problem { reason: Reason::NotPermitted, message: format!("{origin}: {message}") };
    let key = ObjectKey::new(gvk.group.as_str(), gvk.kind.as_str(), namespace.as_str(), name.as_str());
    input.project.permits_kind(&key, namespaced).map_err(denied)?;
    if namespaced {
        if namespace.is_empty() {
            return Err(Problem {
                reason: Reason::InvalidSpec,
                message: format!(
                    "{origin}: {} `{told_name}` names no namespace and spec.destination.namespace is not set",
                    gvk.kind
                ),
            });
        }
        input.project.permits_namespace(input.destination, &namespace).map_err(denied)?;
    } else if key.group.is_empty() && key.kind == "Namespace" {
        // Owning a Namespace is power over everything in it.
        input.project.permits_namespace(input.destination, &name).map_err(denied)?;
    }
    let wave = if is_hook { hook_wave(&manifest) } else { sync_wave(&manifest) };
    let Value::Object(mut object) = manifest.object else {
        return Err(Problem { reason: Reason::InvalidManifest, message: format!("{origin}: not an object") });
    };
    clean(&mut object, &key);
    stamp(&mut object, &key, input.owner).map_err(|field| Problem {
        reason: Reason::InvalidManifest,
        message: format!("{origin}: {} `{told_name}`: {field} must be a mapping", gvk.kind),
    })?;
    let body = serde_json::to_vec(&Value::Object(object)).map_err(|error| Problem {
        reason: Reason::InvalidManifest,
        message: format!("{origin}: {} `{told_name}` can't be written as JSON: {error}", gvk.kind),
    })?;
    let hash = Hash64::of_bytes(&body);
    Ok(DesiredObject {
        key,
        gvk,
        body: Bytes::from(body),
        hash,
        wave,
        options,
        depends_on: Vec::new(),
        origin,
        kind_is_new,
    })
}

/// Reads the explicit dependencies of an object.
fn depends_on(
    manifest: &Manifest,
    surface: &ApiSurface,
    coming: &BTreeMap<GroupKind, ComingKind>,
) -> Result<Vec<Dependency>, Vec<Problem>> {
    let Some(value) = manifest.annotation(DEPENDS_ON_ANNOTATION) else { return Ok(Vec::new()) };
    let misplaced = |dependency: &Dependency| {
        let key = &dependency.key;
        let kind = key.group_kind();
        let coming = || coming.get(&kind).map(|kind| kind.namespaced);
        match surface.kinds.get(&kind).map(|kind| kind.namespaced).or_else(coming)? {
            true if key.namespace.is_empty() => {
                Some(format!("`{key}` names no namespace: write {}/{}/<namespace>/{}", key.group, key.kind, key.name))
            }
            false if !key.namespace.is_empty() => Some(format!(
                "`{key}` names a namespace and {kind} has none: write {}/{}//{}",
                key.group, key.kind, key.name
            )),
            true | false => None,
        }
    };
    let errors = match Dependency::parse_list(value) {
        Ok(read) => {
            let misplaced: Vec<String> = read.iter().filter_map(misplaced).collect();
            if misplaced.is_empty() {
                return Ok(read);
            }
            misplaced
        }
        Err(errors) => errors,
    };
    let place = format!("{}: {} `{}`", manifest.origin, manifest.gvk().kind, stated_name(manifest));
    let problem = |error| Problem {
        reason: Reason::InvalidManifest,
        message: format!("{place}: {DEPENDS_ON_ANNOTATION}: {error}"),
    };
    Err(errors.into_iter().map(problem).collect())
}

fn scope_of(
    gvk: &GroupVersionKind,
    surface: &ApiSurface,
    coming: &BTreeMap<GroupKind, ComingKind>,
) -> Result<(bool, bool), (Reason, String)> {
    if let Some(info) = surface.resolve(gvk) {
        return Ok((info.namespaced, false));
    }
    let kind = gvk.group_kind();
    if let Some(coming) = coming.get(&kind).filter(|coming| coming.versions.contains(&gvk.version)) {
        return Ok((coming.namespaced, true));
    }
    if surface.unavailable_groups.contains(&gvk.group) {
        return Err((
            Reason::ClusterUnreachable,
            format!("the API group `{}` does not answer at the moment, so its kinds are unknown", gvk.group),
        ));
    }
    let served = surface.kinds.get(&kind).map(|info| info.versions.join(", "));
    Err((
        Reason::KindNotFound,
        served.map_or_else(
            || {
                format!(
                    "the cluster does not serve the kind {gvk}: install its CustomResourceDefinition, or add it to this source"
                )
            },
            |served| format!("the cluster serves {kind} in version {served}, not in {}", gvk.version),
        ),
    ))
}

/// Takes out what only a live object has, and folds a Secret's `stringData` into `data`: server-side apply would keep
/// a key of `data` whose `stringData` was removed.
fn clean(object: &mut Map<String, Value>, key: &ObjectKey) {
    object.remove("status");
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for field in LIVE_METADATA {
            metadata.remove(field);
        }
        if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        for field in ["labels", "annotations"] {
            if metadata.get(field).is_some_and(Value::is_null) {
                metadata.remove(field);
            }
        }
    }
    if key.group.is_empty() && key.kind == "Secret" && object.get("stringData").is_some_and(Value::is_object) {
        let Some(Value::Object(plain)) = object.remove("stringData") else { return };
        let data = object.entry("data").or_insert_with(|| Value::Object(Map::new()));
        if data.is_null() {
            *data = Value::Object(Map::new());
        }
        if let Value::Object(data) = data {
            let mut refused = Map::new();
            for (name, value) in plain {
                match value {
                    Value::String(value) => {
                        data.insert(name, Value::String(BASE64.encode(value)));
                    }
                    // Not text: left where it is, for the API server to refuse. To drop it would lose it unseen.
                    other => {
                        refused.insert(name, other);
                    }
                }
            }
            if !refused.is_empty() {
                object.insert("stringData".to_owned(), Value::Object(refused));
            }
        }
    }
}

/// Puts namespace and ownership marks on; the error is the name of a field that is no mapping.
fn stamp(object: &mut Map<String, Value>, key: &ObjectKey, owner: &Owner) -> Result<(), &'static str> {
    let metadata = mapping(object, "metadata").ok_or("metadata")?;
    if key.namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), Value::String(key.namespace.clone()));
    }
    let labels = mapping(metadata, "labels").ok_or("metadata.labels")?;
    labels.insert(INSTANCE_LABEL.to_owned(), Value::String(owner.instance.to_string()));
    let annotations = mapping(metadata, "annotations").ok_or("metadata.annotations")?;
    if key.name.is_empty() {
        // The annotation names the object, so it can be put on only once the name is known.
        return Ok(());
    }
    annotations.insert(TRACKING_ANNOTATION.to_owned(), Value::String(owner.tracking_id(key)));
    Ok(())
}

fn mapping<'a>(parent: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    parent.entry(field).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{AppProjectSpec, ProjectDestination, ResourceRule};
    use crate::model::{KindInfo, Origin};

    fn surface() -> ApiSurface {
        let info = |plural: &str, namespaced| KindInfo {
            versions: vec!["v1".into()],
            plural: plural.into(),
            namespaced,
            has_status: true,
            watchable: true,
        };
        let mut surface = ApiSurface::default();
        for (group, kind, plural, namespaced) in [
            ("", "ConfigMap", "configmaps", true),
            ("", "Secret", "secrets", true),
            ("", "Namespace", "namespaces", false),
            ("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false),
        ] {
            surface.kinds.insert(GroupKind::new(group, kind), info(plural, namespaced));
        }
        surface
    }

    fn permissive() -> ProjectRules {
        let any = |text: &str| text.to_owned();
        let spec = AppProjectSpec {
            source_repos: vec![any("*")],
            destinations: vec![ProjectDestination { server: any("*"), namespace: any("*"), name: String::new() }],
            cluster_resource_whitelist: vec![ResourceRule { group: any("*"), kind: any("*"), name: String::new() }],
            ..AppProjectSpec::default()
        };
        ProjectRules::new("default", &spec, &["kube-system"])
    }

    fn manifest(line: u32, object: Value) -> Manifest {
        Manifest { object, origin: Origin { file: "deploy/all.yaml".into(), line } }
    }

    fn assembled(manifests: Vec<Manifest>) -> Result<DesiredSet, Vec<Problem>> {
        let owner = Owner::new("tidelock", "tidelock", "shop");
        let destination = Destination { namespace: Some("shop".into()), ..Destination::default() };
        let (surface, project) = (surface(), permissive());
        assemble(
            manifests,
            AssembleInput {
                owner: &owner,
                destination: &destination,
                surface: &surface,
                project: &project,
                skip_missing: false,
            },
        )
    }

    #[test]
    fn an_object_of_a_kind_that_is_not_served_yet_passes_only_by_option_and_is_held_to_the_rules_for_namespaces() {
        let widget = |options: &str| {
            json!({
                "apiVersion": "example.com/v1", "kind": "Widget",
                "metadata": {"name": "w", "annotations": {"tidelock.dev/sync-options": options}},
            })
        };
        let refused = assembled(vec![manifest(1, widget("Validate=false"))]).unwrap_err();
        assert_eq!(refused[0].reason, Reason::KindNotFound);
        let set = assembled(vec![manifest(1, widget("SkipDryRunOnMissingResource=true"))]).unwrap();
        let key = ObjectKey::new("example.com", "Widget", "shop", "w");
        assert!(set.objects[&key].kind_is_new);
        assert_eq!(set.warnings.len(), 1);
    }

    #[test]
    fn namespace_is_filled_in_for_namespaced_kinds_only_and_marks_are_put_on() {
        let set = assembled(vec![
            manifest(1, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})),
            manifest(9, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b", "namespace": "x", "creationTimestamp": null}, "status": {}})),
        ])
        .unwrap();
        let bodies: Vec<Value> =
            set.objects.values().map(|object| serde_json::from_slice(&object.body).unwrap()).collect();
        let id = Owner::new("tidelock", "tidelock", "shop").instance.to_string();
        assert_eq!(
            bodies,
            [
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}, "metadata": {
                    "name": "a", "namespace": "shop", "labels": {"tidelock.dev/instance": id},
                    "annotations": {"tidelock.dev/tracking-id": "tidelock/shop:/ConfigMap:shop/a"}}}),
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                    "name": "b", "labels": {"tidelock.dev/instance": id},
                    "annotations": {"tidelock.dev/tracking-id": "tidelock/shop:/Namespace:/b"}}}),
            ]
        );
    }

    #[test]
    fn every_problem_is_reported_with_its_place() {
        let problems = assembled(vec![
            manifest(1, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})),
            manifest(
                5,
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}}),
            ),
            manifest(9, json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})),
            manifest(12, json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "z"}})),
            manifest(
                15,
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "k", "namespace": "kube-system"}}),
            ),
        ])
        .unwrap_err();
        let texts: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.reason, p.message)).collect();
        assert_eq!(
            texts,
            [
                "DuplicateResource: ConfigMap `a` is defined twice: in deploy/all.yaml:1 and in deploy/all.yaml:5; remove one of them",
                "KindNotFound: deploy/all.yaml:12: ConfigMap `z`: the cluster serves ConfigMap in version v1, not in v2",
                "KindNotFound: deploy/all.yaml:9: Widget `w`: the cluster does not serve the kind example.com/v1 Widget: install its CustomResourceDefinition, or add it to this source",
                "NotPermitted: deploy/all.yaml:15: project `default` does not allow the namespace `kube-system`: it is protected, and a project must name it literally in its destinations to allow it",
            ]
        );
    }

    #[test]
    fn kind_may_come_with_its_definition_in_the_same_set() {
        let set = assembled(vec![
            manifest(1, json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})),
            manifest(5, json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "widgets.example.com"},
                "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
                         "versions": [{"name": "v1", "served": true, "storage": true}]}})),
        ])
        .unwrap();
        let facts: Vec<(String, bool)> =
            set.objects.values().map(|object| (object.key.to_string(), object.kind_is_new)).collect();
        assert_eq!(
            facts,
            [
                ("apiextensions.k8s.io/CustomResourceDefinition//widgets.example.com".to_owned(), false),
                ("example.com/Widget/shop/w".to_owned(), true),
            ]
        );
    }

    #[test]
    fn string_data_of_a_secret_becomes_data() {
        let set = assembled(vec![manifest(
            1,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
                   "data": {"a": "eA==", "b": "eQ=="}, "stringData": {"b": "new"}}),
        )])
        .unwrap();
        let body: Value = serde_json::from_slice(&set.objects.values().next().unwrap().body).unwrap();
        assert_eq!(body["data"], json!({"a": "eA==", "b": "bmV3"}));
        assert_eq!(body.get("stringData"), None);
    }

    #[test]
    fn a_value_of_string_data_that_is_no_text_is_not_dropped() {
        let set = assembled(vec![manifest(
            1,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"port": 5432, "user": "a"}}),
        )])
        .unwrap();
        let body: Value = serde_json::from_slice(&set.objects.values().next().unwrap().body).unwrap();
        assert_eq!((&body["data"], &body["stringData"]), (&json!({"user": "YQ=="}), &json!({"port": 5432})));
    }

    fn annotated(line: u32, metadata: Value, annotations: Value) -> Manifest {
        let mut metadata = metadata;
        metadata["annotations"] = annotations;
        manifest(line, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
    }

    #[test]
    fn hooks_stand_apart_in_the_order_in_which_they_run() {
        let set = assembled(vec![
            annotated(1, json!({"name": "after"}), json!({"helm.sh/hook": "post-install"})),
            annotated(2, json!({"name": "late"}), json!({"helm.sh/hook": "pre-install", "helm.sh/hook-weight": "5"})),
            annotated(3, json!({"generateName": "first-"}), json!({"argocd.argoproj.io/hook": "PreSync,PostSync"})),
            annotated(4, json!({"name": "skipped"}), json!({"argocd.argoproj.io/hook": "Skip"})),
            annotated(5, json!({"name": "wrong"}), json!({"argocd.argoproj.io/hook": "Presync"})),
            annotated(6, json!({"name": "plain"}), json!({"helm.sh/hook-weight": "5"})),
        ])
        .unwrap();
        let told = |hook: &Hook| {
            let phases: Vec<&str> = hook.phases.iter().map(|phase| phase.as_str()).collect();
            let name = hook.generate_name.clone().unwrap_or_else(|| hook.object.key.name.clone());
            format!("{name} {} {}", phases.join("+"), hook.object.wave)
        };
        let hooks: Vec<String> = set.hooks.iter().map(told).collect();
        assert_eq!(hooks, ["first- PreSync+PostSync 0", "late PreSync 5", "after PostSync 0"]);
        let objects: Vec<(&str, i32)> =
            set.objects.values().map(|object| (object.key.name.as_str(), object.wave)).collect();
        assert_eq!(objects, [("plain", 0)]);
        assert_eq!(set.warnings.len(), 2, "{:?}", set.warnings);
        let body: Value = serde_json::from_slice(&set.hooks[0].object.body).unwrap();
        let id = Owner::new("tidelock", "tidelock", "shop").instance.to_string();
        assert_eq!(
            body["metadata"],
            json!({"generateName": "first-", "namespace": "shop", "labels": {"tidelock.dev/instance": id},
                   "annotations": {"argocd.argoproj.io/hook": "PreSync,PostSync"}})
        );
    }

    #[test]
    fn rules_of_objects_hold_for_hooks_too() {
        let hook = || json!({"argocd.argoproj.io/hook": "PreSync"});
        let problems = assembled(vec![
            annotated(1, json!({"name": "a", "namespace": "kube-system"}), hook()),
            annotated(2, json!({"name": "b"}), hook()),
            annotated(3, json!({"name": "b"}), json!({"argocd.argoproj.io/hook": "PreSync,PostSync"})),
            annotated(4, json!({"name": "c"}), hook()),
            annotated(5, json!({"name": "c"}), json!({})),
            annotated(6, json!({}), hook()),
            annotated(7, json!({"generateName": "d-"}), json!({})),
        ])
        .unwrap_err();
        let texts: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.reason, p.message)).collect();
        assert_eq!(
            texts,
            [
                "InvalidManifest: deploy/all.yaml:6: ConfigMap has no metadata.name",
                "InvalidManifest: deploy/all.yaml:7: ConfigMap has no metadata.name; generateName works for hooks only",
                "DuplicateResource: ConfigMap `b` is a hook of the same phase twice: in deploy/all.yaml:2 and in deploy/all.yaml:3; remove one of them",
                "DuplicateResource: ConfigMap `c` is an ordinary object and a hook: in deploy/all.yaml:5 and in deploy/all.yaml:4; remove one of them",
                "NotPermitted: deploy/all.yaml:1: project `default` does not allow the namespace `kube-system`: it is protected, and a project must name it literally in its destinations to allow it",
            ]
        );
    }

    #[test]
    fn dependencies_are_read_and_wrong_ones_are_told_with_their_place() {
        let on = |list: &str| json!({"tidelock.dev/depends-on": list});
        let set = assembled(vec![annotated(1, json!({"name": "a"}), on("core/Secret/shop/s:present, x.io/New/ns/n"))])
            .unwrap();
        let read: Vec<String> = set
            .objects
            .values()
            .flat_map(|object| &object.depends_on)
            .map(|one| format!("{} {}", one.key, one.state.as_str()))
            .collect();
        assert_eq!(read, ["/Secret/shop/s present", "x.io/New/ns/n ready"]);
        assert_eq!(set.outside_dependencies().len(), 2);

        let problems = assembled(vec![
            annotated(3, json!({"name": "a"}), on("/Secret//s, /Namespace/shop/shop")),
            annotated(9, json!({"name": "b"}), on("Secret/s")),
        ])
        .unwrap_err();
        let texts: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            texts[0],
            "deploy/all.yaml:3: ConfigMap `a`: tidelock.dev/depends-on: `/Namespace/shop/shop` names a namespace and Namespace has none: write /Namespace//shop"
        );
        assert_eq!(
            texts[1],
            "deploy/all.yaml:3: ConfigMap `a`: tidelock.dev/depends-on: `/Secret//s` names no namespace: write /Secret/<namespace>/s"
        );
        assert!(
            texts[2].starts_with(
                "deploy/all.yaml:9: ConfigMap `b`: tidelock.dev/depends-on: `Secret/s` has fewer than four parts: write"
            ),
            "{}",
            texts[2]
        );
    }
}

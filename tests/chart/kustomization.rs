//! `config/` gives the same objects as the charts do with their defaults. What differs is listed here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{KUBERNETES, all_right, documents, golden, identity, root, run, template, text};

/// Labels that tell which release of which chart an object is of.
const LABELS_OF_HELM: [&str; 2] = ["app.kubernetes.io/managed-by", "helm.sh/chart"];
/// What `helm test` needs.
const OF_HELM_TEST: [&str; 2] = ["Pod tidelock/tidelock-test-ready", "NetworkPolicy tidelock/tidelock-test"];
/// What the chart leaves to `--create-namespace`.
const OF_KUSTOMIZE: [&str; 1] = ["Namespace /tidelock"];

fn without_labels_of_helm(mut object: Value) -> Value {
    if let Some(labels) = object.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        for label in LABELS_OF_HELM {
            labels.remove(label);
        }
    }
    object
}

fn by_identity(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let all: BTreeMap<String, Value> = objects.into_iter().map(|object| (identity(&object), object)).collect();
    assert_eq!(all.len(), count, "two objects have one identity");
    all
}

fn of_the_chart(flags: &[&str]) -> BTreeMap<String, Value> {
    let mut objects =
        by_identity(documents(&template(flags).unwrap()).into_iter().map(without_labels_of_helm).collect());
    for other in OF_HELM_TEST {
        assert!(objects.remove(other).is_some(), "{other} is not in the chart's output");
    }
    objects
}

fn built(directory: &str) -> BTreeMap<String, Value> {
    let (success, output, log) = run("kustomize", &["build", directory]);
    assert!(success, "{log}");
    by_identity(documents(&output))
}

/// A file for each kind, in the order of the alphabet.
fn files(objects: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for object in objects.values() {
        let file = files.entry(format!("{}.yaml", text(object, "/kind").to_lowercase())).or_default();
        write!(file, "---\n{}", serde_yaml::to_string(object).unwrap()).unwrap();
    }
    files.into_iter().map(|(name, text)| (name, text.trim_start_matches("---\n").to_owned())).collect()
}

fn kept_in_step(directory: &str, objects: &BTreeMap<String, Value>) {
    let wrong: Vec<String> =
        files(objects).iter().filter_map(|(name, text)| golden(&root().join(directory).join(name), text)).collect();
    all_right(&wrong);
}

fn same(directory: &str, built: &BTreeMap<String, Value>, wanted: &BTreeMap<String, Value>) {
    let [is, should] = [built, wanted].map(|objects| objects.keys().collect::<Vec<_>>());
    assert_eq!(is, should, "kustomize build {directory}");
    for (identity, object) in wanted {
        assert_eq!(built[identity], *object, "{identity} of kustomize build {directory}");
    }
}

#[test]
fn the_base_is_what_the_chart_makes_of_its_defaults() {
    let wanted = of_the_chart(&[]);
    kept_in_step("config/base", &wanted);
    let mut built = built("config/base");
    for other in OF_KUSTOMIZE {
        let namespace = built.remove(other).unwrap_or_else(|| panic!("{other} is not in config/base"));
        assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    }
    same("config/base", &built, &wanted);
}

#[test]
fn the_component_gives_the_rights_that_the_chart_gives_in_the_mode_cluster_admin() {
    let (defaults, wanted) = (of_the_chart(&[]), of_the_chart(&["--set", "rbac.mode=clusterAdmin"]));
    let added = wanted.iter().filter(|(identity, _)| !defaults.contains_key(*identity));
    kept_in_step(
        "config/components/cluster-admin",
        &added.map(|(identity, object)| (identity.clone(), object.clone())).collect(),
    );
    let mut built = built("config/cluster-admin");
    built.retain(|identity, _| {
        !OF_KUSTOMIZE.contains(&identity.as_str()) && !identity.starts_with("CustomResourceDefinition ")
    });
    same("config/cluster-admin", &built, &wanted);
}

#[test]
fn the_definitions_are_those_of_their_chart() {
    let (success, output, log) =
        run("helm", &["template", "tidelock-crds", "charts/tidelock-crds", "--kube-version", KUBERNETES]);
    assert!(success, "{log}");
    let wanted = documents(&output).into_iter().map(|mut definition| {
        let metadata = definition["metadata"].as_object_mut().unwrap();
        // Only Helm knows the annotation, and the chart always writes both maps.
        metadata["annotations"].as_object_mut().unwrap().remove("helm.sh/resource-policy");
        metadata.retain(|field, value| !matches!(field.as_str(), "annotations" | "labels") || *value != json!({}));
        definition
    });
    same("config/crds", &built("config/crds"), &by_identity(wanted.collect()));
}

#[test]
fn the_default_is_the_base_with_the_definitions() {
    let mut wanted = built("config/base");
    wanted.extend(built("config/crds"));
    same("config/default", &built("config/default"), &wanted);
}

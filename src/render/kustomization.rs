//! The options of an Application's `kustomize` block, put into a kustomization the way `kustomize edit` does it.
//!
//! Pure: a kustomization goes in, one comes out. The result goes into the tool's private copy only.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::{CountOrText, KustomizePatch, KustomizePatchTarget, KustomizeReplica, KustomizeSource};

/// Whether the options change anything.
pub(super) fn changes(options: &KustomizeSource) -> bool {
    let KustomizeSource {
        name_prefix,
        name_suffix,
        namespace,
        images,
        replicas,
        common_labels,
        force_common_labels: _,
        label_without_selector: _,
        label_include_templates: _,
        common_annotations,
        force_common_annotations: _,
        common_annotations_envsubst: _,
        patches,
        components,
        ignore_missing_components: _,
        version: _,
        kube_version: _,
        api_versions: _,
    } = options;
    !(name_prefix.is_empty()
        && name_suffix.is_empty()
        && namespace.is_empty()
        && images.is_empty()
        && replicas.is_empty()
        && common_labels.is_empty()
        && common_annotations.is_empty()
        && patches.is_empty()
        && components.is_empty())
}

/// A kustomization with the options in it. An error is a sentence for the user.
pub(super) fn edit(kustomization: Map<String, Value>, options: &KustomizeSource) -> Result<Map<String, Value>, String> {
    let mut edited = kustomization;
    for (field, value) in
        [("namePrefix", &options.name_prefix), ("nameSuffix", &options.name_suffix), ("namespace", &options.namespace)]
    {
        if !value.is_empty() {
            edited.insert(field.to_owned(), Value::from(value.as_str()));
        }
    }
    if !options.images.is_empty() {
        edit_images(&mut edited, &options.images)?;
    }
    if !options.replicas.is_empty() {
        edit_replicas(&mut edited, &options.replicas)?;
    }
    if !options.common_labels.is_empty() {
        edit_labels(&mut edited, options)?;
    }
    if !options.common_annotations.is_empty() {
        if options.common_annotations_envsubst && options.common_annotations.values().any(|value| value.contains('$')) {
            return Err("kustomize.commonAnnotationsEnvsubst is not supported: write the values out".to_owned());
        }
        let force = options.force_common_annotations;
        add_pairs(&mut edited, "commonAnnotations", &options.common_annotations, force, "forceCommonAnnotations")?;
    }
    if !options.patches.is_empty() {
        list(&mut edited, "patches")?.extend(options.patches.iter().map(patch));
    }
    if !options.components.is_empty() {
        let components = list(&mut edited, "components")?;
        for component in &options.components {
            let component = Value::from(component.as_str());
            if !components.contains(&component) {
                components.push(component);
            }
        }
    }
    Ok(edited)
}

fn list<'a>(kustomization: &'a mut Map<String, Value>, field: &str) -> Result<&'a mut Vec<Value>, String> {
    let entry = kustomization.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!([]);
    }
    entry.as_array_mut().ok_or_else(|| format!("`{field}` of the kustomization must be a sequence"))
}

fn map<'a>(kustomization: &'a mut Map<String, Value>, field: &str) -> Result<&'a mut Map<String, Value>, String> {
    let entry = kustomization.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!({});
    }
    entry.as_object_mut().ok_or_else(|| format!("`{field}` of the kustomization must be a mapping"))
}

/// An image override: `[old=]new[:tag][@digest]`. A `*` keeps what the kustomization has.
fn parse_image(text: &str) -> Result<(String, Map<String, Value>), String> {
    let wrong = || format!("kustomize.images: `{text}` is not `[old=]new[:tag|@digest]`");
    let (old, new) = match text.split_once('=') {
        Some((old, new)) => (Some(old), new),
        None => (None, text),
    };
    let (new, digest) = match new.split_once('@') {
        Some((new, digest)) => (new, Some(digest)),
        None => (new, None),
    };
    let (new, tag) = match new.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (new, None),
    };
    if new.is_empty() || old == Some("") || tag == Some("") || digest == Some("") {
        return Err(wrong());
    }
    let mut image = Map::new();
    let name = match old {
        Some(old) => {
            image.insert("newName".to_owned(), Value::from(new));
            old
        }
        None if tag.is_none() && digest.is_none() => return Err(wrong()),
        None => new,
    };
    image.insert("name".to_owned(), Value::from(name));
    if let Some(tag) = tag {
        image.insert("newTag".to_owned(), Value::from(tag));
    }
    if let Some(digest) = digest {
        image.insert("digest".to_owned(), Value::from(digest));
    }
    Ok((name.to_owned(), image))
}

fn edit_images(kustomization: &mut Map<String, Value>, images: &[String]) -> Result<(), String> {
    let images_list = list(kustomization, "images")?;
    for text in images {
        let (name, mut image) = parse_image(text)?;
        let old = images_list.iter().position(|old| old.get("name").and_then(Value::as_str) == Some(name.as_str()));
        for field in ["newName", "newTag", "digest"] {
            if image.get(field) == Some(&Value::from("*")) {
                match old.and_then(|index| images_list.get(index)?.get(field)).cloned() {
                    Some(kept) => image.insert(field.to_owned(), kept),
                    None => image.remove(field),
                };
            }
        }
        match old.and_then(|index| images_list.get_mut(index)) {
            Some(slot) => *slot = Value::Object(image),
            None => images_list.push(Value::Object(image)),
        }
    }
    Ok(())
}

fn edit_replicas(kustomization: &mut Map<String, Value>, replicas: &[KustomizeReplica]) -> Result<(), String> {
    let replicas_list = list(kustomization, "replicas")?;
    for replica in replicas {
        let name = &replica.name;
        let count = match &replica.count {
            CountOrText::Count(count) => Some(*count),
            CountOrText::Text(text) => text.trim().parse().ok(),
        };
        let count: i64 = count
            .filter(|count| *count >= 0)
            .ok_or_else(|| format!("kustomize.replicas: the count of `{name}` is not a number of replicas"))?;
        replicas_list.retain(|old| old.get("name").and_then(Value::as_str) != Some(name.as_str()));
        replicas_list.push(json!({ "name": name, "count": count }));
    }
    Ok(())
}

fn edit_labels(kustomization: &mut Map<String, Value>, options: &KustomizeSource) -> Result<(), String> {
    let labels = &options.common_labels;
    if !options.label_without_selector {
        return add_pairs(kustomization, "commonLabels", labels, options.force_common_labels, "forceCommonLabels");
    }
    let sets = list(kustomization, "labels")?;
    let is_ours = |set: &Value| {
        let flag = |field: &str| set.get(field).and_then(Value::as_bool).unwrap_or(false);
        !flag("includeSelectors")
            && flag("includeTemplates") == options.label_include_templates
            && set.get("fields").is_none_or(Value::is_null)
    };
    for (key, value) in labels {
        let taken = sets.iter_mut().find_map(|set| {
            let pairs = set.get_mut("pairs")?.as_object_mut()?;
            pairs.contains_key(key).then_some(pairs)
        });
        match taken {
            Some(pairs) if options.force_common_labels => {
                pairs.insert(key.clone(), Value::from(value.as_str()));
                continue;
            }
            Some(_) => return Err(taken_message("label", key, "forceCommonLabels")),
            None => {}
        }
        let pairs = sets
            .iter_mut()
            .find(|set| is_ours(set))
            .and_then(|set| set.get_mut("pairs").and_then(Value::as_object_mut));
        match pairs {
            Some(pairs) => {
                pairs.insert(key.clone(), Value::from(value.as_str()));
            }
            None => sets.push(json!({
                "pairs": { key: value },
                "includeSelectors": false,
                "includeTemplates": options.label_include_templates,
            })),
        }
    }
    Ok(())
}

fn taken_message(what: &str, key: &str, force: &str) -> String {
    format!("the {what} `{key}` is already in the kustomization: remove it there, or set kustomize.{force}")
}

fn add_pairs(
    kustomization: &mut Map<String, Value>,
    field: &str,
    pairs: &BTreeMap<String, String>,
    force: bool,
    force_field: &str,
) -> Result<(), String> {
    let target = map(kustomization, field)?;
    for (key, value) in pairs {
        if target.contains_key(key) && !force {
            let what = if field == "commonLabels" { "label" } else { "annotation" };
            return Err(taken_message(what, key, force_field));
        }
        target.insert(key.clone(), Value::from(value.as_str()));
    }
    Ok(())
}

fn patch(patch: &KustomizePatch) -> Value {
    let KustomizePatch { path, patch, target, options } = patch;
    let mut made = Map::new();
    for (field, text) in [("path", path), ("patch", patch)] {
        if !text.is_empty() {
            made.insert(field.to_owned(), Value::from(text.as_str()));
        }
    }
    if let Some(KustomizePatchTarget { group, version, kind, name, namespace, label_selector, annotation_selector }) =
        target
    {
        let fields = [
            ("group", group),
            ("version", version),
            ("kind", kind),
            ("name", name),
            ("namespace", namespace),
            ("labelSelector", label_selector),
            ("annotationSelector", annotation_selector),
        ];
        let set = fields.iter().filter(|(_, text)| !text.is_empty());
        let target: Map<String, Value> =
            set.map(|(field, text)| ((*field).to_owned(), Value::from(text.as_str()))).collect();
        made.insert("target".to_owned(), Value::Object(target));
    }
    if !options.is_empty() {
        made.insert("options".to_owned(), json!(options));
    }
    Value::Object(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(kustomization: Value, options: &Value) -> Result<Value, String> {
        let Value::Object(kustomization) = kustomization else { panic!("a mapping is wanted") };
        let options: KustomizeSource = serde_json::from_value(options.clone()).unwrap();
        assert!(changes(&options));
        edit(kustomization, &options).map(Value::Object)
    }

    #[test]
    fn options_replace_and_extend_what_the_kustomization_says() {
        let before = json!({
            "resources": ["a.yaml"], "namePrefix": "old-", "images": [{"name": "a", "newName": "b", "newTag": "1"}],
            "replicas": [{"name": "x", "count": 1}], "commonLabels": {"a": "1"}, "patches": [{"path": "p.yaml"}],
        });
        let options = json!({
            "namePrefix": "new-", "nameSuffix": "-s", "namespace": "ns",
            "images": ["a=*:2", "host:5000/c/d:3", "e@sha256:ab"],
            "replicas": [{"name": "x", "count": "3"}, {"name": "y", "count": 2}],
            "commonLabels": {"b": "2"}, "commonAnnotations": {"c": "3"}, "components": ["../c"],
            "patches": [{"patch": "- op: x", "target": {"kind": "Deployment", "labelSelector": "a=b"},
                         "options": {"allowNameChange": true}}],
        });
        let after = json!({
            "resources": ["a.yaml"], "namePrefix": "new-", "nameSuffix": "-s", "namespace": "ns",
            "images": [{"name": "a", "newName": "b", "newTag": "2"}, {"name": "host:5000/c/d", "newTag": "3"},
                       {"name": "e", "digest": "sha256:ab"}],
            "replicas": [{"name": "x", "count": 3}, {"name": "y", "count": 2}],
            "commonLabels": {"a": "1", "b": "2"}, "commonAnnotations": {"c": "3"}, "components": ["../c"],
            "patches": [{"path": "p.yaml"}, {"patch": "- op: x",
                         "target": {"kind": "Deployment", "labelSelector": "a=b"},
                         "options": {"allowNameChange": true}}],
        });
        assert_eq!(edited(before, &options), Ok(after));
    }

    #[test]
    fn labels_are_overwritten_only_by_force_and_can_spare_selectors() {
        let before = json!({"commonLabels": {"a": "1"}});
        let taken =
            "the label `a` is already in the kustomization: remove it there, or set kustomize.forceCommonLabels";
        assert_eq!(edited(before.clone(), &json!({"commonLabels": {"a": "2"}})), Err(taken.to_owned()));
        let forced = json!({"commonLabels": {"a": "2"}, "forceCommonLabels": true});
        assert_eq!(edited(before, &forced), Ok(json!({"commonLabels": {"a": "2"}})));
        let spared =
            json!({"commonLabels": {"a": "1", "b": "2"}, "labelWithoutSelector": true, "labelIncludeTemplates": true});
        let set = json!({"pairs": {"a": "1", "b": "2"}, "includeSelectors": false, "includeTemplates": true});
        assert_eq!(edited(json!({}), &spared), Ok(json!({"labels": [set]})));
    }

    #[test]
    fn options_that_make_no_sense_are_refused() {
        for (options, part) in [
            (json!({"images": ["a"]}), "kustomize.images: `a`"),
            (json!({"images": ["=b"]}), "kustomize.images: `=b`"),
            (json!({"replicas": [{"name": "x", "count": "many"}]}), "the count of `x`"),
            (json!({"commonAnnotations": {"a": "$X"}, "commonAnnotationsEnvsubst": true}), "Envsubst is not supported"),
        ] {
            let message = edited(json!({}), &options).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
        assert!(edited(json!({"images": 3}), &json!({"images": ["a:1"]})).is_err());
    }
}

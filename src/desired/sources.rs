//! Several sources of one Application: what they may say, how they are called in messages, and how what they render
//! becomes one list.

use std::collections::BTreeMap;

use crate::api::ApplicationSource;
use crate::model::{ApiSurface, Manifest, ObjectKey, Reason};

use super::Problem;

/// How a source is called in messages: nothing for the only one, `sources[1]` or `sources[1] (name)` for one of several.
pub fn source_label(sources: &[ApplicationSource], several: bool, index: usize) -> String {
    let name = sources.get(index).and_then(|source| source.name.as_deref()).unwrap_or_default();
    match (several, name) {
        (false, _) => String::new(),
        (true, "") => format!("sources[{index}]"),
        (true, name) => format!("sources[{index}] ({name})"),
    }
}

/// A message about a source.
pub fn about_source(label: &str, message: &str) -> String {
    if label.is_empty() { message.to_owned() } else { format!("{label}: {message}") }
}

/// Whether the `ref`s of several sources can be told apart.
///
/// # Errors
/// The first `ref` that is used twice or has a character that it can't have.
pub fn check_references(sources: &[ApplicationSource]) -> Result<(), Problem> {
    let invalid = |message| Err(Problem { reason: Reason::InvalidSpec, message });
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, source) in sources.iter().enumerate() {
        let Some(name) = source.reference.as_deref().filter(|name| !name.is_empty()) else { continue };
        if !name.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '_')) {
            return invalid(format!("spec.sources[{index}].ref `{name}` may hold letters, digits, `-` and `_` only"));
        }
        if let Some(other) = first.insert(name, index) {
            return invalid(format!(
                "spec.sources[{other}].ref and spec.sources[{index}].ref are both `{name}`: rename one of them"
            ));
        }
    }
    Ok(())
}

/// Joins what several sources render, in their order. An object that a later source defines too is the later one's, with
/// a warning; twice in one source stays twice, for [`super::assemble`] to refuse.
pub fn join_sources(
    rendered: Vec<(String, Vec<Manifest>)>,
    default_namespace: &str,
    surface: &ApiSurface,
) -> (Vec<Manifest>, Vec<String>) {
    let identity = |manifest: &Manifest| -> Option<ObjectKey> {
        let mut key = manifest.key();
        if key.name.is_empty() {
            // `generateName`: each is an object of its own.
            return None;
        }
        let namespaced = surface.resolve(&manifest.gvk()).is_none_or(|info| info.namespaced);
        if !namespaced {
            key.namespace.clear();
        } else if manifest.namespace().is_empty() {
            default_namespace.clone_into(&mut key.namespace);
        }
        Some(key)
    };
    // The last source that defines an object, with its place there.
    let mut winners: BTreeMap<ObjectKey, (usize, String)> = BTreeMap::new();
    for (index, (label, manifests)) in rendered.iter().enumerate() {
        for manifest in manifests {
            if let Some(key) = identity(manifest) {
                winners.insert(key, (index, format!("{label}:{}", manifest.origin)));
            }
        }
    }
    let (mut joined, mut warnings) = (Vec::new(), Vec::new());
    for (index, (label, manifests)) in rendered.into_iter().enumerate() {
        for mut manifest in manifests {
            manifest.origin.file = format!("{label}:{}", manifest.origin.file);
            let winner = identity(&manifest).and_then(|key| winners.get(&key));
            match winner {
                Some((last, place)) if *last != index => warnings.push(format!(
                    "{} `{}` is defined by more than one source: {place} is used, {} is not",
                    manifest.gvk().kind,
                    manifest.name(),
                    manifest.origin
                )),
                Some(_) | None => joined.push(manifest),
            }
        }
    }
    (joined, warnings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Origin;

    fn source(reference: &str, name: &str) -> ApplicationSource {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        ApplicationSource { reference: text(reference), name: text(name), ..ApplicationSource::default() }
    }

    #[test]
    fn references_are_plain_and_told_apart() {
        let check = |names: &[&str]| {
            let sources: Vec<_> = names.iter().map(|name| source(name, "")).collect();
            check_references(&sources).map_err(|problem| problem.message)
        };
        assert_eq!(check(&["a", "", "b-2", "", "B_"]), Ok(()));
        assert_eq!(
            check(&["", "a", "a"]),
            Err("spec.sources[1].ref and spec.sources[2].ref are both `a`: rename one of them".to_owned())
        );
        assert_eq!(
            check(&["a/b"]),
            Err("spec.sources[0].ref `a/b` may hold letters, digits, `-` and `_` only".to_owned())
        );
    }

    #[test]
    fn a_source_is_called_by_its_place_and_name() {
        let sources = [source("", ""), source("", "values")];
        assert_eq!(source_label(&sources, false, 0), "");
        assert_eq!(source_label(&sources, true, 0), "sources[0]");
        assert_eq!(about_source(&source_label(&sources, true, 1), "gone"), "sources[1] (values): gone");
        assert_eq!(about_source("", "gone"), "gone");
    }

    fn manifest(name: &str, namespace: &str, file: &str) -> Manifest {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        Manifest { object, origin: Origin { file: file.to_owned(), line: 1 } }
    }

    #[test]
    fn the_last_source_that_defines_an_object_wins_with_a_warning() {
        let rendered = vec![
            ("sources[0]".to_owned(), vec![manifest("a", "", "a.yaml"), manifest("b", "", "b.yaml")]),
            ("sources[1]".to_owned(), vec![manifest("a", "shop", "x.yaml"), manifest("c", "", "c.yaml")]),
            ("sources[2]".to_owned(), vec![manifest("b", "other", "b.yaml")]),
        ];
        let (joined, warnings) = join_sources(rendered, "shop", &ApiSurface::default());
        let places: Vec<String> =
            joined.iter().map(|manifest| format!("{} {}", manifest.name(), manifest.origin)).collect();
        assert_eq!(
            places,
            ["b sources[0]:b.yaml:1", "a sources[1]:x.yaml:1", "c sources[1]:c.yaml:1", "b sources[2]:b.yaml:1"]
        );
        assert_eq!(
            warnings,
            [
                "ConfigMap `a` is defined by more than one source: sources[1]:x.yaml:1 is used, sources[0]:a.yaml:1 is not"
            ]
        );
    }

    #[test]
    fn twice_in_one_source_stays_twice() {
        let rendered = vec![("sources[0]".to_owned(), vec![manifest("a", "", "a.yaml"), manifest("a", "", "b.yaml")])];
        let (joined, warnings) = join_sources(rendered, "shop", &ApiSurface::default());
        assert_eq!((joined.len(), warnings.len()), (2, 0));
    }
}

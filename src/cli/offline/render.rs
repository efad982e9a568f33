//! Directories on disk → manifests, by the controller's renderer.

use std::path::{Path, PathBuf};

use super::application::Subject;
use super::{OfflineArguments, OfflineError};
use crate::api::DirectorySource;
use crate::cli::sources::{self, Job, checkouts};
use crate::desired::{about_source, source_label};
use crate::model::{ApiSurface, Manifest};

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Where the files of a source are.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// What counts as the repository.
    root: PathBuf,
    /// The folder in it; empty for the root.
    path: String,
}

/// Renders the sources of an Application. Returns the objects, and what a person should know.
pub(super) fn render(
    arguments: &OfflineArguments,
    subject: &Subject,
    surface: &ApiSurface,
) -> Result<(Vec<Manifest>, Vec<String>), OfflineError> {
    let mut sources = subject.sources().to_vec();
    let several = !subject.application.spec.sources.is_empty();
    let mut roots = checkouts(&sources, &arguments.desired, &arguments.sources)?;
    let labels: Vec<String> = (0..sources.len()).map(|index| source_label(&sources, several, index)).collect();
    let mut notes = Vec::new();
    for ((source, root), label) in sources.iter_mut().zip(&mut roots).zip(&labels) {
        let stated = source.path.as_deref().unwrap_or_default();
        if stated.is_empty() && source.reference.as_ref().is_some_and(|name| !name.is_empty()) {
            // It only lends its files to the others.
            continue;
        }
        let (place, note) = place(root, stated);
        notes.extend(note.map(|note| about_source(label, &note)));
        let folder = if place.path.is_empty() { place.root.clone() } else { place.root.join(&place.path) };
        let has = |name: &str| folder.join(name).is_file();
        if subject.is_default && !has("Chart.yaml") && !KUSTOMIZATIONS.iter().any(|name| has(name)) {
            source.directory = Some(DirectorySource { recurse: true, ..DirectorySource::default() });
        }
        source.path = Some(place.path);
        *root = place.root;
    }
    let job = Job {
        sources,
        roots,
        several,
        revision: arguments.revision.clone().unwrap_or_default(),
        name: subject.name().to_owned(),
        namespace: subject.destination_namespace().to_owned(),
        project: subject.project().to_owned(),
    };
    let (manifests, warnings) = sources::render(&job, &arguments.tools, surface)?;
    notes.extend(warnings);
    Ok((manifests, notes))
}

/// The directory may be the root of the repository, or the Application's folder in it. Kustomize may reach for bases
/// beside the folder, which are inside of the repository that the directory belongs to. With what a person should know.
fn place(real: &Path, stated: &str) -> (Place, Option<String>) {
    let mut note = None;
    let stated: Vec<&str> = stated.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let below = stated.join("/");
    if !below.is_empty() {
        if real.join(&below).is_dir() {
            return (Place { root: real.to_owned(), path: below }, None);
        }
        if real.ends_with(&below)
            && let Some(root) = real.ancestors().nth(stated.len())
        {
            return (Place { root: root.to_owned(), path: below }, None);
        }
        note = Some(format!(
            "there is no folder `{below}` (the path of the source) in {}: the directory itself is rendered",
            real.display()
        ));
    }
    if KUSTOMIZATIONS.iter().any(|name| real.join(name).is_file())
        && let Some(root) = real.ancestors().skip(1).find(|folder| folder.join(".git").exists())
        && let Some(path) = real.strip_prefix(root).ok().and_then(Path::to_str)
    {
        return (Place { root: root.to_owned(), path: path.to_owned() }, note);
    }
    (Place { root: real.to_owned(), path: String::new() }, note)
}

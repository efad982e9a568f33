//! A directory on disk → manifests, by the controller's renderer.

use std::fs;
use std::path::{Path, PathBuf};

use super::OfflineError;
use super::application::Subject;
use crate::api::DirectorySource;
use crate::model::ApiSurface;
use crate::render::{LocalFiles, References, RenderLimits, RenderRequest, Rendered, Renderer, Tools};
use crate::settings::{self, Environment, ToolFlags};

const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Where the files of a source are.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// What counts as the repository.
    root: PathBuf,
    /// The folder in it; empty for the root.
    path: String,
}

/// Renders a directory for an Application.
pub(super) fn render(
    directory: &Path,
    subject: &mut Subject,
    surface: &ApiSurface,
    tools: &ToolFlags,
) -> Result<Rendered, OfflineError> {
    let unreadable = |source| OfflineError::Directory { path: directory.to_owned(), source };
    let real = fs::canonicalize(directory).map_err(unreadable)?;
    fs::read_dir(&real).map_err(unreadable)?;
    let place = place(&real, subject);
    let mut source = subject.source.clone();
    source.path = Some(place.path.clone());
    let folder = if place.path.is_empty() { place.root.clone() } else { place.root.join(&place.path) };
    let has = |name: &str| folder.join(name).is_file();
    if subject.is_default && !has("Chart.yaml") && !KUSTOMIZATIONS.iter().any(|name| has(name)) {
        source.directory = Some(DirectorySource { recurse: true, ..DirectorySource::default() });
    }
    let found = settings::Tools::locate(tools, &Environment::read())?;
    let tools = Tools { helm: found.helm_path(), kustomize: found.kustomize_path() };
    let scratch = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let renderer = Renderer::new(tools, &scratch).map_err(OfflineError::Render)?;
    let request = RenderRequest {
        source: &source,
        application_name: subject.name(),
        destination_namespace: subject.destination_namespace(),
        project: "default",
        revision: "",
        references: References::default(),
        kube_version: surface.server_version.clone(),
        api_versions: surface.api_versions(),
        limits: RenderLimits::default(),
    };
    renderer.render(&LocalFiles::new(&place.root), &request).map_err(OfflineError::Render)
}

/// The directory may be the root of the repository, or the Application's folder in it. Kustomize may reach for bases
/// beside the folder, which are inside of the repository that the directory belongs to.
fn place(real: &Path, subject: &mut Subject) -> Place {
    let stated = subject.source.path.clone().unwrap_or_default();
    let stated: Vec<&str> = stated.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let below = stated.join("/");
    if !below.is_empty() {
        if real.join(&below).is_dir() {
            return Place { root: real.to_owned(), path: below };
        }
        if real.ends_with(&below)
            && let Some(root) = real.ancestors().nth(stated.len())
        {
            return Place { root: root.to_owned(), path: below };
        }
        subject.warnings.push(format!(
            "there is no folder `{below}` (spec.source.path) in {}: the directory itself is rendered",
            real.display()
        ));
    }
    if KUSTOMIZATIONS.iter().any(|name| real.join(name).is_file())
        && let Some(root) = real.ancestors().skip(1).find(|folder| folder.join(".git").exists())
        && let Some(path) = real.strip_prefix(root).ok().and_then(Path::to_str)
    {
        return Place { root: root.to_owned(), path: path.to_owned() };
    }
    Place { root: real.to_owned(), path: String::new() }
}

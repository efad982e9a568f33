//! The sources of an Application, read from folders on disk: which folder each lies in, and what all of them render to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::api::ApplicationSource;
use crate::desired::{about_source, check_references, join_sources, source_label};
use crate::model::{ApiSurface, Manifest, Reason};
use crate::render::{LocalFiles, References, RenderError, RenderLimits, RenderRequest, Renderer, Tools};
use crate::settings::{self, Environment, SettingsError, ToolFlags};

/// Why sources do not render.
#[derive(Debug, Error)]
pub enum SourcesError {
    /// The tools are not where they were said to be.
    #[error(transparent)]
    LocateTools(#[from] SettingsError),
    /// A folder is not there.
    #[error("cannot open the folder {path}: {source}")]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A path is no folder.
    #[error("{path} is not a folder: name the folder that holds the manifests")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// The sources can't be told apart.
    #[error("{0}")]
    TellApart(String),
    /// A folder was given for a source that is not there.
    #[error("--source {argument}: write SOURCE=FOLDER, where SOURCE is the place, name or ref of a source: {known}")]
    AssignFolder {
        /// The argument.
        argument: String,
        /// What may be written.
        known: String,
    },
    /// The files of a source do not render.
    #[error("{}", about_source(label, &source.to_string()))]
    Render {
        /// Which of several; empty for the only one.
        label: String,
        /// What is wrong.
        source: RenderError,
    },
}

impl SourcesError {
    /// The reason that the Application's status would carry, where there is one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Render { source, .. } => Some(source.reason),
            Self::TellApart(_) => Some(Reason::InvalidSpec),
            Self::LocateTools(_) | Self::OpenFolder { .. } | Self::NotAFolder { .. } | Self::AssignFolder { .. } => {
                None
            }
        }
    }
}

/// What to render, from which folders.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) sources: Vec<ApplicationSource>,
    /// The checkout of each source.
    pub(super) roots: Vec<PathBuf>,
    /// Whether they are `spec.sources`.
    pub(super) several: bool,
    pub(super) revision: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) project: String,
}

/// The checkout of each source: `folder`, but for those that an argument `SOURCE=FOLDER` names by place, name or `ref`.
pub(super) fn checkouts(
    sources: &[ApplicationSource],
    folder: &Path,
    arguments: &[String],
) -> Result<Vec<PathBuf>, SourcesError> {
    check_references(sources).map_err(|problem| SourcesError::TellApart(problem.message))?;
    let mut roots = vec![real_folder(folder)?; sources.len()];
    for argument in arguments {
        let (place, folder) = argument.split_once('=').unwrap_or((argument, ""));
        let found = sources.iter().enumerate().position(|(index, source)| {
            let names = [source.name.as_deref(), source.reference.as_deref()];
            place == index.to_string() || (!place.is_empty() && names.contains(&Some(place)))
        });
        let root = found.filter(|_| !folder.is_empty()).and_then(|index| roots.get_mut(index));
        let Some(root) = root else {
            let known: Vec<String> = (0..sources.len()).map(|index| source_label(sources, true, index)).collect();
            return Err(SourcesError::AssignFolder { argument: argument.clone(), known: known.join(", ") });
        };
        *root = real_folder(Path::new(folder))?;
    }
    Ok(roots)
}

/// A folder by its real path.
pub(super) fn real_folder(path: &Path) -> Result<PathBuf, SourcesError> {
    let folder = fs::canonicalize(path).map_err(|source| SourcesError::OpenFolder { path: path.to_owned(), source })?;
    if folder.is_dir() { Ok(folder) } else { Err(SourcesError::NotAFolder { path: path.to_owned() }) }
}

/// Renders every source, for a cluster that serves `surface`. Returns the objects, and what a person should know.
pub(super) fn render(
    job: &Job,
    tools: &ToolFlags,
    surface: &ApiSurface,
) -> Result<(Vec<Manifest>, Vec<String>), SourcesError> {
    let located = settings::Tools::locate(tools, &Environment::read())?;
    let tools = Tools { helm: located.helm_path(), kustomize: located.kustomize_path() };
    // The renderer makes a directory of its own in the first of these that will do, and other renders leave it alone.
    let scratch = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    let alone = |source| SourcesError::Render { label: String::new(), source };
    let renderer = Renderer::new(tools, &scratch).map_err(alone)?;
    for warning in renderer.warnings() {
        tracing::warn!("{warning}");
    }
    let trees: Vec<LocalFiles> = job.roots.iter().map(LocalFiles::new).collect();
    let mut references = References::default();
    for (source, files) in job.sources.iter().zip(&trees).filter(|_| job.several) {
        if let Some(name) = source.reference.as_deref().filter(|name| !name.is_empty()) {
            references.insert(name, files);
        }
    }
    let (mut rendered, mut warnings) = (Vec::new(), Vec::new());
    for (index, (source, files)) in job.sources.iter().zip(&trees).enumerate() {
        let label = source_label(&job.sources, job.several, index);
        let request = RenderRequest {
            source,
            application_name: &job.name,
            destination_namespace: &job.namespace,
            project: &job.project,
            revision: &job.revision,
            references: references.clone(),
            kube_version: surface.server_version.clone(),
            api_versions: surface.api_versions(),
            limits: RenderLimits::default(),
        };
        let part =
            renderer.render(files, &request).map_err(|source| SourcesError::Render { label: label.clone(), source })?;
        warnings.extend(part.warnings.iter().map(|warning| about_source(&label, warning)));
        rendered.push((label, part.manifests));
    }
    if !job.several {
        return Ok((rendered.into_iter().flat_map(|(_, manifests)| manifests).collect(), warnings));
    }
    let (manifests, shadowed) = join_sources(rendered, &job.namespace, surface);
    warnings.extend(shadowed);
    Ok((manifests, warnings))
}

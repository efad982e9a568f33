//! `tidelock render`: what a folder or an Application renders to, by the very code of the controller.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use thiserror::Error;

use super::sources::{self, Job, SourcesError, checkouts, real_folder};
use super::{Exit, yaml};
use crate::api::{Application, ApplicationSource};
use crate::model::{ApiSurface, Manifest};
use crate::render::yaml::{DuplicateKeys, YamlError, YamlLimits, decode};
use crate::settings::ToolFlags;

/// Arguments of `tidelock render`.
#[derive(Args, Clone, Debug)]
pub struct RenderArguments {
    /// Folder to render; with --application the checkout of the repository, whose folder the Application names
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Application whose source, name and destination namespace to use
    #[arg(long, value_name = "FILE")]
    pub application: Option<PathBuf>,
    /// Of several sources: the checkout of one of them, by its place (0, 1, …), name or ref; PATH is that of the others
    #[arg(long = "source", value_name = "SOURCE=FOLDER", requires = "application")]
    pub sources: Vec<String>,
    /// Commit that build variables tell
    #[arg(long, value_name = "COMMIT", default_value = "")]
    pub revision: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help heading")]
    pub tools: ToolFlags,
}

/// Why nothing was rendered.
#[derive(Debug, Error)]
pub enum RenderVerbError {
    /// The sources do not render.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// The Application could not be read.
    #[error("cannot read the Application from {path}: {source}")]
    ReadApplication {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The file is no YAML.
    #[error("{path}: {source}")]
    DecodeApplication {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: YamlError,
    },
    /// The Application is not of the right shape.
    #[error("{path}: not a valid Application: {source}")]
    ParseApplication {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The file holds no Application, or several.
    #[error("{path} holds {found} Applications of tidelock.dev; exactly one is wanted")]
    CountApplications {
        /// The file.
        path: PathBuf,
        /// How many.
        found: usize,
    },
    /// The Application says nothing about where its manifests come from.
    #[error("{path}: spec.source is missing")]
    MissingSource {
        /// The file.
        path: PathBuf,
    },
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Print(#[source] io::Error),
}

pub(super) fn run(arguments: &RenderArguments, output: &mut impl Write) -> Result<Exit, RenderVerbError> {
    let job = match &arguments.application {
        Some(file) => of_application(arguments, file)?,
        None => of_folder(arguments)?,
    };
    let (manifests, warnings) = sources::render(&job, &arguments.tools, &ApiSurface::default())?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    if manifests.is_empty() {
        tracing::warn!(
            "nothing to deploy was found; the folders below are read only when the Application sets directory.recurse"
        );
    }
    print(&manifests, output)?;
    Ok(Exit::Success)
}

/// A folder by itself. Its tree reaches up to the checkout that it lies in, so that a kustomization may name bases
/// beside it.
fn of_folder(arguments: &RenderArguments) -> Result<Job, RenderVerbError> {
    let folder = real_folder(&arguments.path)?;
    let root = folder.ancestors().find(|ancestor| ancestor.join(".git").exists()).unwrap_or(&folder).to_owned();
    let below = folder.strip_prefix(&root).unwrap_or(Path::new("")).to_string_lossy().into_owned();
    let name = folder.file_name().map_or_else(|| "render".to_owned(), |name| release_name(&name.to_string_lossy()));
    let source = ApplicationSource { path: Some(below), ..ApplicationSource::default() };
    Ok(Job {
        sources: vec![source],
        roots: vec![root],
        several: false,
        revision: arguments.revision.clone(),
        name,
        namespace: "default".to_owned(),
        project: "default".to_owned(),
    })
}

/// The sources of an Application, their paths taken from the folders.
fn of_application(arguments: &RenderArguments, file: &Path) -> Result<Job, RenderVerbError> {
    let application = read_application(file)?;
    let path = || file.to_owned();
    let sources = application.spec.all_sources().to_vec();
    if sources.is_empty() {
        return Err(RenderVerbError::MissingSource { path: path() });
    }
    let roots = checkouts(&sources, &arguments.path, &arguments.sources)?;
    Ok(Job {
        roots,
        several: !application.spec.sources.is_empty(),
        sources,
        revision: arguments.revision.clone(),
        name: application.metadata.name.clone().unwrap_or_else(|| "render".to_owned()),
        namespace: application.spec.destination.namespace.clone().unwrap_or_else(|| "default".to_owned()),
        project: application.spec.project.clone(),
    })
}

fn read_application(file: &Path) -> Result<Application, RenderVerbError> {
    let path = || file.to_owned();
    let text = fs::read(file).map_err(|source| RenderVerbError::ReadApplication { path: path(), source })?;
    let decoded = decode(&text, &YamlLimits::default(), DuplicateKeys::Refuse)
        .map_err(|source| RenderVerbError::DecodeApplication { path: path(), source })?;
    let is_ours = |value: &serde_json::Value| {
        value["kind"] == "Application"
            && value["apiVersion"].as_str().is_some_and(|version| version.starts_with(crate::api::GROUP))
    };
    let mut found: Vec<_> = decoded.documents.into_iter().map(|document| document.value).filter(is_ours).collect();
    match (found.pop(), found.len()) {
        (Some(application), 0) => Application::deserialize(application)
            .map_err(|source| RenderVerbError::ParseApplication { path: path(), source }),
        (last, others) => {
            Err(RenderVerbError::CountApplications { path: path(), found: others + usize::from(last.is_some()) })
        }
    }
}

/// A folder's name as Helm takes it for a release.
fn release_name(folder: &str) -> String {
    let name: String = folder
        .to_ascii_lowercase()
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .take(53)
        .collect();
    match name.trim_matches('-') {
        "" => "render".to_owned(),
        name => name.to_owned(),
    }
}

/// One YAML document an object, each with the place that it came from.
fn print(manifests: &[Manifest], output: &mut impl Write) -> Result<(), RenderVerbError> {
    for manifest in manifests {
        let body = yaml::document(&manifest.object);
        // A name of a file may hold a line break, which would end the comment.
        let origin = manifest.origin.to_string().replace(char::is_control, " ");
        write!(output, "---\n# Source: {origin}\n{body}").map_err(RenderVerbError::Print)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

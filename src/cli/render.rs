//! `tidelock render`: what a folder or an Application renders to, by the very code of the controller.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use thiserror::Error;

use super::{Exit, yaml};
use crate::api::{Application, ApplicationSource};
use crate::desired::{about_source, check_references, join_sources, source_label};
use crate::model::{ApiSurface, Manifest};
use crate::render::yaml::{DuplicateKeys, YamlError, YamlLimits, decode};
use crate::render::{LocalFiles, References, RenderError, RenderLimits, RenderRequest, Renderer, Tools};
use crate::settings::{self, Environment, SettingsError, ToolFlags};

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
    /// The tools are not where they were said to be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The folder is not there.
    #[error("cannot open the folder {path}: {source}")]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The path is no folder.
    #[error("{path} is not a folder: name the folder that holds the manifests")]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
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
    /// The sources can't be told apart.
    #[error("{path}: {message}")]
    CheckSources {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A folder was given for a source that is not there.
    #[error("--source {argument}: write SOURCE=FOLDER, where SOURCE is the place, name or ref of a source: {known}")]
    AssignFolder {
        /// The argument.
        argument: String,
        /// What may be written.
        known: String,
    },
    /// One of several sources does not render.
    #[error("{label}: {source}")]
    RenderSource {
        /// Which.
        label: String,
        /// What is wrong.
        source: RenderError,
    },
    /// A place for the tools' private files could not be made.
    #[error("cannot make a private directory for the rendering tools: {0}")]
    MakeScratch(#[source] io::Error),
    /// The files do not render.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Print(#[source] io::Error),
}

/// What to render, from which tree.
#[derive(Debug)]
struct Job {
    sources: Vec<ApplicationSource>,
    /// The checkout of each source.
    roots: Vec<PathBuf>,
    several: bool,
    revision: String,
    name: String,
    namespace: String,
    project: String,
}

pub(super) fn run(arguments: &RenderArguments, output: &mut impl Write) -> Result<Exit, RenderVerbError> {
    let job = match &arguments.application {
        Some(file) => of_application(arguments, file)?,
        None => of_folder(arguments)?,
    };
    let located = settings::Tools::locate(&arguments.tools, &Environment::read())?;
    let (manifests, warnings) = render(&job, &located)?;
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

fn render(job: &Job, located: &settings::Tools) -> Result<(Vec<Manifest>, Vec<String>), RenderVerbError> {
    let tools = Tools { helm: located.helm_path(), kustomize: located.kustomize_path() };
    let scratch = Scratch::make()?;
    let renderer = Renderer::new(tools, std::slice::from_ref(&scratch.path))?;
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
            kube_version: String::new(),
            api_versions: Vec::new(),
            limits: RenderLimits::default(),
        };
        let part = renderer.render(files, &request).map_err(|source| {
            if job.several {
                RenderVerbError::RenderSource { label: label.clone(), source }
            } else {
                RenderVerbError::Render(source)
            }
        })?;
        warnings.extend(part.warnings.iter().map(|warning| about_source(&label, warning)));
        rendered.push((label, part.manifests));
    }
    if !job.several {
        return Ok((rendered.into_iter().flat_map(|(_, manifests)| manifests).collect(), warnings));
    }
    let (manifests, shadowed) = join_sources(rendered, &job.namespace, &ApiSurface::default());
    warnings.extend(shadowed);
    Ok((manifests, warnings))
}

/// A private directory that goes away with the verb. Two renders at a time must not clear each other's.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn make() -> Result<Self, RenderVerbError> {
        use std::os::unix::fs::DirBuilderExt;
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("tidelock-render-{}-{:016x}", std::process::id(), fastrand::u64(..)));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(RenderVerbError::MakeScratch)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
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
    check_references(&sources)
        .map_err(|problem| RenderVerbError::CheckSources { path: path(), message: problem.message })?;
    let mut roots = vec![real_folder(&arguments.path)?; sources.len()];
    for argument in &arguments.sources {
        let (place, folder) = argument.split_once('=').unwrap_or((argument, ""));
        let found = sources.iter().enumerate().position(|(index, source)| {
            let names = [source.name.as_deref(), source.reference.as_deref()];
            place == index.to_string() || (!place.is_empty() && names.contains(&Some(place)))
        });
        let root = found.filter(|_| !folder.is_empty()).and_then(|index| roots.get_mut(index));
        let Some(root) = root else {
            let known =
                (0..sources.len()).map(|index| source_label(&sources, true, index)).collect::<Vec<_>>().join(", ");
            return Err(RenderVerbError::AssignFolder { argument: argument.clone(), known });
        };
        *root = real_folder(Path::new(folder))?;
    }
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

fn real_folder(path: &Path) -> Result<PathBuf, RenderVerbError> {
    let folder =
        fs::canonicalize(path).map_err(|source| RenderVerbError::OpenFolder { path: path.to_owned(), source })?;
    if folder.is_dir() { Ok(folder) } else { Err(RenderVerbError::NotAFolder { path: path.to_owned() }) }
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

//! The one entry to rendering: finds the tool and drives it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{ApplicationSource, DirectorySource, HelmSource, KustomizeSource};
use crate::model::{EntryKind, Files, Hash64, Manifest, Reason};

use super::bench::Bench;
use super::environment::BuildEnvironment;
use super::exec::Jail;
use super::jail::{self, Filters, Isolation, Walls};
use super::scratch::Scratch;
use super::tree::{Located, locate};
use super::yaml::{DuplicateKeys, YamlLimits};
use super::{RecordingFiles, References, RenderError, RenderInputs, directory, helm, kustomize, overrides};

/// Names under which a kustomization is found, in the order of Kustomize.
pub(super) const KUSTOMIZATION_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Bounds on one render. A breach is a typed error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderLimits {
    /// Sum of the sizes of a plain directory's manifests, in bytes.
    pub input_bytes: u64,
    /// Sum of the sizes of the files given to a tool, in bytes.
    pub tree_bytes: u64,
    /// Number of files read, or given to a tool.
    pub tree_files: usize,
    /// What a tool may write to its output, in bytes.
    pub output_bytes: usize,
    /// What a tool may allocate, in bytes.
    pub memory_bytes: u64,
    /// Wall-clock time that a tool may take.
    pub timeout: Duration,
    /// Bounds on each YAML text.
    pub yaml: YamlLimits,
    /// What to do about a key that appears twice in a file of a plain directory. In what Helm and Kustomize produce it
    /// is only ever a warning: these tools accept it, and the one who deploys a chart often can't change it.
    pub duplicate_keys: DuplicateKeys,
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self {
            input_bytes: 10 * 1024 * 1024,
            tree_bytes: 64 * 1024 * 1024,
            tree_files: 20_000,
            output_bytes: 32 * 1024 * 1024,
            memory_bytes: 1024 * 1024 * 1024,
            timeout: Duration::from_secs(90),
            yaml: YamlLimits::default(),
            duplicate_keys: DuplicateKeys::Refuse,
        }
    }
}

/// What to render, and for whom.
#[derive(Clone, Debug)]
pub struct RenderRequest<'a> {
    /// The source as the Application states it.
    pub source: &'a ApplicationSource,
    /// Name of the Application: Helm's release name unless the source gives one.
    pub application_name: &'a str,
    /// Namespace of the destination: Helm's namespace unless the source gives one.
    pub destination_namespace: &'a str,
    /// Name of the project, for build variables.
    pub project: &'a str,
    /// The commit, for build variables. It decides nothing else.
    pub revision: &'a str,
    /// The trees of other sources that this one may name.
    pub references: References<'a>,
    /// Version of the destination's API server (`v1.35.2`); empty when unknown.
    pub kube_version: String,
    /// API versions that the destination serves (`apps/v1`, `apps/v1/Deployment`).
    pub api_versions: Vec<String>,
    /// Bounds.
    pub limits: RenderLimits,
}

impl RenderRequest<'_> {
    /// Hash of all that decides the result besides the files. Repository and revision are no part of it: they only say
    /// where the files come from. What build variables may take from them is: but for the commit itself, about which
    /// [`Rendered::uses_revision`] tells.
    pub fn parameters(&self) -> Hash64 {
        let ApplicationSource {
            repo_url,
            path,
            target_revision,
            chart,
            reference,
            name: _,
            tag_prefix: _,
            helm,
            kustomize,
            directory,
            plugin,
        } = self.source;
        let tools = serde_json::json!([helm, kustomize]);
        let variables =
            tools.to_string().contains('$').then(|| serde_json::json!([repo_url, target_revision, self.project]));
        Hash64::of_json(&serde_json::json!({
            "variables": variables,
            "path": path,
            "chart": chart,
            "ref": reference,
            "helm": helm,
            "kustomize": kustomize,
            "directory": directory,
            "plugin": plugin,
            "application": self.application_name,
            "namespace": self.destination_namespace,
            "kubeVersion": self.kube_version,
            "apiVersions": self.api_versions,
            "limits": format!("{:?}", self.limits),
        }))
    }
}

/// What renders a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// YAML and JSON files as they are.
    Directory,
    /// `kustomize build`.
    Kustomize,
    /// `helm template`.
    Helm,
}

impl Tool {
    /// The name in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Kustomize => "kustomize",
            Self::Helm => "helm",
        }
    }
}

/// The result of a render.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The manifests in the order of the files, or of the tool's output.
    pub manifests: Vec<Manifest>,
    /// What the author of the files should know.
    pub warnings: Vec<String>,
    /// What rendered them.
    pub tool: Tool,
    /// What was read: as long as it is unchanged, so are the manifests.
    pub inputs: RenderInputs,
    /// What was read of other sources, by their `ref`. The same holds for it.
    pub lent: BTreeMap<String, RenderInputs>,
    /// Whether the commit itself is part of the manifests, so that they hold for no other.
    pub uses_revision: bool,
    /// Whether the version or the kinds of the destination's API server may be part of the manifests.
    pub uses_surface: bool,
}

/// Where the tools are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// The `helm` binary.
    pub helm: PathBuf,
    /// The `kustomize` binary.
    pub kustomize: PathBuf,
}

/// Renders sources. Blocking: async callers use a blocking thread.
#[derive(Debug)]
pub struct Renderer {
    tools: Tools,
    scratch: Scratch,
    jail: Jail,
    warnings: Vec<String>,
}

impl Renderer {
    /// Prepares the private directories and finds out which walls the kernel gives to the tools' jail.
    ///
    /// `scratch` lists directories in which private directories may be made; one that lies in memory is preferred. What
    /// an earlier process left in them is removed.
    pub fn new(tools: Tools, scratch: &[PathBuf]) -> Result<Self, RenderError> {
        let mut warnings = Vec::new();
        // The walls are put around the file itself. A tool that is missing is missed when it is needed.
        let real = |tool: PathBuf| std::fs::canonicalize(&tool).unwrap_or(tool);
        let tools = Tools { helm: real(tools.helm), kustomize: real(tools.kustomize) };
        let scratch = Scratch::open(scratch, &mut warnings)?;
        let filters = Filters::compile();
        let private = scratch.fresh().map_err(|error| {
            RenderError::new(Reason::StoreFailed, format!("no private directory can be made for renders: {error}"))
        })?;
        let walls = Walls { tool: tools.helm.clone(), private: private.path().to_owned(), libraries: false };
        let isolation = jail::probe(&filters, &walls);
        if !isolation.is_sufficient() {
            warnings.push(format!(
                "this kernel does not give the walls that rendering tools should run in ({isolation}); \
                 run only what you trust, or use a kernel with Landlock and seccomp"
            ));
        }
        Ok(Self { tools, scratch, jail: Jail { filters, isolation }, warnings })
    }

    /// The walls around the tools, for the log.
    pub const fn isolation(&self) -> Isolation {
        self.jail.isolation
    }

    /// What the operator should know about this place, for the log.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Renders a source from a tree of files.
    pub fn render(&self, files: &dyn Files, request: &RenderRequest<'_>) -> Result<Rendered, RenderError> {
        let recording = RecordingFiles::new(files);
        let mut warnings = Vec::new();
        let parameters = request.parameters();
        let Some(path) = source_path(request.source)? else {
            return Ok(Rendered {
                manifests: Vec::new(),
                warnings,
                tool: Tool::Directory,
                inputs: recording.inputs(parameters),
                lent: BTreeMap::new(),
                uses_revision: false,
                uses_surface: false,
            });
        };
        let at = folder(&recording, &path)?;
        let merged = overrides::merge(&recording, &at.path, request, &mut warnings)?;
        let request = RenderRequest { source: merged.as_ref().unwrap_or(request.source), ..request.clone() };
        let references: BTreeMap<String, RecordingFiles<'_>> =
            request.references.iter().map(|(name, files)| (name.to_owned(), RecordingFiles::new(files))).collect();
        let environment = BuildEnvironment::new(&request);
        let bench = Bench {
            tools: &self.tools,
            scratch: &self.scratch,
            jail: &self.jail,
            files: &recording,
            references: &references,
            environment: &environment,
            request: &request,
        };
        let (tool, manifests) = match detect(&recording, &at.path, request.source)? {
            Job::Directory(source) => {
                let found = directory::render(&recording, &at.path, &source, &request.limits, &mut warnings)?;
                (Tool::Directory, found)
            }
            Job::Kustomize(source) => (Tool::Kustomize, kustomize::render(&bench, &at, &source, &mut warnings)?),
            Job::Helm(source) => (Tool::Helm, helm::render(&bench, &at, &source, &mut warnings)?),
        };
        let lent = references.iter().map(|(name, files)| (name.clone(), files.inputs(parameters)));
        let lent = lent.filter(|(_, inputs)| !inputs.is_empty()).collect();
        let uses_revision = environment.revision_used();
        // Any template may ask which kinds are served.
        let uses_surface = tool == Tool::Helm || environment.surface_used();
        let inputs = recording.inputs(parameters);
        Ok(Rendered { manifests, warnings, tool, inputs, lent, uses_revision, uses_surface })
    }
}

/// The folder of a source, or `None` for a source that only lends its files to others.
fn source_path(source: &ApplicationSource) -> Result<Option<String>, RenderError> {
    let unsupported = |message: &str| Err(RenderError::new(Reason::RenderUnsupported, message));
    if source.plugin.is_some() {
        return unsupported("config management plugins are not supported: commit the files that the plugin produces");
    }
    match source.path.as_deref() {
        // The tree of a chart is the chart.
        _ if source.chart.as_ref().is_some_and(|chart| !chart.is_empty()) => Ok(Some(String::new())),
        None | Some("") if source.reference.as_ref().is_some_and(|name| !name.is_empty()) => Ok(None),
        path => {
            let path = path.unwrap_or_default();
            if path.starts_with('/') || path.split('/').any(|name| name == "..") {
                let message = format!("path `{path}` must be relative to the root of the repository, without `..`");
                return Err(RenderError::new(Reason::PathEscape, message));
            }
            Ok(Some(path.to_owned()))
        }
    }
}

fn folder(files: &dyn Files, path: &str) -> Result<Located, RenderError> {
    let wrong = |message: String| RenderError::new(Reason::PathNotFound, message);
    let located = locate(files, "", path)?.ok_or_else(|| {
        wrong(format!("the folder `{path}` does not exist at this revision; check path and targetRevision"))
    })?;
    match located.entry.kind {
        EntryKind::Directory => Ok(located),
        EntryKind::Submodule => Err(RenderError::new(
            Reason::SubmoduleFailed,
            format!(
                "`{}` is a submodule, whose files belong to another repository: set submodules.enabled: true in the \
                 Repository that covers this one, or name the other one in repoURL",
                located.path
            ),
        )),
        EntryKind::File | EntryKind::Symlink => {
            Err(wrong(format!("`{path}` is a file, path must name a folder (try `{}`)", super::tree::parent(path))))
        }
    }
}

enum Job {
    Directory(DirectorySource),
    Kustomize(KustomizeSource),
    Helm(HelmSource),
}

/// An explicit block decides; otherwise the files do, as in Argo CD.
fn detect(files: &dyn Files, path: &str, source: &ApplicationSource) -> Result<Job, RenderError> {
    match (&source.helm, &source.kustomize, &source.directory) {
        (Some(helm), None, None) => return Ok(Job::Helm(helm.clone())),
        (None, Some(kustomize), None) => return Ok(Job::Kustomize(kustomize.clone())),
        (None, None, Some(directory)) => return Ok(Job::Directory(directory.clone())),
        // What was asked for as a chart is rendered as one.
        (None, None, None) if source.chart.as_ref().is_some_and(|chart| !chart.is_empty()) => {
            return Ok(Job::Helm(HelmSource::default()));
        }
        (None, None, None) => {}
        _ => {
            let message = "more than one of helm, kustomize and directory is set: keep the one that fits the files";
            return Err(RenderError::new(Reason::InvalidSpec, message));
        }
    }
    let is_file = |name: &str| {
        Ok::<_, RenderError>(locate(files, path, name)?.is_some_and(|at| at.entry.kind == EntryKind::File))
    };
    if is_file("Chart.yaml")? {
        return Ok(Job::Helm(HelmSource::default()));
    }
    for name in KUSTOMIZATION_NAMES {
        if is_file(name)? {
            return Ok(Job::Kustomize(KustomizeSource::default()));
        }
    }
    Ok(Job::Directory(DirectorySource::default()))
}

#[cfg(test)]
mod tests;

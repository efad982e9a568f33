//! `kustomize build` on the part of the tree that a kustomization refers to.

use std::collections::BTreeSet;
use std::ffi::OsString;

use serde_json::{Map, Value};

use super::bench::{Bench, Failure, Workplace, read_output};
use super::complaint::Canaries;
use super::kustomization;
use super::material::Material;
use super::renderer::KUSTOMIZATION_NAMES;
use super::tree::{Located, locate};
use super::yaml::{self, DuplicateKeys};
use super::{RecordingFiles, RenderError};
use crate::api::KustomizeSource;
use crate::model::{EntryKind, Files, Manifest, Origin, Reason};

const FAILURE: Failure = Failure { command: "kustomize build", reason: Reason::KustomizeFailed };
/// Fields whose texts are paths of files or folders, or inline YAML, and nothing else.
const PATH_FIELDS: [&str; 8] =
    ["resources", "bases", "components", "configurations", "crds", "generators", "transformers", "validators"];
/// Fields whose files may name further files.
const PLUGIN_FIELDS: [&str; 3] = ["generators", "transformers", "validators"];

/// A kustomization's file and its content.
type Kustomization = (String, Map<String, Value>);

/// Renders the kustomization at a place of the tree.
pub(super) fn render(
    bench: &Bench<'_>,
    at: &Located,
    source: &KustomizeSource,
    warnings: &mut Vec<String>,
) -> Result<Vec<Manifest>, RenderError> {
    let request = bench.request;
    let mut closure = Closure {
        files: bench.files,
        material: Material::new(bench.files, &request.limits),
        canaries: Canaries::default(),
        folders: BTreeSet::new(),
    };
    closure.material.add_links(at);
    let Some((file, content)) = closure.read_kustomization(&at.path)? else {
        let message = format!(
            "`{}` has none of kustomization.yaml, kustomization.yml, Kustomization: correct path, or remove the \
             kustomize block",
            at.path
        );
        return Err(RenderError::new(Reason::KustomizeFailed, message));
    };
    let mut options = source.clone();
    if options.common_annotations_envsubst {
        for (name, value) in &mut options.common_annotations {
            let expanded = bench.environment.expand(value);
            if expanded.unknown {
                warnings.push(format!(
                    "kustomize.commonAnnotations `{name}`: it names a build variable that does not exist, which is replaced \
                     by nothing; a dollar sign is written `$$`"
                ));
            }
            *value = expanded.text;
        }
    }
    if options.ignore_missing_components {
        let mut there = Vec::new();
        for component in options.components {
            if locate(bench.files, &at.path, &component)?.is_some() {
                there.push(component);
            }
        }
        options.components = there;
    }
    let content = if kustomization::changes(&options) {
        let edited = kustomization::edit(content, &options)
            .map_err(|message| RenderError::new(Reason::KustomizeFailed, message))?;
        // JSON is YAML.
        closure.material.replace(&file, Value::Object(edited.clone()).to_string().into_bytes());
        edited
    } else {
        content
    };
    closure.folder(&at.path, &file, &content)?;
    let Closure { material, mut canaries, .. } = closure;
    for (_, path) in material.paths() {
        canaries.learn_manifests(&bench.files.read(path)?.unwrap_or_default());
    }

    let workplace = Workplace::prepare(bench, &material)?;
    let arguments = vec![OsString::from("build"), workplace.place(&at.path).into_os_string()];
    let output = workplace.run(bench, &bench.tools.kustomize, arguments, FAILURE, &canaries)?;
    drop(workplace);
    read_output(&output, bench, FAILURE.command, warnings, |_| Origin { file: file.clone(), line: 0 })
}

/// Everything that a kustomization refers to, directly or not.
struct Closure<'a> {
    files: &'a RecordingFiles<'a>,
    material: Material<'a>,
    canaries: Canaries,
    folders: BTreeSet<String>,
}

impl Closure<'_> {
    /// The kustomization of a folder: its file and its content.
    fn read_kustomization(&self, folder: &str) -> Result<Option<Kustomization>, RenderError> {
        let mut found: Option<Located> = None;
        for name in KUSTOMIZATION_NAMES {
            let Some(at) = locate(self.files, folder, name)?.filter(|at| at.entry.kind == EntryKind::File) else {
                continue;
            };
            if let Some(first) = found {
                let message = format!("the folder has two kustomizations, the other is {}: remove one", first.path);
                return Err(RenderError::in_file(Reason::KustomizeFailed, &at.path, message));
            }
            found = Some(at);
        }
        let Some(found) = found else { return Ok(None) };
        let content = self.files.read(&found.path)?.unwrap_or_default();
        let decoded = yaml::decode(&content, &yaml::YamlLimits::default(), DuplicateKeys::Refuse)
            .map_err(|error| RenderError::yaml(&found.path, error))?;
        match decoded.documents.into_iter().next().map(|document| document.value) {
            Some(Value::Object(content)) => Ok(Some((found.path, content))),
            None => Ok(Some((found.path, Map::new()))),
            Some(_) => {
                Err(RenderError::in_file(Reason::KustomizeFailed, &found.path, "a kustomization must be a mapping"))
            }
        }
    }

    fn folder(&mut self, folder: &str, file: &str, content: &Map<String, Value>) -> Result<(), RenderError> {
        if !self.folders.insert(folder.to_owned()) {
            return Ok(());
        }
        if let Some(found) = locate(self.files, "", file)? {
            self.material.add(&found)?;
        }
        for name in KUSTOMIZATION_NAMES {
            if let Some(found) = locate(self.files, folder, name)? {
                self.material.add_links(&found);
            }
        }
        for (field, value) in content {
            if matches!(field.as_str(), "helmCharts" | "helmChartInflationGenerator" | "helmGlobals") {
                let message = format!(
                    "`{field}` makes Kustomize run Helm, which is not supported: render the chart by an Application of \
                     its own (source.helm), or commit its output"
                );
                return Err(RenderError::in_file(Reason::RenderUnsupported, file, message));
            }
            if field == "secretGenerator" {
                self.learn_generators(folder, value)?;
            }
            let is_path = PATH_FIELDS.contains(&field.as_str());
            let is_plugin = PLUGIN_FIELDS.contains(&field.as_str());
            self.texts(value, &mut |closure, text| {
                if is_path { closure.path(folder, file, text, is_plugin) } else { closure.maybe_path(folder, text) }
            })?;
        }
        Ok(())
    }

    fn texts(
        &mut self,
        value: &Value,
        take: &mut dyn FnMut(&mut Self, &str) -> Result<(), RenderError>,
    ) -> Result<(), RenderError> {
        match value {
            Value::String(text) => take(self, text),
            Value::Array(items) => items.iter().try_for_each(|item| self.texts(item, take)),
            Value::Object(map) => map.values().try_for_each(|inner| self.texts(inner, take)),
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// A text of a field that holds paths: it must exist, and it must be of this repository.
    fn path(&mut self, folder: &str, file: &str, text: &str, is_plugin: bool) -> Result<(), RenderError> {
        if text.contains('\n') {
            return Ok(());
        }
        if text.starts_with('/') {
            let message = format!("the path `{text}` is absolute: paths of a kustomization are relative to it");
            return Err(RenderError::in_file(Reason::PathEscape, file, message));
        }
        // Of a URL's parts nothing can exist here, and its `..` mean nothing.
        let found = if text.contains("://") {
            None
        } else {
            locate(self.files, folder, text).map_err(|error| {
                if error.file == folder { RenderError { file: file.to_owned(), ..error } } else { error }
            })?
        };
        let Some(found) = found else {
            if is_remote(text) {
                let message = format!(
                    "`{}` is in another place than this repository, and nothing is downloaded while rendering: copy it \
                     into this repository and refer to it by a relative path",
                    without_user(text)
                );
                return Err(RenderError::in_file(Reason::RenderUnsupported, file, message));
            }
            let message = format!("`{text}` does not exist at this revision");
            return Err(RenderError::in_file(Reason::KustomizeFailed, file, message));
        };
        match found.entry.kind {
            EntryKind::Directory => match self.read_kustomization(&found.path)? {
                Some((inner, content)) => {
                    self.material.add_links(&found);
                    self.folder(&found.path, &inner, &content)
                }
                None => self.material.add(&found),
            },
            EntryKind::File => {
                self.material.add(&found)?;
                if is_plugin { self.plugin(folder, &found.path) } else { Ok(()) }
            }
            EntryKind::Symlink | EntryKind::Submodule => self.material.add(&found),
        }
    }

    /// A text that is a path in some fields and anything in others: what exists as a file is given to the tool.
    fn maybe_path(&mut self, folder: &str, text: &str) -> Result<(), RenderError> {
        const LONGEST_PATH: usize = 1024;
        if text.contains('\n') || text.len() > LONGEST_PATH {
            return Ok(());
        }
        let after_key = text.split_once('=').map(|(_, path)| path);
        for candidate in [Some(text), after_key].into_iter().flatten() {
            if candidate.is_empty() || candidate.starts_with('/') {
                continue;
            }
            match locate(self.files, folder, candidate) {
                Ok(Some(found)) if found.entry.kind == EntryKind::File => self.material.add(&found)?,
                Ok(_) => {}
                // A path that leaves the repository by itself may be no path at all; a symlink is one.
                Err(error) if error.reason == Reason::PathEscape && error.file == folder => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The configuration of a built-in plugin may name files.
    fn plugin(&mut self, folder: &str, path: &str) -> Result<(), RenderError> {
        let content = self.files.read(path)?.unwrap_or_default();
        let Ok(decoded) = yaml::decode(&content, &yaml::YamlLimits::default(), DuplicateKeys::Warn) else {
            return Ok(());
        };
        for document in &decoded.documents {
            self.texts(&document.value, &mut |closure, text| closure.maybe_path(folder, text))?;
        }
        Ok(())
    }

    /// What a secret generator is made of must not be shown.
    fn learn_generators(&mut self, folder: &str, generators: &Value) -> Result<(), RenderError> {
        for generator in generators.as_array().into_iter().flatten() {
            let texts = |field: &str| {
                let value = generator.get(field).cloned().unwrap_or_default();
                let many = value.as_array().cloned().unwrap_or_else(|| vec![value]);
                many.into_iter().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>()
            };
            for literal in texts("literals") {
                self.canaries.learn_text(literal.split_once('=').map_or("", |(_, value)| value));
            }
            for (field, pairs) in [("files", false), ("envs", true), ("env", true)] {
                for name in texts(field) {
                    let name = name.split_once('=').map_or(name.as_str(), |(_, path)| path);
                    let Ok(Some(found)) = locate(self.files, folder, name) else { continue };
                    let content = self.files.read(&found.path)?.unwrap_or_default();
                    let text = String::from_utf8_lossy(&content);
                    if pairs {
                        for line in text.lines() {
                            self.canaries.learn_text(line.split_once('=').map_or("", |(_, value)| value));
                        }
                    } else {
                        self.canaries.learn_text(&text);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether Kustomize would take a text for something to download.
fn is_remote(text: &str) -> bool {
    let host = text.split(['/', ':']).next().unwrap_or_default();
    text.contains("://")
        || text.contains("?ref=")
        || ["git::", "git@", "ssh:", "s3::", "hg::"].iter().any(|start| text.starts_with(start))
        || (matches!(host, "github.com" | "gitlab.com" | "bitbucket.org") && text.contains('/'))
        || (text.contains("//") && host.contains('.') && !host.starts_with('.'))
}

/// A URL without the user and password that it may hold.
fn without_user(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            let bare = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{bare}{}", rest.get(host.len()..).unwrap_or_default())
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;

//! Files that Helm parameters name: of the own repository, of another source (`$ref/path`), or by a glob.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};

use super::bench::Bench;
use super::tree::{Located, join, locate};
use super::{RecordingFiles, RenderError};
use crate::model::{EntryKind, Files, Reason};

/// Folders below the fixed part of a glob are followed this deep.
const DEEPEST_FOLDER: usize = 64;

/// A file that a parameter names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The `ref` of the source that it belongs to; `None` for the own repository.
    pub(super) reference: Option<String>,
    /// Where it is in its tree.
    pub(super) at: Located,
}

/// A tree with a place to start from and a path from there.
struct Start<'a> {
    reference: Option<&'a str>,
    files: &'a RecordingFiles<'a>,
    base: &'a str,
    path: String,
}

/// Finds the files that parameters of one chart name.
pub(super) struct ValueFiles<'a> {
    pub(super) bench: &'a Bench<'a>,
    /// Real path of the chart.
    pub(super) chart: &'a str,
}

impl ValueFiles<'_> {
    /// The values files in the order in which Helm is to read them. A glob stands for its matches by name, but for those
    /// that are named by themselves or that an earlier glob has given.
    pub(super) fn values(&self, names: &[String], ignore_missing: bool) -> Result<Vec<Named>, RenderError> {
        const FIELD: &str = "valueFiles";
        let mut found: Vec<(bool, Named)> = Vec::new();
        for name in names {
            let start = self.start(name, FIELD)?;
            let single = file_at(&start, name, FIELD)?;
            let is_glob = single.is_none() && is_glob(&start.path);
            let files = if is_glob { self.matches(&start, name)? } else { single.into_iter().collect() };
            if files.is_empty() && !ignore_missing {
                let what = if is_glob { "matches no file" } else { "does not exist" };
                let message = format!(
                    "the values file `{name}` {what} at this revision; correct helm.valueFiles or set \
                     helm.ignoreMissingValueFiles"
                );
                return Err(RenderError::new(Reason::PathNotFound, message));
            }
            found.extend(files.into_iter().map(|file| (is_glob, file)));
        }
        let identity = |file: &Named| (file.reference.clone(), file.at.path.clone());
        let mut taken: BTreeSet<_> = found.iter().filter(|(glob, _)| !glob).map(|(_, file)| identity(file)).collect();
        found.retain(|(glob, file)| !glob || taken.insert(identity(file)));
        Ok(found.into_iter().map(|(_, file)| file).collect())
    }

    /// The file that a file parameter names.
    pub(super) fn parameter(&self, name: &str) -> Result<Named, RenderError> {
        const FIELD: &str = "fileParameters";
        let start = self.start(name, FIELD)?;
        file_at(&start, name, FIELD)?.ok_or_else(|| {
            let message = format!("the file `{name}` of helm.{FIELD} does not exist at this revision");
            RenderError::new(Reason::PathNotFound, message)
        })
    }

    /// Which tree a name is about. Build variables are replaced in the path, never in the name of a source.
    fn start(&self, name: &str, field: &str) -> Result<Start<'_>, RenderError> {
        let (first, rest) = name.split_once('/').unwrap_or((name, ""));
        let lent = first.strip_prefix('$').and_then(|reference| self.bench.references.get_key_value(reference));
        let expanded = self.bench.environment.expand(if lent.is_some() { rest } else { name });
        if expanded.text.contains("://") {
            let message = format!("helm.{field} `{name}` is a URL: commit the file to the repository instead");
            return Err(RenderError::new(Reason::RenderUnsupported, message));
        }
        if expanded.unknown {
            return Err(RenderError::new(Reason::InvalidSpec, self.unknown(name, field)));
        }
        if let Some((reference, files)) = lent {
            return Ok(Start { reference: Some(reference), files, base: "", path: expanded.text });
        }
        let (base, path) = match expanded.text.strip_prefix('/') {
            Some(path) => ("", path.to_owned()),
            None => (self.chart, expanded.text),
        };
        Ok(Start { reference: None, files: self.bench.files, base, path })
    }

    fn unknown(&self, name: &str, field: &str) -> String {
        let names: Vec<String> = self.bench.references.keys().map(|name| format!("${name}")).collect();
        let known = if names.is_empty() {
            "no source of this Application has a ref".to_owned()
        } else {
            format!("this Application has {}", names.join(", "))
        };
        format!(
            "helm.{field} `{name}` names neither a source by its ref nor a build variable: {known}; `$$` is a dollar sign"
        )
    }

    fn matches(&self, start: &Start<'_>, name: &str) -> Result<Vec<Named>, RenderError> {
        let parts: Vec<&str> = start.path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let fixed = parts.iter().take_while(|part| !is_glob(part)).count();
        let (folder, pattern) = parts.split_at(fixed);
        if pattern.contains(&"..") {
            let message = format!("helm.valueFiles `{name}`: `..` can't follow a wildcard");
            return Err(RenderError::new(Reason::InvalidSpec, message));
        }
        let matcher = matcher(&pattern.join("/")).map_err(|error| {
            let message = format!("helm.valueFiles `{name}` is not a valid glob: {error}");
            RenderError::new(Reason::InvalidSpec, message)
        })?;
        let Some(folder) = locate(start.files, start.base, &folder.join("/"))? else { return Ok(Vec::new()) };
        if folder.entry.kind != EntryKind::Directory {
            return Ok(Vec::new());
        }
        let deepest = if pattern.contains(&"**") { DEEPEST_FOLDER } else { pattern.len() };
        let mut walk = Walk { bench: self.bench, files: start.files, matcher, deepest, seen: 0, found: Vec::new() };
        walk.folder(&folder.path, "", 1)?;
        walk.found.sort_by(|(left, _), (right, _)| left.cmp(right));
        let reference = start.reference.map(str::to_owned);
        Ok(walk
            .found
            .into_iter()
            .map(|(_, mut at)| {
                at.links.splice(0..0, folder.links.iter().cloned());
                Named { reference: reference.clone(), at }
            })
            .collect())
    }
}

fn file_at(start: &Start<'_>, name: &str, field: &str) -> Result<Option<Named>, RenderError> {
    let found = locate(start.files, start.base, &start.path).map_err(|error| {
        let message = format!("helm.{field} `{name}`: {}", error.message);
        RenderError { message, ..error }
    })?;
    let file = found.filter(|found| found.entry.kind == EntryKind::File);
    Ok(file.map(|at| Named { reference: start.reference.map(str::to_owned), at }))
}

struct Walk<'a> {
    bench: &'a Bench<'a>,
    files: &'a RecordingFiles<'a>,
    matcher: GlobMatcher,
    deepest: usize,
    seen: usize,
    /// Path from where the walk began, and the file.
    found: Vec<(String, Located)>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &str, relative: &str, depth: usize) -> Result<(), RenderError> {
        for entry in self.files.list(folder)?.unwrap_or_default() {
            self.seen += 1;
            if self.seen > self.bench.request.limits.tree_files {
                let message = format!(
                    "a glob of helm.valueFiles looks at more than {} files",
                    self.bench.request.limits.tree_files
                );
                return Err(RenderError::in_file(Reason::InputTooLarge, folder, message));
            }
            let relative = join(relative, &entry.name);
            match entry.kind {
                EntryKind::Directory if depth < self.deepest => {
                    self.folder(&join(folder, &entry.name), &relative, depth + 1)?;
                }
                EntryKind::File | EntryKind::Symlink if self.matcher.is_match(&relative) => {
                    let found = locate(self.files, folder, &entry.name)?;
                    let file = found.filter(|found| found.entry.kind == EntryKind::File);
                    self.found.extend(file.map(|file| (relative, file)));
                }
                EntryKind::Directory | EntryKind::File | EntryKind::Symlink | EntryKind::Submodule => {}
            }
        }
        Ok(())
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// `*` stays within a folder, `**` does not.
fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| error.kind().to_string())
}

#[cfg(test)]
mod tests;

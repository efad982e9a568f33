//! Plain YAML and JSON files → manifests.

use globset::{GlobBuilder, GlobMatcher};

use super::manifests::{is_foreign, manifests};
use super::tree::{join, locate};
use super::yaml::{self, YamlLimits};
use super::{RenderError, RenderLimits};
use crate::api::DirectorySource;
use crate::model::{EntryKind, Files, Manifest, Origin, Reason};

/// A file that holds this in a comment is left out.
const SKIP_MARKER: &str = "+argocd:skip-file-rendering";
/// Folders below the source's path are followed this deep.
const DEEPEST_FOLDER: usize = 64;
const EXTENSIONS: [&str; 3] = [".yaml", ".yml", ".json"];

/// Reads the manifests at `path`, a real path of a directory.
pub(super) fn render(
    files: &dyn Files,
    path: &str,
    source: &DirectorySource,
    limits: &RenderLimits,
    warnings: &mut Vec<String>,
) -> Result<Vec<Manifest>, RenderError> {
    if source.jsonnet.as_ref().is_some_and(|jsonnet| *jsonnet != crate::api::Jsonnet::default()) {
        return Err(RenderError::new(
            Reason::RenderUnsupported,
            "directory.jsonnet is set, but Jsonnet is not supported: commit the files it produces instead",
        ));
    }
    let mut walk = Walk {
        files,
        include: glob("include", &source.include)?,
        exclude: glob("exclude", &source.exclude)?,
        source,
        limits,
        found: Vec::new(),
        size: 0,
        warnings,
    };
    walk.folder(path, "", 0)?;
    let found = walk.found;
    let mut all = Vec::new();
    for file in found {
        read(files, &file, limits, &mut all, warnings)?;
    }
    Ok(all)
}

fn glob(field: &str, pattern: &str) -> Result<Option<GlobMatcher>, RenderError> {
    if pattern.is_empty() {
        return Ok(None);
    }
    // As in Argo CD, `*` also matches `/`.
    let built =
        GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).empty_alternates(true).build();
    built.map(|glob| Some(glob.compile_matcher())).map_err(|error| {
        let message = format!("directory.{field} `{pattern}` is not a valid glob: {}", error.kind());
        RenderError::new(Reason::InvalidSpec, message)
    })
}

struct Walk<'a> {
    files: &'a dyn Files,
    include: Option<GlobMatcher>,
    exclude: Option<GlobMatcher>,
    source: &'a DirectorySource,
    limits: &'a RenderLimits,
    found: Vec<String>,
    size: u64,
    warnings: &'a mut Vec<String>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &str, relative: &str, depth: usize) -> Result<(), RenderError> {
        if depth > DEEPEST_FOLDER {
            let message = format!("folders are nested deeper than {DEEPEST_FOLDER} levels");
            return Err(RenderError::in_file(Reason::InputTooLarge, folder, message));
        }
        for entry in self.files.list(folder)?.unwrap_or_default() {
            let path = join(folder, &entry.name);
            let relative = join(relative, &entry.name);
            match entry.kind {
                EntryKind::File => {
                    if self.wanted(&entry.name, &relative, &path)? {
                        self.take(path)?;
                    }
                }
                EntryKind::Directory => {
                    if self.source.recurse {
                        self.folder(&path, &relative, depth + 1)?;
                    }
                }
                EntryKind::Symlink => self.link(folder, &entry.name, &relative, &path)?,
                EntryKind::Submodule => {
                    if self.source.recurse {
                        self.warnings.push(format!("{path}: a submodule; its files are not read, since submodules.enabled is not set in the Repository"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A symlink that leaves the tree is refused whatever its name: what it would show is not of this repository.
    fn link(&mut self, folder: &str, name: &str, relative: &str, path: &str) -> Result<(), RenderError> {
        let target = locate(self.files, folder, name)?;
        let wanted = self.wanted(name, relative, path)?;
        match target {
            Some(target) if target.entry.kind == EntryKind::File && wanted => self.take(target.path)?,
            Some(target) if target.entry.kind != EntryKind::File && self.source.recurse => {
                self.warnings.push(format!("{path}: a symlink to a folder; such folders are not read"));
            }
            None if wanted => {
                let message = "the symlink points to a file that does not exist";
                return Err(RenderError::in_file(Reason::PathNotFound, path, message));
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    fn wanted(&self, name: &str, relative: &str, path: &str) -> Result<bool, RenderError> {
        let jsonnet = name.ends_with(".jsonnet");
        let by_name = self.source.disable_extension_filter
            || jsonnet
            || EXTENSIONS.iter().any(|extension| name.ends_with(extension));
        let wanted = by_name
            && !self.exclude.as_ref().is_some_and(|glob| glob.is_match(relative))
            && self.include.as_ref().is_none_or(|glob| glob.is_match(relative));
        if wanted && jsonnet {
            let message =
                "Jsonnet is not supported: commit the file it produces, or exclude this one (directory.exclude)";
            return Err(RenderError::in_file(Reason::RenderUnsupported, path, message));
        }
        Ok(wanted)
    }

    /// The sum is checked from the sizes, before anything is read.
    fn take(&mut self, path: String) -> Result<(), RenderError> {
        self.size = self.size.saturating_add(self.files.size(&path)?.unwrap_or_default());
        if self.size > self.limits.input_bytes {
            let limit = self.limits.input_bytes;
            let message = format!("with this file the manifests exceed the limit of {limit} bytes for one source");
            return Err(RenderError::in_file(Reason::InputTooLarge, &path, message));
        }
        if self.found.len() >= self.limits.tree_files {
            let message = format!("the source has more than {} files", self.limits.tree_files);
            return Err(RenderError::in_file(Reason::InputTooLarge, &path, message));
        }
        self.found.push(path);
        Ok(())
    }
}

fn read(
    files: &dyn Files,
    path: &str,
    limits: &RenderLimits,
    all: &mut Vec<Manifest>,
    warnings: &mut Vec<String>,
) -> Result<(), RenderError> {
    let content = files.read(path)?.unwrap_or_default();
    if skips(&content) {
        return Ok(());
    }
    let limit = usize::try_from(limits.input_bytes).unwrap_or(usize::MAX);
    let yaml_limits = YamlLimits { bytes: limits.yaml.bytes.min(limit), ..limits.yaml };
    let decoded =
        yaml::decode(&content, &yaml_limits, limits.duplicate_keys).map_err(|error| RenderError::yaml(path, error))?;
    warnings.extend(decoded.warnings.into_iter().map(|warning| format!("{path}: {warning}")));
    if !decoded.documents.is_empty() && decoded.documents.iter().all(|document| is_foreign(&document.value)) {
        warnings
            .push(format!("{path}: ignored, it has neither `apiVersion` nor `kind`; directory.exclude silences this"));
        return Ok(());
    }
    all.extend(manifests(decoded.documents, |document| Origin { file: path.to_owned(), line: document.line })?);
    Ok(())
}

fn skips(content: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content) else { return false };
    text.contains(SKIP_MARKER)
        && text.lines().any(|line| line.trim_start().starts_with('#') && line.contains(SKIP_MARKER))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::memory::MemoryFiles;

    fn object(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n")
    }

    fn names(files: &MemoryFiles, source: &DirectorySource) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        let found = render(files, "app", source, &RenderLimits::default(), &mut warnings);
        found
            .map(|all| all.iter().map(|manifest| format!("{} {}", manifest.origin, manifest.name())).collect())
            .map_err(|error| format!("{} {error}", error.reason))
    }

    fn tree() -> MemoryFiles {
        MemoryFiles::new()
            .file("app/a.yaml", object("a"))
            .file("app/b.yml", format!("# hello\n---\n{}---\n{}", object("b1"), object("b2")))
            .file("app/c.json", r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}"#)
            .file("app/notes.txt", "not: [yaml")
            .file("app/sub/d.yaml", object("d"))
            .file("app/sub/skip.yaml", format!("# +argocd:skip-file-rendering\n{}", object("skipped")))
            .file("app/sub/deep/e.yaml", object("e"))
            .file("other/f.yaml", object("f"))
    }

    #[test]
    fn files_are_read_by_extension_and_folders_below_only_on_demand() {
        let flat = ["app/a.yaml:1 a", "app/b.yml:3 b1", "app/b.yml:8 b2", "app/c.json:1 c"];
        assert_eq!(names(&tree(), &DirectorySource::default()).unwrap(), flat);
        let source = DirectorySource { recurse: true, ..DirectorySource::default() };
        let deep = [&flat[..], &["app/sub/d.yaml:1 d", "app/sub/deep/e.yaml:1 e"]].concat();
        assert_eq!(names(&tree(), &source).unwrap(), deep);
    }

    #[test]
    fn globs_match_paths_from_the_source_and_exclude_wins() {
        let with = |include: &str, exclude: &str| {
            let (include, exclude) = (include.to_owned(), exclude.to_owned());
            names(&tree(), &DirectorySource { recurse: true, include, exclude, ..DirectorySource::default() })
        };
        assert_eq!(with("{a,b}.y*", "").unwrap(), ["app/a.yaml:1 a", "app/b.yml:3 b1", "app/b.yml:8 b2"]);
        assert_eq!(with("sub/*.yaml", "").unwrap(), ["app/sub/d.yaml:1 d", "app/sub/deep/e.yaml:1 e"]);
        assert_eq!(with("*.yaml", "{sub/deep/**,a.*}").unwrap(), ["app/sub/d.yaml:1 d"]);
        assert_eq!(
            with("[", "").unwrap_err(),
            "InvalidSpec directory.include `[` is not a valid glob: unclosed character class; missing ']'"
        );
    }

    #[test]
    fn symlinks_are_followed_inside_the_tree_and_refused_when_they_leave_it() {
        let inside = tree().link("app/link.yaml", "../other/f.yaml").link("app/folder", "../other");
        let found = names(&inside, &DirectorySource::default()).unwrap();
        assert_eq!(found.last().map(String::as_str), Some("other/f.yaml:1 f"));
        for target in ["../../secret.yaml", "/etc/passwd"] {
            let error = names(&tree().link("app/link", target), &DirectorySource::default()).unwrap_err();
            assert_eq!(
                error,
                format!("PathEscape app/link: the symlink points to `{target}`, outside of the repository")
            );
        }
        let error = names(&tree().link("app/link.yaml", "nothing"), &DirectorySource::default()).unwrap_err();
        assert_eq!(error, "PathNotFound app/link.yaml: the symlink points to a file that does not exist");
    }

    #[test]
    fn errors_name_file_and_line() {
        let with = |content: &str| names(&tree().file("app/x.yaml", content), &DirectorySource::default()).unwrap_err();
        assert_eq!(
            with("a: b\n c: d\n"),
            "InvalidYaml app/x.yaml:2: column 3: mapping values are not allowed in this context"
        );
        assert_eq!(
            with("a: 1\nb: 2\na: 3\n"),
            "DuplicateKey app/x.yaml:3: column 1: the key `a` appears twice in one mapping"
        );
        assert_eq!(
            with(&format!("{}---\nkind: A\n", object("x"))),
            "InvalidManifest app/x.yaml:6: `apiVersion` is missing in an object of kind A"
        );
        let error = names(&tree().file("app/x.jsonnet", "{}"), &DirectorySource::default()).unwrap_err();
        assert!(error.starts_with("RenderUnsupported app/x.jsonnet: Jsonnet is not supported"), "{error}");
    }

    #[test]
    fn the_sum_of_sizes_is_bounded() {
        let big = tree().file("app/big.yaml", vec![b'#'; 60 * 1024 * 1024]);
        assert_eq!(
            names(&big, &DirectorySource::default()).unwrap_err(),
            "InputTooLarge app/big.yaml: with this file the manifests exceed the limit of 10485760 bytes for one source"
        );
    }

    #[test]
    fn files_that_claim_to_be_no_object_are_ignored_with_a_warning() {
        let files = tree().file("app/values.yaml", "replicas: 3\n");
        let mut warnings = Vec::new();
        let source = DirectorySource::default();
        let found = render(&files, "app", &source, &RenderLimits::default(), &mut warnings).unwrap();
        assert_eq!(found.len(), 4);
        let warning =
            "app/values.yaml: ignored, it has neither `apiVersion` nor `kind`; directory.exclude silences this";
        assert_eq!(warnings, [warning]);
    }
}

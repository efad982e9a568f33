//! The files that a tool gets to see, and nothing else: chosen from the tree, then written into a private directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use crate::model::{EntryKind, Files, Reason};

use super::tree::{Located, join, locate, parent};
use super::yaml::{self, DuplicateKeys};
use super::{RecordingFiles, RenderError, RenderLimits};

/// Files and symlinks by the path under which the tool sees them.
pub(super) struct Material<'a> {
    files: &'a RecordingFiles<'a>,
    limits: &'a RenderLimits,
    /// Path for the tool → path in the tree.
    chosen: BTreeMap<String, String>,
    /// Path for the tool → content that replaces the tree's.
    replaced: BTreeMap<String, Vec<u8>>,
    /// Path for the tool → target.
    links: BTreeMap<String, String>,
    folders: BTreeSet<String>,
    bytes: u64,
}

impl<'a> Material<'a> {
    pub(super) fn new(files: &'a RecordingFiles<'a>, limits: &'a RenderLimits) -> Self {
        Self {
            files,
            limits,
            chosen: BTreeMap::new(),
            replaced: BTreeMap::new(),
            links: BTreeMap::new(),
            folders: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Adds a file, or a folder with everything below it, and the symlinks on the way to it.
    pub(super) fn add(&mut self, located: &Located) -> Result<(), RenderError> {
        self.add_links(located);
        match located.entry.kind {
            EntryKind::File => self.file(self.files, &located.path, located.path.clone()),
            EntryKind::Directory => self.folder(&located.path, &located.path),
            EntryKind::Symlink | EntryKind::Submodule => Err(submodule(&located.path)),
        }
    }

    /// Adds the symlinks on the way to a place.
    pub(super) fn add_links(&mut self, located: &Located) {
        self.links.extend(located.links.iter().cloned());
    }

    /// Adds a folder of the tree under another path.
    pub(super) fn graft(&mut self, path: &str, under: &str) -> Result<(), RenderError> {
        self.folder(path, under)
    }

    /// Gives the tool other content than the tree has.
    pub(super) fn replace(&mut self, path: &str, content: Vec<u8>) {
        self.replaced.insert(path.to_owned(), content);
    }

    /// Whether the tool will find a file of that path, and where in the tree it comes from.
    pub(super) fn source_of(&self, path: &str) -> Option<&str> {
        self.chosen.get(path).map(String::as_str)
    }

    /// The paths that the tool will find, in order.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, &str)> {
        self.chosen.iter().map(|(under, path)| (under.as_str(), path.as_str()))
    }

    /// Whether a Chart.yaml of the tree names a chart.
    pub(super) fn names_chart(&self, path: &str, name: &str) -> bool {
        let Ok(Some(content)) = self.files.read(path) else { return false };
        yaml::decode(&content, &self.limits.yaml, DuplicateKeys::Warn).is_ok_and(|decoded| {
            decoded.documents.first().and_then(|document| document.value.get("name")?.as_str()) == Some(name)
        })
    }

    fn file(&mut self, files: &dyn Files, path: &str, under: String) -> Result<(), RenderError> {
        if self.chosen.contains_key(&under) {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(files.size(path)?.unwrap_or_default());
        if self.bytes > self.limits.tree_bytes {
            let message = format!(
                "with this file the sources exceed the limit of {} bytes for one render",
                self.limits.tree_bytes
            );
            return Err(RenderError::in_file(Reason::InputTooLarge, path, message));
        }
        if self.chosen.len() >= self.limits.tree_files {
            let message = format!("the sources have more than {} files", self.limits.tree_files);
            return Err(RenderError::in_file(Reason::InputTooLarge, path, message));
        }
        self.chosen.insert(under, path.to_owned());
        Ok(())
    }

    fn folder(&mut self, path: &str, under: &str) -> Result<(), RenderError> {
        let files = self.files.subtree(path)?;
        let mut ahead = vec![(path.to_owned(), under.to_owned())];
        while let Some((path, under)) = ahead.pop() {
            if !self.folders.insert(under.clone()) {
                continue;
            }
            for entry in files.list(&path)?.unwrap_or_default() {
                let below = join(&path, &entry.name);
                let below_under = join(&under, &entry.name);
                match entry.kind {
                    EntryKind::File => self.file(files, &below, below_under)?,
                    EntryKind::Directory => ahead.push((below, below_under)),
                    // Its files are not of this repository; a tool that needs them says which it misses.
                    EntryKind::Submodule => {}
                    EntryKind::Symlink => {
                        let target = locate(self.files, &path, &entry.name)?;
                        let text = files.read(&below)?.unwrap_or_default();
                        self.links.insert(below_under, String::from_utf8_lossy(&text).into_owned());
                        if let Some(target) = target {
                            self.add(&target)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes everything below `root`, which is empty and private. Files first: their paths hold no symlink.
    pub(super) fn write(&self, root: &Path) -> Result<(), RenderError> {
        for (under, path) in &self.chosen {
            if self.replaced.contains_key(under) {
                continue;
            }
            let content = self.files.read(path)?.unwrap_or_default();
            write_file(root, under, &content).map_err(|error| failed(under, &error))?;
        }
        for (under, content) in &self.replaced {
            write_file(root, under, content).map_err(|error| failed(under, &error))?;
        }
        for folder in &self.folders {
            create_folder(root, folder).map_err(|error| failed(folder, &error))?;
        }
        for (under, target) in &self.links {
            let created = create_folder(root, parent(under)).and_then(|()| symlink(target, root.join(under)));
            match created {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(under, &error)),
            }
        }
        Ok(())
    }
}

fn submodule(path: &str) -> RenderError {
    let message = "a submodule: its files belong to another repository; set submodules.enabled: true in the Repository that \
                   covers this one";
    RenderError::in_file(Reason::SubmoduleFailed, path, message)
}

fn failed(path: &str, error: &io::Error) -> RenderError {
    RenderError::in_file(Reason::StoreFailed, path, format!("the file can't be written for the tool: {error}"))
}

/// Refuses names that a hostile tree could use to write elsewhere.
fn create_folder(root: &Path, path: &str) -> io::Result<()> {
    if path.split('/').any(|name| matches!(name, "." | "..") || name.contains('\0')) || path.starts_with('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has a name that no file may have"));
    }
    fs::create_dir_all(root.join(path))
}

/// Writes a file that does not exist yet below a private directory.
pub(super) fn write_file(root: &Path, path: &str, content: &[u8]) -> io::Result<()> {
    create_folder(root, path.rsplit_once('/').map_or("", |(folder, _)| folder))?;
    if matches!(path.rsplit('/').next(), None | Some("" | "." | "..")) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has a name that no file may have"));
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(root.join(path))?.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::memory::MemoryFiles;

    #[test]
    fn only_what_was_chosen_is_written_with_its_symlinks() {
        let tree = MemoryFiles::new()
            .file("app/a", "a")
            .file("app/sub/b", "b")
            .link("app/shared", "../lib")
            .link("app/loop", "../app")
            .file("lib/c", "c")
            .file("secret/d", "d");
        let recording = RecordingFiles::new(&tree);
        let limits = RenderLimits::default();
        let mut material = Material::new(&recording, &limits);
        material.add(&locate(&recording, "", "app").unwrap().unwrap()).unwrap();
        material.graft("lib", "app/charts/lib").unwrap();
        material.replace("app/a", b"other".to_vec());
        let root = tempfile::tempdir().unwrap();
        material.write(root.path()).unwrap();
        let read = |path: &str| fs::read_to_string(root.path().join(path)).ok();
        assert_eq!(read("app/a").as_deref(), Some("other"));
        assert_eq!(read("app/sub/b").as_deref(), Some("b"));
        assert_eq!(read("app/shared/c").as_deref(), Some("c"));
        assert_eq!(read("app/charts/lib/c").as_deref(), Some("c"));
        assert_eq!(read("app/loop/sub/b").as_deref(), Some("b"));
        assert_eq!(read("secret/d"), None);
    }

    #[test]
    fn size_and_number_of_files_are_bounded_and_symlinks_may_not_leave_the_tree() {
        let refuse = |tree: MemoryFiles| {
            let recording = RecordingFiles::new(&tree);
            let limits = RenderLimits { tree_bytes: 10, tree_files: 3, ..RenderLimits::default() };
            let mut material = Material::new(&recording, &limits);
            let located = locate(&recording, "", "app").unwrap().unwrap();
            material.add(&located).map_err(|error| (error.reason, error.file))
        };
        let tree = MemoryFiles::new().file("app/a", "a");
        assert_eq!(refuse(tree.clone()), Ok(()));
        assert_eq!(refuse(tree.clone().file("app/b", "0123456789")), Err((Reason::InputTooLarge, "app/b".to_owned())));
        let many = ["b", "c", "d"].iter().fold(tree.clone(), |tree, name| tree.file(&format!("app/{name}"), ""));
        assert_eq!(refuse(many), Err((Reason::InputTooLarge, "app/d".to_owned())));
        assert_eq!(refuse(tree.link("app/out", "/etc")), Err((Reason::PathEscape, "app/out".to_owned())));
    }
}

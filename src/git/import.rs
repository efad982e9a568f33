//! Files that did not come as git objects → a commit in a store, so that everything after it is as for git. Blocking.
//!
//! The files are collected in a repository beside the store's objects, packed in one go, and only then named: what is cut
//! short leaves nothing behind. The commit is a pure function of its files and of the note.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use git2::{ObjectType, Oid, Repository, RepositoryInitOptions, Signature, Time};

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::layout::{self, FETCHED, TIPS};
use super::store::Store;

/// Name and address of the author of imported commits.
const AUTHOR: (&str, &str) = ("tidelock", "import@tidelock.dev");

/// Begins the line of the message that names where an imported commit is from.
const ORIGIN: &str = "origin: ";

/// How deep folders may lie in each other.
const DEEPEST: usize = 64;

/// What an imported file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedKind {
    /// A file.
    File,
    /// A program.
    Executable,
    /// A symbolic link; its content is the target.
    Link,
}

impl ImportedKind {
    const fn mode(self) -> i32 {
        match self {
            Self::File => 0o100_644,
            Self::Executable => 0o100_755,
            Self::Link => 0o120_000,
        }
    }
}

/// What an imported commit says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportNote {
    /// What people call it: a chart's version, an artifact's digest. One line.
    pub name: String,
    /// What exactly was imported, so that it isn't fetched twice. One line.
    pub origin: String,
    /// When it was made, in seconds since 1970, if that is known; else 0.
    pub made: i64,
}

enum Node {
    File(ImportedKind, Oid),
    Folder(BTreeMap<String, Node>),
}

/// Files on their way into a store. Dropped before `finish`, everything is removed.
pub struct Import {
    store: Store,
    folder: PathBuf,
    repository: Option<Repository>,
    root: BTreeMap<String, Node>,
}

impl Store {
    /// Begins an import. Must not be called from an async task.
    pub fn import(&self) -> Result<Import, GitError> {
        let folder = layout::fresh_import(self.dir())?;
        let mut options = RepositoryInitOptions::new();
        options.bare(true).external_template(false).initial_head("refs/heads/none");
        let repository = Repository::init_opts(&folder, &options)
            .map_err(|error| GitError::store("creating a repository for an import", &error))?;
        Ok(Import { store: self.clone(), folder, repository: Some(repository), root: BTreeMap::new() })
    }

    /// All imported commits that are held, by their origin.
    pub fn imports(&self) -> Result<BTreeMap<String, Revision>, GitError> {
        let mut found = BTreeMap::new();
        for revision in self.refs(FETCHED)?.into_values().chain(self.refs(TIPS)?.into_values()) {
            if let Some(note) = self.imported(&revision) {
                found.insert(note.origin, revision);
            }
        }
        Ok(found)
    }

    /// What an imported commit says about itself; `None` for a commit that was not imported, or is not held.
    pub fn imported(&self, revision: &Revision) -> Option<ImportNote> {
        let repository = Repository::open_bare(self.dir()).ok()?;
        let commit = repository.find_commit(Oid::from_str(revision.as_str()).ok()?).ok()?;
        let author = commit.author();
        if author.email_bytes() != AUTHOR.1.as_bytes() {
            return None;
        }
        let message = String::from_utf8_lossy(commit.message_raw_bytes()).into_owned();
        let mut lines = message.lines();
        let name = lines.next()?.to_owned();
        let origin = lines.find_map(|line| line.strip_prefix(ORIGIN))?.to_owned();
        Some(ImportNote { name, origin, made: commit.time().seconds() })
    }
}

impl Import {
    fn repository(&self) -> Result<&Repository, GitError> {
        let gone = || GitError::new(Reason::InternalError, "an import was used after its end");
        self.repository.as_ref().ok_or_else(gone)
    }

    /// Adds a file. One of the same path that came before is replaced.
    pub fn add(&mut self, path: &str, kind: ImportedKind, content: &[u8]) -> Result<(), GitError> {
        let odb = self.repository()?.odb().map_err(|error| GitError::store("opening the object database", &error))?;
        let id = odb.write(ObjectType::Blob, content).map_err(|error| GitError::store("writing a file", &error))?;
        drop(odb);
        self.place(path, kind, id)
    }

    /// Adds a file with the content of one that came before. False when there is none at `from`.
    pub fn copy(&mut self, path: &str, from: &str) -> Result<bool, GitError> {
        let mut at = &self.root;
        let mut found = None;
        for name in from.split('/') {
            match at.get(name) {
                Some(Node::Folder(inner)) => at = inner,
                Some(Node::File(kind, id)) => found = Some((*kind, *id)),
                None => return Ok(false),
            }
        }
        match found {
            Some((kind, id)) => self.place(path, kind, id).map(|()| true),
            None => Ok(false),
        }
    }

    fn place(&mut self, path: &str, kind: ImportedKind, id: Oid) -> Result<(), GitError> {
        let wrong = |what: &str| Err(GitError::new(Reason::ArtifactInvalid, format!("the path `{path}` {what}")));
        let names: Vec<&str> = path.split('/').collect();
        if names.iter().any(|name| matches!(*name, "" | "." | "..") || name.eq_ignore_ascii_case(".git")) {
            return wrong("has a name that no file may have");
        }
        if names.len() > DEEPEST {
            return wrong("lies too deep");
        }
        let Some((last, folders)) = names.split_last() else { return wrong("is empty") };
        let mut at = &mut self.root;
        for name in folders {
            let node = at.entry((*name).to_owned()).or_insert_with(|| Node::Folder(BTreeMap::new()));
            match node {
                Node::Folder(inner) => at = inner,
                Node::File(..) => return wrong("goes through a file as if it were a folder"),
            }
        }
        if let Some(Node::Folder(_)) = at.get(*last) {
            return wrong("is a file and a folder at once");
        }
        at.insert((*last).to_owned(), Node::File(kind, id));
        Ok(())
    }

    /// Ends the import: everything becomes one commit of the store, kept until it is named by [`Store::record_tip`].
    /// Waits for a fetch that is under way. Must not be called from an async task.
    pub fn finish(mut self, note: &ImportNote) -> Result<Revision, GitError> {
        let failed = |error: git2::Error| GitError::store("importing", &error);
        let file = |error: std::io::Error| GitError::file("importing", &error);
        let root = std::mem::take(&mut self.root);
        let source = self.repository()?;
        let tree = write_tree(source, &root).map_err(failed)?;
        let tree = source.find_tree(tree).map_err(failed)?;
        let line =
            |text: &str| text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect::<String>();
        let message = format!("{}\n\n{ORIGIN}{}\n", line(&note.name), line(&note.origin));
        let author = Signature::new(AUTHOR.0, AUTHOR.1, &Time::new(note.made, 0)).map_err(failed)?;
        let id = source.commit(None, &author, &author, &message, &tree, &[]).map_err(failed)?;
        drop(tree);
        let revision = Revision::parse(&id.to_string())
            .map_err(|error| GitError::new(Reason::InternalError, error.to_string()))?;

        let writing = self.store.writing();
        let _alone = writing.blocking_lock();
        if !self.store.has(&revision)? {
            let packs = self.store.dir().join("objects/pack");
            fs::create_dir_all(&packs).map_err(file)?;
            // Packed beside the store first: how large it is shows only then.
            let mut builder = source.packbuilder().map_err(failed)?;
            builder.insert_commit(id).map_err(failed)?;
            builder.write(&self.folder, 0o444).map_err(failed)?;
            let name = builder.name().map_err(failed)?.map(str::to_owned);
            let name = name.ok_or_else(|| GitError::new(Reason::StoreFailed, "an import made no pack".to_owned()))?;
            let pack = self.folder.join(format!("pack-{name}.pack"));
            let index = pack.with_extension("idx");
            let bytes = pack.metadata().map_err(file)?.len() + index.metadata().map_err(file)?.len();
            let limit = self.store.limits().bytes;
            if self.store.size().saturating_add(bytes) > limit {
                self.store.repack()?;
                let left = limit.saturating_sub(self.store.size());
                if bytes > left {
                    let message = format!(
                        "what was fetched does not fit into the object store: {left} bytes are left of its limit"
                    );
                    return Err(GitError::new(Reason::PackTooLarge, message));
                }
            }
            for path in [&pack, &index] {
                fs::File::open(path).and_then(|file| file.sync_all()).map_err(file)?;
            }
            // The pack first: a pack without an index is invisible, and is reaped when the store is opened.
            for path in [&pack, &index] {
                fs::rename(path, packs.join(path.file_name().unwrap_or_default())).map_err(file)?;
            }
            fs::File::open(&packs).and_then(|folder| folder.sync_all()).map_err(file)?;
        }
        let target = Repository::open_bare(self.store.dir()).map_err(failed)?;
        target.find_commit(id).and_then(|commit| commit.tree()).map_err(failed)?;
        let recorded = target.reference(&format!("{FETCHED}{revision}"), id, true, "import");
        recorded.map_err(|error| GitError::store("recording an imported commit", &error))?;
        Ok(revision)
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        self.repository = None;
        // What stays is reaped when the store is opened.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn write_tree(repository: &Repository, nodes: &BTreeMap<String, Node>) -> Result<Oid, git2::Error> {
    let mut builder = repository.treebuilder(None)?;
    for (name, node) in nodes {
        match node {
            Node::File(kind, id) => builder.insert(name.as_str(), *id, kind.mode())?,
            Node::Folder(inner) => builder.insert(name.as_str(), write_tree(repository, inner)?, 0o040_000)?,
        };
    }
    builder.write()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::testing::TestStore;
    use crate::git::{SnapshotLimits, StoreLimits};
    use crate::model::{EntryKind, Files as _};

    fn note(name: &str) -> ImportNote {
        ImportNote { name: name.to_owned(), origin: format!("sha256:{name}"), made: 1_700_000_000 }
    }

    fn import(store: &Store, name: &str, content: &[u8]) -> Revision {
        let mut import = store.import().unwrap();
        import.add("Chart.yaml", ImportedKind::File, content).unwrap();
        import.add("templates/run.sh", ImportedKind::Executable, b"#!/bin/sh\n").unwrap();
        import.add("templates/link", ImportedKind::Link, b"run.sh").unwrap();
        assert_eq!(import.copy("copy.yaml", "Chart.yaml"), Ok(true));
        assert_eq!(import.copy("none", "templates/none"), Ok(false));
        import.finish(&note(name)).unwrap()
    }

    #[test]
    fn imported_files_are_a_commit_that_depends_on_nothing_but_them_and_survives_compaction_and_reopening() {
        let test = TestStore::new();
        let revision = import(&test.store, "1.0.0", b"name: a\n");
        let other = TestStore::new();
        assert_eq!(import(&other.store, "1.0.0", b"name: a\n"), revision);
        assert_ne!(import(&other.store, "1.0.0", b"name: b\n"), revision);
        assert_eq!(import(&test.store, "1.0.0", b"name: a\n"), revision, "again");

        test.store.record_tip("chart@1.0.0", &revision).unwrap();
        test.store.repack().unwrap();
        let store = Store::open(&test.path(), StoreLimits::default()).unwrap();
        assert_eq!(store.imported(&revision), Some(note("1.0.0")));
        assert_eq!(store.imports(), Ok(BTreeMap::from([("sha256:1.0.0".to_owned(), revision.clone())])));
        let files = store.snapshot(&revision, SnapshotLimits::default()).unwrap();
        assert_eq!(files.read("copy.yaml").unwrap().as_deref(), Some(&b"name: a\n"[..]));
        assert_eq!(files.entry("templates/link").unwrap().map(|entry| entry.kind), Some(EntryKind::Symlink));
        let left: Vec<_> = test.path().read_dir().unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("import-")), "{left:?}");
    }

    #[test]
    fn an_import_that_is_dropped_or_does_not_fit_leaves_nothing() {
        let test = TestStore::new();
        let before = test.object_files();
        let mut import = test.store.import().unwrap();
        import.add("a", ImportedKind::File, b"a").unwrap();
        drop(import);
        assert_eq!(test.object_files(), before);

        let tiny = Store::open(&test.dir.path().join("tiny"), StoreLimits { bytes: 100 }).unwrap();
        let mut import = tiny.import().unwrap();
        import.add("a", ImportedKind::File, b"a").unwrap();
        assert_eq!(import.finish(&note("1")).unwrap_err().reason, Reason::PackTooLarge);
        assert_eq!(tiny.size(), 0);
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        let test = TestStore::new();
        let mut import = test.store.import().unwrap();
        import.add("a/b", ImportedKind::File, b"x").unwrap();
        for path in ["", "/a", "a//c", "../a", "a/./c", "x/.git/config", "a/b/c", "a", &"d/".repeat(70)] {
            let error = import.add(path, ImportedKind::File, b"x").unwrap_err();
            assert_eq!(error.reason, Reason::ArtifactInvalid, "{path}");
        }
    }
}

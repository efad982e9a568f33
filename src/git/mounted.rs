//! A commit's files together with those of its submodules and the contents behind its LFS pointers. Blocking.
//!
//! Which of both a render needs is known only when it asks for them. So a tree that lacks something notes what, gives an
//! empty directory or file in its place, and whoever renders looks at [`Mounted::lacking`] before the result is used:
//! what is noted there has to be brought, and the render to be done again. What is off is refused instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Entry, EntryKind, Files, FilesError, Revision};

use super::lfs::{LONGEST_POINTER, LfsPointer, LfsStore};
use super::snapshot::Snapshot;

/// More than this is not noted at once: the rest is noted when the render is done again.
const MOST_NOTES: usize = 1000;

/// What to make of the LFS pointers of one repository.
#[derive(Clone, Debug)]
pub enum LfsMode {
    /// They are refused.
    Off,
    /// Their contents come from here.
    On(LfsStore),
}

/// Something that a render asked for and that has to be brought first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// The files of a submodule.
    Submodule {
        /// Where it is mounted, from the root.
        path: String,
        /// Where the repository that it is a submodule of is mounted; empty for the root.
        within: String,
        /// Its commit.
        revision: Revision,
    },
    /// The content of a file.
    Content {
        /// The file, from the root.
        path: String,
        /// Where its repository is mounted; empty for the root.
        within: String,
        /// Which content.
        pointer: LfsPointer,
    },
}

/// One repository of the tree.
#[derive(Clone)]
pub struct Mount {
    /// Its files.
    pub snapshot: Arc<Snapshot>,
    /// What to make of its LFS pointers.
    pub lfs: LfsMode,
}

/// See the module's documentation.
pub struct Mounted {
    root: Mount,
    /// Whether submodules are directories; otherwise they are what git says: commits of elsewhere.
    submodules: bool,
    mounts: BTreeMap<String, Mount>,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    lacking: BTreeSet<Lacking>,
    /// Pointers that were refused.
    refused: BTreeSet<String>,
}

impl Mounted {
    /// A commit's files alone: submodules are left out, and so are LFS contents unless `root` says otherwise.
    pub fn plain(root: Mount) -> Self {
        Self { root, submodules: false, mounts: BTreeMap::new(), notes: Mutex::default() }
    }

    /// A commit's files with submodules. `mounts` are those that are there already, by their paths from the root; the
    /// others are noted when somebody asks for their files.
    pub fn with_submodules(root: Mount, mounts: BTreeMap<String, Mount>) -> Self {
        Self { root, submodules: true, mounts, notes: Mutex::default() }
    }

    /// What was asked for and is not there. Unless it is empty, nothing that was read may be used.
    pub fn lacking(&self) -> BTreeSet<Lacking> {
        self.notes().lacking.clone()
    }

    /// Files that could not be read because they are LFS pointers and LFS is off.
    pub fn refused_pointers(&self) -> BTreeSet<String> {
        self.notes().refused.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, lacking: Lacking) {
        let mut notes = self.notes();
        if notes.lacking.len() < MOST_NOTES {
            notes.lacking.insert(lacking);
        }
    }

    /// The innermost repository that a path is in, where that is mounted, and the path in it. At its very root for the
    /// path of the mount itself.
    fn at<'a>(&self, path: &'a str) -> (&Mount, &'a str, &'a str) {
        // The longest prefix of whole names: asked from the longest down.
        let mut end = path.len();
        loop {
            if let Some(mount) = self.mounts.get(&path[..end]) {
                return (mount, &path[..end], path[end..].trim_start_matches('/'));
            }
            match path[..end].rfind('/') {
                Some(slash) => end = slash,
                None => return (&self.root, "", path),
            }
        }
    }

    /// The submodule that is not mounted and that lies on a path, if any: at the path itself or above it.
    fn unmounted(&self, path: &str) -> Result<Option<Lacking>, FilesError> {
        if !self.submodules {
            return Ok(None);
        }
        let (mount, within, inner) = self.at(path);
        // Every beginning of the path, the shortest first.
        let ends = inner.match_indices('/').map(|(at, _)| at).chain([inner.len()]);
        for begin in ends.filter_map(|end| inner.get(..end)).filter(|begin| !begin.is_empty()) {
            match mount.snapshot.entry(begin).map_err(|error| below(within, error))? {
                Some(entry) if entry.kind == EntryKind::Submodule => {
                    let path = join(within, begin);
                    let revision = Revision::parse(&entry.id)
                        .map_err(|error| FilesError { path: path.clone(), problem: error.to_string() })?;
                    return Ok(Some(Lacking::Submodule { path, within: within.to_owned(), revision }));
                }
                Some(entry) if entry.kind == EntryKind::Directory => {}
                Some(_) | None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// How a submodule's entry looks: a directory whose id is its commit, mounted or not.
    fn seen(&self, entry: Entry) -> Entry {
        match entry.kind {
            EntryKind::Submodule if self.submodules => Entry { kind: EntryKind::Directory, ..entry },
            EntryKind::Submodule | EntryKind::File | EntryKind::Symlink | EntryKind::Directory => entry,
        }
    }

    /// The pointer that a file is, if it is one.
    fn pointer(mount: &Mount, within: &str, inner: &str) -> Result<Option<LfsPointer>, FilesError> {
        let size = mount.snapshot.size(inner).map_err(|error| below(within, error))?;
        if size.is_none_or(|size| size >= LONGEST_POINTER) {
            return Ok(None);
        }
        let stored = mount.snapshot.read_as_stored(inner).map_err(|error| below(within, error))?;
        Ok(stored.and_then(|content| LfsPointer::parse(&content)))
    }

    fn content(&self, path: &str, within: &str, mount: &Mount, pointer: LfsPointer) -> Result<Arc<[u8]>, FilesError> {
        let failed = |problem: String| FilesError { path: path.to_owned(), problem };
        let store = match &mount.lfs {
            LfsMode::On(store) => store,
            LfsMode::Off => {
                let mut notes = self.notes();
                if notes.refused.len() < MOST_NOTES {
                    notes.refused.insert(path.to_owned());
                }
                return Err(failed(
                    "it is a git LFS pointer, not the file itself, and LFS is off; set lfs.enabled: true in the \
                     Repository that covers the URL, or store the file in git"
                        .to_owned(),
                ));
            }
        };
        let limit = mount.snapshot.limits().file_bytes;
        if pointer.size() > limit {
            return Err(failed(format!("the LFS file has {} bytes, the limit is {limit}", pointer.size())));
        }
        if let Some(content) = store.read(&pointer).map_err(|error| failed(error.message))? {
            return Ok(content);
        }
        self.note(Lacking::Content { path: path.to_owned(), within: within.to_owned(), pointer });
        Ok(Arc::from(Vec::new()))
    }
}

impl Files for Mounted {
    fn entry(&self, path: &str) -> Result<Option<Entry>, FilesError> {
        let (mount, within, inner) = self.at(path);
        if inner.is_empty() && !within.is_empty() {
            // Asked of the repository around it, which knows name and commit.
            let (outside, name) = within.rsplit_once('/').unwrap_or(("", within));
            let (mount, around, _) = self.at(outside);
            let inner = within.strip_prefix(around).unwrap_or(within).trim_start_matches('/');
            let entry = mount.snapshot.entry(inner).map_err(|error| below(around, error))?;
            return Ok(entry.map(|entry| Entry { name: name.to_owned(), kind: EntryKind::Directory, ..entry }));
        }
        if let Some(entry) = mount.snapshot.entry(inner).map_err(|error| below(within, error))? {
            Ok(Some(self.seen(entry)))
        } else {
            // In a submodule that is not there yet, or nowhere.
            self.unmounted(path)?.into_iter().for_each(|lacking| self.note(lacking));
            Ok(None)
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FilesError> {
        let (mount, within, inner) = self.at(path);
        let listed = mount.snapshot.list(inner).map_err(|error| below(within, error))?;
        if let Some(entries) = listed {
            return Ok(Some(entries.into_iter().map(|entry| self.seen(entry)).collect()));
        }
        match self.unmounted(path)? {
            Some(lacking) => {
                self.note(lacking);
                Ok(Some(Vec::new()))
            }
            None => Ok(None),
        }
    }

    fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError> {
        let (mount, within, inner) = self.at(path);
        let content = mount.snapshot.read_as_stored(inner).map_err(|error| below(within, error))?;
        if let Some(pointer) = content.as_deref().and_then(LfsPointer::parse) {
            return self.content(path, within, mount, pointer).map(Some);
        }
        if content.is_none() {
            self.unmounted(path)?.into_iter().for_each(|lacking| self.note(lacking));
        }
        Ok(content)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        let (mount, within, inner) = self.at(path);
        if let (LfsMode::On(_), Some(pointer)) = (&mount.lfs, Self::pointer(mount, within, inner)?) {
            return Ok(Some(pointer.size()));
        }
        mount.snapshot.size(inner).map_err(|error| below(within, error))
    }
}

fn join(within: &str, path: &str) -> String {
    if within.is_empty() { path.to_owned() } else { format!("{within}/{path}") }
}

fn below(within: &str, error: FilesError) -> FilesError {
    FilesError { path: join(within, &error.path), problem: error.problem }
}

#[cfg(test)]
#[path = "mounted_tests.rs"]
mod tests;

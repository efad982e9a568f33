//! The files at a commit, read from the object store without a checkout. Blocking.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use git2::{ErrorCode, ObjectType, Oid, Repository};

use crate::model::{Entry, EntryKind, Files, FilesError, Revision};

use super::lfs::LfsPointer;
use super::store::Pin;

/// Trees that are kept parsed. A render walks a tree depth first, so few are in use at a time.
const CACHED_TREES: usize = 128;

/// Bounds of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// The largest file that is read, in bytes.
    pub file_bytes: u64,
    /// The most entries that one directory may have.
    pub directory_entries: usize,
}

impl Default for SnapshotLimits {
    /// 64 MiB and 50 000 entries.
    fn default() -> Self {
        Self { file_bytes: 64 << 20, directory_entries: 50_000 }
    }
}

#[derive(Clone)]
struct Node {
    name: String,
    kind: EntryKind,
    id: Oid,
}

type Tree = Arc<[Node]>;

/// All files at one commit. While it lives, the store keeps what it reads.
pub struct Snapshot {
    state: Mutex<State>,
    dir: PathBuf,
    revision: Revision,
    root: Oid,
    limits: SnapshotLimits,
    _pin: Pin,
}

struct State {
    repository: Repository,
    trees: BTreeMap<Oid, Tree>,
}

impl Snapshot {
    pub(super) fn new(
        repository: Repository,
        dir: PathBuf,
        revision: Revision,
        root: Oid,
        limits: SnapshotLimits,
        pin: Pin,
    ) -> Self {
        let state = Mutex::new(State { repository, trees: BTreeMap::new() });
        Self { state, dir, revision, root, limits, _pin: pin }
    }

    /// The commit.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Identifies all files together: equal ids mean equal content.
    pub fn tree_id(&self) -> String {
        self.root.to_string()
    }

    /// The bounds of reading.
    pub(super) const fn limits(&self) -> SnapshotLimits {
        self.limits
    }

    /// The content of a file or the target of a symlink as git has it: of an LFS file, the pointer.
    pub(super) fn read_as_stored(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError> {
        let mut state = self.state();
        let Some(id) = self.find_blob(&mut state, path)? else { return Ok(None) };
        let size = self.blob_size(&mut state, id, path)?;
        let failed = |problem: String| FilesError { path: path.to_owned(), problem };
        if size > self.limits.file_bytes {
            return Err(failed(format!("the file has {size} bytes, the limit is {}", self.limits.file_bytes)));
        }
        let content = self.with(&mut state, |repository| Ok(Arc::from(repository.find_blob(id)?.content())));
        content.map(Some).map_err(failed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the repository; when that fails, once more from a freshly opened one: a compaction may have dropped a
    /// pack that was known but not open yet.
    fn with<T>(&self, state: &mut State, work: impl Fn(&Repository) -> Result<T, git2::Error>) -> Result<T, String> {
        if let Ok(value) = work(&state.repository) {
            return Ok(value);
        }
        state.repository = Repository::open_bare(&self.dir).map_err(|error| error.message().to_owned())?;
        work(&state.repository).map_err(|error| match error.code() {
            ErrorCode::NotFound => "the object is missing from the store".to_owned(),
            _ => error.message().to_owned(),
        })
    }

    fn tree(&self, state: &mut State, id: Oid, path: &str) -> Result<Tree, FilesError> {
        if let Some(tree) = state.trees.get(&id) {
            return Ok(Arc::clone(tree));
        }
        let failed = |problem: String| FilesError { path: path.to_owned(), problem };
        let limit = self.limits.directory_entries;
        let nodes = self.with(state, |repository| {
            let tree = repository.find_tree(id)?;
            let read = tree.iter().take(limit + 1).map(|entry| Node {
                name: String::from_utf8_lossy(entry.name_bytes()).into_owned(),
                kind: kind(entry.filemode()),
                id: entry.id(),
            });
            Ok(read.collect::<Vec<_>>())
        });
        let mut nodes = nodes.map_err(failed)?;
        if nodes.len() > limit {
            return Err(failed(format!("the directory has more than {limit} entries")));
        }
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        let tree: Tree = nodes.into();
        if state.trees.len() >= CACHED_TREES {
            state.trees.clear();
        }
        state.trees.insert(id, Arc::clone(&tree));
        Ok(tree)
    }

    fn find(&self, state: &mut State, path: &str) -> Result<Option<Node>, FilesError> {
        let mut at = Node { name: String::new(), kind: EntryKind::Directory, id: self.root };
        if path.is_empty() {
            return Ok(Some(at));
        }
        for name in path.split('/') {
            if at.kind != EntryKind::Directory {
                return Ok(None);
            }
            let tree = self.tree(state, at.id, path)?;
            let Ok(index) = tree.binary_search_by(|node| node.name.as_str().cmp(name)) else { return Ok(None) };
            at = tree[index].clone();
        }
        Ok(Some(at))
    }

    /// The file or symlink at a path.
    fn find_blob(&self, state: &mut State, path: &str) -> Result<Option<Oid>, FilesError> {
        let found = self.find(state, path)?;
        Ok(found.filter(|node| matches!(node.kind, EntryKind::File | EntryKind::Symlink)).map(|node| node.id))
    }

    fn blob_size(&self, state: &mut State, id: Oid, path: &str) -> Result<u64, FilesError> {
        let failed = |problem: String| FilesError { path: path.to_owned(), problem };
        let header = self.with(state, |repository| repository.odb()?.read_header(id)).map_err(failed)?;
        if header.1 != ObjectType::Blob {
            return Err(failed(format!("the object is a {}, not a file", header.1)));
        }
        Ok(header.0 as u64)
    }
}

impl Files for Snapshot {
    fn entry(&self, path: &str) -> Result<Option<Entry>, FilesError> {
        let found = self.find(&mut self.state(), path)?;
        Ok(found.map(|node| entry(&node)))
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FilesError> {
        let mut state = self.state();
        match self.find(&mut state, path)? {
            Some(node) if node.kind == EntryKind::Directory => {
                Ok(Some(self.tree(&mut state, node.id, path)?.iter().map(entry).collect()))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Refuses LFS pointers: what stands for a file must not be taken for the file. See [`super::Mounted`].
    fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError> {
        let content = self.read_as_stored(path)?;
        if content.as_deref().is_some_and(|content| LfsPointer::parse(content).is_some()) {
            let problem = "it is a git LFS pointer, not the file itself".to_owned();
            return Err(FilesError { path: path.to_owned(), problem });
        }
        Ok(content)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        let mut state = self.state();
        let Some(id) = self.find_blob(&mut state, path)? else { return Ok(None) };
        self.blob_size(&mut state, id, path).map(Some)
    }
}

fn entry(node: &Node) -> Entry {
    Entry { name: node.name.clone(), kind: node.kind, id: node.id.to_string() }
}

/// Git knows five modes; the executable bit is of no interest here.
fn kind(mode: i32) -> EntryKind {
    match mode & 0o170_000 {
        0o040_000 => EntryKind::Directory,
        0o120_000 => EntryKind::Symlink,
        0o160_000 => EntryKind::Submodule,
        _ => EntryKind::File,
    }
}

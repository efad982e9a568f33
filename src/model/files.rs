//! Files at a revision, as a renderer sees them.

use std::sync::Arc;

use thiserror::Error;

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symbolic link; its content is the target's text.
    Symlink,
    /// A directory.
    Directory,
    /// A submodule: a commit of another repository, whose files are not here.
    Submodule,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name within its directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Identifies the content (of a directory: of everything below it). Equal ids mean equal content.
    pub id: String,
}

/// A file could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("cannot read `{path}`: {problem}")]
pub struct FilesError {
    /// Path from the root.
    pub path: String,
    /// What went wrong.
    pub problem: String,
}

/// A read-only tree of files. Paths are relative to the root, `/`-separated, without `.` and `..`; the root is the
/// empty string. Symlinks are never followed by an implementation: they are entries like others.
pub trait Files: Send + Sync {
    /// The entry at a path, or `None` when there is none. The root is a directory.
    fn entry(&self, path: &str) -> Result<Option<Entry>, FilesError>;
    /// The entries of a directory sorted by name, or `None` when there is no directory at this path.
    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FilesError>;
    /// The content of a file or the target of a symlink, or `None` when there is neither at this path.
    fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError>;
    /// The size in bytes of what `read` would return, without reading it.
    fn size(&self, path: &str) -> Result<Option<u64>, FilesError>;
}

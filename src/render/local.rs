//! A directory on disk as a tree of files, for rendering without git.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::model::{Entry, EntryKind, Files, FilesError};

/// A directory on disk. Symlinks are entries, as in git, and never followed; `.git` is left out; what is neither file,
/// directory nor symlink is left out. The id of a file is a hash of its content. Ids of directories are computed once:
/// a value is for one look at a tree that stands still.
#[derive(Debug)]
pub struct LocalFiles {
    root: PathBuf,
    directories: Mutex<BTreeMap<String, String>>,
}

impl LocalFiles {
    /// The tree below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), directories: Mutex::default() }
    }

    /// The place of a path on disk, or `None` when the path would pass through a symlink or is not of the tree.
    fn place(&self, path: &str) -> Result<Option<PathBuf>, FilesError> {
        let mut place = self.root.clone();
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            if matches!(name, "." | ".." | ".git") {
                return Ok(None);
            }
            place.push(name);
            if names.peek().is_some() && !Self::metadata(&place, path)?.is_some_and(|metadata| metadata.is_dir()) {
                return Ok(None);
            }
        }
        Ok(Some(place))
    }

    fn metadata(place: &Path, path: &str) -> Result<Option<fs::Metadata>, FilesError> {
        // The root itself may be a symlink: the user named it.
        let found = if path.is_empty() { fs::metadata(place) } else { fs::symlink_metadata(place) };
        match found {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn describe(&self, place: &Path, path: &str) -> Result<Option<Entry>, FilesError> {
        let Some(metadata) = Self::metadata(place, path)? else { return Ok(None) };
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (kind, id) = if metadata.is_dir() {
            (EntryKind::Directory, self.subtree_id(path)?)
        } else if metadata.is_symlink() {
            (EntryKind::Symlink, content_id(&read_link(place, path)?))
        } else if metadata.is_file() {
            (EntryKind::File, content_id(&fs::read(place).map_err(|error| failed(path, &error))?))
        } else {
            return Ok(None);
        };
        Ok(Some(Entry { name, kind, id }))
    }

    fn subtree_id(&self, path: &str) -> Result<String, FilesError> {
        let known = self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(id) = known {
            return Ok(id);
        }
        let mut hasher = Sha256::new();
        for entry in self.list(path)?.unwrap_or_default() {
            hasher.update(format!("{:?} {} {}\n", entry.kind, entry.id, entry.name));
        }
        let id = hex(&hasher.finalize());
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), id.clone());
        Ok(id)
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn failed(path: &str, error: &io::Error) -> FilesError {
    FilesError { path: path.to_owned(), problem: error.to_string() }
}

fn content_id(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read_link(place: &Path, path: &str) -> Result<Vec<u8>, FilesError> {
    let target = fs::read_link(place).map_err(|error| failed(path, &error))?;
    Ok(target.as_os_str().as_bytes().to_vec())
}

impl Files for LocalFiles {
    fn entry(&self, path: &str) -> Result<Option<Entry>, FilesError> {
        match self.place(path)? {
            Some(place) => self.describe(&place, path),
            None => Ok(None),
        }
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FilesError> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        if !Self::metadata(&place, path)?.is_some_and(|metadata| metadata.is_dir()) {
            return Ok(None);
        }
        let mut entries = Vec::new();
        for item in fs::read_dir(&place).map_err(|error| failed(path, &error))? {
            let item = item.map_err(|error| failed(path, &error))?;
            let Ok(name) = item.file_name().into_string() else {
                let problem = "the directory has a file whose name is not valid UTF-8".to_owned();
                return Err(FilesError { path: path.to_owned(), problem });
            };
            if name == ".git" {
                continue;
            }
            let below = if path.is_empty() { name } else { format!("{path}/{name}") };
            entries.extend(self.describe(&item.path(), &below)?);
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Some(entries))
    }

    fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        match Self::metadata(&place, path)? {
            Some(metadata) if metadata.is_symlink() => Ok(Some(read_link(&place, path)?.into())),
            Some(metadata) if metadata.is_file() => {
                fs::read(&place).map(|content| Some(content.into())).map_err(|error| failed(path, &error))
            }
            Some(_) | None => Ok(None),
        }
    }

    fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        let Some(place) = self.place(path)? else { return Ok(None) };
        Ok(Self::metadata(&place, path)?
            .filter(|metadata| metadata.is_file() || metadata.is_symlink())
            .map(|metadata| metadata.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_on_disk_is_a_tree_whose_symlinks_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::create_dir(root.path().join(".git")).unwrap();
        fs::write(root.path().join("a/b/x.yaml"), "x: 1").unwrap();
        symlink("b", root.path().join("a/link")).unwrap();
        symlink("/etc/passwd", root.path().join("out")).unwrap();
        let files = LocalFiles::new(root.path());
        let names = |path: &str| -> Vec<(String, EntryKind)> {
            files.list(path).unwrap().unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect()
        };
        assert_eq!(names(""), [("a".to_owned(), EntryKind::Directory), ("out".to_owned(), EntryKind::Symlink)]);
        assert_eq!(names("a"), [("b".to_owned(), EntryKind::Directory), ("link".to_owned(), EntryKind::Symlink)]);
        assert_eq!(files.read("a/b/x.yaml").unwrap().as_deref(), Some(&b"x: 1"[..]));
        assert_eq!(files.read("out").unwrap().as_deref(), Some(&b"/etc/passwd"[..]));
        assert_eq!(files.size("a/b/x.yaml"), Ok(Some(4)));
        for absent in ["a/link/x.yaml", "a/../a/b/x.yaml", ".git", "nothing", "a/b/x.yaml/y"] {
            assert_eq!(files.entry(absent), Ok(None), "{absent}");
            assert_eq!(files.read(absent), Ok(None), "{absent}");
            assert_eq!(files.list(absent), Ok(None), "{absent}");
        }
        let before = files.entry("a").unwrap().unwrap().id;
        fs::write(root.path().join("a/b/x.yaml"), "x: 2").unwrap();
        assert_ne!(LocalFiles::new(root.path()).entry("a").unwrap().unwrap().id, before);
    }
}

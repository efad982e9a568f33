//! Contents of LFS files, each under its hash, beside a repository's object store. Blocking.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::model::Reason;

use super::super::error::GitError;
use super::pointer::LfsPointer;

/// A directory of contents. Bounded: what was used longest ago goes first.
#[derive(Clone, Debug)]
pub struct LfsStore {
    directory: PathBuf,
    limit: u64,
}

impl LfsStore {
    /// The contents below `directory`, of at most `limit` bytes together. Nothing is made before there is something to
    /// keep.
    pub fn new(directory: PathBuf, limit: u64) -> Self {
        Self { directory, limit }
    }

    fn path(&self, pointer: &LfsPointer) -> PathBuf {
        self.directory.join(pointer.oid())
    }

    /// Whether the content is there, by name and size. Counts as a use of it.
    pub fn has(&self, pointer: &LfsPointer) -> bool {
        let path = self.path(pointer);
        let there = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == pointer.size());
        if there {
            touch(&path);
        }
        there
    }

    /// The content, or `None` when it is not there. Content whose hash is another is removed and counts as not there.
    pub fn read(&self, pointer: &LfsPointer) -> Result<Option<Arc<[u8]>>, GitError> {
        let path = self.path(pointer);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(GitError::file("reading LFS content", &error)),
        };
        if hex(&Sha256::digest(&content)) == pointer.oid() {
            return Ok(Some(content.into()));
        }
        tracing::warn!(path = %path.display(), "LFS content is corrupt on disk and is fetched again");
        fs::remove_file(&path).map_err(|error| GitError::file("removing corrupt LFS content", &error))?;
        Ok(None)
    }

    /// Begins to keep a content. Makes room for it, but never by removing what `needed` names.
    pub(super) fn begin(&self, pointer: &LfsPointer, needed: &[LfsPointer]) -> Result<LfsWriter, GitError> {
        let failed = |error: io::Error| GitError::file("writing LFS content", &error);
        fs::create_dir_all(&self.directory).map_err(failed)?;
        self.make_room(pointer, needed)?;
        let temporary = tempfile_in(&self.directory).map_err(failed)?;
        Ok(LfsWriter {
            file: Some(temporary.1),
            temporary: temporary.0,
            path: self.path(pointer),
            hasher: Sha256::new(),
            written: 0,
            pointer: pointer.clone(),
        })
    }

    fn make_room(&self, pointer: &LfsPointer, needed: &[LfsPointer]) -> Result<(), GitError> {
        let failed = |error: io::Error| GitError::file("listing LFS content", &error);
        let (mut held, mut total): (Vec<(SystemTime, u64, PathBuf)>, u64) = (Vec::new(), 0);
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(metadata) = entry.metadata() else { continue };
            total = total.saturating_add(metadata.len());
            let name = entry.file_name();
            let temporary = name.to_string_lossy().ends_with(TEMPORARY);
            if !temporary && !needed.iter().any(|needed| name == needed.oid()) {
                held.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()));
            }
        }
        held.sort();
        for (_, bytes, path) in held {
            if total.saturating_add(pointer.size()) <= self.limit {
                return Ok(());
            }
            fs::remove_file(path).map_err(|error| GitError::file("removing old LFS content", &error))?;
            total = total.saturating_sub(bytes);
        }
        if total.saturating_add(pointer.size()) <= self.limit {
            return Ok(());
        }
        Err(GitError::new(
            Reason::LfsFailed,
            format!(
                "the LFS files that are needed at once exceed the limit of {} bytes for what is kept of the repository; \
                 raise limits.storeMebibytes of the Repository",
                self.limit
            ),
        ))
    }

    /// Removes what interrupted transfers left. For when nobody else uses the directory.
    pub fn reap(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().ends_with(TEMPORARY) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The end of the name of a file that is not whole yet.
const TEMPORARY: &str = ".part";

/// A content on its way to the disk. Leaves nothing behind unless it is finished.
pub(super) struct LfsWriter {
    file: Option<File>,
    temporary: PathBuf,
    path: PathBuf,
    hasher: Sha256,
    written: u64,
    pointer: LfsPointer,
}

impl LfsWriter {
    /// Takes the next piece. Fails as soon as there is more than there should be.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), GitError> {
        self.written = self.written.saturating_add(piece.len() as u64);
        if self.written > self.pointer.size() {
            return Err(GitError::new(
                Reason::LfsFailed,
                format!("the server sends more than the {} bytes that the pointer says", self.pointer.size()),
            ));
        }
        self.hasher.update(piece);
        let file = self.file.as_mut().ok_or_else(|| GitError::new(Reason::InternalError, "the LFS file is closed"))?;
        file.write_all(piece).map_err(|error| GitError::file("writing LFS content", &error))
    }

    /// Puts the content under its name, if it is what the pointer says.
    pub(super) fn finish(mut self) -> Result<(), GitError> {
        if self.written != self.pointer.size() {
            return Err(GitError::new(
                Reason::LfsFailed,
                format!("the server sent {} bytes, the pointer says {}", self.written, self.pointer.size()),
            ));
        }
        let hash = hex(&std::mem::take(&mut self.hasher).finalize());
        if hash != self.pointer.oid() {
            return Err(GitError::new(
                Reason::LfsFailed,
                format!(
                    "the server sent other content: its SHA-256 is {}…, not {}…",
                    &hash[..12],
                    &self.pointer.oid()[..12]
                ),
            ));
        }
        let failed = |error: io::Error| GitError::file("writing LFS content", &error);
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(failed)?;
        }
        fs::rename(&self.temporary, &self.path).map_err(failed)
    }
}

impl Drop for LfsWriter {
    fn drop(&mut self) {
        // After a rename there is nothing of that name.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn tempfile_in(directory: &Path) -> io::Result<(PathBuf, File)> {
    let path = directory.join(format!("{:016x}{TEMPORARY}", fastrand::u64(..)));
    let file = File::options().write(true).create_new(true).open(&path)?;
    Ok((path, file))
}

/// Notes a use, at the file system's own time. Where that can't be noted, the content only seems older than it is.
fn touch(path: &Path) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
    let at_once = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let _ = utimensat(CWD, path, &Timestamps { last_access: at_once, last_modification: at_once }, AtFlags::empty());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

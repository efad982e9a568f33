//! Private directories for the tools: one per render, on memory where possible, gone afterwards.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::model::Reason;

use super::RenderError;

const PREFIX: &str = "tidelock-render-";
/// `TMPFS_MAGIC` of the Linux kernel.
const TMPFS: i64 = 0x0102_1994;
/// `RAMFS_MAGIC` of the Linux kernel.
const RAMFS: i64 = 0x8584_58f6;

/// The directory of one process below which each render gets its own. A lock on a file in it says that the process
/// lives; what nobody holds a lock on is swept away at the next start.
#[derive(Debug)]
pub(super) struct Scratch {
    root: PathBuf,
    _alive: File,
}

impl Scratch {
    /// Opens the first writable candidate that lies in memory, else the first writable one with a warning.
    pub(super) fn open(candidates: &[PathBuf], warnings: &mut Vec<String>) -> Result<Self, RenderError> {
        let mut problems = Vec::new();
        let in_memory = candidates.iter().filter(|path| is_memory(path));
        let others = candidates.iter().filter(|path| !is_memory(path));
        for candidate in in_memory.chain(others) {
            sweep(candidate);
            match Self::create(candidate) {
                Ok(scratch) => {
                    if !is_memory(candidate) {
                        warnings.push(format!(
                            "renders use {}, which is not in memory: files of a repository touch the disk; mount a tmpfs",
                            candidate.display()
                        ));
                    }
                    return Ok(scratch);
                }
                Err(error) => problems.push(format!("{}: {error}", candidate.display())),
            }
        }
        let message = format!("no directory for renders is writable ({})", problems.join("; "));
        Err(RenderError::new(Reason::StoreFailed, message))
    }

    fn create(parent: &Path) -> io::Result<Self> {
        let root = parent.join(format!("{PREFIX}{:016x}", fastrand::u64(..)));
        // The lock is taken before the directory gets its name, so that no sweep can see it without one.
        let hidden = parent.join(format!(".{PREFIX}{:016x}", fastrand::u64(..)));
        private_directory(&hidden)?;
        let prepared = File::create(hidden.join("alive")).and_then(|alive| {
            alive.lock()?;
            fs::rename(&hidden, &root)?;
            Ok(alive)
        });
        match prepared {
            Ok(alive) => Ok(Self { root: fs::canonicalize(&root)?, _alive: alive }),
            Err(error) => {
                let _ = fs::remove_dir_all(&hidden);
                Err(error)
            }
        }
    }

    /// A fresh private directory, removed when the value is dropped.
    pub(super) fn fresh(&self) -> io::Result<Private> {
        let path = self.root.join(format!("{:016x}", fastrand::u64(..)));
        private_directory(&path)?;
        Ok(Private { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A private directory of one render.
#[derive(Debug)]
pub(super) struct Private {
    path: PathBuf,
}

impl Private {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Makes a directory that only its owner can enter; it must not exist yet.
pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn is_memory(path: &Path) -> bool {
    // The width of the field differs between architectures.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
    rustix::fs::statfs(path).is_ok_and(|found| matches!(found.f_type as i64, TMPFS | RAMFS))
}

/// Removes what dead processes left behind. Best effort: another process may do the same.
fn sweep(parent: &Path) {
    let Ok(items) = fs::read_dir(parent) else { return };
    for item in items.flatten() {
        let name = item.file_name();
        if !name.to_string_lossy().starts_with(PREFIX) || !item.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let dead = match File::open(item.path().join("alive")) {
            Ok(alive) => alive.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if dead {
            let _ = fs::remove_dir_all(item.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_private_and_leave_nothing_behind() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let mut warnings = Vec::new();
        let scratch = Scratch::open(&[place.path().join("missing"), place.path().to_owned()], &mut warnings).unwrap();
        let private = scratch.fresh().unwrap();
        fs::write(private.path().join("x"), "x").unwrap();
        let mode = fs::metadata(private.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = private.path().to_owned();
        drop(private);
        assert!(!path.exists());
        drop(scratch);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_dead_processes_left_is_swept_and_what_lives_stays() {
        let place = tempfile::tempdir().unwrap();
        let stale = place.path().join(format!("{PREFIX}0000000000000001"));
        fs::create_dir_all(stale.join("render")).unwrap();
        fs::write(stale.join("alive"), "").unwrap();
        let first = Scratch::open(&[place.path().to_owned()], &mut Vec::new()).unwrap();
        assert!(!stale.exists());
        let private = first.fresh().unwrap();
        let _second = Scratch::open(&[place.path().to_owned()], &mut Vec::new()).unwrap();
        assert!(private.path().exists());
    }

    #[test]
    fn nowhere_to_write_is_an_error_that_names_the_places() {
        let error = Scratch::open(&[PathBuf::from("/nonexistent/a")], &mut Vec::new()).unwrap_err();
        assert_eq!(error.reason, Reason::StoreFailed);
        assert!(error.message.contains("/nonexistent/a"), "{error}");
    }
}

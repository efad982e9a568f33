//! The index on the volume. Blocking.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Name of the file in the directory of a store.
pub const FILE_NAME: &str = "verified.json";

/// A thousand targets with long names are far below this. What is larger is not ours.
const LARGEST: u64 = 4 << 20;

/// The index of a store as it lies there; `None` when there is none.
///
/// # Errors
/// When there is one and it can't be read.
pub fn read(directory: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(directory.join(FILE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Puts an index in the place of the former one. Killed at any moment, it leaves one of the two whole.
///
/// # Errors
/// When the volume is full or can't be written to; the former index stays.
pub fn write(directory: &Path, text: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{FILE_NAME}.new"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(FILE_NAME))?;
    // The rename itself must survive a loss of power, too.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read_as_it_was_written_last() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), None);
        write(directory.path(), b"one, and longer").unwrap();
        write(directory.path(), b"two").unwrap();
        assert_eq!(read(directory.path()).unwrap().as_deref(), Some(&b"two"[..]));
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [FILE_NAME]);
    }

    #[test]
    fn what_a_kill_left_half_written_is_never_read() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), b"whole").unwrap();
        fs::write(directory.path().join(format!("{FILE_NAME}.new")), b"ha").unwrap();
        assert_eq!(read(directory.path()).unwrap().as_deref(), Some(&b"whole"[..]));
        write(directory.path(), b"next").unwrap();
        assert_eq!(read(directory.path()).unwrap().as_deref(), Some(&b"next"[..]));
    }

    #[test]
    fn a_directory_in_its_place_is_an_error_and_not_an_absence() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(FILE_NAME)).unwrap();
        read(directory.path()).unwrap_err();
    }
}

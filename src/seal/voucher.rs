//! What the program itself has brought into a store, by what was asked for. Blocking.
//!
//! That a commit says of itself what it was imported from proves nothing: whoever can write to the volume can write such a
//! commit. A voucher ties the two together. Without one, content is fetched again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ring::digest;

use super::key::SealKey;

/// Stands in front of what is sealed, so that a seal of another purpose under the same key proves nothing here.
const PURPOSE: &[u8] = b"tidelock voucher 1\n";

/// Name of the folder in the directory of a store.
const FOLDER: &str = "vouchers";

/// Vouchers that are kept; what the oldest were for is fetched again, if it is ever wanted.
const MOST: usize = 4096;

/// A seal in hexadecimal digits is far shorter. What is longer is not ours.
const LONGEST: u64 = 1024;

/// Vouches that, of a source, the revision is what stands for `what`.
///
/// # Errors
/// When the volume is full or can't be written to; then the content is fetched again after a restart.
pub fn vouch(directory: &Path, key: &SealKey, source: &str, what: &str, revision: &str) -> io::Result<()> {
    let folder = directory.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let statement = statement(source, what, revision);
    let path = place(&folder, &statement);
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(key.seal(&statement).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    forget_surplus(&folder)
}

/// Whether the program has vouched, with this key, that the revision stands for `what`. What can't be read vouches for
/// nothing.
pub fn is_vouched(directory: &Path, key: &SealKey, source: &str, what: &str, revision: &str) -> bool {
    let statement = statement(source, what, revision);
    let mut seal = String::new();
    File::open(place(&directory.join(FOLDER), &statement))
        .and_then(|file| file.take(LONGEST).read_to_string(&mut seal))
        .is_ok_and(|_| key.verifies(&statement, &seal))
}

/// The same bytes for the same three texts and for no others: each is preceded by its length.
fn statement(source: &str, what: &str, revision: &str) -> Vec<u8> {
    let mut bytes = PURPOSE.to_vec();
    for text in [source, what, revision] {
        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn place(folder: &Path, statement: &[u8]) -> PathBuf {
    let hash = digest::digest(&digest::SHA256, statement);
    let name: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(name)
}

fn forget_surplus(folder: &Path) -> io::Result<()> {
    let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that another import has just replaced or dropped is no loss.
        if let Ok(written) = entry.metadata().and_then(|metadata| metadata.modified()) {
            all.push((written, entry.path()));
        }
    }
    all.sort();
    let surplus = all.len().saturating_sub(MOST);
    for (_, path) in all.into_iter().take(surplus) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "oci://registry.corp.test/team/shop";

    #[test]
    fn a_voucher_holds_for_its_key_source_content_and_revision_only() {
        let directory = tempfile::tempdir().unwrap();
        let (key, other) = (SealKey::from_bytes(&[1; 32]).unwrap(), SealKey::from_bytes(&[2; 32]).unwrap());
        let holds =
            |key: &SealKey, source: &str, what: &str, of: &str| is_vouched(directory.path(), key, source, what, of);
        assert!(!holds(&key, SOURCE, "chart 1", "a1"));
        vouch(directory.path(), &key, SOURCE, "chart 1", "a1").unwrap();
        assert!(holds(&key, SOURCE, "chart 1", "a1"));
        assert!(!holds(&other, SOURCE, "chart 1", "a1"));
        assert!(!holds(&key, "oci://registry.corp.test/team/other", "chart 1", "a1"));
        assert!(!holds(&key, SOURCE, "chart 2", "a1"));
        assert!(!holds(&key, SOURCE, "chart 1", "a2"));
        assert!(!holds(&key, SOURCE, "chart 1a", "1"));
    }

    #[test]
    fn a_voucher_that_was_copied_to_the_place_of_another_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let key = SealKey::from_bytes(&[1; 32]).unwrap();
        vouch(directory.path(), &key, SOURCE, "chart 1", "a1").unwrap();
        let folder = directory.path().join(FOLDER);
        let real = place(&folder, &statement(SOURCE, "chart 1", "a1"));
        fs::copy(real, place(&folder, &statement(SOURCE, "chart 1", "planted"))).unwrap();
        assert!(!is_vouched(directory.path(), &key, SOURCE, "chart 1", "planted"));
    }
}

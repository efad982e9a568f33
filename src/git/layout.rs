//! How a store lies on disk: a bare repository, a marker file, refs of our own, lists of commits. Blocking.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use git2::{Repository, RepositoryInitOptions};

use crate::model::Revision;

use super::error::GitError;

/// Says that the directory is ours, so that it may be wiped when it is corrupt.
const MARKER: &str = "tidelock-store";

/// Begins the names of the folders in which imports are prepared.
const IMPORT: &str = "import-";

/// Refs with a name: what the last `record_tip` of that name said.
pub(super) const TIPS: &str = "refs/tidelock/tips/";

/// Refs of commits that were fetched and have no name yet.
pub(super) const FETCHED: &str = "refs/tidelock/fetched/";

/// Opens a store, or makes it, or makes it anew when it can't be used.
pub(super) fn open(dir: &Path) -> Result<Repository, GitError> {
    if dir.join(MARKER).exists() {
        match validate(dir) {
            Ok(repository) => {
                reap(dir)?;
                return Ok(repository);
            }
            Err(error) => {
                tracing::warn!(store = %dir.display(), %error, "a git store is corrupt and is made anew");
                fs::remove_dir_all(dir).map_err(|error| GitError::file("wiping a corrupt store", &error))?;
            }
        }
    } else if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(GitError::new(
            crate::model::Reason::StoreFailed,
            format!(
                "the directory {} is not empty and is no git store of ours; give another state directory",
                dir.display()
            ),
        ));
    }
    create(dir)
}

fn create(dir: &Path) -> Result<Repository, GitError> {
    let file = |doing: &'static str| move |error: io::Error| GitError::file(doing, &error);
    fs::create_dir_all(dir).map_err(file("creating its directory"))?;
    // The marker comes first: a half-made store is ours and is wiped, not refused, at the next start.
    fs::write(dir.join(MARKER), b"1\n").map_err(file("writing its marker"))?;
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).initial_head("refs/heads/none");
    Repository::init_opts(dir, &options).map_err(|error| GitError::store("creating a repository", &error))
}

/// Every tip must be there with its tree.
fn validate(dir: &Path) -> Result<Repository, git2::Error> {
    let repository = Repository::open_bare(dir)?;
    {
        let tips = repository.references_glob("refs/tidelock/*")?;
        for tip in tips {
            let tip = tip?;
            tip.peel_to_commit()?.tree()?;
        }
        repository.odb()?;
    }
    Ok(repository)
}

/// Removes what an interrupted transfer or compaction left: temporary files, and packs without their index.
fn reap(dir: &Path) -> Result<(), GitError> {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(IMPORT) {
            fs::remove_dir_all(entry.path()).map_err(|error| GitError::file("removing a leftover folder", &error))?;
        }
    }
    let packs = dir.join("objects/pack");
    let Ok(entries) = fs::read_dir(&packs) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let keep = match name.strip_prefix("pack-").and_then(|rest| rest.rsplit_once('.')) {
            Some((_, "idx")) => path.with_extension("pack").exists(),
            Some((_, "pack")) => path.with_extension("idx").exists(),
            Some(_) | None => false,
        };
        if !keep {
            fs::remove_file(&path).map_err(|error| GitError::file("removing a leftover file", &error))?;
        }
    }
    for list in CommitList::ALL {
        let _ = fs::remove_file(dir.join(list.fresh()));
    }
    Ok(())
}

/// A folder for an import that nobody else uses.
pub(super) fn fresh_import(dir: &Path) -> Result<PathBuf, GitError> {
    loop {
        let folder = dir.join(format!("{IMPORT}{:016x}", fastrand::u64(..)));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(GitError::file("making a folder for an import", &error)),
        }
    }
}

/// The finished packs.
pub(super) fn packs(dir: &Path) -> Result<Vec<PathBuf>, GitError> {
    let entries = match fs::read_dir(dir.join("objects/pack")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(GitError::file("listing packs", &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| GitError::file("listing packs", &error))?.path();
        if path.extension().is_some_and(|extension| extension == "pack") && path.with_extension("idx").exists() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Bytes of all packs with their indexes, temporary ones included.
pub(super) fn size(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir.join("objects/pack")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// A list of commits that a store keeps in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitList {
    /// Held without their parents. Git's own file and format.
    Shallow,
    /// Held without all of their files: they are being fetched in pieces.
    Partial,
}

impl CommitList {
    const ALL: [Self; 2] = [Self::Shallow, Self::Partial];

    const fn file(self) -> &'static str {
        match self {
            Self::Shallow => "shallow",
            Self::Partial => "tidelock-partial",
        }
    }

    fn fresh(self) -> String {
        format!("{}.new", self.file())
    }

    /// The commits.
    pub(super) fn read(self, dir: &Path) -> Result<BTreeSet<Revision>, GitError> {
        match fs::read_to_string(dir.join(self.file())) {
            Ok(text) => Ok(text.lines().filter_map(|line| Revision::parse(line.trim()).ok()).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(GitError::file(&format!("reading the list `{}`", self.file()), &error)),
        }
    }

    /// Takes commits from the list.
    pub(super) fn remove(self, dir: &Path, commits: &BTreeSet<Revision>) -> Result<(), GitError> {
        let mut all = self.read(dir)?;
        let before = all.len();
        all.retain(|commit| !commits.contains(commit));
        if all.len() < before { self.write(dir, &all) } else { Ok(()) }
    }

    /// Replaces the list.
    pub(super) fn write(self, dir: &Path, commits: &BTreeSet<Revision>) -> Result<(), GitError> {
        let failed = |error: io::Error| GitError::file(&format!("writing the list `{}`", self.file()), &error);
        let mut text = String::new();
        for commit in commits {
            text.push_str(commit.as_str());
            text.push('\n');
        }
        let fresh = dir.join(self.fresh());
        let mut file = fs::File::create(&fresh).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&fresh, dir.join(self.file())).map_err(failed)
    }
}

/// A tip's name as one component of a ref name, so that `a` and `a/b` can both exist. Reversible.
pub(super) fn encode_name(name: &str) -> Option<String> {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('_');
            for half in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(u32::from(half), 16));
            }
        }
    }
    // File systems take 255 bytes, and git appends `.lock`.
    (!encoded.is_empty() && encoded.len() <= 240 && !encoded.starts_with('-')).then_some(encoded)
}

/// The name that `encode_name` encoded.
pub(super) fn decode_name(encoded: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = encoded;
    while let Some(first) = rest.chars().next() {
        if first == '_' {
            bytes.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            rest = rest.get(3..)?;
        } else {
            bytes.push(u8::try_from(first).ok()?);
            rest = &rest[1..];
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tip_names_survive_being_ref_names() {
        for name in ["main", "heads/a", "heads/a/b", "a_b.lock", "..", "é ~^:", "refs/tags/v1.0"] {
            let encoded = encode_name(name).unwrap();
            assert!(git2::Reference::is_valid_name(&format!("{TIPS}{encoded}")), "{encoded}");
            assert!(!encoded.contains('/'));
            assert_eq!(decode_name(&encoded).as_deref(), Some(name));
        }
        assert_eq!(encode_name(""), None);
        assert_eq!(encode_name(&"a".repeat(241)), None);
        assert_eq!(decode_name("_zz"), None);
    }
}

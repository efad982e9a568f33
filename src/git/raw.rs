//! Raw commits and annotated tags, as signatures cover them.
//!
//! A tag object is kept as a file of its own, beside the packs: a compaction packs commits with their files and drops
//! everything else.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::SystemTime;

use git2::{Odb, Oid};
use tracing::warn;

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::store::Store;

/// A commit or tag with more bytes than this is no work of people: a message and a signature take a few thousand.
const MOST_BYTES: usize = 1 << 20;

/// How many tags are kept; beyond that the oldest go, and are fetched again if they are still followed.
const MOST_TAGS: usize = 4096;

/// Bytes of all tags that are kept.
const MOST_TAG_BYTES: u64 = 64 << 20;

impl Store {
    /// The content of a commit that is held; `None` when it is not.
    pub fn raw_commit(&self, revision: &Revision) -> Result<Option<Vec<u8>>, GitError> {
        let failed = |error: git2::Error| GitError::store("reading a commit", &error);
        let repository = self.repository();
        let odb = repository.odb().map_err(failed)?;
        let id = Oid::from_str(revision.as_str()).map_err(failed)?;
        match read(&odb, id, git2::ObjectType::Commit) {
            Ok(content) => Ok(Some(content)),
            Err(Unread::Missing) => Ok(None),
            Err(Unread::Failed(error)) => Err(failed(error)),
            Err(Unread::TooLarge) => Err(too_large(revision)),
        }
    }

    /// Whether a tag object is held.
    pub fn has_tag(&self, tag: &Revision) -> bool {
        self.tags_directory().join(tag.as_str()).is_file()
    }

    /// The content of every annotated tag that is held and names this commit.
    pub fn raw_tags(&self, commit: &Revision) -> Result<Vec<Vec<u8>>, GitError> {
        let beginning = format!("object {commit}\n");
        let mut found = Vec::new();
        for (_, _, path) in self.kept_tags() {
            let failed = |error: std::io::Error| GitError::file("reading a tag", &error);
            let mut file = fs::File::open(&path).map_err(failed)?;
            let mut content = Vec::with_capacity(beginning.len());
            file.by_ref().take(beginning.len() as u64).read_to_end(&mut content).map_err(failed)?;
            if content == beginning.as_bytes() {
                file.read_to_end(&mut content).map_err(failed)?;
                found.push(content);
            }
        }
        Ok(found)
    }

    fn tags_directory(&self) -> PathBuf {
        self.dir().join("tags")
    }

    /// The tags that are kept, with their sizes, oldest first.
    fn kept_tags(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let mut all: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(self.tags_directory())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| Revision::parse(name).is_ok()))
            .filter_map(|entry| {
                let about = entry.metadata().ok()?;
                Some((about.modified().ok()?, about.len(), entry.path()))
            })
            .collect();
        all.sort();
        all
    }

    /// Keeps a tag that has come with a pack. One that is too large is kept as an empty file, so that it is not fetched
    /// again: a signature of it can't be checked, and its repository is none the worse.
    pub(super) fn keep_tag(&self, odb: &Odb<'_>, tag: &Revision) -> Result<(), GitError> {
        let failed = |error: std::io::Error| GitError::file("keeping a tag", &error);
        let id = Oid::from_str(tag.as_str()).map_err(|error| GitError::store("reading a tag", &error))?;
        let content = match read(odb, id, git2::ObjectType::Tag) {
            Ok(content) => content,
            Err(Unread::Missing) => {
                return Err(GitError::new(Reason::ProtocolError, format!("the pack lacks the wanted tag {tag}")));
            }
            Err(Unread::Failed(error)) => return Err(GitError::store("reading a tag", &error)),
            Err(Unread::TooLarge) => {
                warn!(%tag, most = MOST_BYTES, "a tag is too large to be kept, so no signature of it counts");
                Vec::new()
            }
        };
        let directory = self.tags_directory();
        fs::create_dir_all(&directory).map_err(failed)?;
        // Whole or not at all: a half tag would be there for ever.
        let fresh = directory.join("new");
        fs::write(&fresh, content).map_err(failed)?;
        fs::File::open(&fresh).and_then(|file| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, directory.join(tag.as_str())).map_err(failed)?;
        let (mut count, mut bytes) = (0, 0);
        for (_, size, path) in self.kept_tags().iter().rev() {
            count += 1;
            bytes += size;
            if count > MOST_TAGS || bytes > MOST_TAG_BYTES {
                fs::remove_file(path).map_err(failed)?;
            }
        }
        Ok(())
    }
}

enum Unread {
    Missing,
    TooLarge,
    Failed(git2::Error),
}

fn read(odb: &Odb<'_>, id: Oid, kind: git2::ObjectType) -> Result<Vec<u8>, Unread> {
    let unread = |error: git2::Error| match error.code() {
        git2::ErrorCode::NotFound => Unread::Missing,
        _ => Unread::Failed(error),
    };
    let (length, found) = odb.read_header(id).map_err(unread)?;
    if found != kind {
        return Err(Unread::Missing);
    }
    if length > MOST_BYTES {
        return Err(Unread::TooLarge);
    }
    Ok(odb.read(id).map_err(unread)?.data().to_vec())
}

fn too_large(id: &Revision) -> GitError {
    GitError::new(
        Reason::InputTooLarge,
        format!("the object {id} has more than {MOST_BYTES} bytes, which no message needs"),
    )
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;

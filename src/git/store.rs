//! A bare object store per repository: what has been fetched, under refs of our own.
//!
//! Every method is blocking (files, libgit2): call them from `spawn_blocking`. A `Store` is cheap to clone; clones share
//! one state. One process uses a directory at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use git2::{ErrorCode, Oid, Repository};

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::layout::{self, CommitList, FETCHED, TIPS};
use super::lfs::LfsStore;
use super::snapshot::{Snapshot, SnapshotLimits};

/// More packs than this are worth repacking: each lookup asks every pack.
const MOST_PACKS: usize = 20;

/// How many commits without a name are kept by a compaction.
const MOST_UNNAMED: usize = 64;

/// How many commits are offered to a server as held. The newest names matter; more only lengthen the request.
const MOST_HAVES: usize = 256;

/// Bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes of all packs. A fetch that would exceed it fails with `PackTooLarge`, after a compaction was tried.
    pub bytes: u64,
}

impl Default for StoreLimits {
    /// 4 GiB.
    fn default() -> Self {
        Self { bytes: 4 << 30 }
    }
}

/// What a commit says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFacts {
    /// The id of its files together.
    pub tree: String,
    /// When it was made, by the committer's clock; `None` where that is not known, or no calendar has that time.
    pub committed: Option<jiff::Timestamp>,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// A store that may be closed by now. As long as anything works on a directory its store is to be had from here: opening
/// the directory a second time would remove what is being written.
#[derive(Clone)]
pub struct WeakStore {
    inner: Weak<Inner>,
}

impl WeakStore {
    /// The store, unless nobody uses it any more.
    pub fn upgrade(&self) -> Option<Store> {
        self.inner.upgrade().map(|inner| Store { inner })
    }

    /// Whether anybody uses it.
    pub fn is_open(&self) -> bool {
        self.inner.strong_count() > 0
    }
}

struct Inner {
    dir: PathBuf,
    limits: Mutex<StoreLimits>,
    repository: Mutex<Repository>,
    /// Held for writing while packs are dropped, for reading while a snapshot is pinned.
    layout: RwLock<()>,
    /// Held by whoever adds or drops packs, across await points.
    writing: Arc<tokio::sync::Mutex<()>>,
    /// Commits that snapshots read, with how many do.
    pins: Mutex<BTreeMap<Revision, usize>>,
    /// Commits that are being fetched in pieces: what came of them so far is not to be dropped.
    pieced: Mutex<BTreeSet<Revision>>,
}

/// What a fetch tells the server about what is held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub haves: BTreeSet<Revision>,
    pub shallow: BTreeSet<Revision>,
}

impl Store {
    /// Opens the store in `dir`, creating it when there is none. A corrupt store is made anew: it holds nothing that
    /// can't be fetched again. What an interrupted transfer left is removed. A directory with other content is refused.
    pub fn open(dir: &Path, limits: StoreLimits) -> Result<Self, GitError> {
        let repository = layout::open(dir)?;
        LfsStore::new(dir.join("lfs"), limits.bytes).reap();
        Ok(Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                limits: Mutex::new(limits),
                repository: Mutex::new(repository),
                layout: RwLock::default(),
                writing: Arc::default(),
                pins: Mutex::default(),
                pieced: Mutex::default(),
            }),
        })
    }

    /// A handle that does not keep the store open.
    pub fn downgrade(&self) -> WeakStore {
        WeakStore { inner: Arc::downgrade(&self.inner) }
    }

    pub(super) fn repository(&self) -> MutexGuard<'_, Repository> {
        self.inner.repository.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Where it lies. What is kept beside the objects goes with them when a corrupt store is made anew.
    pub fn directory(&self) -> &Path {
        &self.inner.dir
    }

    pub(super) fn limits(&self) -> StoreLimits {
        *self.inner.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the bounds, for fetches that begin after this.
    pub fn set_limits(&self, limits: StoreLimits) {
        *self.inner.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    pub(super) fn writing(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.inner.writing)
    }

    /// Whether the commit is held, with its files.
    pub fn has(&self, revision: &Revision) -> Result<bool, GitError> {
        match find_tree(&self.repository(), revision) {
            Ok(_) => Ok(!CommitList::Partial.read(self.dir())?.contains(revision)),
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Peel) => {
                Ok(false)
            }
            Err(error) => Err(GitError::store("looking up a commit", &error)),
        }
    }

    /// What a held commit says of itself; `None` when the commit or its files are not held.
    pub fn facts(&self, revision: &Revision) -> Result<Option<CommitFacts>, GitError> {
        let repository = self.repository();
        let look = || -> Result<CommitFacts, git2::Error> {
            let commit = repository.find_commit(Oid::from_str(revision.as_str())?)?;
            // What was imported without a date is of second 0.
            let committed = jiff::Timestamp::from_second(commit.time().seconds()).ok();
            let committed = committed.filter(|time| *time != jiff::Timestamp::UNIX_EPOCH);
            Ok(CommitFacts { tree: commit.tree()?.id().to_string(), committed })
        };
        match look() {
            Ok(facts) => Ok(Some(facts)),
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Peel) => {
                Ok(None)
            }
            Err(error) => Err(GitError::store("reading a commit", &error)),
        }
    }

    /// The named tips.
    pub fn tips(&self) -> Result<BTreeMap<String, Revision>, GitError> {
        let all = self.refs(TIPS)?;
        Ok(all.into_iter().filter_map(|(name, id)| Some((layout::decode_name(&name)?, id))).collect())
    }

    /// Makes `name` (of any form, such as `refs/heads/main`) point to a commit that is held. Named commits survive
    /// compaction, and tell servers what we have. The commit that the name pointed to before is no longer kept by it.
    pub fn record_tip(&self, name: &str, revision: &Revision) -> Result<(), GitError> {
        let encoded = layout::encode_name(name).ok_or_else(|| {
            GitError::new(
                Reason::StoreFailed,
                format!("`{name}` is too long, or empty, for a name in the object store"),
            )
        })?;
        let repository = self.repository();
        let failed = |error: git2::Error| GitError::store("recording a tip", &error);
        let id = Oid::from_str(revision.as_str()).map_err(failed)?;
        repository.reference(&format!("{TIPS}{encoded}"), id, true, "record tip").map_err(failed)?;
        remove(&repository, &format!("{FETCHED}{revision}")).map_err(failed)
    }

    /// Forgets a name. Nothing is freed before the next compaction.
    pub fn forget_tip(&self, name: &str) -> Result<(), GitError> {
        let Some(encoded) = layout::encode_name(name) else { return Ok(()) };
        remove(&self.repository(), &format!("{TIPS}{encoded}"))
            .map_err(|error| GitError::store("forgetting a tip", &error))
    }

    pub(super) fn refs(&self, prefix: &str) -> Result<BTreeMap<String, Revision>, GitError> {
        let failed = |error: git2::Error| GitError::store("listing refs", &error);
        let repository = self.repository();
        let mut found = BTreeMap::new();
        for reference in repository.references_glob(&format!("{prefix}*")).map_err(failed)? {
            let reference = reference.map_err(failed)?;
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            let id = reference.target().and_then(|id| Revision::parse(&id.to_string()).ok());
            if let (Some(name), Some(id)) = (name.strip_prefix(prefix), id) {
                found.insert(name.to_owned(), id);
            }
        }
        Ok(found)
    }

    pub(super) fn held(&self) -> Result<Held, GitError> {
        let named = self.refs(TIPS)?.into_values();
        let haves: BTreeSet<Revision> = named.chain(self.refs(FETCHED)?.into_values()).take(MOST_HAVES).collect();
        let mut shallow = BTreeSet::new();
        for commit in CommitList::Shallow.read(self.dir())? {
            // The file is written before the pack, so it may name a commit that never came.
            if self.has(&commit)? {
                shallow.insert(commit);
            }
        }
        Ok(Held { haves, shallow })
    }

    /// The files at a commit. While the snapshot lives, compaction keeps what it reads.
    pub fn snapshot(&self, revision: &Revision, limits: SnapshotLimits) -> Result<Snapshot, GitError> {
        let _unchanged = self.inner.layout.read().unwrap_or_else(PoisonError::into_inner);
        let pin = Pin::new(self.clone(), revision.clone());
        let failed = |error: git2::Error| match error.code() {
            ErrorCode::NotFound => GitError::new(
                Reason::StoreFailed,
                format!("commit {revision} is not in the object store; it has to be fetched"),
            ),
            _ => GitError::store("opening a commit", &error),
        };
        let repository = Repository::open_bare(self.dir()).map_err(failed)?;
        let tree = find_tree(&repository, revision).map_err(failed)?;
        Ok(Snapshot::new(repository, self.dir().to_owned(), revision.clone(), tree, limits, pin))
    }

    /// The contents of LFS files of this repository, bounded as the store itself is.
    pub fn lfs(&self) -> LfsStore {
        LfsStore::new(self.dir().join("lfs"), self.limits().bytes)
    }

    /// How many packs there are.
    pub fn pack_count(&self) -> Result<usize, GitError> {
        Ok(layout::packs(self.dir())?.len())
    }

    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        layout::size(self.dir())
    }

    /// Repacks when there are more than 20 packs: what named tips, the newest unnamed ones and living snapshots reach
    /// goes into one pack, the rest is dropped. Says whether it did. Waits for a fetch that is under way. Must not be
    /// called from an async task.
    pub fn compact(&self) -> Result<bool, GitError> {
        let writing = self.writing();
        let _alone = writing.blocking_lock();
        if self.pack_count()? <= MOST_PACKS { Ok(false) } else { self.repack().map(|()| true) }
    }

    /// The work of `compact`, for whoever holds `writing`. Killed at any moment, it leaves a store that opens with all
    /// tips: the new pack is whole before an old one goes.
    pub(super) fn repack(&self) -> Result<(), GitError> {
        if !self.pieced().is_empty() {
            return Ok(());
        }
        let _alone = self.inner.layout.write().unwrap_or_else(PoisonError::into_inner);
        let keep = self.kept()?;
        let failed = |error: git2::Error| GitError::store("repacking", &error);
        let file = |error: std::io::Error| GitError::file("repacking", &error);
        let old = layout::packs(self.dir())?;
        let folder = self.dir().join("objects/pack");
        let mut repository = self.repository();
        let mut fresh = None;
        {
            let mut builder = repository.packbuilder().map_err(failed)?;
            for revision in &keep {
                builder.insert_commit(Oid::from_str(revision.as_str()).map_err(failed)?).map_err(failed)?;
            }
            if builder.object_count() > 0 {
                // Only the commits themselves are packed, so all are without parents from now on.
                CommitList::Shallow.write(self.dir(), &keep)?;
                builder.write(&folder, 0o444).map_err(failed)?;
                let name = builder.name().map_err(failed)?;
                fresh = name.map(|name| folder.join(format!("pack-{name}.pack")));
            }
        }
        if let Some(pack) = &fresh {
            for path in [pack.clone(), pack.with_extension("idx"), folder.clone()] {
                std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(file)?;
            }
        } else if !keep.is_empty() {
            return Err(GitError::new(Reason::StoreFailed, "repacking made no pack; nothing was dropped".to_owned()));
        }
        for pack in old.iter().filter(|pack| Some(*pack) != fresh.as_ref()) {
            // Index first: a pack without an index is invisible, and is reaped when the store is opened.
            std::fs::remove_file(pack.with_extension("idx")).map_err(file)?;
            std::fs::remove_file(pack).map_err(file)?;
        }
        // The open repository still maps the dropped packs.
        *repository = Repository::open_bare(self.dir()).map_err(failed)?;
        // What was left half fetched is gone.
        if !CommitList::Partial.read(self.dir())?.is_empty() {
            CommitList::Partial.write(self.dir(), &BTreeSet::new())?;
        }
        Ok(())
    }

    /// The commits that are being fetched in pieces. While there are any, nothing is repacked.
    pub(super) fn pieced(&self) -> MutexGuard<'_, BTreeSet<Revision>> {
        self.inner.pieced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a compaction keeps. Unnamed tips beyond the newest few lose their ref.
    fn kept(&self) -> Result<BTreeSet<Revision>, GitError> {
        let mut unnamed: Vec<(std::time::SystemTime, Revision)> = self
            .refs(FETCHED)?
            .into_values()
            .map(|id| {
                let file = self.dir().join(format!("{FETCHED}{id}"));
                let written = file.metadata().and_then(|metadata| metadata.modified());
                (written.unwrap_or(std::time::UNIX_EPOCH), id)
            })
            .collect();
        unnamed.sort();
        let surplus = unnamed.len().saturating_sub(MOST_UNNAMED);
        for (_, id) in unnamed.drain(..surplus) {
            let removed = remove(&self.repository(), &format!("{FETCHED}{id}"));
            removed.map_err(|error| GitError::store("forgetting a commit", &error))?;
        }
        let pinned: Vec<Revision> =
            self.inner.pins.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        let named = self.refs(TIPS)?.into_values();
        Ok(named.chain(unnamed.into_iter().map(|(_, id)| id)).chain(pinned).collect())
    }
}

/// The commit's tree, which must be there too.
pub(super) fn find_tree(repository: &Repository, revision: &Revision) -> Result<Oid, git2::Error> {
    let commit = repository.find_commit(Oid::from_str(revision.as_str())?)?;
    Ok(commit.tree()?.id())
}

fn remove(repository: &Repository, name: &str) -> Result<(), git2::Error> {
    match repository.find_reference(name) {
        Ok(mut reference) => reference.delete(),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Keeps a commit's objects while it lives, and the store open: opened anew, it would not know of the pin.
pub(super) struct Pin {
    store: Store,
    revision: Revision,
}

impl Pin {
    fn new(store: Store, revision: Revision) -> Self {
        let mut pins = store.inner.pins.lock().unwrap_or_else(PoisonError::into_inner);
        *pins.entry(revision.clone()).or_default() += 1;
        drop(pins);
        Self { store, revision }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.store.inner.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = pins.get_mut(&self.revision) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.revision);
            }
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

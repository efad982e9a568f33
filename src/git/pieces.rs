//! Commits in pieces, for ways that cut long transfers: first what a commit consists of, then its files in batches. Each
//! piece is a pack that is kept, so that every attempt goes on where the last one ended. A commit counts as held only when
//! all of it is.

use std::collections::{BTreeSet, VecDeque};

use git2::{ObjectType, OdbLookupFlags, Oid, Repository};

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::fetch::{FetchLimits, FetchStats, blocking, is_cut};
use super::ingest::PackEnd;
use super::layout::{CommitList, FETCHED};
use super::protocol::{FetchRequest, Filter};
use super::remote::Remote;
use super::store::Store;

/// Objects in the first batch. Halved by each cut.
const FIRST_BATCH: usize = 256;

/// Objects in a batch at most: the request names each in 50 bytes.
const LARGEST_BATCH: usize = 1024;

/// After this many batches without a cut the next is twice as large.
const CALM: usize = 8;

/// How often one object alone is tried.
const ATTEMPTS: usize = 3;

/// What of some commits is not in a store.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    /// Commits of which nothing is there.
    pub commits: BTreeSet<Revision>,
    /// Directories and files, each with its path.
    pub objects: VecDeque<(Revision, String)>,
}

impl Remote {
    /// Brings commits into the store piece by piece. What came is kept on failure.
    pub(super) async fn fetch_in_pieces(
        &self,
        store: &Store,
        wants: &BTreeSet<Revision>,
        limits: FetchLimits,
    ) -> Result<FetchStats, GitError> {
        let work = (store.clone(), wants.clone());
        blocking(move || begin(&work.0, &work.1)).await?;
        let mut stats = FetchStats::default();
        self.commits(store, wants, limits, &mut stats).await?;
        let mut batch = FIRST_BATCH;
        let mut asked = BTreeSet::new();
        loop {
            let work = (store.clone(), wants.clone());
            let lacking = blocking(move || lacking(&work.0, &work.1)).await?;
            if !lacking.commits.is_empty() {
                let message = "the server left out a commit that it was asked for".to_owned();
                return Err(GitError::new(Reason::ProtocolError, message));
            }
            if lacking.objects.is_empty() {
                break;
            }
            // Each object is asked for until its pack has come: one that is lacking after that was left out, and asking
            // again would never end.
            if let Some((id, path)) = lacking.objects.iter().find(|(id, _)| asked.contains(id)) {
                let message = format!("the server left out `{path}` (object {id}) although it was asked for it");
                return Err(GitError::new(Reason::ProtocolError, message));
            }
            asked.extend(lacking.objects.iter().map(|(id, _)| id.clone()));
            self.objects(store, lacking.objects, &mut batch, limits, &mut stats).await?;
        }
        let work = (store.clone(), wants.clone());
        blocking(move || complete(&work.0, &work.1)).await?;
        Ok(stats)
    }

    /// Fetches the commits with their directories; without, if that is cut.
    async fn commits(
        &self,
        store: &Store,
        wants: &BTreeSet<Revision>,
        limits: FetchLimits,
        stats: &mut FetchStats,
    ) -> Result<(), GitError> {
        for filter in [Filter::Files, Filter::FilesAndDirectories] {
            let work = (store.clone(), wants.clone());
            let (lacking, held) = blocking(move || Ok((lacking(&work.0, &work.1)?.commits, work.0.held()?))).await?;
            if lacking.is_empty() {
                return Ok(());
            }
            let request = FetchRequest {
                wants: lacking,
                haves: held.haves,
                shallow: held.shallow,
                depth: Some(1),
                filter: Some(filter),
            };
            match self.piece(store, &request, limits, stats).await {
                Err(error) if is_cut(&error) && filter == Filter::Files => {}
                done => return done,
            }
        }
        Ok(())
    }

    /// Fetches objects by their ids.
    async fn objects(
        &self,
        store: &Store,
        mut waiting: VecDeque<(Revision, String)>,
        batch: &mut usize,
        limits: FetchLimits,
        stats: &mut FetchStats,
    ) -> Result<(), GitError> {
        let (mut calm, mut attempts) = (0, 0);
        while !waiting.is_empty() {
            let count = waiting.len().min(*batch);
            let request = FetchRequest {
                wants: waiting.iter().take(count).map(|(id, _)| id.clone()).collect(),
                filter: Some(Filter::FilesAndDirectories),
                ..FetchRequest::default()
            };
            match self.piece(store, &request, limits, stats).await {
                Ok(()) => {
                    waiting.drain(..count);
                    (calm, attempts) = (calm + 1, 0);
                    if calm == CALM {
                        calm = 0;
                        *batch = (*batch * 2).min(LARGEST_BATCH);
                    }
                }
                Err(error) if is_cut(&error) && count > 1 => {
                    calm = 0;
                    *batch = (count / 2).max(1);
                }
                Err(error) if is_cut(&error) && attempts + 1 < ATTEMPTS => attempts += 1,
                Err(mut error) if is_cut(&error) => {
                    let path = waiting.front().map(|(_, path)| path.as_str()).unwrap_or_default();
                    error.message = format!(
                        "`{path}` alone does not come through ({ATTEMPTS} attempts): {}; {} objects are still to come, \
                         what came so far is kept",
                        error.message,
                        waiting.len()
                    );
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One piece. Bounded by what the pieces before have left of the limits.
    async fn piece(
        &self,
        store: &Store,
        request: &FetchRequest,
        limits: FetchLimits,
        stats: &mut FetchStats,
    ) -> Result<(), GitError> {
        let left = FetchLimits {
            bytes: limits.bytes.saturating_sub(stats.bytes),
            objects: limits.objects.saturating_sub(stats.objects),
            ..limits
        };
        let came = self.fetch_pack(store, request, left, PackEnd::default()).await?;
        stats.bytes += came.bytes;
        stats.objects += came.objects;
        stats.pieces = Some(stats.pieces.unwrap_or_default() + 1);
        self.way().pieces = stats.pieces;
        Ok(())
    }
}

/// Takes note that these commits will be there in part. Comes before the first piece.
fn begin(store: &Store, wants: &BTreeSet<Revision>) -> Result<(), GitError> {
    store.pieced().clone_from(wants);
    let before = CommitList::Partial.read(store.dir())?;
    let all: BTreeSet<Revision> = before.union(wants).cloned().collect();
    if all == before { Ok(()) } else { CommitList::Partial.write(store.dir(), &all) }
}

/// Records commits of which nothing is lacking.
fn complete(store: &Store, wants: &BTreeSet<Revision>) -> Result<(), GitError> {
    {
        let repository = store.repository();
        let failed = |error: git2::Error| GitError::store("recording a fetched commit", &error);
        for want in wants {
            let id = Oid::from_str(want.as_str()).map_err(failed)?;
            repository.reference(&format!("{FETCHED}{want}"), id, true, "fetch").map_err(failed)?;
        }
    }
    CommitList::Partial.remove(store.dir(), wants)?;
    store.pieced().clear();
    Ok(())
}

/// Walks everything that the commits consist of.
pub(super) fn lacking(store: &Store, wants: &BTreeSet<Revision>) -> Result<Lacking, GitError> {
    let failed = |error: git2::Error| GitError::store("looking for what a commit lacks", &error);
    // A fresh one knows all packs, so that what it doesn't find needn't be looked for on the disk again.
    let repository = Repository::open_bare(store.dir()).map_err(failed)?;
    let odb = repository.odb().map_err(failed)?;
    let has = |id: Oid| odb.exists_ext(id, OdbLookupFlags::NO_REFRESH);
    let mut found = Lacking::default();
    let mut seen = BTreeSet::new();
    for want in wants {
        let id = Oid::from_str(want.as_str()).map_err(failed)?;
        if !has(id) {
            found.commits.insert(want.clone());
            continue;
        }
        let Ok(commit) = repository.find_commit(id) else {
            let kind = odb.read_header(id).map_or(ObjectType::Any, |(_, kind)| kind);
            return Err(GitError::new(Reason::RefNotFound, format!("{want} is a {kind}, not a commit")));
        };
        let mut waiting = vec![(commit.tree_id(), String::new())];
        while let Some((id, path)) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            if !has(id) {
                found.push(id, path);
                continue;
            }
            let tree = repository.find_tree(id).map_err(failed)?;
            for entry in &tree {
                let name = String::from_utf8_lossy(entry.name_bytes());
                let path = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
                match entry.kind() {
                    Some(ObjectType::Tree) => waiting.push((entry.id(), path)),
                    // A submodule's commit is not of this repository.
                    Some(ObjectType::Commit) => {}
                    _ => {
                        if !has(entry.id()) && seen.insert(entry.id()) {
                            found.push(entry.id(), path);
                        }
                    }
                }
            }
        }
    }
    Ok(found)
}

impl Lacking {
    fn push(&mut self, id: Oid, path: String) {
        // Hexadecimal digits are an id.
        if let Ok(id) = Revision::parse(&id.to_string()) {
            self.objects.push_back((id, path));
        }
    }
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;

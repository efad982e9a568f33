//! Takes a pack from the network into a store: a bounded channel to a blocking writer.
//!
//! Nothing of a pack is visible before its end was seen and everything was verified; what ends early is removed.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use git2::{Oid, Repository};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::fetch::FetchLimits;
use super::layout::{CommitList, FETCHED};
use super::pack_scan::{PackScanner, ScanError};
use super::store::{Store, find_tree};

/// What is handed to the writer at once, in bytes. Packets are small (64 KiB at most), and each write into a pack maps a
/// part of its file: larger blocks mean fewer mappings, and fewer wake-ups of the writer.
const BLOCK: usize = 512 * 1024;

/// Blocks that may wait for the writer: with the one that is being gathered and the one that is being written, 2 MiB.
const WAITING: usize = 2;

/// With more packs than this a fetch repacks first: whoever should have called `Store::compact` has not.
const NEGLECTED_PACKS: usize = 80;

/// How much came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ingested {
    pub bytes: u64,
    pub objects: u32,
}

/// What comes with the end of a pack.
#[derive(Debug, Default)]
pub(super) struct PackEnd {
    pub wants: BTreeSet<Revision>,
    /// Annotated tags that were asked for besides.
    pub tags: BTreeSet<Revision>,
    pub shallow: BTreeSet<Revision>,
    pub unshallow: BTreeSet<Revision>,
}

enum Piece {
    Data(Bytes),
    End(PackEnd),
}

/// The near end of the channel. Dropped before `finish`, everything that came is removed.
pub(super) struct PackSink {
    pieces: mpsc::Sender<Piece>,
    gathered: BytesMut,
    writer: JoinHandle<Result<Ingested, GitError>>,
}

impl PackSink {
    /// Waits for its turn to write into the store.
    pub(super) async fn open(store: &Store, limits: FetchLimits) -> Self {
        let alone = store.writing().lock_owned().await;
        let (pieces, mut incoming) = mpsc::channel(WAITING);
        let store = store.clone();
        let writer = tokio::task::spawn_blocking(move || {
            // Held by the writer and not by the fetch: a fetch that is dropped may leave the writer running for a moment.
            let _alone = alone;
            write(&store, limits, &mut incoming)
        });
        Self { pieces, gathered: BytesMut::new(), writer }
    }

    /// Takes the next piece; says whether the writer still wants more. If not, `finish` tells why.
    pub(super) async fn write(&mut self, data: &[u8]) -> bool {
        if self.gathered.len() + data.len() > BLOCK && !self.hand_over().await {
            return false;
        }
        if self.gathered.is_empty() {
            self.gathered.reserve(BLOCK);
        }
        self.gathered.extend_from_slice(data);
        true
    }

    async fn hand_over(&mut self) -> bool {
        let block = self.gathered.split().freeze();
        block.is_empty() || self.pieces.send(Piece::Data(block)).await.is_ok()
    }

    /// Gives up: returns when everything that came is removed.
    pub(super) async fn abort(self) {
        drop(self.pieces);
        // The writer's answer is that the transfer ended early, which whoever gives up knows.
        let _ = self.writer.await;
    }

    /// Ends the pack: it is checked, becomes visible, and the wanted commits get their refs.
    pub(super) async fn finish(mut self, end: PackEnd) -> Result<Ingested, GitError> {
        // A writer that has failed takes no more pieces; its error is the answer.
        let _ = self.hand_over().await;
        let _ = self.pieces.send(Piece::End(end)).await;
        drop(self.pieces);
        let joined = self.writer.await;
        joined.map_err(|error| GitError::new(Reason::InternalError, format!("the pack writer ended: {error}")))?
    }
}

fn write(store: &Store, limits: FetchLimits, incoming: &mut mpsc::Receiver<Piece>) -> Result<Ingested, GitError> {
    let failed = |error: git2::Error| GitError::store("opening the object database", &error);
    let mut room = store.limits().bytes.saturating_sub(store.size());
    if room < limits.bytes && store.pack_count()? > 1 {
        store.repack()?;
        room = store.limits().bytes.saturating_sub(store.size());
    }
    if store.pack_count()? > NEGLECTED_PACKS
        && let Err(error) = store.repack()
    {
        tracing::warn!(%error, store = %store.dir().display(), "a git store with many packs cannot be repacked");
    }
    let repository = Repository::open_bare(store.dir()).map_err(failed)?;
    let odb = repository.odb().map_err(failed)?;
    let mut writer = odb.packwriter().map_err(failed)?;
    let mut scanner = PackScanner::new(limits.object_bytes);
    let mut came = Ingested::default();
    let end = loop {
        match incoming.blocking_recv() {
            // The fetch failed or was dropped: dropping the writer removes its files.
            None => return Err(GitError::new(Reason::ConnectionCut, "the transfer ended early")),
            Some(Piece::End(end)) => break end,
            Some(Piece::Data(data)) => {
                came.bytes += data.len() as u64;
                scanner.feed(&data).map_err(|error| {
                    let reason = match error {
                        ScanError::TooLarge { .. } => Reason::PackTooLarge,
                        ScanError::Broken(_) => Reason::ProtocolError,
                    };
                    GitError::new(reason, error.to_string())
                })?;
                came.objects = scanner.objects();
                check(came, limits, room)?;
                writer.write_all(&data).map_err(|error| {
                    // libgit2 does not say why; what is written so far is still there, so a full volume still is full.
                    let message = no_space(store.dir())
                        .unwrap_or_else(|| format!("the pack cannot be written or is broken: {error}"));
                    GitError::new(Reason::StoreFailed, message)
                })?;
            }
        }
    };
    if !scanner.is_complete() {
        return Err(GitError::new(Reason::ProtocolError, "the pack ends before its last object"));
    }
    // First the shallow file: naming commits that never come is harmless, lacking one that came is not.
    let mut shallow = CommitList::Shallow.read(store.dir())?;
    let before = shallow.len();
    shallow.retain(|commit| !end.unshallow.contains(commit));
    let removed = before != shallow.len();
    let added = end.shallow.iter().filter(|commit| shallow.insert((*commit).clone())).count();
    if added > 0 || removed {
        CommitList::Shallow.write(store.dir(), &shallow)?;
    }
    if came.objects > 0 {
        writer.commit().map_err(|error| {
            GitError::new(Reason::ProtocolError, format!("the pack is broken or incomplete: {}", error.message()))
        })?;
    }
    drop(writer);
    odb.refresh().map_err(failed)?;
    for want in &end.wants {
        match find_tree(&repository, want) {
            Ok(_) => {}
            Err(error) => {
                let kind = Oid::from_str(want.as_str()).and_then(|id| odb.read_header(id)).map(|(_, kind)| kind);
                return Err(match kind {
                    Ok(kind) if kind != git2::ObjectType::Commit => {
                        GitError::new(Reason::RefNotFound, format!("{want} is a {kind}, not a commit"))
                    }
                    _ => GitError::new(
                        Reason::ProtocolError,
                        format!("the pack lacks the wanted commit {want} or its tree: {}", error.message()),
                    ),
                });
            }
        }
    }
    for want in &end.wants {
        let id = Oid::from_str(want.as_str()).map_err(failed)?;
        let recorded = repository.reference(&format!("{FETCHED}{want}"), id, true, "fetch");
        recorded.map_err(|error| GitError::store("recording a fetched commit", &error))?;
    }
    CommitList::Partial.remove(store.dir(), &end.wants)?;
    for tag in &end.tags {
        store.keep_tag(&odb, tag)?;
    }
    Ok(came)
}

/// Says that a volume is full: less is free than what is written at a time.
fn no_space(directory: &Path) -> Option<String> {
    let found = rustix::fs::statvfs(directory).ok()?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let size = found.f_blocks.saturating_mul(found.f_frsize);
    (free < 2 * BLOCK as u64).then(|| {
        format!(
            "no space is left for the pack: {free} of {size} bytes are free on the volume of {}; make the volume larger",
            directory.display()
        )
    })
}

fn check(came: Ingested, limits: FetchLimits, room: u64) -> Result<(), GitError> {
    let too_large = |message: String| Err(GitError::new(Reason::PackTooLarge, message));
    if came.objects > limits.objects {
        return too_large(format!("the pack has {} objects, the limit is {}", came.objects, limits.objects));
    }
    if came.bytes > limits.bytes {
        return too_large(format!("the pack has more than the {} bytes of the limit", limits.bytes));
    }
    if came.bytes > room {
        return too_large(format!("the pack does not fit into the object store: {room} bytes are left of its limit"));
    }
    Ok(())
}

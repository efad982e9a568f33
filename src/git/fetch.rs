//! Objects of commits: from the server into a store.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};

use crate::model::{Reason, Revision};

use super::advertisement::{AdvertisementReader, Server};
use super::error::GitError;
use super::ingest::{PackEnd, PackSink};
use super::old_protocol::OldFetchParser;
use super::packet_line::Packet;
use super::protocol::{FetchEvent, FetchParser, FetchRequest, ProtocolError};
use super::remote::{AGENT, REFS_LIMIT, Remote};
use super::store::Store;
use super::transport::Incoming;

/// After this many packs in a row that were cut, commits are fetched in pieces.
pub(super) const PATIENCE: u32 = 3;

/// What one fetch may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Bytes of the pack.
    pub bytes: u64,
    /// Objects in the pack.
    pub objects: u32,
    /// Bytes of one object, unpacked: objects that are sent as differences are put together in memory.
    pub object_bytes: u64,
}

impl Default for FetchLimits {
    /// 1 GiB, a million objects, and 256 MiB of one object.
    fn default() -> Self {
        Self { bytes: 1 << 30, objects: 1_000_000, object_bytes: 256 << 20 }
    }
}

/// What one fetch brought. All zero when the store had everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchStats {
    /// Bytes of the pack.
    pub bytes: u64,
    /// Objects in the pack.
    pub objects: u32,
    /// How many packs it took, when it came in pieces: see [`Remote::pieced`].
    pub pieces: Option<usize>,
}

/// What was learnt of the way to the server.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// How many packs were cut in a row.
    pub cuts: u32,
    /// After how many bytes the last one was.
    pub cut_after: u64,
    /// How many packs the last fetch in pieces took, or has taken so far.
    pub pieces: Option<usize>,
    /// Whether the server can leave out files.
    pub has_filters: bool,
}

impl Remote {
    /// Brings commits into the store, each with its files and without history (all of it, if the server can't do
    /// otherwise). What the store holds already isn't sent again. Nothing is asked when the store has all of `wants`.
    /// On failure the store is as before, but for pieces that later attempts build on (see [`Self::pieced`]).
    pub async fn fetch(&self, store: &Store, wants: &[Revision], limits: FetchLimits) -> Result<FetchStats, GitError> {
        self.fetch_with_tags(store, wants, &[], limits).await
    }

    /// As [`Self::fetch`], and brings the objects of annotated tags besides: whoever verifies a release needs what is
    /// signed.
    pub async fn fetch_with_tags(
        &self,
        store: &Store,
        wants: &[Revision],
        tags: &[Revision],
        limits: FetchLimits,
    ) -> Result<FetchStats, GitError> {
        self.limited(self.fetch_missing(store, wants, tags, limits)).await
    }

    /// Why commits are fetched in pieces at present, in a sentence; `None` while they come whole. It begins when three
    /// packs in a row were cut, and ends with the first that comes whole.
    pub fn pieced(&self) -> Option<String> {
        let Way { cuts: _, cut_after, pieces, has_filters: _ } = *self.way();
        pieces.map(|pieces| {
            format!(
                "{PATIENCE} transfers in a row were cut, the last after {cut_after} bytes, so commits are fetched in \
                 pieces (the last one in {pieces}); have the limit of what lies between raised"
            )
        })
    }

    pub(super) fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_missing(
        &self,
        store: &Store,
        wants: &[Revision],
        tags: &[Revision],
        limits: FetchLimits,
    ) -> Result<FetchStats, GitError> {
        let work = (store.clone(), wants.to_vec(), tags.iter().cloned().collect::<BTreeSet<_>>());
        let (missing, tags, held) = blocking(move || {
            let (store, wants, mut tags) = work;
            tags.retain(|tag| !store.has_tag(tag));
            let mut missing = BTreeSet::new();
            for want in wants {
                if !store.has(&want)? {
                    missing.insert(want);
                }
            }
            let held = store.held()?;
            Ok((missing, tags, held))
        })
        .await?;
        if missing.is_empty() && tags.is_empty() {
            return Ok(FetchStats::default());
        }
        let way = self.way().clone();
        if way.cuts < PATIENCE || !way.has_filters {
            let request = FetchRequest {
                wants: missing.union(&tags).cloned().collect(),
                haves: held.haves,
                shallow: held.shallow,
                depth: Some(1),
                filter: None,
            };
            let end = PackEnd { wants: missing.clone(), tags: tags.clone(), ..PackEnd::default() };
            match self.fetch_pack(store, &request, limits, end).await {
                Ok(stats) => {
                    *self.way() = Way::default();
                    store.pieced().clear();
                    return Ok(stats);
                }
                Err(mut error) => {
                    let way = self.way().clone();
                    if !is_cut(&error) || way.cuts < PATIENCE {
                        return Err(error);
                    }
                    if !way.has_filters {
                        error.message = format!(
                            "{}; that is the {}th transfer in a row that was cut. Fetching in pieces would help, but the \
                             server offers no filters (`uploadpack.allowFilter`): have that enabled, or the limit of what \
                             lies between raised",
                            error.message, way.cuts
                        );
                        return Err(error);
                    }
                }
            }
        }
        let done = self.fetch_in_pieces(store, &missing, limits).await?;
        if !tags.is_empty() {
            // Small: the commits that they name have just come.
            let request =
                FetchRequest { wants: tags.clone(), haves: missing, depth: Some(1), ..FetchRequest::default() };
            self.fetch_pack(store, &request, limits, PackEnd { tags, ..PackEnd::default() }).await?;
        }
        // The next one may come whole; if not, one cut is enough.
        self.way().cuts = PATIENCE - 1;
        Ok(done)
    }

    /// Fetches one pack into the store; `end` says which commits it makes complete.
    pub(super) async fn fetch_pack(
        &self,
        store: &Store,
        request: &FetchRequest,
        limits: FetchLimits,
        mut end: PackEnd,
    ) -> Result<FetchStats, GitError> {
        let (mut parser, mut answer) = self.ask_for_pack(request).await?;
        let mut sink = PackSink::open(store, limits).await;
        let mut received = receive(&mut answer, &mut parser, &mut sink, &mut end).await;
        let so_far = answer.received();
        if let Ok(true) = received {
            received = answer.finish().await.map(|()| true);
        }
        match received {
            // When the writer has given up, ending the pack tells why.
            Ok(_) => {
                let came = sink.finish(end).await?;
                Ok(FetchStats { bytes: came.bytes, objects: came.objects, pieces: None })
            }
            Err(mut error) => {
                sink.abort().await;
                if is_cut(&error) {
                    let mut way = self.way();
                    way.cuts = way.cuts.saturating_add(1);
                    way.cut_after = so_far;
                }
                if error.reason == Reason::RefNotFound {
                    let wanted: Vec<&str> = request.wants.iter().map(Revision::as_str).take(3).collect();
                    error.message = parser.explain_missing(&wanted.join(" or "), &error.message);
                }
                Err(error)
            }
        }
    }

    async fn ask_for_pack(&self, request: &FetchRequest) -> Result<(Parser, Incoming), GitError> {
        let encode = |server: &Server| {
            let encoded = match server {
                Server::Version2(server) => request.encode(server, AGENT),
                Server::Old(server) => request.encode_old(server, AGENT),
            };
            encoded.map(Some)
        };
        let answered = if let Some(answered) = self.ask_remembered(&encode).await? {
            Some(answered)
        } else {
            let (session, _) = self.greet(AdvertisementReader::without_refs(), REFS_LIMIT).await?;
            self.send(session, &encode).await?
        };
        let nothing = || GitError::new(Reason::InternalError, "a fetch sent no request");
        let (server, answer) = answered.ok_or_else(nothing)?;
        let (parser, has_filters) = match &server {
            Server::Version2(server) => (Parser::Version2(FetchParser::default()), server.filter()),
            Server::Old(server) => (Parser::Old(OldFetchParser::new(request, server)), false),
        };
        self.way().has_filters = has_filters;
        Ok((parser, answer))
    }
}

/// Whether a transfer ended for a reason that a shorter one may not meet.
pub(super) fn is_cut(error: &GitError) -> bool {
    matches!(error.reason, Reason::ConnectionCut | Reason::Stalled)
}

/// Runs what works on files.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| GitError::new(Reason::InternalError, error.to_string()))?
}

/// Reads an answer to `fetch`, in the server's protocol version.
enum Parser {
    Version2(FetchParser),
    Old(OldFetchParser),
}

impl Parser {
    fn feed(&mut self, packet: &Packet) -> Result<FetchEvent, ProtocolError> {
        match self {
            Self::Version2(parser) => parser.feed(packet),
            Self::Old(parser) => parser.feed(packet),
        }
    }

    fn pack_may_begin(&self) -> bool {
        match self {
            Self::Version2(_) => false,
            Self::Old(parser) => parser.pack_may_begin(),
        }
    }

    fn explain_missing(&self, wanted: &str, said: &str) -> String {
        match self {
            Self::Version2(_) => {
                format!("the server does not have commit {wanted}; was it removed by a forced push? ({said})")
            }
            Self::Old(_) => format!(
                "the server does not give out commit {wanted}: it speaks an old version of the git protocol, in which \
                 only what its refs lead to can be had; track a branch or a tag, or have protocol version 2 enabled \
                 (does a proxy remove the `Git-Protocol` header?); or was the commit removed by a forced push? ({said})"
            ),
        }
    }
}

/// Moves the pack from an answer to the writer, until the end or until the writer wants no more. Says whether the end
/// was reached.
async fn receive(
    answer: &mut Incoming,
    parser: &mut Parser,
    sink: &mut PackSink,
    end: &mut PackEnd,
) -> Result<bool, GitError> {
    loop {
        if parser.pack_may_begin() && answer.peek().await? == Some(*b"PACK") {
            // The end of the connection is the end of the pack; whether it is whole, its checksum tells.
            while let Some(data) = answer.bytes().await? {
                if !sink.write(&data).await {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Some(packet) = answer.packet().await? else { return Err(answer.cut()) };
        match parser.feed(&packet).map_err(|error| answer.broken(&error))? {
            FetchEvent::Ignored => {}
            FetchEvent::End => return Ok(true),
            FetchEvent::Shallow(commit) => drop(end.shallow.insert(commit)),
            FetchEvent::Unshallow(commit) => drop(end.unshallow.insert(commit)),
            FetchEvent::Pack(data) => {
                if !sink.write(&data).await {
                    return Ok(false);
                }
            }
        }
    }
}

//! The server side of a repository: which refs it has, and the objects of commits.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::time::timeout;

use crate::egress::{Authorization, CaBundle, ClientIdentity, Egress, HttpClient, HttpConfig, Override, Timeouts};
use crate::model::{Reason, Revision};

use super::advertisement::{AdvertisementReader, Server};
use super::error::GitError;
use super::http_transport::HttpTransport;
use super::ingest::{PackEnd, PackLimits, PackSink};
use super::old_protocol::OldFetchParser;
use super::packet_line::{Packet, PacketError};
use super::protocol::{FetchEvent, FetchParser, FetchRequest, RemoteRef, ls_refs_request, parse_ref};
use super::store::Store;
use super::transport::{Incoming, Line, Transport};
use super::url::RepositoryUrl;

/// Servers and proxies treat what calls itself `git/…` as git.
const AGENT: &str = concat!("git/2.0 (tidelock/", env!("CARGO_PKG_VERSION"), ")");

/// A list of refs is limited to this: about 400 000 refs.
const REFS_LIMIT: u64 = 32 << 20;

/// How to reach a repository.
#[derive(Clone)]
pub struct RemoteConfig {
    /// Which repository.
    pub url: RepositoryUrl,
    /// The rules for all connections.
    pub egress: Egress,
    /// What this repository says about its route.
    pub route: Override,
    /// Sent at once with every request to the repository's own host and port.
    pub authorization: Option<Authorization>,
    /// Shown to a server that asks for a client certificate.
    pub identity: Option<ClientIdentity>,
    /// Authorities to trust for this repository besides the system's.
    pub ca: Option<CaBundle>,
    /// Timers. `total` limits each `ls_refs` and each `fetch` as a whole.
    pub timeouts: Timeouts,
}

/// What one fetch may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Bytes of the pack.
    pub bytes: u64,
    /// Objects in the pack.
    pub objects: u32,
}

impl Default for FetchLimits {
    /// 1 GiB and a million objects.
    fn default() -> Self {
        Self { bytes: 1 << 30, objects: 1_000_000 }
    }
}

/// What one fetch brought. All zero when the store had everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchStats {
    /// Bytes of the pack.
    pub bytes: u64,
    /// Objects in the pack.
    pub objects: u32,
}

/// A repository on a server. Keeps connections and the server's capabilities, so that a poll after the first is one
/// request. Make a new one when URL, credentials, CA or egress rules change.
pub struct Remote {
    url: RepositoryUrl,
    transport: Transport,
    session: Mutex<Option<Session>>,
}

/// What the first request told.
struct Session {
    server: Server,
    line: Line,
}

impl Session {
    fn keep(&self) -> Option<Self> {
        Some(Self { server: self.server.clone(), line: self.line.keep()? })
    }
}

impl Remote {
    /// Makes no connection yet.
    pub fn new(config: RemoteConfig) -> Self {
        let RemoteConfig { url, egress, route, authorization, identity, ca, timeouts } = config;
        let user_agent = Some(AGENT.to_owned());
        let client = HttpClient::new(egress, HttpConfig { route, ca, authorization, identity, timeouts, user_agent });
        let transport = Transport::Http(HttpTransport::new(client, url.base().clone()));
        Self { url, transport, session: Mutex::default() }
    }

    /// Which repository this is.
    pub fn url(&self) -> &RepositoryUrl {
        &self.url
    }

    /// The route in words (`direct`, `proxy corporate (10.0.0.1:3128)`), for status and metrics.
    pub fn route(&self) -> String {
        self.transport.route()
    }

    /// The refs whose full names begin with one of `prefixes` (see [`super::ref_prefixes`]); all when there is none.
    pub async fn ls_refs(&self, prefixes: &[String]) -> Result<Vec<RemoteRef>, GitError> {
        self.limited(self.list(prefixes, REFS_LIMIT)).await
    }

    async fn list(&self, prefixes: &[String], limit: u64) -> Result<Vec<RemoteRef>, GitError> {
        let encode = |server: &Server| match server {
            Server::Version2(server) => ls_refs_request(server, AGENT, prefixes).map(Some),
            // The list of refs is the advertisement.
            Server::Old(_) => Ok(None),
        };
        let answer = match self.ask_remembered(&encode).await? {
            Some((_, answer)) => answer,
            None => {
                let reader = AdvertisementReader::keeping(prefixes);
                let (session, refs) = self.greet(reader, limit).await?;
                match self.send(session, &encode).await? {
                    Some((_, answer)) => answer,
                    None => return Ok(refs),
                }
            }
        };
        read_refs(answer, limit).await
    }

    /// Brings commits into the store, each with its files and without history (all of it, if the server can't do
    /// otherwise). What the store holds already isn't sent again. Nothing is asked when the store has all of `wants`.
    /// On failure the store is as before.
    pub async fn fetch(&self, store: &Store, wants: &[Revision], limits: FetchLimits) -> Result<FetchStats, GitError> {
        self.limited(self.fetch_missing(store, wants, limits)).await
    }

    async fn fetch_missing(
        &self,
        store: &Store,
        wants: &[Revision],
        limits: FetchLimits,
    ) -> Result<FetchStats, GitError> {
        let (missing, held) = {
            let (store, wants) = (store.clone(), wants.to_vec());
            let look = move || {
                let mut missing = BTreeSet::new();
                for want in wants {
                    if !store.has(&want)? {
                        missing.insert(want);
                    }
                }
                let held = store.held()?;
                Ok::<_, GitError>((missing, held))
            };
            let looked = tokio::task::spawn_blocking(look).await;
            looked.map_err(|error| GitError::new(Reason::InternalError, error.to_string()))??
        };
        if missing.is_empty() {
            return Ok(FetchStats::default());
        }
        let request = FetchRequest {
            wants: missing.clone(),
            haves: held.haves,
            shallow: held.shallow,
            depth: Some(1),
            filter: None,
        };
        let (mut parser, mut answer) = self.ask_for_pack(&request).await?;
        let sink = PackSink::open(store, PackLimits { bytes: limits.bytes, objects: limits.objects }).await;
        let mut end = PackEnd { wants: missing, ..PackEnd::default() };
        match receive(&mut answer, &mut parser, &sink, &mut end).await {
            // When the writer has given up, ending the pack tells why.
            Ok(complete) => {
                if complete && let Err(error) = answer.finish().await {
                    sink.abort().await;
                    return Err(error);
                }
                let came = sink.finish(end).await?;
                Ok(FetchStats { bytes: came.bytes, objects: came.objects })
            }
            Err(mut error) => {
                sink.abort().await;
                if error.reason == Reason::RefNotFound {
                    let wanted: Vec<&str> = end.wants.iter().map(Revision::as_str).collect();
                    error.message = parser.explain_missing(&wanted.join(" or "), &error.message);
                }
                Err(error)
            }
        }
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, GitError>>) -> Result<T, GitError> {
        let result = match self.transport.timeouts().total {
            None => work.await,
            Some(total) => timeout(total, work).await.unwrap_or_else(|_| {
                let message = format!("not done within the total of {} s", total.as_secs_f64());
                Err(GitError::new(Reason::Stalled, message))
            }),
        };
        result.map_err(|error| error.about(&self.url))
    }

    async fn ask_for_pack(&self, request: &FetchRequest) -> Result<(Parser, Incoming), GitError> {
        let encode = |server: &Server| {
            let encoded = match server {
                Server::Version2(server) => request.encode(server, AGENT),
                Server::Old(server) => request.encode_old(server, AGENT),
            };
            encoded.map(Some)
        };
        let answered = match self.ask_remembered(&encode).await? {
            Some(answered) => Some(answered),
            None => {
                let (session, _) = self.greet(AdvertisementReader::without_refs(), REFS_LIMIT).await?;
                self.send(session, &encode).await?
            }
        };
        let nothing = || GitError::new(Reason::InternalError, "a fetch sent no request");
        let (server, answer) = answered.ok_or_else(nothing)?;
        let parser = match &server {
            Server::Version2(_) => Parser::Version2(FetchParser::default()),
            Server::Old(server) => Parser::Old(OldFetchParser::new(request, server)),
        };
        Ok((parser, answer))
    }

    /// Sends a command by what is remembered of an earlier conversation; `None` when nothing is, or when it is
    /// outdated (the repository moved, the server was replaced): then the server has to be greeted.
    async fn ask_remembered(&self, encode: &Encode<'_>) -> Result<Option<(Server, Incoming)>, GitError> {
        let remembered = self.session.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Session::keep);
        let Some(session) = remembered else { return Ok(None) };
        match self.send(session, encode).await {
            Err(error)
                if matches!(
                    error.reason,
                    Reason::RepositoryNotFound | Reason::RedirectRefused | Reason::ProtocolError
                ) =>
            {
                self.forget();
                Ok(None)
            }
            Err(error) => {
                if error.reason == Reason::AuthFailed {
                    self.forget();
                }
                Err(error)
            }
            answered => answered,
        }
    }

    fn forget(&self) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Reads the server's advertisement, and remembers what it says.
    async fn greet(
        &self,
        mut reader: AdvertisementReader<'_>,
        limit: u64,
    ) -> Result<(Session, Vec<RemoteRef>), GitError> {
        let mut greeting = self.transport.greet().await?;
        loop {
            let Some(packet) = next_of_list(&mut greeting, limit).await? else { return Err(greeting.cut()) };
            if reader.feed(&packet).map_err(|error| greeting.broken(&error))? {
                break;
            }
        }
        let Some((server, refs)) = reader.finish() else { return Err(greeting.cut()) };
        let line = self.transport.settle(greeting, &server).await?;
        let session = Session { server, line };
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session.keep();
        Ok((session, refs))
    }

    /// Sends a command; `None` when there is nothing to send.
    async fn send(&self, session: Session, encode: &Encode<'_>) -> Result<Option<(Server, Incoming)>, GitError> {
        let Session { server, line } = session;
        let body = encode(&server).map_err(|error| {
            GitError::new(
                Reason::InvalidSpec,
                format!("the request cannot be written: {error}; is a ref name very long?"),
            )
        })?;
        let Some(body) = body else { return Ok(None) };
        let answer = self.transport.command(line, Bytes::from(body)).await?;
        Ok(Some((server, answer)))
    }
}

/// Writes a command for a server; `None` when that server needs none.
type Encode<'a> = dyn Fn(&Server) -> Result<Option<Vec<u8>>, PacketError> + Sync + 'a;

/// The next packet of a list that must not exceed `limit` bytes.
async fn next_of_list(answer: &mut Incoming, limit: u64) -> Result<Option<Packet>, GitError> {
    if answer.received() > limit {
        let message = format!(
            "the list of refs has more than {limit} bytes; track a branch or tag by its full name, or delete old refs"
        );
        return Err(answer.error(Reason::PackTooLarge, message));
    }
    answer.packet().await
}

async fn read_refs(mut answer: Incoming, limit: u64) -> Result<Vec<RemoteRef>, GitError> {
    let mut refs = Vec::new();
    loop {
        match next_of_list(&mut answer, limit).await? {
            None => return Err(answer.cut()),
            Some(Packet::Flush) => break,
            Some(packet @ Packet::Data(_)) => {
                let line = packet.line().unwrap_or_default();
                refs.extend(parse_ref(line).map_err(|error| answer.broken(&error))?);
            }
            Some(Packet::Delimiter | Packet::ResponseEnd) => {}
        }
    }
    answer.finish().await?;
    Ok(refs)
}

/// Reads an answer to `fetch`, in the server's protocol version.
enum Parser {
    Version2(FetchParser),
    Old(OldFetchParser),
}

impl Parser {
    fn feed(&mut self, packet: &Packet) -> Result<FetchEvent, super::protocol::ProtocolError> {
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
    sink: &PackSink,
    end: &mut PackEnd,
) -> Result<bool, GitError> {
    loop {
        if parser.pack_may_begin() && answer.peek().await? == Some(*b"PACK") {
            // The end of the connection is the end of the pack; whether it is whole, its checksum tells.
            while let Some(data) = answer.bytes().await? {
                if !sink.write(data).await {
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
                if !sink.write(data).await {
                    return Ok(false);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;

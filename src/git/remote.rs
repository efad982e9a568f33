//! The server side of a repository: which refs it has, and the objects of commits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::time::timeout;
use url::Url;

use crate::egress::{Authorization, CaBundle, ClientIdentity, Egress, HttpClient, HttpConfig, HttpResponse, Override, Timeouts};
use crate::model::{Reason, Revision};

use super::answer::{Content, broken, cut, get_headers, judge, post_headers};
use super::error::GitError;
use super::ingest::{PackEnd, PackLimits, PackSink};
use super::packet_line::{Packet, PacketReader};
use super::protocol::{
    Capabilities, FetchEvent, FetchParser, FetchRequest, ProtocolError, RemoteRef, ls_refs_request, parse_ref,
};
use super::store::Store;
use super::url::RepositoryUrl;

/// Servers and proxies treat what calls itself `git/…` as git.
const AGENT: &str = concat!("git/2.0 (tidelock/", env!("CARGO_PKG_VERSION"), ")");

/// An advertisement of capabilities has some hundred bytes.
const ADVERTISEMENT_LIMIT: usize = 1 << 20;

/// A list of refs is limited to this: about 300 000 refs.
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
    client: HttpClient,
    session: Mutex<Option<Arc<Session>>>,
}

/// What the first request told.
struct Session {
    capabilities: Capabilities,
    /// Where requests go: the repository's URL, or where it redirected to.
    base: Url,
    /// Whether that is where the credentials are meant for.
    with_credentials: bool,
}

impl Remote {
    /// Makes no connection yet.
    pub fn new(config: RemoteConfig) -> Self {
        let RemoteConfig { url, egress, route, authorization, identity, ca, timeouts } = config;
        let user_agent = Some(AGENT.to_owned());
        let client = HttpClient::new(egress, HttpConfig { route, ca, authorization, identity, timeouts, user_agent });
        Self { url, client, session: Mutex::default() }
    }

    /// Which repository this is.
    pub fn url(&self) -> &RepositoryUrl {
        &self.url
    }

    /// The route in words (`direct`, `proxy corporate (10.0.0.1:3128)`), for status and metrics.
    pub fn route(&self) -> String {
        self.client.route(self.url.base())
    }

    /// The refs whose full names begin with one of `prefixes` (see [`super::ref_prefixes`]); all when there is none.
    pub async fn ls_refs(&self, prefixes: &[String]) -> Result<Vec<RemoteRef>, GitError> {
        let work = async {
            let encode = |server: &Capabilities| ls_refs_request(server, AGENT, prefixes);
            let mut answer = self.ask(&encode).await?;
            let mut reader = PacketReader::default();
            let mut refs = Vec::new();
            let mut ended = false;
            while let Some(chunk) = answer.next_chunk().await? {
                if answer.received > REFS_LIMIT {
                    let message = format!("the list of refs has more than {REFS_LIMIT} bytes");
                    return Err(GitError::new(Reason::ProtocolError, message));
                }
                reader.push(&chunk);
                while let Some(packet) = next_packet(&answer, &mut reader)? {
                    match packet {
                        Packet::Flush => ended = true,
                        Packet::Data(_) => {
                            let line = packet.line().unwrap_or_default();
                            refs.extend(parse_ref(line).map_err(|error| broken(&answer, &error))?);
                        }
                        Packet::Delimiter | Packet::ResponseEnd => {}
                    }
                }
            }
            if ended { Ok(refs) } else { Err(cut(&answer)) }
        };
        self.limited(work).await
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
        let request = FetchRequest { wants: missing.clone(), haves: held.haves, shallow: held.shallow, depth: Some(1) };
        let mut answer = self.ask(&|server: &Capabilities| request.encode(server, AGENT)).await?;
        let sink = PackSink::open(store, PackLimits { bytes: limits.bytes, objects: limits.objects }).await;
        let mut end = PackEnd { wants: missing, ..PackEnd::default() };
        match receive(&mut answer, &sink, &mut end).await {
            // When the writer has given up, ending the pack tells why.
            Ok(()) => {
                let came = sink.finish(end).await?;
                Ok(FetchStats { bytes: came.bytes, objects: came.objects })
            }
            Err(mut error) => {
                sink.abort().await;
                if error.reason == Reason::RefNotFound {
                    let wanted: Vec<&str> = end.wants.iter().map(Revision::as_str).collect();
                    error.message = format!(
                        "the server does not have commit {}; was it removed by a forced push? ({})",
                        wanted.join(" or "),
                        error.message
                    );
                }
                Err(error)
            }
        }
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, GitError>>) -> Result<T, GitError> {
        let result = match self.client.timeouts().total {
            None => work.await,
            Some(total) => timeout(total, work).await.unwrap_or_else(|_| {
                let message = format!("not done within the total of {} s", total.as_secs_f64());
                Err(GitError::new(Reason::Stalled, message))
            }),
        };
        result.map_err(|error| error.about(&self.url))
    }

    /// Sends a command. What was remembered from an earlier conversation may be outdated (the repository moved, the
    /// server was replaced): then the server is asked anew, once.
    async fn ask(
        &self,
        encode: &(dyn Fn(&Capabilities) -> Result<Vec<u8>, super::packet_line::PacketError> + Sync),
    ) -> Result<HttpResponse, GitError> {
        let remembered = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(session) = remembered {
            match self.post(&session, encode).await {
                Err(error)
                    if matches!(
                        error.reason,
                        Reason::RepositoryNotFound | Reason::RedirectRefused | Reason::ProtocolError
                    ) =>
                {
                    self.forget();
                }
                Err(error) => {
                    if error.reason == Reason::AuthFailed {
                        self.forget();
                    }
                    return Err(error);
                }
                answered => return answered,
            }
        }
        let session = Arc::new(self.discover().await?);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&session));
        let answered = self.post(&session, encode).await;
        if answered.is_err() {
            self.forget();
        }
        answered
    }

    fn forget(&self) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn judge(&self, answer: &mut HttpResponse, wanted: Content) -> Result<(), GitError> {
        judge(answer, wanted, self.url.base(), self.client.has_credentials()).await
    }

    async fn discover(&self) -> Result<Session, GitError> {
        let mut url = below(self.url.base(), "info/refs");
        url.set_query(Some("service=git-upload-pack"));
        let mut answer = self.client.get(&url, &get_headers()).await?;
        self.judge(&mut answer, Content::Advertisement).await?;
        let Some(base) = answer.url.path().strip_suffix("/info/refs").map(str::to_owned) else {
            let host = answer.url.host_str().unwrap_or_default();
            let message = format!("the server redirects to a URL on {host} that is not a git repository's");
            return Err(answer.error(Reason::RedirectRefused, message).into());
        };
        let mut target = answer.url.clone();
        target.set_path(&base);
        target.set_query(None);
        let with_credentials = target.origin() == self.url.base().origin();
        let Some(body) = answer.read_all(ADVERTISEMENT_LIMIT).await? else {
            // Only a list of refs, as older protocol versions send it, is that long.
            return Err(broken(&answer, &ProtocolError::NotVersion2));
        };
        let mut reader = PacketReader::default();
        reader.push(&body);
        let mut packets = Vec::new();
        while let Some(packet) = next_packet(&answer, &mut reader)? {
            packets.push(packet);
        }
        let capabilities = Capabilities::parse(&packets).map_err(|error| broken(&answer, &error))?;
        if !reader.is_empty() || packets.last() != Some(&Packet::Flush) {
            return Err(cut(&answer));
        }
        Ok(Session { capabilities, base: target, with_credentials })
    }

    async fn post(
        &self,
        session: &Session,
        encode: &(dyn Fn(&Capabilities) -> Result<Vec<u8>, super::packet_line::PacketError> + Sync),
    ) -> Result<HttpResponse, GitError> {
        let body = encode(&session.capabilities).map_err(|error| {
            GitError::new(
                Reason::InvalidSpec,
                format!("the request cannot be written: {error}; is a ref name very long?"),
            )
        })?;
        let url = below(&session.base, "git-upload-pack");
        let headers = post_headers();
        let mut answer = self.client.post(&url, &headers, Bytes::from(body), session.with_credentials).await?;
        self.judge(&mut answer, Content::Result).await?;
        Ok(answer)
    }
}

/// Moves the pack from an answer to the writer, until the end or until the writer wants no more.
async fn receive(answer: &mut HttpResponse, sink: &PackSink, end: &mut PackEnd) -> Result<(), GitError> {
    let (mut reader, mut parser) = (PacketReader::default(), FetchParser::default());
    let mut complete = false;
    while let Some(chunk) = answer.next_chunk().await? {
        reader.push(&chunk);
        while let Some(packet) = next_packet(answer, &mut reader)? {
            match parser.feed(&packet).map_err(|error| broken(answer, &error))? {
                FetchEvent::Ignored => {}
                FetchEvent::End => complete = true,
                FetchEvent::Shallow(commit) => drop(end.shallow.insert(commit)),
                FetchEvent::Unshallow(commit) => drop(end.unshallow.insert(commit)),
                FetchEvent::Pack(data) => {
                    if !sink.write(data).await {
                        return Ok(());
                    }
                }
            }
        }
    }
    if complete { Ok(()) } else { Err(cut(answer)) }
}

fn next_packet(answer: &HttpResponse, reader: &mut PacketReader) -> Result<Option<Packet>, GitError> {
    reader.next().map_err(|error| broken(answer, &ProtocolError::from(error)))
}

fn below(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;

//! The server side of a repository: which refs it has, and the objects of commits.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::time::timeout;

use crate::egress::{Authorization, CaBundle, ClientIdentity, Egress, HttpClient, HttpConfig, Override, Timeouts};
use crate::model::Reason;

use super::advertisement::{AdvertisementReader, Server};
use super::error::GitError;
use super::fetch::Way;
use super::http_transport::HttpTransport;
use super::packet_line::{Packet, PacketError};
use super::protocol::{RemoteRef, ls_refs_request, parse_ref};
use super::ssh::{SshConfig, SshTransport};
use super::transport::{Incoming, Line, Transport};
use super::url::RepositoryUrl;

/// Servers and proxies treat what calls itself `git/…` as git.
pub(super) const AGENT: &str = concat!("git/2.0 (tidelock/", env!("CARGO_PKG_VERSION"), ")");

/// A list of refs is limited to this: about 400 000 refs.
pub(super) const REFS_LIMIT: u64 = 32 << 20;

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
    /// Key and known hosts; only looked at where the URL is one of SSH, and needed there.
    pub ssh: Option<SshConfig>,
    /// Timers. `total` limits each `ls_refs` and each `fetch` as a whole.
    pub timeouts: Timeouts,
}

/// A repository on a server. Keeps connections and the server's capabilities, so that a poll after the first is one
/// request. Make a new one when URL, credentials, CA or egress rules change.
pub struct Remote {
    url: RepositoryUrl,
    transport: Transport,
    session: Mutex<Option<Session>>,
    pub(super) way: Mutex<Way>,
}

/// What the first request told.
pub(super) struct Session {
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
        let RemoteConfig { url, egress, route, authorization, identity, ca, ssh, timeouts } = config;
        let transport = if url.ssh().is_some() {
            Transport::Ssh(Box::new(SshTransport::new(ssh, &url, egress, route, timeouts)))
        } else {
            let user_agent = Some(AGENT.to_owned());
            let config = HttpConfig { route, ca, authorization, identity, timeouts, user_agent };
            Transport::Http(Box::new(HttpTransport::new(HttpClient::new(egress, config), url.base().clone())))
        };
        Self { url, transport, session: Mutex::default(), way: Mutex::default() }
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

    pub(super) async fn list(&self, prefixes: &[String], limit: u64) -> Result<Vec<RemoteRef>, GitError> {
        let encode = |server: &Server| match server {
            Server::Version2(server) => ls_refs_request(server, AGENT, prefixes).map(Some),
            // The list of refs is the advertisement.
            Server::Old(_) => Ok(None),
        };
        let answer = if let Some((_, answer)) = self.ask_remembered(&encode).await? {
            answer
        } else {
            let reader = AdvertisementReader::keeping(prefixes);
            let (session, refs) = self.greet(reader, limit).await?;
            match self.send(session, &encode).await? {
                Some((_, answer)) => answer,
                None => return Ok(refs),
            }
        };
        read_refs(answer, limit).await
    }

    pub(super) async fn limited<T>(&self, work: impl Future<Output = Result<T, GitError>>) -> Result<T, GitError> {
        let result = match self.transport.timeouts().total {
            None => work.await,
            Some(total) => timeout(total, work).await.unwrap_or_else(|_| {
                let message = format!("not done within the total of {} s", total.as_secs_f64());
                Err(GitError::new(Reason::Stalled, message))
            }),
        };
        result.map_err(|error| error.about(&self.url))
    }

    /// Sends a command by what is remembered of an earlier conversation; `None` when nothing is, or when it is
    /// outdated (the repository moved, the server was replaced): then the server has to be greeted.
    pub(super) async fn ask_remembered(&self, encode: &Encode<'_>) -> Result<Option<(Server, Incoming)>, GitError> {
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
            Ok(Some((server, mut answer))) => {
                // So answers a server to a command of a version that it no longer hears of.
                if answer.peek().await?.is_none() {
                    self.forget();
                    return Ok(None);
                }
                Ok(Some((server, answer)))
            }
            Ok(None) => Ok(None),
        }
    }

    fn forget(&self) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Reads the server's advertisement, and remembers what it says.
    pub(super) async fn greet(
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
    pub(super) async fn send(
        &self,
        session: Session,
        encode: &Encode<'_>,
    ) -> Result<Option<(Server, Incoming)>, GitError> {
        let Session { server, line } = session;
        let body = encode(&server).map_err(|error| {
            GitError::new(
                Reason::InvalidSpec,
                format!("the request cannot be written: {error}; is a ref name very long?"),
            )
        })?;
        let Some(body) = body else {
            self.transport.leave(line).await;
            return Ok(None);
        };
        let answer = self.transport.command(line, Bytes::from(body)).await?;
        Ok(Some((server, answer)))
    }
}

/// Writes a command for a server; `None` when that server needs none.
pub(super) type Encode<'a> = dyn Fn(&Server) -> Result<Option<Vec<u8>>, PacketError> + Sync + 'a;

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

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;

//! Opens a connection along a route: dial, tunnel, TLS.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::model::Reason;

use super::destination::{Destination, Protocol};
use super::dial::{DialError, dial, list};
use super::error::{EgressError, Phase, Place, plain_text, retry_after};
use super::http::Timeouts;
use super::proxy_url::{ProxyScheme, ProxyUrl};
use super::route::Route;
use super::stream::Stream;
use super::tls::{Failure, client_config, explain};
use super::trust::CaBundle;
use super::{ClientIdentity, Egress, ProxyAccess};

/// How much a proxy may say in answer to CONNECT before we stop listening.
const CONNECT_HEADER_LIMIT: usize = 16 * 1024;

/// How long the body of a refusal may take. It is only quoted.
const REFUSAL_BODY_WAIT: Duration = Duration::from_secs(2);

/// Opens connections for one client: one set of trusted authorities, one set of timers.
pub(super) struct Connector {
    egress: Egress,
    ca: Option<CaBundle>,
    identity: Option<ClientIdentity>,
    timeouts: Timeouts,
    /// TLS configurations by what is trusted besides the system.
    tls: Mutex<BTreeMap<Trust, Arc<ClientConfig>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// A destination reached by no proxy.
    Direct,
    /// A destination reached by this proxy.
    Through(String),
    /// The proxy itself.
    Proxy(String),
}

impl Connector {
    pub(super) fn new(
        egress: Egress,
        ca: Option<CaBundle>,
        identity: Option<ClientIdentity>,
        timeouts: Timeouts,
    ) -> Self {
        Self { egress, ca, identity, timeouts, tls: Mutex::default() }
    }

    pub(super) fn proxy_access(&self, name: &str) -> Option<&ProxyAccess> {
        self.egress.access(name)
    }

    /// A connection on which HTTP/1.1 requests for `target` can be sent.
    pub(super) async fn open(&self, target: &Destination, place: &Place) -> Result<Stream, EgressError> {
        let stream = self.open_raw(target, place).await?;
        if target.protocol != Protocol::Https {
            return Ok(stream);
        }
        let trust = match &place.decision.route {
            Route::Direct => Trust::Direct,
            Route::HttpForward { name, .. } | Route::Connect { name, .. } | Route::Socks5 { name, .. } => {
                Trust::Through(name.clone())
            }
        };
        self.secure(stream, &target.host, trust, place).await
    }

    /// A connection to `target`, without TLS to it. For a forwarded request it ends at the proxy.
    pub(super) async fn open_raw(&self, target: &Destination, place: &Place) -> Result<Stream, EgressError> {
        match &place.decision.route {
            Route::Direct => self.dial_target(&target.host, target.port, place).await,
            Route::HttpForward { name, url } => self.dial_proxy(name, url, place).await,
            Route::Connect { name, url } => {
                let stream = self.dial_proxy(name, url, place).await?;
                let credentials = self.egress.access(name).and_then(|access| access.credentials.as_ref());
                let header = credentials.map(super::BasicCredentials::header);
                let authority = target.to_string();
                let tunnel = timeout(self.timeouts.connect, tunnel(stream, &authority, header.as_ref(), place));
                tunnel.await.map_err(|_| {
                    let message = format!(
                        "the proxy did not answer CONNECT within {}; it may be overloaded, or unable to resolve or \
                         reach the destination",
                        seconds(self.timeouts.connect)
                    );
                    place.error(Reason::ProxyUnreachable, Phase::Connect, message)
                })?
            }
            Route::Socks5 { .. } => {
                Err(place.error(Reason::InternalError, Phase::Connect, "SOCKS5 is not built yet".to_owned()))
            }
        }
    }

    async fn dial_target(&self, host: &str, port: u16, place: &Place) -> Result<Stream, EgressError> {
        let stream = dial(host, port, self.timeouts.dns, self.timeouts.dial).await.map_err(|error| match error {
            DialError::ResolveTimeout => {
                let message = format!("the name was not resolved within {}", seconds(self.timeouts.dns));
                place.error(Reason::DnsFailed, Phase::Dns, format!("{message}; {DIRECT_HINT}"))
            }
            DialError::Resolve(problem) => {
                let message = format!("the name cannot be resolved ({problem}); {DIRECT_HINT}");
                place.error(Reason::DnsFailed, Phase::Dns, message)
            }
            DialError::Timeout(addresses) => {
                let message = format!(
                    "no answer from {} within {}; without an internet gateway, peering or an open security group \
                     that is what a closed way looks like; {DIRECT_HINT}",
                    list(&addresses),
                    seconds(self.timeouts.dial)
                );
                place.error(Reason::ConnectTimeout, Phase::Dial, message)
            }
            DialError::Refused(addresses, problem) => {
                let message = format!("no connection to {} ({problem}); {DIRECT_HINT}", list(&addresses));
                place.error(Reason::ConnectFailed, Phase::Dial, message)
            }
        })?;
        Ok(Box::new(stream))
    }

    async fn dial_proxy(&self, name: &str, url: &ProxyUrl, place: &Place) -> Result<Stream, EgressError> {
        let unreachable = |phase, message: String| place.error(Reason::ProxyUnreachable, phase, message);
        let stream =
            dial(&url.host, url.port, self.timeouts.dns, self.timeouts.dial).await.map_err(|error| match error {
                DialError::ResolveTimeout => {
                    let limit = seconds(self.timeouts.dns);
                    unreachable(Phase::Dns, format!("the proxy's name {} was not resolved within {limit}", url.host))
                }
                DialError::Resolve(problem) => unreachable(
                    Phase::Dns,
                    format!(
                        "the proxy's name {} cannot be resolved ({problem}); check the EgressProxy's url",
                        url.host
                    ),
                ),
                DialError::Timeout(addresses) => {
                    let (addresses, limit) = (list(&addresses), seconds(self.timeouts.dial));
                    unreachable(Phase::Dial, format!("the proxy at {addresses} did not answer within {limit}"))
                }
                DialError::Refused(addresses, problem) => unreachable(
                    Phase::Dial,
                    format!("the proxy at {} refused the connection ({problem}); is it running?", list(&addresses)),
                ),
            })?;
        if url.scheme != ProxyScheme::Https {
            return Ok(Box::new(stream));
        }
        self.secure(Box::new(stream), &url.host, Trust::Proxy(name.to_owned()), place).await
    }

    async fn secure(&self, stream: Stream, host: &str, trust: Trust, place: &Place) -> Result<Stream, EgressError> {
        let proxy = matches!(trust, Trust::Proxy(_));
        let who = if proxy { "the proxy" } else { "the server" };
        let failed = |message: String| {
            let reason = if proxy { Reason::ProxyUnreachable } else { Reason::TlsFailed };
            place.error(reason, Phase::Tls, message)
        };
        let intercepts = matches!(trust, Trust::Through(_));
        let name = ServerName::try_from(host.to_owned()).map_err(|_| failed(format!("`{host}` is no host name")))?;
        let config = self.tls_config(trust).await.map_err(failed)?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match timeout(self.timeouts.tls, handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Err(_) => {
                Err(failed(format!("{who} did not finish the TLS handshake within {}", seconds(self.timeouts.tls))))
            }
            Ok(Err(error)) => Err(match explain(&error) {
                Failure::Trust(text) => {
                    let (reason, hint) = if proxy {
                        (
                            Reason::ProxyTlsUntrusted,
                            "put the proxy's CA into the Secret of the EgressProxy's caSecretRef",
                        )
                    } else if intercepts {
                        (
                            Reason::TlsUntrusted,
                            "if this is your proxy's name, the proxy intercepts TLS: put its CA into the Secret of the \
                             EgressProxy's caSecretRef; else put the server's CA into that of the Repository's",
                        )
                    } else {
                        (
                            Reason::TlsUntrusted,
                            "put the server's CA into the Secret of the Repository's caSecretRef; if a proxy intercepts \
                             TLS on the way, put the proxy's CA there",
                        )
                    };
                    place.error(reason, Phase::Tls, format!("the certificate of {who} is not trusted: {text}; {hint}"))
                }
                Failure::Other(text) => {
                    let hint = if proxy { "; does the proxy's url really begin with https://?" } else { "" };
                    failed(format!("TLS with {who} failed: {text}{hint}"))
                }
            }),
        }
    }

    async fn tls_config(&self, trust: Trust) -> Result<Arc<ClientConfig>, String> {
        let known = |trust: &Trust| self.tls.lock().unwrap_or_else(PoisonError::into_inner).get(trust).cloned();
        if let Some(config) = known(&trust) {
            return Ok(config);
        }
        let of_proxy = |name: &str| self.egress.access(name).and_then(|access| access.ca.clone());
        let identity = match &trust {
            Trust::Direct | Trust::Through(_) => self.identity.clone(),
            Trust::Proxy(name) => self.egress.access(name).and_then(|access| access.identity.clone()),
        };
        let bundles: Vec<CaBundle> = match &trust {
            Trust::Direct => self.ca.clone().into_iter().collect(),
            Trust::Through(name) => self.ca.clone().into_iter().chain(of_proxy(name)).collect(),
            Trust::Proxy(name) => of_proxy(name).into_iter().collect(),
        };
        let system = self.egress.system().clone();
        // Reading the system's store is file I/O.
        let built = tokio::task::spawn_blocking(move || {
            let roots = system.with(&bundles.iter().collect::<Vec<_>>());
            client_config(&roots, identity.as_ref())
        });
        let config = built.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).insert(trust, Arc::clone(&config));
        Ok(config)
    }
}

const DIRECT_HINT: &str = "if this host is only reachable through a proxy, name it in an EgressProxy's hosts";

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// Asks the proxy for a tunnel. Any 2xx opens it, whatever body headers come along: a tunnel has no body.
async fn tunnel(
    mut stream: Stream,
    authority: &str,
    credentials: Option<&HeaderValue>,
    place: &Place,
) -> Result<Stream, EgressError> {
    let broken = |problem: String| {
        let message = format!("the proxy closed the connection before it answered CONNECT ({problem})");
        place.error(Reason::ProxyUnreachable, Phase::Connect, message)
    };
    let mut request =
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: {AGENT}\r\n").into_bytes();
    if let Some(value) = credentials {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(|error| broken(error.to_string()))?;
    stream.flush().await.map_err(|error| broken(error.to_string()))?;

    let mut stream = BufReader::with_capacity(CONNECT_HEADER_LIMIT, stream);
    let head = read_head(&mut stream).await.map_err(|error| match error {
        HeadError::Io(error) => broken(error.to_string()),
        HeadError::Closed => broken("end of stream".to_owned()),
        HeadError::TooLong => {
            let message =
                format!("the proxy's answer to CONNECT has more than {CONNECT_HEADER_LIMIT} bytes of headers");
            place.error(Reason::ProxyUnreachable, Phase::Connect, message)
        }
    })?;
    let Some(answer) = ConnectAnswer::parse(&head) else {
        let message = "what answers there is not an HTTP proxy; check scheme and port of the EgressProxy's url";
        return Err(place.error(Reason::ProxyUnreachable, Phase::Connect, message));
    };
    if (200..300).contains(&answer.status) {
        return Ok(Box::new(stream));
    }
    let mut body = Vec::new();
    // The quote is a courtesy: a body that is slow or cut is quoted as far as it came.
    let _ = timeout(REFUSAL_BODY_WAIT, stream.take(4096).read_to_end(&mut body)).await;
    Err(answer.refusal(&plain_text(&body, 200), credentials.is_some(), place))
}

pub(super) const AGENT: &str = concat!("tidelock/", env!("CARGO_PKG_VERSION"));

enum HeadError {
    Io(io::Error),
    Closed,
    TooLong,
}

async fn read_head(stream: &mut BufReader<Stream>) -> Result<Vec<u8>, HeadError> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let left = (CONNECT_HEADER_LIMIT - before) as u64;
        (&mut *stream).take(left).read_until(b'\n', &mut head).await.map_err(HeadError::Io)?;
        if head.len() >= CONNECT_HEADER_LIMIT {
            return Err(HeadError::TooLong);
        }
        if head.len() == before || !head.ends_with(b"\n") {
            return Err(HeadError::Closed);
        }
        if before > 0 && matches!(&head[before..], b"\r\n" | b"\n") {
            return Ok(head);
        }
        // What does not begin like HTTP is judged at once, not after 16 KiB of it.
        if before == 0 && !head.starts_with(b"HTTP/") {
            return Ok(head);
        }
    }
}

/// What a proxy says to CONNECT.
#[derive(Debug, PartialEq, Eq)]
struct ConnectAnswer {
    status: u16,
    phrase: String,
    /// Names of the offered authentication schemes.
    schemes: Vec<String>,
    retry_after: Option<Duration>,
}

impl ConnectAnswer {
    fn parse(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let mut first = lines.next()?.trim_end().splitn(3, ' ');
        if !first.next()?.starts_with("HTTP/1.") {
            return None;
        }
        let status = first.next()?.parse().ok().filter(|status| (100..600).contains(status))?;
        let phrase = plain_text(first.next().unwrap_or_default().as_bytes(), 60);
        let mut answer = Self { status, phrase, schemes: Vec::new(), retry_after: None };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("proxy-authenticate") {
                answer.schemes.extend(schemes(value));
            } else if name.eq_ignore_ascii_case("retry-after") {
                answer.retry_after = retry_after(Some(value));
            }
        }
        Some(answer)
    }

    fn refusal(&self, body: &str, credentials_sent: bool, place: &Place) -> EgressError {
        let status = format!("{} {}", self.status, self.phrase);
        let quote = if body.is_empty() { String::new() } else { format!("; it says: \"{body}\"") };
        let (reason, message) = match self.status {
            407 => (Reason::ProxyAuthRequired, proxy_auth_message(&self.schemes, credentials_sent)),
            500.. => (
                Reason::ProxyUpstreamFailed,
                format!("the proxy could not reach the destination: {} to CONNECT{quote}", status.trim()),
            ),
            _ => (
                Reason::ProxyForbidden,
                format!(
                    "the proxy refuses this destination: {} to CONNECT{quote}; ask its operators to allow {}",
                    status.trim(),
                    place.host
                ),
            ),
        };
        place.error(reason, Phase::Connect, message).after(self.retry_after)
    }
}

/// What a 407 means, by what was sent and what is offered.
pub(super) fn proxy_auth_message(schemes: &[String], credentials_sent: bool) -> String {
    let offered = if schemes.is_empty() { "no scheme".to_owned() } else { schemes.join(", ") };
    let basic = schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    if !basic {
        format!("the proxy wants authentication and offers only {offered} (407); this program can do Basic")
    } else if credentials_sent {
        format!(
            "the proxy refused the user name or password (407, it offers {offered}); correct the Secret of the \
             EgressProxy's credentialsSecretRef"
        )
    } else {
        format!(
            "the proxy wants authentication (407, it offers {offered}); name a Secret with username and password in the \
             EgressProxy's credentialsSecretRef"
        )
    }
}

/// Names of the schemes in a `Proxy-Authenticate` value, which may hold several challenges with parameters.
pub(super) fn schemes(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in value.split(',') {
        let word = part.split_whitespace().next().unwrap_or_default();
        let is_name = !word.is_empty()
            && word.len() <= 30
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_name && !part.trim_start().trim_start_matches(word).trim_start().starts_with('=') {
            found.push(word.to_owned());
        }
    }
    found
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;

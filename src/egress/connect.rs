//! Opens a connection along a route: dial, tunnel, TLS. Each step under its timer, and noted when a trace is kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::model::Reason;

use super::destination::{Destination, Protocol};
use super::dial::{DialError, dial, list, resolve};
use super::error::{EgressError, Phase, Place};
use super::http::Timeouts;
use super::probe::{Peer, ProbeDetails, Trace};
use super::proxy_url::{ProxyScheme, ProxyUrl, setting};
use super::route::Route;
use super::secure::Trust;
use super::stream::{Arrivals, Stream};
use super::tls::Setup;
use super::trust::CaBundle;
use super::{ClientIdentity, Egress, ProxyAccess, socks, tunnel};

/// What this program calls itself in requests.
pub(super) const AGENT: &str = concat!("tidelock/", env!("CARGO_PKG_VERSION"));

/// Opens connections for one client: one set of trusted authorities, one set of timers.
pub(super) struct Connector {
    pub(super) egress: Egress,
    pub(super) ca: Option<CaBundle>,
    pub(super) identity: Option<ClientIdentity>,
    pub(super) timeouts: Timeouts,
    /// TLS configurations by what is trusted besides the system.
    pub(super) tls: Mutex<BTreeMap<Trust, Setup>>,
    /// Kept only for a probe.
    pub(super) trace: Option<Trace>,
}

impl Connector {
    pub(super) fn new(
        egress: Egress,
        ca: Option<CaBundle>,
        identity: Option<ClientIdentity>,
        timeouts: Timeouts,
    ) -> Self {
        Self { egress, ca, identity, timeouts, tls: Mutex::default(), trace: None }
    }

    pub(super) fn proxy_access(&self, name: &str) -> Option<&ProxyAccess> {
        self.egress.access(name)
    }

    /// A connection on which HTTP/1.1 requests for `target` can be sent. What comes on it is counted in `arrivals`. The
    /// client's certificate is shown only where `own` says that the target is the client's own.
    pub(super) async fn open(
        &self,
        target: &Destination,
        place: &Place,
        own: bool,
        arrivals: &Arrivals,
    ) -> Result<Stream, EgressError> {
        let opened = async {
            let stream = self.carry(target, place, arrivals).await?;
            if target.protocol != Protocol::Https {
                return Ok(stream);
            }
            let trust = match &place.decision.route {
                Route::Direct => Trust::Direct { own },
                Route::HttpForward { name, .. } | Route::Connect { name, .. } | Route::Socks5 { name, .. } => {
                    Trust::Through { proxy: name.clone(), own }
                }
            };
            self.secure(stream, &target.host, trust, place).await
        };
        self.counted(place, opened.await)
    }

    /// A connection to `target`, without TLS to it. For a forwarded request it ends at the proxy.
    pub(super) async fn open_raw(&self, target: &Destination, place: &Place) -> Result<Stream, EgressError> {
        self.counted(place, self.carry(target, place, &Arrivals::default()).await)
    }

    fn counted(&self, place: &Place, result: Result<Stream, EgressError>) -> Result<Stream, EgressError> {
        self.egress.observe(&place.decision.route.label(), result.as_ref().err().map(|error| error.reason));
        result
    }

    async fn carry(&self, target: &Destination, place: &Place, arrivals: &Arrivals) -> Result<Stream, EgressError> {
        match &place.decision.route {
            Route::Direct => self.dial_target(&target.host, target.port, place, arrivals).await,
            Route::HttpForward { name, url } => self.dial_proxy(name, url, place, arrivals).await,
            Route::Connect { name, url } => {
                let stream = self.dial_proxy(name, url, place, arrivals).await?;
                let credentials = self.egress.access(name).and_then(|access| access.credentials.as_ref());
                let asked = async {
                    let opening = tunnel::open(stream, target, credentials, name, place);
                    timeout(self.timeouts.connect, opening).await.unwrap_or_else(|_| {
                        let message = format!(
                            "the proxy did not answer CONNECT within {}; it may be overloaded, or unable to resolve or \
                             reach the destination",
                            seconds(self.timeouts.connect)
                        );
                        Err(place.error(Reason::ProxyUnreachable, Phase::Connect, message))
                    })
                };
                self.tunnelled(asked).await
            }
            Route::Socks5 { name, url } => {
                let stream = self.dial_proxy(name, url, place, arrivals).await?;
                let credentials = self.egress.access(name).and_then(|access| access.credentials.as_ref());
                let asked = async {
                    let opening = socks::open(stream, target, credentials, name, place);
                    timeout(self.timeouts.connect, opening).await.unwrap_or_else(|_| {
                        let message = format!(
                            "the SOCKS5 proxy did not finish its part within {}; it may be overloaded, unable to reach the \
                             destination, or no SOCKS5 proxy at all",
                            seconds(self.timeouts.connect)
                        );
                        Err(place.error(Reason::ProxyUnreachable, Phase::Connect, message))
                    })
                };
                self.tunnelled(asked).await
            }
        }
    }

    /// Notes what came of asking a proxy for a tunnel.
    async fn tunnelled(
        &self,
        asked: impl Future<Output = Result<(Stream, String), EgressError>>,
    ) -> Result<Stream, EgressError> {
        let since = Instant::now();
        let result = asked.await;
        let noted = result.as_ref().map(|(_, answer)| ProbeDetails::Tunnel { answer: answer.clone() });
        self.note(Phase::Connect, Peer::Proxy, since, noted);
        result.map(|(stream, _)| stream)
    }

    pub(super) fn note(&self, phase: Phase, peer: Peer, since: Instant, result: Result<ProbeDetails, &EgressError>) {
        if let Some(trace) = &self.trace {
            trace.note(phase, peer, since.elapsed(), result.map_err(EgressError::clone));
        }
    }

    async fn dial_target(
        &self,
        host: &str,
        port: u16,
        place: &Place,
        arrivals: &Arrivals,
    ) -> Result<Stream, EgressError> {
        let explain = |error| match error {
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
        };
        self.dial(host, port, Peer::Server, arrivals, explain).await
    }

    async fn dial_proxy(
        &self,
        name: &str,
        url: &ProxyUrl,
        place: &Place,
        arrivals: &Arrivals,
    ) -> Result<Stream, EgressError> {
        let unreachable = |phase, message: String| place.error(Reason::ProxyUnreachable, phase, message);
        let explain = |error| match error {
            DialError::ResolveTimeout => {
                let limit = seconds(self.timeouts.dns);
                unreachable(Phase::Dns, format!("the proxy's name {} was not resolved within {limit}", url.host))
            }
            DialError::Resolve(problem) => {
                let where_ = setting(name, "url");
                let message = format!("the proxy's name {} cannot be resolved ({problem}); check {where_}", url.host);
                unreachable(Phase::Dns, message)
            }
            DialError::Timeout(addresses) => {
                let (addresses, limit) = (list(&addresses), seconds(self.timeouts.dial));
                unreachable(Phase::Dial, format!("the proxy at {addresses} did not answer within {limit}"))
            }
            DialError::Refused(addresses, problem) => unreachable(
                Phase::Dial,
                format!("the proxy at {} refused the connection ({problem}); is it running?", list(&addresses)),
            ),
        };
        let stream = self.dial(&url.host, url.port, Peer::Proxy, arrivals, explain).await?;
        match url.scheme {
            ProxyScheme::Http | ProxyScheme::Socks5h => Ok(stream),
            ProxyScheme::Https => self.secure(stream, &url.host, Trust::Proxy(name.to_owned()), place).await,
        }
    }

    async fn dial(
        &self,
        host: &str,
        port: u16,
        peer: Peer,
        arrivals: &Arrivals,
        explain: impl Fn(DialError) -> EgressError,
    ) -> Result<Stream, EgressError> {
        let since = Instant::now();
        let resolved = resolve(host, port, self.timeouts.dns).await.map_err(&explain);
        let shown = |addresses: &Vec<SocketAddr>| ProbeDetails::Addresses {
            host: host.to_owned(),
            addresses: addresses.iter().map(SocketAddr::ip).collect(),
        };
        self.note(Phase::Dns, peer, since, resolved.as_ref().map(shown));
        let addresses = resolved?;

        let since = Instant::now();
        let dialled = dial(&addresses, self.timeouts.dial, self.timeouts.unacknowledged).await.map_err(&explain);
        let at = dialled.as_ref().map(|stream| ProbeDetails::Connected { address: stream.peer_addr().ok() });
        self.note(Phase::Dial, peer, since, at);
        Ok(arrivals.of(dialled?))
    }
}

const DIRECT_HINT: &str = "if this host is only reachable through a proxy, name it in an EgressProxy's hosts";

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

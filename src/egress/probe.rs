//! Opens a connection step by step and tells what came of each: for diagnosis. The steps are those of every connection;
//! they are only written down.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::Connector;
use super::error::{EgressError, Phase};
use super::http::Timeouts;
use super::stream::Arrivals;
use super::tls::{Presented, certificate};
use super::{CaBundle, ClientIdentity, Destination, Egress, Override};

/// The other side of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// The proxy.
    Proxy,
    /// The destination.
    Server,
}

impl Peer {
    /// As messages name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "the proxy",
            Self::Server => "the server",
        }
    }
}

/// A step of opening a connection, and what came of it. The steps end with the first that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeStep {
    /// Which step.
    pub phase: Phase,
    /// With whom. The choice of a route is noted as one with the server.
    pub peer: Peer,
    /// What was found, or why it failed.
    pub outcome: Result<ProbeDetails, EgressError>,
    /// How long it took.
    pub took: Duration,
    /// What was presented in a TLS handshake, leaf first; also when it was not trusted.
    pub certificates: Vec<Certificate>,
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeDetails {
    /// The way out that the rules chose.
    Route {
        /// `direct`, or `proxy corporate (10.0.0.1:3128)`.
        route: String,
        /// The rule, in words.
        rule: String,
    },
    /// A name was resolved (or an address was given in place of one).
    Addresses {
        /// The name: the destination's on a direct route, else the proxy's.
        host: String,
        /// Its addresses.
        addresses: Vec<IpAddr>,
    },
    /// A TCP connection was opened.
    Connected {
        /// To this address.
        address: Option<SocketAddr>,
    },
    /// A proxy opened a tunnel.
    Tunnel {
        /// What it said.
        answer: String,
    },
    /// A TLS handshake succeeded.
    Tls {
        /// `TLSv1_3`.
        version: String,
        /// The cipher suite.
        cipher: String,
    },
}

impl fmt::Display for ProbeDetails {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route { route, rule } => write!(formatter, "{route} [rule: {rule}]"),
            Self::Addresses { host, addresses } => {
                let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                write!(formatter, "{host} is {}", addresses.join(", "))
            }
            Self::Connected { address: Some(address) } => write!(formatter, "connected to {address}"),
            Self::Connected { address: None } => formatter.write_str("connected"),
            Self::Tunnel { answer } => formatter.write_str(answer),
            Self::Tls { version, cipher } => write!(formatter, "{version}, {cipher}"),
        }
    }
}

/// A certificate as the other side presented it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// SHA-256 of its DER form: pairs of hexadecimal digits with colons.
    pub fingerprint: String,
    /// Until when it is valid; `None` when it can't be read.
    pub not_after: Option<jiff::Timestamp>,
    /// The names and addresses it is for.
    pub names: Vec<String>,
}

/// Collects the steps.
#[derive(Default)]
pub(super) struct Trace {
    steps: Mutex<Vec<ProbeStep>>,
    /// What the handshake that is under way was shown.
    pub presented: Presented,
}

impl Trace {
    pub(super) fn note(&self, phase: Phase, peer: Peer, took: Duration, outcome: Result<ProbeDetails, EgressError>) {
        self.push(ProbeStep { phase, peer, outcome, took, certificates: Vec::new() });
    }

    pub(super) fn note_handshake(&self, peer: Peer, took: Duration, outcome: Result<ProbeDetails, EgressError>) {
        let chain = std::mem::take(&mut *self.presented.lock().unwrap_or_else(PoisonError::into_inner));
        let certificates = chain.iter().map(certificate).collect();
        self.push(ProbeStep { phase: Phase::Tls, peer, outcome, took, certificates });
    }

    fn push(&self, step: ProbeStep) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    fn into_steps(self) -> Vec<ProbeStep> {
        self.steps.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Egress {
    /// Opens a connection as a client with this override, authorities, certificate and timers would, closes it, and tells
    /// what came of each step: the route, then names and dial (the proxy's on a proxied route: the destination's name is
    /// never resolved there), TLS with the proxy, the tunnel, TLS with the server. Nothing is sent to the server.
    pub async fn probe(
        &self,
        target: &Destination,
        chosen: &Override,
        ca: Option<CaBundle>,
        identity: Option<ClientIdentity>,
        timeouts: &Timeouts,
    ) -> Vec<ProbeStep> {
        let trace = Trace::default();
        let since = Instant::now();
        let place = match self.place(target, chosen) {
            Ok(place) => place,
            Err(error) => {
                trace.note(Phase::Route, Peer::Server, since.elapsed(), Err(error));
                return trace.into_steps();
            }
        };
        let decision = &place.decision;
        let details = ProbeDetails::Route { route: decision.route.to_string(), rule: decision.rule.clone() };
        trace.note(Phase::Route, Peer::Server, since.elapsed(), Ok(details));
        let mut connector = Connector::new(self.clone(), ca, identity, timeouts.clone());
        connector.trace = Some(trace);
        // A failure is the last step of the trace.
        let _ = Box::pin(connector.open(target, &place, true, &Arrivals::default())).await;
        connector.trace.unwrap_or_default().into_steps()
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;

//! TLS with a destination or a proxy, on a connection that is open.

use std::sync::{Arc, PoisonError};

use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::model::Reason;

use super::connect::{Connector, seconds};
use super::error::{EgressError, Phase, Place};
use super::probe::{Peer, ProbeDetails};
use super::proxy_url::{setting, variable_of};
use super::stream::Stream;
use super::tls::{Attempt, Failure, Setup, client_config, explain};
use super::trust::CaBundle;

/// Whose certificate is judged, and by that which authorities count besides the system's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// A destination reached by no proxy.
    Direct {
        /// Whether it is the client's own, which alone is shown the client's certificate.
        own: bool,
    },
    /// A destination reached by a proxy.
    Through {
        /// Name of the proxy.
        proxy: String,
        /// As for [`Trust::Direct`].
        own: bool,
    },
    /// The proxy itself.
    Proxy(String),
}

impl Connector {
    pub(super) async fn secure(
        &self,
        stream: Stream,
        host: &str,
        trust: Trust,
        place: &Place,
    ) -> Result<Stream, EgressError> {
        let peer = if matches!(trust, Trust::Proxy(_)) { Peer::Proxy } else { Peer::Server };
        let since = Instant::now();
        let result = self.handshake(stream, host, &trust, peer, place).await;
        if let Some(trace) = &self.trace {
            let outcome = result.as_ref().map(|(_, details)| details.clone()).map_err(Clone::clone);
            trace.note_handshake(peer, since.elapsed(), outcome);
        }
        result.map(|(stream, _)| stream)
    }

    async fn handshake(
        &self,
        stream: Stream,
        host: &str,
        trust: &Trust,
        peer: Peer,
        place: &Place,
    ) -> Result<(Stream, ProbeDetails), EgressError> {
        let who = peer.as_str();
        let hint = match peer {
            Peer::Proxy => "; does the proxy's url really begin with https://?",
            Peer::Server => "",
        };
        let failed = |message: String| {
            let reason = match peer {
                Peer::Proxy => Reason::ProxyUnreachable,
                Peer::Server => Reason::TlsFailed,
            };
            place.error(reason, Phase::Tls, message)
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| failed(format!("`{host}` is no host name")))?;
        let setup = self.tls_setup(trust).await.map_err(failed)?;
        let attempt = Attempt::new(peer, &setup);
        let handshake = TlsConnector::from(setup.config).connect(name, stream);
        match timeout(self.timeouts.tls, handshake).await {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let details = ProbeDetails::Tls {
                    version: session.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default(),
                    cipher: session
                        .negotiated_cipher_suite()
                        .map(|suite| format!("{:?}", suite.suite()))
                        .unwrap_or_default(),
                };
                Ok((Box::new(attempt.watch(stream)), details))
            }
            Err(_) => {
                let limit = seconds(self.timeouts.tls);
                Err(failed(format!("{who} did not finish the TLS handshake within {limit}{hint}")))
            }
            Ok(Err(error)) => Err(match explain(&error, &attempt) {
                Failure::Trust(text) => {
                    let (reason, hint) = trust_hint(trust);
                    place.error(reason, Phase::Tls, format!("the certificate of {who} is not trusted: {text}; {hint}"))
                }
                Failure::Rejected(rejected) => rejected.at(place),
                Failure::Other(text) => failed(format!("TLS with {who} failed: {text}{hint}")),
            }),
        }
    }

    async fn tls_setup(&self, trust: &Trust) -> Result<Setup, String> {
        let known = |trust: &Trust| self.tls.lock().unwrap_or_else(PoisonError::into_inner).get(trust).cloned();
        if let Some(setup) = known(trust) {
            return Ok(setup);
        }
        let of_proxy = |name: &str| self.egress.access(name).and_then(|access| access.ca.clone());
        let identity = match &trust {
            Trust::Direct { own: true } | Trust::Through { own: true, .. } => self.identity.clone(),
            Trust::Direct { own: false } | Trust::Through { own: false, .. } => None,
            Trust::Proxy(name) => self.egress.access(name).and_then(|access| access.identity.clone()),
        };
        let bundles: Vec<CaBundle> = match &trust {
            Trust::Direct { .. } => self.ca.clone().into_iter().collect(),
            Trust::Through { proxy, .. } => self.ca.clone().into_iter().chain(of_proxy(proxy)).collect(),
            Trust::Proxy(name) => of_proxy(name).into_iter().collect(),
        };
        let presented = self.trace.as_ref().map(|trace| Arc::clone(&trace.presented));
        let system = self.egress.system().clone();
        // Reading the system's store is file I/O.
        let built = tokio::task::spawn_blocking(move || {
            let roots = system.with(&bundles.iter().collect::<Vec<_>>());
            client_config(&roots, identity.as_ref(), presented)
        });
        let setup = built.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.tls.lock().unwrap_or_else(PoisonError::into_inner).insert(trust.clone(), setup.clone());
        Ok(setup)
    }
}

/// What a certificate that is not trusted means, and what to do.
fn trust_hint(trust: &Trust) -> (Reason, String) {
    let of_proxy = |name: &str| match variable_of(name) {
        None => format!("put the proxy's CA into the Secret of {}", setting(name, "caSecretRef")),
        Some(variable) => {
            format!("describe the proxy by an EgressProxy with a caSecretRef instead of by the variable {variable}")
        }
    };
    match trust {
        Trust::Proxy(name) => (Reason::ProxyTlsUntrusted, of_proxy(name)),
        Trust::Through { proxy, .. } => (
            Reason::TlsUntrusted,
            format!(
                "if this is your proxy's name, the proxy intercepts TLS: {}; else put the server's CA into that of the \
                 Repository's",
                of_proxy(proxy)
            ),
        ),
        Trust::Direct { .. } => (
            Reason::TlsUntrusted,
            "put the server's CA into the Secret of the Repository's caSecretRef; if a proxy intercepts TLS on the way, \
             put the proxy's CA there"
                .to_owned(),
        ),
    }
}

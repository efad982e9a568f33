//! TLS over any stream, with errors that show who presented which certificate.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::model::Reason;

use super::ClientIdentity;
use super::error::{EgressError, Phase, Place};
use super::probe::{Certificate, Peer};
use super::stream::Stream;

/// Where presented chains are written down, when somebody wants to see them.
pub(super) type Presented = Arc<Mutex<Vec<CertificateDer<'static>>>>;

/// A client configuration, and what it noticed.
#[derive(Clone)]
pub(super) struct Setup {
    pub config: Arc<ClientConfig>,
    client: Arc<ClientAuthentication>,
}

/// A configuration that trusts exactly these roots, and shows this certificate when it is asked for one. No process-wide
/// provider is needed or installed.
pub(super) fn client_config(
    roots: &Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
    presented: Option<Presented>,
) -> Result<Setup, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = if roots.is_empty() {
        None
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider)).build();
        Some(verifier.map_err(|error| rustls::Error::General(error.to_string()))?)
    };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let identity = match identity {
        Some(identity) => Some(Arc::new(CertifiedKey::from_der(identity.chain.to_vec(), identity.key(), &provider)?)),
        None => None,
    };
    let client = Arc::new(ClientAuthentication { identity, asked: AtomicBool::new(false) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ExplainingVerifier { inner, schemes, presented }))
        .with_client_cert_resolver(Arc::<ClientAuthentication>::clone(&client));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Setup { config: Arc::new(config), client })
}

/// Shows the client certificate, and remembers that it was asked for one.
#[derive(Debug)]
struct ClientAuthentication {
    identity: Option<Arc<CertifiedKey>>,
    asked: AtomicBool,
}

impl ResolvesClientCert for ClientAuthentication {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.identity.clone().filter(|identity| identity.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

/// The other side of a connection turned it down for want of a client certificate, or because of the one it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejected {
    peer: Peer,
    shown: bool,
    alert: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, shown, alert } = self;
        let (who, owner) = match peer {
            Peer::Proxy => (peer.as_str(), "the EgressProxy"),
            Peer::Server => (peer.as_str(), "the Repository"),
        };
        if *shown {
            write!(
                formatter,
                "{who} refused the client certificate (TLS alert {alert}); correct the Secret of {owner}'s \
                 clientCertificateSecretRef"
            )
        } else {
            write!(
                formatter,
                "{who} wants a client certificate and was shown none (TLS alert {alert}); name a Secret with tls.crt and \
                 tls.key in {owner}'s clientCertificateSecretRef"
            )
        }
    }
}

impl std::error::Error for Rejected {}

impl Rejected {
    /// As the error of a connection.
    pub(super) fn at(&self, place: &Place) -> EgressError {
        let reason = match self.peer {
            Peer::Proxy => Reason::ProxyAuthRequired,
            Peer::Server => Reason::AuthFailed,
        };
        place.error(reason, Phase::Tls, self.to_string())
    }

    /// The rejection among the causes of an error.
    pub(super) fn among(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(rejected) = error.downcast_ref::<io::Error>().and_then(Self::within) {
                return Some(rejected);
            }
            cause = error.source();
        }
        None
    }

    fn within(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().cloned()
    }
}

/// One handshake and the connection that comes of it.
pub(super) struct Attempt {
    pub peer: Peer,
    client: Arc<ClientAuthentication>,
}

impl Attempt {
    pub(super) fn new(peer: Peer, setup: &Setup) -> Self {
        // Shared with other connections of this client; a mix-up would cost a hint.
        setup.client.asked.store(false, Ordering::Relaxed);
        Self { peer, client: Arc::clone(&setup.client) }
    }

    /// In TLS 1.3 a server judges the client's certificate after the client is done: its refusal is the first thing read.
    pub(super) fn watch(self, stream: TlsStream<Stream>) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        Watched { stream, attempt: self }
    }

    fn rejection(&self, alert: AlertDescription) -> Option<Rejected> {
        let asked = self.client.asked.load(Ordering::Relaxed);
        let about_certificates = match alert {
            AlertDescription::CertificateRequired => true,
            AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::NoCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => asked,
            _ => false,
        };
        let shown = self.client.has_certs();
        about_certificates.then(|| Rejected { peer: self.peer, shown, alert: format!("{alert:?}") })
    }
}

struct Watched {
    stream: TlsStream<Stream>,
    attempt: Attempt,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, into));
        Poll::Ready(result.map_err(|error| match alert_of(&error).and_then(|alert| self.attempt.rejection(alert)) {
            Some(rejected) => io::Error::new(error.kind(), rejected),
            None => error,
        }))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn alert_of(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// The certificates that a server presented and that were not trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untrusted {
    problem: String,
    /// The last one of the chain.
    last: Certificate,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate { subject, issuer, fingerprint, not_after: _, names: _ } = &self.last;
        write!(
            formatter,
            "{}; the last certificate presented has subject \"{subject}\", issuer \"{issuer}\", SHA-256 fingerprint \
             {fingerprint}",
            self.problem
        )
    }
}

impl std::error::Error for Untrusted {}

/// Why a handshake failed.
pub(super) enum Failure {
    /// The certificate is not trusted; the text says which and why.
    Trust(String),
    /// The client certificate, or the want of one.
    Rejected(Rejected),
    /// Anything else.
    Other(String),
}

/// Sorts the error of a handshake.
pub(super) fn explain(error: &io::Error, attempt: &Attempt) -> Failure {
    if let Some(rejected) = alert_of(error).and_then(|alert| attempt.rejection(alert)) {
        return Failure::Rejected(rejected);
    }
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return match tls {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                Failure::Trust(inner.to_string())
            }
            rustls::Error::InvalidCertificate(other) => Failure::Trust(other.to_string()),
            rustls::Error::InvalidMessage(_) => {
                Failure::Other("what answered does not speak TLS; is this port plain HTTP?".to_owned())
            }
            other => Failure::Other(other.to_string()),
        };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Failure::Other(
            "the connection was closed during the TLS handshake; firewalls and proxies do so to refuse a destination"
                .to_owned(),
        ),
        _ => Failure::Other(error.to_string()),
    }
}

/// The usual verification, whose refusal carries what was presented.
#[derive(Debug)]
struct ExplainingVerifier {
    /// `None` when there is no root at all.
    inner: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
    presented: Option<Presented>,
}

impl ServerCertVerifier for ExplainingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(presented) = &self.presented {
            let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned());
            *presented.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        }
        let result = match &self.inner {
            Some(inner) => inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        };
        let Err(rustls::Error::InvalidCertificate(problem)) = result else { return result };
        let problem = match problem {
            CertificateError::UnknownIssuer if self.inner.is_none() => {
                "no certificate authority is known: the system has none and no bundle is configured".to_owned()
            }
            CertificateError::UnknownIssuer => "its issuer is not a known certificate authority".to_owned(),
            CertificateError::BadSignature => "its signature is wrong".to_owned(),
            other => other.to_string(),
        };
        let last = intermediates.last().unwrap_or(end_entity);
        let untrusted = Untrusted { problem, last: certificate(last) };
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted)))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls12_signature(message, cert, dss),
            None => Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls13_signature(message, cert, dss),
            None => Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// What a certificate says of itself.
pub(super) fn certificate(der: &CertificateDer<'_>) -> Certificate {
    let fingerprint = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let Ok((_, parsed)) = X509Certificate::from_der(der) else {
        let unreadable = || "unreadable".to_owned();
        return Certificate {
            subject: unreadable(),
            issuer: unreadable(),
            fingerprint,
            not_after: None,
            names: Vec::new(),
        };
    };
    let names = parsed.subject_alternative_name().ok().flatten().map(|extension| &extension.value.general_names);
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(short(name)),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(bytes) => Some(IpAddr::from(bytes).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    };
    Certificate {
        subject: short(&parsed.subject().to_string()),
        issuer: short(&parsed.issuer().to_string()),
        fingerprint,
        not_after: jiff::Timestamp::from_second(parsed.validity().not_after.timestamp()).ok(),
        names: names.into_iter().flatten().filter_map(name).take(20).collect(),
    }
}

/// A certificate's names come from the other side: bounded, and without characters that would break a log line.
fn short(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(200).collect()
}

//! TLS over any stream, with errors that show who presented which certificate.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ClientIdentity;

/// A client configuration that trusts exactly these roots, and shows this certificate when it is asked for one. No process-wide provider is needed or installed.
pub(super) fn client_config(
    roots: &Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = if roots.is_empty() {
        None
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider)).build();
        Some(verifier.map_err(|error| rustls::Error::General(error.to_string()))?)
    };
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let verifier = Arc::new(ExplainingVerifier { inner, schemes });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain.to_vec(), identity.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificates that a server presented and that were not trusted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untrusted {
    problem: String,
    subject: String,
    issuer: String,
    fingerprint: String,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}; the last certificate presented has subject \"{}\", issuer \"{}\", SHA-256 fingerprint {}",
            self.problem, self.subject, self.issuer, self.fingerprint
        )
    }
}

impl std::error::Error for Untrusted {}

/// Why a handshake failed.
pub(super) enum Failure {
    /// The certificate is not trusted; the text says which and why.
    Trust(String),
    /// Anything else.
    Other(String),
}

/// Sorts the error of a handshake.
pub(super) fn explain(error: &io::Error) -> Failure {
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
        let untrusted = describe(problem, last);
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

fn describe(problem: String, certificate: &CertificateDer<'_>) -> Untrusted {
    let fingerprint =
        Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let (subject, issuer) = match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => (parsed.subject().to_string(), parsed.issuer().to_string()),
        Err(_) => ("unreadable".to_owned(), "unreadable".to_owned()),
    };
    Untrusted { problem, subject: short(&subject), issuer: short(&issuer), fingerprint }
}

/// A certificate's names come from the other side: bounded, and without characters that would break a log line.
fn short(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(200).collect()
}

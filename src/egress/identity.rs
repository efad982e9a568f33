//! A client certificate with its key, for mutual TLS.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretSlice;
use thiserror::Error;

/// A client certificate that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Broken PEM, or no certificate.
    #[error("`tls.crt` holds no certificate in PEM form (`-----BEGIN CERTIFICATE-----`)")]
    Certificate,
    /// Broken PEM, no key, or a key of an unknown kind. Nothing of it is repeated.
    #[error("`tls.key` holds no private key in PEM form (PKCS#8, PKCS#1 or SEC1, not encrypted)")]
    Key,
    /// A key of a kind that TLS does not know, or that does not belong to the certificate.
    #[error("`tls.key` does not belong to the first certificate of `tls.crt`, or is of a kind that is not supported")]
    Mismatch,
}

/// A client certificate with its chain and key. Its `Debug` shows nothing of the key.
#[derive(Clone)]
pub struct ClientIdentity {
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    key: Arc<SecretSlice<u8>>,
    kind: KeyKind,
}

#[derive(Clone, Copy)]
enum KeyKind {
    Pkcs1,
    Sec1,
    Pkcs8,
}

impl ClientIdentity {
    /// Reads a chain (leaf first) and its key, both PEM.
    pub fn parse(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(IdentityError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::Key)?;
        let provider = rustls::crypto::ring::default_provider();
        rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider)
            .map_err(|_| IdentityError::Mismatch)?;
        let (kind, bytes) = match key {
            PrivateKeyDer::Pkcs1(key) => (KeyKind::Pkcs1, key.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Sec1(key) => (KeyKind::Sec1, key.secret_sec1_der().to_vec()),
            PrivateKeyDer::Pkcs8(key) => (KeyKind::Pkcs8, key.secret_pkcs8_der().to_vec()),
            _ => return Err(IdentityError::Key),
        };
        Ok(Self { chain: chain.into(), key: Arc::new(SecretSlice::from(bytes)), kind })
    }

    /// The key as TLS wants it.
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        use secrecy::ExposeSecret as _;
        let bytes = self.key.expose_secret().to_vec();
        match self.kind {
            KeyKind::Pkcs1 => PrivateKeyDer::Pkcs1(bytes.into()),
            KeyKind::Sec1 => PrivateKeyDer::Sec1(bytes.into()),
            KeyKind::Pkcs8 => PrivateKeyDer::Pkcs8(bytes.into()),
        }
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientIdentity({} certificates)", self.chain.len())
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;

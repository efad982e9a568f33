//! Certificate authorities: the system's, and bundles given per repository and per proxy.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

/// A bundle of certificates cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CaBundleError {
    /// Broken PEM.
    #[error("the CA bundle is not PEM: {0}")]
    NotPem(String),
    /// No certificate in it.
    #[error("the CA bundle holds no certificate (`-----BEGIN CERTIFICATE-----`)")]
    Empty,
    /// A certificate that cannot be a trust anchor.
    #[error("certificate {index} of the CA bundle cannot be used: {problem}")]
    BadCertificate {
        /// Its place in the bundle, from 1.
        index: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// Certificates to trust besides the system's.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle {
    certificates: Arc<[CertificateDer<'static>]>,
}

impl CaBundle {
    /// Reads the certificates of a PEM text; keys and comments in it are passed over.
    pub fn parse(pem: &[u8]) -> Result<Self, CaBundleError> {
        let mut certificates = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            certificates.push(certificate.map_err(|error| CaBundleError::NotPem(error.to_string()))?);
        }
        if certificates.is_empty() {
            return Err(CaBundleError::Empty);
        }
        let mut trial = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            trial
                .add(certificate.clone())
                .map_err(|error| CaBundleError::BadCertificate { index: index + 1, problem: error.to_string() })?;
        }
        Ok(Self { certificates: certificates.into() })
    }
}

impl fmt::Debug for CaBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CaBundle({} certificates)", self.certificates.len())
    }
}

/// The system's certificate authorities, read when first needed and then shared by all clients made from this value.
/// Reading honours `SSL_CERT_FILE` and `SSL_CERT_DIR`.
#[derive(Clone, Default)]
pub struct SystemRoots {
    loaded: Arc<OnceLock<Arc<RootCertStore>>>,
}

impl SystemRoots {
    /// The system's store, not read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// No authority at all: only bundles are trusted.
    pub fn none() -> Self {
        let roots = Self::default();
        let _ = roots.loaded.set(Arc::new(RootCertStore::empty()));
        roots
    }

    /// Blocking: reads files at the first call.
    fn load(&self) -> Arc<RootCertStore> {
        let load = || {
            let found = rustls_native_certs::load_native_certs();
            let mut store = RootCertStore::empty();
            let (added, ignored) = store.add_parsable_certificates(found.certs);
            tracing::debug!(added, ignored, errors = found.errors.len(), "read the system's certificate authorities");
            Arc::new(store)
        };
        Arc::clone(self.loaded.get_or_init(load))
    }

    /// The system's authorities and those of the bundles. Blocking at the first call.
    pub(super) fn with(&self, bundles: &[&CaBundle]) -> Arc<RootCertStore> {
        let system = self.load();
        if bundles.is_empty() {
            return system;
        }
        let mut store = RootCertStore::clone(&system);
        for bundle in bundles {
            store.add_parsable_certificates(bundle.certificates.iter().cloned());
        }
        Arc::new(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_a_usable_certificate_is_refused() {
        assert_eq!(CaBundle::parse(b"hello"), Err(CaBundleError::Empty));
        let garbage = b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        assert!(matches!(CaBundle::parse(garbage), Err(CaBundleError::BadCertificate { index: 1, .. })));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        assert!(matches!(CaBundle::parse(broken), Err(CaBundleError::NotPem(_))));
    }
}

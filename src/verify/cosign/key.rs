//! Public keys in PEM.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::digest;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// A public key that may sign artifacts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignKey {
    /// What it is called among our keys.
    pub name: String,
    /// `SHA256:…` of the key in DER, as `cosign` and `openssl` export it.
    pub fingerprint: String,
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Rsa,
    Ed25519,
}

impl Kind {
    /// Cosign hashes with SHA-256 whatever the curve; newer versions hash as the curve suggests.
    fn algorithms(self) -> Vec<&'static dyn VerificationAlgorithm> {
        match self {
            Self::P256 => vec![&ECDSA_P256_SHA256_ASN1],
            Self::P384 => vec![&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1],
            Self::Rsa => vec![&RSA_PKCS1_2048_8192_SHA256],
            Self::Ed25519 => vec![&ED25519],
        }
    }
}

impl CosignKey {
    /// Reads a text in PEM with one public key.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn read(name: &str, pem: &str) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY") {
            return Err(
                "it holds a private key, which must never be here: put cosign.pub in its place, and take the key \
                        for stolen"
                    .to_owned(),
            );
        }
        let mut found = Pem::iter_from_buffer(pem.as_bytes());
        let first = found.next().ok_or("it holds no PEM text; put in the file cosign.pub")?;
        let first = first.map_err(|error| format!("it is not PEM: {error}"))?;
        if found.next().is_some() {
            return Err("it holds more than one PEM text: give every key a name of its own".to_owned());
        }
        match first.label.as_str() {
            "PUBLIC KEY" => {}
            "CERTIFICATE" => {
                return Err("it is a certificate, and a public key is wanted (`openssl x509 -pubkey`)".to_owned());
            }
            other => return Err(format!("it is a `{other}`, and a `PUBLIC KEY` is wanted")),
        }
        let (rest, info) = SubjectPublicKeyInfo::from_der(&first.contents)
            .map_err(|error| format!("the public key can't be read: {error}"))?;
        if !rest.is_empty() {
            return Err("bytes follow the public key".to_owned());
        }
        let algorithm = &info.algorithm.algorithm;
        let kind = if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
            match curve {
                Some(curve) if curve == OID_EC_P256 => Kind::P256,
                Some(curve) if curve == OID_NIST_EC_P384 => Kind::P384,
                Some(_) | None => return Err("its curve is not supported: P-256 and P-384 are".to_owned()),
            }
        } else if *algorithm == OID_PKCS1_RSAENCRYPTION {
            Kind::Rsa
        } else if *algorithm == OID_SIG_ED25519 {
            Kind::Ed25519
        } else {
            return Err(format!("keys of the kind {algorithm} are not supported: ECDSA, RSA and Ed25519 are"));
        };
        let print = digest::digest(&digest::SHA256, &first.contents);
        Ok(Self {
            name: name.to_owned(),
            fingerprint: format!("SHA256:{}", STANDARD_NO_PAD.encode(print.as_ref())),
            kind,
            bytes: info.subject_public_key.data.to_vec(),
        })
    }

    /// Whether this key made a signature over a message.
    pub(super) fn made(&self, message: &[u8], signature: &[u8]) -> bool {
        self.kind
            .algorithms()
            .into_iter()
            .any(|algorithm| UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok())
    }
}

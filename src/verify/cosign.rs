//! Cosign signatures by a key: simple-signing payloads of a signature manifest, and Sigstore bundles. No transparency log
//! and no certificate is asked about, because that takes services on the internet.

mod bundle;
mod key;

pub use bundle::verify_bundle;
pub use key::CosignKey;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{COSIGN_KEYS, Scheme, SignatureError, Signer, Verified};

/// What the payload of a signature says it is. Cosign of different versions writes it differently.
const TYPES: [&str; 2] = ["cosign container image signature", "https://sigstore.dev/cosign/sign/v1"];

/// One layer of a signature manifest.
#[derive(Clone, Copy, Debug)]
pub struct CosignLayer<'a> {
    /// The blob: what is signed.
    pub payload: &'a [u8],
    /// Annotation `dev.cosignproject.cosign/signature`: base64.
    pub signature: &'a str,
    /// Whether the layer has the annotation `dev.sigstore.cosign/certificate`: then it is signed keyless.
    pub has_certificate: bool,
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// How messages call an artifact.
fn called(digest: &str) -> String {
    format!("artifact {digest}")
}

fn signer(key: &CosignKey) -> Signer {
    Signer { scheme: Scheme::Cosign, fingerprint: key.fingerprint.clone(), name: key.name.clone() }
}

/// A policy without a usable key must say so, not blame the artifact.
fn some_keys(object: &str, keys: &[CosignKey]) -> Result<(), SignatureError> {
    if keys.is_empty() {
        let why = format!(
            "the project's policy allows no public key that is in the ConfigMap {COSIGN_KEYS}: put one there (the file \
             cosign.pub) and name it in cosign.keys"
        );
        return Err(SignatureError::NoKeys { object: object.to_owned(), why });
    }
    Ok(())
}

/// Whether one of the layers of an artifact's signature manifest (tag `sha256-<hex>.sig`) is a signature over this very
/// manifest digest (`sha256:…`) by one of the keys.
///
/// # Errors
/// Why not: of several layers, what is wrong with the one that came closest.
pub fn verify_cosign(
    manifest_digest: &str,
    layers: &[CosignLayer<'_>],
    keys: &[CosignKey],
) -> Result<Verified, SignatureError> {
    let object = called(manifest_digest);
    some_keys(&object, keys)?;
    let mut refused: Option<SignatureError> = None;
    for layer in layers {
        match verify_layer(&object, manifest_digest, layer, keys) {
            Ok(signer) => return Ok(Verified { object, signer }),
            Err(error) => {
                if refused.as_ref().is_none_or(|known| closeness(&error) > closeness(known)) {
                    refused = Some(error);
                }
            }
        }
    }
    Err(refused.unwrap_or_else(|| unsigned(object)))
}

fn unsigned(object: String) -> SignatureError {
    SignatureError::Unsigned { object, accepted: "cosign and a key (`cosign sign --key`)".to_owned() }
}

/// How much a person learns from an error about one of several signatures.
const fn closeness(error: &SignatureError) -> u8 {
    match error {
        SignatureError::AnotherObject { .. } => 3,
        SignatureError::UnknownKey { .. } => 2,
        SignatureError::Keyless { .. } => 1,
        SignatureError::Unsigned { .. }
        | SignatureError::UnknownFormat { .. }
        | SignatureError::Malformed { .. }
        | SignatureError::KindNotAccepted { .. }
        | SignatureError::NoKeys { .. }
        | SignatureError::NotAllowed { .. }
        | SignatureError::Bad { .. }
        | SignatureError::Weak { .. }
        | SignatureError::Revoked { .. }
        | SignatureError::Expired { .. }
        | SignatureError::NotYetValid { .. }
        | SignatureError::UnusableKey { .. } => 0,
    }
}

fn verify_layer(
    object: &str,
    digest: &str,
    layer: &CosignLayer<'_>,
    keys: &[CosignKey],
) -> Result<Signer, SignatureError> {
    let malformed = |why: String| SignatureError::Malformed { object: object.to_owned(), why };
    let signature =
        STANDARD.decode(layer.signature.trim()).map_err(|_| malformed("its annotation is not base64".to_owned()))?;
    let Some(key) = keys.iter().find(|key| key.made(layer.payload, &signature)) else {
        return Err(if layer.has_certificate {
            SignatureError::Keyless { object: object.to_owned(), config_map: COSIGN_KEYS }
        } else {
            by_nobody(object, keys)
        });
    };
    // Only what is signed is read.
    let payload: Payload = serde_json::from_slice(layer.payload)
        .map_err(|error| malformed(format!("what is signed is not what cosign signs: {error}")))?;
    if !TYPES.contains(&payload.critical.kind.as_str()) {
        return Err(malformed(format!("what is signed is a `{}`", payload.critical.kind)));
    }
    if payload.critical.image.digest != digest {
        return Err(SignatureError::AnotherObject {
            object: object.to_owned(),
            signed: called(&payload.critical.image.digest),
        });
    }
    Ok(signer(key))
}

/// No key made it: it does not say whose it is, so which keys were tried has to help.
fn by_nobody(object: &str, keys: &[CosignKey]) -> SignatureError {
    let tried: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    SignatureError::UnknownKey {
        object: object.to_owned(),
        scheme: Scheme::Cosign,
        key: format!("of somebody else, or changed since (none of the allowed keys made it: {})", tried.join(", ")),
        config_map: COSIGN_KEYS,
        note: String::new(),
    }
}

#[cfg(test)]
#[path = "cosign_tests.rs"]
mod tests;

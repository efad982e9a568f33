//! Sigstore bundles (`application/vnd.dev.sigstore.bundle.v0.3+json`), as OCI referrers hold them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde::Deserialize;
use serde_json::Value;

use super::super::commit::hexadecimal;
use super::{COSIGN_KEYS, CosignKey, SignatureError, Verified, by_nobody, called, signer, some_keys, unsigned};

/// What an envelope must hold.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What a statement of a plain signature says. Other statements (attestations) say something about an artifact, not that
/// somebody approves of it.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Value>,
    x509_certificate_chain: Option<Value>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

/// Whether a Sigstore bundle is a signature over an artifact by one of the keys. `manifest` is the artifact's manifest,
/// whose digest is `manifest_digest` (`sha256:…`): an older kind of bundle signs it instead of naming it.
///
/// # Errors
/// Why not.
pub fn verify_bundle(
    manifest_digest: &str,
    manifest: &[u8],
    bundle: &[u8],
    keys: &[CosignKey],
) -> Result<Verified, SignatureError> {
    let object = called(manifest_digest);
    some_keys(&object, keys)?;
    let malformed = |why: String| SignatureError::Malformed { object: object.clone(), why };
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|error| malformed(format!("the bundle can't be read: {error}")))?;
    if !bundle.media_type.starts_with("application/vnd.dev.sigstore.bundle") {
        return Err(malformed(format!("`{}` is not a Sigstore bundle", bundle.media_type)));
    }
    let decoded = |text: &str| STANDARD.decode(text).map_err(|_| malformed("the bundle has bad base64".to_owned()));
    let material = bundle.verification_material;
    let keyless = material.certificate.is_some() || material.x509_certificate_chain.is_some();
    let nobody = || {
        if keyless {
            SignatureError::Keyless { object: object.clone(), config_map: COSIGN_KEYS }
        } else {
            by_nobody(&object, keys)
        }
    };
    match (bundle.message_signature, bundle.dsse_envelope) {
        (Some(message), None) => {
            let digest = digest::digest(&digest::SHA256, manifest);
            if format!("sha256:{}", hexadecimal(digest.as_ref())) != manifest_digest {
                return Err(malformed("the manifest at hand has another digest".to_owned()));
            }
            let signature = decoded(&message.signature)?;
            let key = keys.iter().find(|key| key.made(manifest, &signature)).ok_or_else(nobody)?;
            Ok(Verified { signer: signer(key), object: object.clone() })
        }
        (None, Some(envelope)) => {
            let payload = decoded(&envelope.payload)?;
            let message = authenticated(&envelope.payload_type, &payload);
            let mut made = None;
            for EnvelopeSignature { sig } in &envelope.signatures {
                let signature = decoded(sig)?;
                made = made.or_else(|| keys.iter().find(|key| key.made(&message, &signature)));
            }
            let key = made.ok_or_else(nobody)?;
            if envelope.payload_type != IN_TOTO {
                return Err(malformed(format!("what is signed is a `{}`", envelope.payload_type)));
            }
            let statement: Statement = serde_json::from_slice(&payload)
                .map_err(|error| malformed(format!("what is signed is no statement: {error}")))?;
            if statement.predicate_type != SIGNED {
                return Err(malformed(format!(
                    "what is signed is an attestation (`{}`), not a signature (`{SIGNED}`)",
                    statement.predicate_type
                )));
            }
            let digests: Vec<String> = statement
                .subject
                .iter()
                .filter_map(|subject| subject.digest.get("sha256"))
                .map(|digest| format!("sha256:{digest}"))
                .collect();
            if digests.iter().any(|digest| digest == manifest_digest) {
                Ok(Verified { signer: signer(key), object: object.clone() })
            } else {
                let signed = digests.first().map_or_else(|| "nothing".to_owned(), |digest| called(digest));
                Err(SignatureError::AnotherObject { object: object.clone(), signed })
            }
        }
        (None, None) => Err(unsigned(object.clone())),
        (Some(_), Some(_)) => Err(malformed("the bundle holds two kinds of signatures".to_owned())),
    }
}

/// What an envelope's signature covers.
fn authenticated(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

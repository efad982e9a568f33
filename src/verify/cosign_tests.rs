//! Signatures made by `openssl`, over what `cosign` signs.

use std::process::Command;

use super::super::testing::{run, run_with};
use super::*;

const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

struct Pair {
    home: tempfile::TempDir,
    hash: &'static str,
}

impl Pair {
    fn new(options: &[&str], hash: &'static str) -> Self {
        let home = tempfile::tempdir().unwrap();
        run(Command::new("openssl").arg("genpkey").args(options).arg("-out").arg(home.path().join("key")));
        Self { home, hash }
    }

    fn key(&self) -> CosignKey {
        CosignKey::read("release", &self.pem()).unwrap()
    }

    fn pem(&self) -> String {
        let out = run(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(self.home.path().join("key")));
        String::from_utf8(out).unwrap()
    }

    fn sign(&self, text: &[u8]) -> String {
        let key = self.home.path().join("key");
        let made = if self.hash.is_empty() {
            let file = self.home.path().join("text");
            std::fs::write(&file, text).unwrap();
            run(Command::new("openssl").args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(&key).arg("-in").arg(&file))
        } else {
            run_with(Command::new("openssl").args(["dgst", self.hash, "-sign"]).arg(&key), text)
        };
        STANDARD.encode(made)
    }
}

fn p256() -> Pair {
    Pair::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "-sha256")
}

fn payload(digest: &str) -> Vec<u8> {
    serde_json::json!({
        "critical": {
            "identity": {"docker-reference": "registry.corp.test/charts/web"},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

fn layer<'a>(payload: &'a [u8], signature: &'a str) -> CosignLayer<'a> {
    CosignLayer { payload, signature, has_certificate: false }
}

#[test]
fn airgap_56_a_signature_by_a_key_of_each_kind_is_verified_without_a_network() {
    for (options, hash) in [
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], "-sha256"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "-sha256"),
        (&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "-sha384"),
        (&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "-sha256"),
        (&["-algorithm", "ED25519"], ""),
    ] {
        let pair = Pair::new(options, hash);
        let payload = payload(DIGEST);
        let signature = pair.sign(&payload);
        let verified = verify_cosign(DIGEST, &[layer(&payload, &signature)], &[pair.key()]).unwrap();
        assert_eq!(verified.object, format!("artifact {DIGEST}"));
        assert_eq!((verified.signer.scheme, verified.signer.name.as_str()), (Scheme::Cosign, "release"), "{options:?}");
    }
}

#[test]
fn airgap_56_one_good_signature_among_several_is_enough() {
    let (ours, theirs) = (p256(), p256());
    let payload = payload(DIGEST);
    let (foreign, own) = (theirs.sign(&payload), ours.sign(&payload));
    let layers = [layer(&payload, &foreign), layer(&payload, &own)];
    assert!(verify_cosign(DIGEST, &layers, &[ours.key()]).is_ok());
}

#[test]
fn airgap_56_what_is_signed_must_be_this_very_artifact() {
    let pair = p256();
    let other = payload(OTHER);
    let signature = pair.sign(&other);
    let found = verify_cosign(DIGEST, &[layer(&other, &signature)], &[pair.key()]);
    assert_eq!(
        found.unwrap_err().to_string(),
        format!("the signature is about artifact {OTHER}, not about artifact {DIGEST}")
    );
    // Changed to name it, it is signed no more.
    let changed = payload(DIGEST);
    let found = verify_cosign(DIGEST, &[layer(&changed, &signature)], &[pair.key()]);
    assert!(matches!(found, Err(SignatureError::UnknownKey { .. })), "{found:?}");
    // Something else that the key has signed is no signature of an artifact.
    let text = br#"{"critical":{"image":{"docker-manifest-digest":"x"},"type":"invoice"}}"#;
    let found = verify_cosign(DIGEST, &[layer(text, &pair.sign(text))], &[pair.key()]);
    assert_eq!(
        found.unwrap_err().to_string(),
        format!("the signature of artifact {DIGEST} can't be used: what is signed is a `invoice`")
    );
}

#[test]
fn airgap_56_missing_keys_missing_signatures_and_keyless_ones_each_say_what_to_do() {
    let (ours, theirs) = (p256(), p256());
    let payload = payload(DIGEST);
    let signature = theirs.sign(&payload);
    let said =
        |layers: &[CosignLayer<'_>], keys: &[CosignKey]| verify_cosign(DIGEST, layers, keys).unwrap_err().to_string();
    assert_eq!(
        said(&[layer(&payload, &signature)], &[]),
        format!(
            "artifact {DIGEST} can't be verified: the project's policy allows no public key that is in the ConfigMap \
             tidelock-cosign-keys-cm: put one there (the file cosign.pub) and name it in cosign.keys"
        )
    );
    let keys = [ours.key()];
    assert!(said(&[], &keys).starts_with(&format!("artifact {DIGEST} is not signed; sign it with cosign and a key")));
    assert!(said(&[layer(&payload, &signature)], &keys).contains("none of the allowed keys made it: release"));
    let keyless = CosignLayer { has_certificate: true, ..layer(&payload, &signature) };
    assert!(said(&[keyless], &keys).contains("is signed keyless"));
    assert!(said(&[layer(&payload, "no base64!")], &keys).contains("not base64"));
}

#[test]
fn airgap_56_bundles_are_verified_by_key() {
    let pair = p256();
    let statement = |digest: &str, kind: &str| {
        serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1", "predicateType": kind,
            "subject": [{"name": "web", "digest": {"sha256": &digest[7..]}}], "predicate": {},
        })
        .to_string()
    };
    let bundle = |statement: &str, material: serde_json::Value| {
        let kind = "application/vnd.in-toto+json";
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": STANDARD.encode(statement), "payloadType": kind,
                "signatures": [{"sig": pair.sign(message.as_bytes())}],
            },
        })
        .to_string()
    };
    let signed = "https://sigstore.dev/cosign/sign/v1";
    let by_key = || serde_json::json!({"publicKey": {"hint": "x"}});
    let check = |bundle: &str, keys: &[CosignKey]| verify_bundle(DIGEST, b"", bundle.as_bytes(), keys);
    let good = bundle(&statement(DIGEST, signed), by_key());
    assert!(check(&good, &[pair.key()]).is_ok());
    let other = bundle(&statement(OTHER, signed), by_key());
    assert!(matches!(check(&other, &[pair.key()]), Err(SignatureError::AnotherObject { .. })));
    let attestation = bundle(&statement(DIGEST, "https://slsa.dev/provenance/v1"), by_key());
    assert!(check(&attestation, &[pair.key()]).unwrap_err().to_string().contains("is an attestation"));
    assert!(matches!(check(&good, &[p256().key()]), Err(SignatureError::UnknownKey { .. })));
    let keyless = bundle(&statement(DIGEST, signed), serde_json::json!({"certificate": {"rawBytes": "AAAA"}}));
    assert!(matches!(check(&keyless, &[p256().key()]), Err(SignatureError::Keyless { .. })));
    assert!(matches!(check("{}", &[pair.key()]), Err(SignatureError::Malformed { .. })));

    let manifest = b"{\"schemaVersion\":2}";
    let digest = format!(
        "sha256:{}",
        super::super::commit::hexadecimal(ring::digest::digest(&ring::digest::SHA256, manifest).as_ref())
    );
    let message = serde_json::json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2", "verificationMaterial": by_key(),
        "messageSignature": {"signature": pair.sign(manifest)},
    })
    .to_string();
    assert!(verify_bundle(&digest, manifest, message.as_bytes(), &[pair.key()]).is_ok());
    assert!(verify_bundle(DIGEST, manifest, message.as_bytes(), &[pair.key()]).is_err());
}

#[test]
fn keys_that_can_not_be_used_say_why() {
    let pair = p256();
    let private = std::fs::read_to_string(pair.home.path().join("key")).unwrap();
    let read = |pem: &str| CosignKey::read("release", pem).unwrap_err();
    assert!(read(&private).starts_with("it holds a private key"));
    assert!(read("nothing").starts_with("it holds no PEM text"));
    assert!(read(&format!("{}{}", pair.pem(), pair.pem())).starts_with("it holds more than one"));
    let curve = Pair::new(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp521r1"], "-sha256");
    assert_eq!(read(&curve.pem()), "its curve is not supported: P-256 and P-384 are");
    assert!(read(&pair.pem().replace("PUBLIC KEY", "CERTIFICATE")).starts_with("it is a certificate"));
}

//! Commits, tags, keys and signatures of artifacts may be refused; reading them never panics, and nothing is found to be signed
//! but what was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelock::verify::{
    AllowedSigners, CommitInput, CosignKey, CosignLayer, GitKeys, GitRequirement, Keyring, Moment, ObjectKind, check_commit,
    object_id, verify_cosign,
};

/// Keys whose private parts are gone: what the fuzzer finds can't be signed by them.
const OPENPGP: &str = include_str!("../keys/openpgp.asc");
const FINGERPRINT: &str = "A36145B03F32A4F09A0CF6C3779EF3EB77F7E73A";
const SSH: &str = include_str!("../keys/allowed_signers");
const COSIGN: &str = include_str!("../keys/cosign.pub");
/// What was signed by them.
const SIGNED: [&[u8]; 2] =
    [include_bytes!("../corpus/signatures/commit-openpgp"), include_bytes!("../corpus/signatures/commit-ssh")];

/// A commit without its signature.
fn unsigned(commit: &[u8]) -> Vec<u8> {
    let (mut kept, mut inside, mut headers) = (Vec::new(), false, true);
    for line in commit.split_inclusive(|byte| *byte == b'\n') {
        headers &= line != b"\n";
        inside = headers && (line.starts_with(b"gpgsig") || (inside && line.starts_with(b" ")));
        if !inside {
            kept.extend_from_slice(line);
        }
    }
    kept
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let _ = Keyring::read([("fuzz", text.as_ref())]);
    let _ = AllowedSigners::read([("fuzz", text.as_ref())]);
    let keys = GitKeys { openpgp: Keyring::read([("key", OPENPGP)]), ssh: AllowedSigners::read([("key", SSH)]) };
    let id = object_id(ObjectKind::Commit, bytes, &"0".repeat(40));
    let requirement = GitRequirement {
        openpgp: Some(vec![FINGERPRINT.to_owned()]),
        ssh: Some(vec!["fuzz@example.com".to_owned()]),
    };
    let tags = [bytes.to_vec()];
    let input = CommitInput { revision: &id, commit: bytes, tags: &tags };
    if check_commit(input, &requirement, &keys, Moment::Known).is_ok() {
        let bare = unsigned(bytes);
        assert!(SIGNED.iter().any(|signed| unsigned(signed) == bare), "nobody signed this");
    }
    if let Ok(key) = CosignKey::read("key", COSIGN) {
        let layer = CosignLayer { payload: bytes, signature: &text, has_certificate: false };
        let digest = format!("sha256:{}", "0".repeat(64));
        assert!(verify_cosign(&digest, &[layer], &[key]).is_err(), "nobody signed this");
    }
});

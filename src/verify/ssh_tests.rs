use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};

use super::*;

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut all = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

/// A signature as a hardware key makes it, which no machine without one can.
fn by_hardware(pair: &Ed25519KeyPair, text: &[u8]) -> (String, String) {
    let kind = b"sk-ssh-ed25519@openssh.com";
    let public = [string(kind), string(pair.public_key().as_ref()), string(b"ssh:")].concat();
    let message =
        [&b"SSHSIG"[..], &string(b"git"), &string(b""), &string(b"sha256"), &string(&Sha256::digest(text))].concat();
    let touched = [1, 0, 0, 0, 7];
    let signed = [&Sha256::digest(b"ssh:")[..], &touched, &Sha256::digest(&message)].concat();
    let signature = [string(kind), string(pair.sign(&signed).as_ref()), touched.to_vec()].concat();
    let blob = [
        &b"SSHSIG"[..],
        &1_u32.to_be_bytes(),
        &string(&public),
        &string(b"git"),
        &string(b""),
        &string(b"sha256"),
        &string(&signature),
    ]
    .concat();
    let encoded = STANDARD.encode(blob);
    let lines: Vec<&str> = encoded.as_bytes().chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let armored = format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
    (format!("sk-ssh-ed25519@openssh.com {} ada@corp.test", STANDARD.encode(&public)), armored)
}

#[test]
fn airgap_55_a_signature_of_a_hardware_key_is_verified() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let (public, armored) = by_hardware(&pair, b"text");
    let signers = AllowedSigners::read([("signers", public.as_str())]);
    let check = |text: &[u8]| signers.verify("it", text, &armored, Some(1), &["ada@*".to_owned()], Moment::Known);
    assert_eq!(signers.problems, Vec::<String>::new());
    assert_eq!(check(b"text").unwrap().name, "ada@corp.test");
    assert!(matches!(check(b"other"), Err(SignatureError::Bad { .. })));
}

#[test]
fn broken_lines_are_told_with_their_place_and_take_no_other_away() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILagOJFgwaMNhBWQINinKOXmqS4Gh5NgxgriXwdOoINJ ada@corp.test";
    let signers = AllowedSigners::read([("team", format!("# people\nada nothing\n{key}\n").as_str())]);
    assert!(signers.has_any(&["ada@corp.test".to_owned()]));
    assert_eq!(signers.problems, ["team, line 2: the option `nothing` is not known"]);
}

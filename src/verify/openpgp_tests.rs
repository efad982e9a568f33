use super::super::testing::{Gpg, run};
use super::*;

const ADA: &str = "Ada Lovelace <ada@corp.test>";

fn signed(gpg: &Gpg, key: &str) -> String {
    let mut command = gpg.command();
    command.args(["--local-user", key, "--armor", "--detach-sign"]);
    String::from_utf8(super::super::testing::run_with(&mut command, b"text")).unwrap()
}

#[test]
fn several_keys_of_one_text_are_all_read_and_private_keys_are_refused() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let bob = gpg.make("Bob <bob@corp.test>", "ed25519", "sign", "0");
    let together = String::from_utf8(run(gpg.command().args(["--armor", "--export"]))).unwrap();
    let apart = format!("{}\n{}", gpg.public(&ada), gpg.public(&bob));
    for text in [together, apart] {
        let ring = Keyring::read([("all", text.as_str())]);
        assert_eq!((ring.certificates.len(), ring.problems.as_slice()), (2, &[][..]));
        assert!(ring.has_any(std::slice::from_ref(&ada)) && ring.has_any(&[bob[24..].to_owned()]));
    }
    let private = String::from_utf8(run(gpg.command().args(["--armor", "--export-secret-keys", &ada]))).unwrap();
    let ring = Keyring::read([("mistake", private.as_str())]);
    assert!(ring.is_empty() && ring.problems[0].starts_with("mistake: it holds a private key"), "{:?}", ring.problems);
}

#[test]
fn a_broken_key_is_a_problem_and_takes_no_other_away() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let good = gpg.public(&ada);
    let broken = good.replacen('m', "n", 3);
    let ring = Keyring::read([("broken", broken.as_str()), ("good", good.as_str())]);
    assert!(ring.has_any(&[ada]));
}

#[test]
fn a_key_that_is_not_made_for_signing_can_not_sign() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "rsa2048", "cert", "0");
    run(gpg.command().args(["--quick-add-key", &ada, "rsa2048", "sign", "0"]));
    let subkey = gpg.fingerprints(&ada).remove(1);
    let ring = Keyring::read([("ada", gpg.public(&ada).as_str())]);
    let signature = signed(&gpg, &format!("{subkey}!"));
    assert!(ring.verify("it", b"text", &signature, std::slice::from_ref(&ada), Moment::Known).is_ok());
    // A subkey whose binding is lost is nobody's.
    let standings: Vec<&Standing> = ring.certificates[0].keys.iter().map(|key| &key.standing).collect();
    assert_eq!(
        standings,
        [&Standing::Unusable("its primary key is not made for signing".to_owned()), &Standing::Signs]
    );
}

#[test]
fn text_that_is_no_signature_is_refused() {
    let ring = Keyring::default();
    let check = |armored: &str| ring.verify("it", b"text", armored, &[], Moment::Known);
    for armored in [
        "-----BEGIN PGP SIGNATURE-----\n",
        "-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n",
        "-----BEGIN PGP MESSAGE-----\n\n\n-----END PGP MESSAGE-----\n",
        "",
    ] {
        assert!(matches!(check(armored), Err(SignatureError::Malformed { .. })), "{armored}");
    }
}

#[test]
fn a_revocation_is_kept_whatever_older_copy_of_the_key_comes_after_it() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let (signature, stale) = (signed(&gpg, &ada), gpg.public(&ada));
    let file = gpg.path().join(format!("openpgp-revocs.d/{ada}.rev"));
    // The certificate that gpg puts aside with a new key is made unusable by a colon.
    let revocation = std::fs::read_to_string(file).unwrap().replace(":-----BEGIN", "-----BEGIN");
    super::super::testing::run_with(gpg.command().arg("--import"), revocation.as_bytes());
    let revoked = gpg.public(&ada);
    for texts in [[&revoked, &stale], [&stale, &revoked]] {
        let ring = Keyring::read([("a", texts[0].as_str()), ("b", texts[1].as_str())]);
        let done = ring.verify("it", b"text", &signature, std::slice::from_ref(&ada), Moment::Known);
        assert!(matches!(done, Err(SignatureError::Revoked { .. })), "{done:?}");
    }
}

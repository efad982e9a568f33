//! Commits and tags signed by the real git.

use super::super::testing::{Gpg, Repository, SshKey, run, run_with};
use super::*;

const ADA: &str = "Ada Lovelace <ada@corp.test>";
const BOB: &str = "Bob <bob@corp.test>";

#[expect(clippy::disallowed_methods, reason = "the tools that sign take the machine's time")]
fn now() -> Moment {
    Moment::New(jiff::Timestamp::now())
}

fn keyring(texts: &[String]) -> GitKeys {
    let texts: Vec<(String, &str)> =
        texts.iter().enumerate().map(|(index, text)| (format!("key-{index}"), text.as_str())).collect();
    let keyring = Keyring::read(texts.iter().map(|(name, text)| (name.as_str(), *text)));
    GitKeys { openpgp: keyring, ssh: AllowedSigners::default() }
}

fn signers(text: &str) -> GitKeys {
    GitKeys { openpgp: Keyring::default(), ssh: AllowedSigners::read([("signers", text)]) }
}

fn openpgp(keys: &[&str]) -> GitRequirement {
    GitRequirement { openpgp: Some(keys.iter().map(|key| (*key).to_owned()).collect()), ssh: None }
}

fn ssh(signers: &[&str]) -> GitRequirement {
    GitRequirement { openpgp: None, ssh: Some(signers.iter().map(|name| (*name).to_owned()).collect()) }
}

struct Case<'a> {
    repository: &'a Repository,
    revision: String,
    tags: Vec<Vec<u8>>,
}

impl<'a> Case<'a> {
    fn head(repository: &'a Repository) -> Self {
        Self { repository, revision: repository.id("HEAD"), tags: Vec::new() }
    }

    fn check(&self, requirement: &GitRequirement, keys: &GitKeys, moment: Moment) -> Result<Verified, SignatureError> {
        let commit = self.repository.raw("commit", &self.revision);
        check_commit(
            CommitInput { revision: &self.revision, commit: &commit, tags: &self.tags },
            requirement,
            keys,
            moment,
        )
    }

    fn refusal(&self, requirement: &GitRequirement, keys: &GitKeys) -> String {
        self.check(requirement, keys, now()).unwrap_err().to_string()
    }
}

fn object(revision: &str) -> String {
    format!("commit {}", &revision[..7])
}

#[test]
fn airgap_55_an_openpgp_signature_of_an_allowed_key_is_good_by_fingerprint_and_by_long_id() {
    for algorithm in ["ed25519", "rsa2048", "nistp256"] {
        let gpg = Gpg::new();
        let fingerprint = gpg.make(ADA, algorithm, "sign", "0");
        let repository = Repository::openpgp(&gpg, &fingerprint);
        let revision = repository.commit(true);
        let keys = keyring(&[gpg.public(ADA)]);
        let case = Case::head(&repository);
        let signer = Signer { scheme: Scheme::OpenPgp, fingerprint: fingerprint.clone(), name: ADA.to_owned() };
        let good = Ok(Verified { object: object(&revision), signer });
        assert_eq!(case.check(&openpgp(&[&fingerprint]), &keys, now()), good, "{algorithm}");
        assert_eq!(case.check(&openpgp(&[&fingerprint[24..]]), &keys, Moment::Known), good);
    }
}

#[test]
fn airgap_55_a_signing_subkey_signs_for_its_primary_key_and_may_be_allowed_itself() {
    let gpg = Gpg::new();
    let primary = gpg.make(ADA, "ed25519", "cert", "0");
    run(gpg.command().args(["--quick-add-key", &primary, "ed25519", "sign", "0"]));
    let subkey = gpg.fingerprints(ADA).remove(1);
    let repository = Repository::openpgp(&gpg, &format!("{subkey}!"));
    repository.commit(true);
    let keys = keyring(&[gpg.public(ADA)]);
    let case = Case::head(&repository);
    for allowed in [primary.as_str(), &primary[24..], &subkey, &subkey[24..]] {
        let verified = case.check(&openpgp(&[allowed]), &keys, now()).unwrap();
        assert_eq!(verified.signer.fingerprint, primary, "{allowed}");
    }
}

#[test]
fn airgap_55_a_revoked_subkey_signs_no_more() {
    let gpg = Gpg::new();
    let primary = gpg.make(ADA, "ed25519", "cert", "0");
    run(gpg.command().args(["--quick-add-key", &primary, "ed25519", "sign", "0"]));
    let subkey = gpg.fingerprints(ADA).remove(1);
    let repository = Repository::openpgp(&gpg, &format!("{subkey}!"));
    let revision = repository.commit(true);
    let answers = "key 1\nrevkey\ny\n1\n\ny\nsave\n";
    run_with(gpg.command().args(["--command-fd", "0", "--edit-key", &primary]), answers.as_bytes());
    let said = Case::head(&repository).refusal(&openpgp(&[&primary]), &keyring(&[gpg.public(ADA)]));
    assert_eq!(
        said,
        format!(
            "{} is signed by the OpenPGP key {primary} ({ADA}), which is revoked; sign it anew with another key",
            object(&revision)
        )
    );
}

#[test]
fn airgap_55_a_tampered_commit_has_a_bad_signature_and_no_foreign_content_passes_for_a_commit() {
    let gpg = Gpg::new();
    let fingerprint = gpg.make(ADA, "ed25519", "sign", "0");
    let repository = Repository::openpgp(&gpg, &fingerprint);
    let revision = repository.commit(true);
    let keys = keyring(&[gpg.public(ADA)]);
    let raw = String::from_utf8(repository.raw("commit", &revision)).unwrap();
    let tampered = raw.replace("a change", "another change");
    let pretended = CommitInput { revision: &revision, commit: tampered.as_bytes(), tags: &[] };
    let said = check_commit(pretended, &openpgp(&[&fingerprint]), &keys, now()).unwrap_err().to_string();
    assert!(said.ends_with("what is kept is another commit than its id says"), "{said}");
    // With an id of its own the content is what it says, and the signature does not fit.
    let write = ["hash-object", "-t", "commit", "-w", "--stdin"];
    let id = String::from_utf8(run_with(repository.git().args(write), tampered.as_bytes())).unwrap();
    let case = Case { repository: &repository, revision: id.trim().to_owned(), tags: Vec::new() };
    assert_eq!(
        case.refusal(&openpgp(&[&fingerprint]), &keys),
        format!(
            "{} has a bad signature by the OpenPGP key {fingerprint} ({ADA}): what is signed is not what is there",
            object(&case.revision)
        )
    );
}

#[test]
fn airgap_55_the_signature_of_another_commit_is_bad() {
    let key = SshKey::new(&["ed25519"], "ada@corp.test");
    let repository = Repository::ssh(&key);
    let first = String::from_utf8(repository.raw("commit", &repository.commit(true))).unwrap();
    let second = String::from_utf8(repository.raw("commit", &repository.commit(true))).unwrap();
    let signature = |raw: &str| {
        let start = raw.find("gpgsig ").unwrap();
        let end = raw.find(" -----END SSH SIGNATURE-----\n").unwrap() + " -----END SSH SIGNATURE-----\n".len();
        raw[start..end].to_owned()
    };
    let mixed = second.replace(&signature(&second), &signature(&first));
    assert_ne!(mixed, second);
    let revision = object_id(ObjectKind::Commit, mixed.as_bytes(), &"0".repeat(40));
    let input = CommitInput { revision: &revision, commit: mixed.as_bytes(), tags: &[] };
    let said = check_commit(input, &ssh(&["ada@corp.test"]), &signers(&key.public()), now()).unwrap_err();
    assert!(matches!(said, SignatureError::Bad { .. }), "{said}");
}

#[test]
fn airgap_55_an_unsigned_commit_says_what_is_wanted() {
    let repository = Repository::new(&[]);
    let revision = repository.commit(false);
    let key = SshKey::new(&["ed25519"], "ada@corp.test");
    let said = Case::head(&repository).refusal(&ssh(&["*"]), &signers(&key.public()));
    assert_eq!(
        said,
        format!("{} is not signed; sign it with SSH and push it, or change the project's policy", object(&revision))
    );
}

#[test]
fn airgap_55_another_key_is_unknown_or_not_allowed_and_the_message_says_how_to_allow_it() {
    let gpg = Gpg::new();
    let (ada, bob) = (gpg.make(ADA, "ed25519", "sign", "0"), gpg.make(BOB, "ed25519", "sign", "0"));
    let repository = Repository::openpgp(&gpg, &bob);
    let revision = repository.commit(true);
    let case = Case::head(&repository);
    let only_ada = openpgp(&[&ada]);
    assert_eq!(
        case.refusal(&only_ada, &keyring(&[gpg.public(ADA), gpg.public(BOB)])),
        format!(
            "{} is signed by the OpenPGP key {bob} ({BOB}), which is not allowed; to allow it, add {bob} to the project's \
             gpg.keys",
            object(&revision)
        )
    );
    assert_eq!(
        case.refusal(&only_ada, &keyring(&[gpg.public(ADA), "nonsense".to_owned()])),
        format!(
            "{} is signed by the OpenPGP key {bob}, which is not known: put its public key into the ConfigMap \
             tidelock-gpg-keys-cm if it is to be trusted (key-1: there is no armored public key in it: put in the output \
             of `gpg --armor --export`)",
            object(&revision)
        )
    );
}

#[test]
fn airgap_55_a_key_that_is_taken_away_counts_no_more() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let repository = Repository::openpgp(&gpg, &ada);
    repository.commit(true);
    let case = Case::head(&repository);
    let requirement = openpgp(&[&ada]);
    assert!(case.check(&requirement, &keyring(&[gpg.public(ADA)]), now()).is_ok());
    let said = case.check(&requirement, &keyring(&[]), Moment::Known).unwrap_err().to_string();
    assert!(said.contains(&format!("none of the keys that the project allows ({ada}) is in the ConfigMap")), "{said}");
    let nobody = case.refusal(&openpgp(&[]), &keyring(&[gpg.public(ADA)]));
    assert!(nobody.ends_with("the project's policy allows no OpenPGP key: add one to gpg.keys"), "{nobody}");
}

#[test]
fn airgap_55_a_key_must_be_valid_when_it_signs_and_when_it_is_judged_first() {
    let gpg = Gpg::new();
    // A day in 2020, and a key for three days of it.
    run(gpg.at("20200101T000000").args(["--quick-generate-key", ADA, "ed25519", "sign", "2020-01-04"]));
    let ada = gpg.fingerprints(ADA).remove(0);
    let repository = Repository::openpgp(&gpg, &ada);
    let unsigned = repository.commit(false);
    let raw = String::from_utf8(repository.raw("commit", &unsigned)).unwrap();
    let signed_at = |time: &str| {
        let mut sign = gpg.at(time);
        // What gpg itself refuses to do with an expired key, a thief's copy does not.
        sign.args(["--local-user", &ada, "--armor", "--detach-sign"]);
        let armored = String::from_utf8(run_with(&mut sign, raw.as_bytes())).unwrap();
        let (header, message) = raw.split_once("\n\n").unwrap();
        let commit = format!("{header}\ngpgsig {}\n\n{message}", armored.trim_end().replace('\n', "\n "));
        let revision = object_id(ObjectKind::Commit, commit.as_bytes(), &unsigned);
        (revision, commit)
    };
    let keys = keyring(&[gpg.public(ADA)]);
    let check = |time: &str, moment: Moment| {
        let (revision, commit) = signed_at(time);
        let input = CommitInput { revision: &revision, commit: commit.as_bytes(), tags: &[] };
        check_commit(input, &openpgp(&[&ada]), &keys, moment)
    };
    let then = |time: &str| Moment::New(time.parse().unwrap());
    assert!(check("20200102T000000", then("2020-01-02T00:00:10Z")).is_ok());
    assert!(check("20200102T000000", Moment::Known).is_ok(), "time alone takes nothing back that was verified");
    let later = check("20200102T000000", now()).unwrap_err();
    assert!(matches!(later, SignatureError::Expired { .. }) && later.to_string().contains("2020-01-04"), "{later}");
    let early = check("20200103T000000", then("2020-01-01T12:00:00Z")).unwrap_err();
    assert!(matches!(early, SignatureError::NotYetValid { .. }), "{early}");
}

#[test]
fn airgap_55_a_revoked_key_signs_no_more() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let repository = Repository::openpgp(&gpg, &ada);
    repository.commit(true);
    let revocation = std::fs::read_to_string(gpg.path().join(format!("openpgp-revocs.d/{ada}.rev"))).unwrap();
    run_with(gpg.command().arg("--import"), revocation.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    let found = Case::head(&repository).check(&openpgp(&[&ada]), &keyring(&[gpg.public(ADA)]), Moment::Known);
    assert!(matches!(found, Err(SignatureError::Revoked { .. })), "{found:?}");
}

#[test]
fn airgap_55_a_signature_with_sha1_is_too_weak() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "rsa2048", "sign", "0");
    std::fs::write(gpg.path().join("gpg.conf"), "digest-algo SHA1\nallow-weak-digest-algos\n").unwrap();
    let repository = Repository::openpgp(&gpg, &ada);
    let revision = repository.commit(true);
    assert_eq!(
        Case::head(&repository).refusal(&openpgp(&[&ada]), &keyring(&[gpg.public(ADA)])),
        format!(
            "the signature of {} is made with SHA1, which is too weak; sign with SHA-256 or better",
            object(&revision)
        )
    );
}

#[test]
fn airgap_55_a_signed_tag_vouches_for_exactly_the_commit_it_names() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let repository = Repository::openpgp(&gpg, &ada);
    let revision = repository.commit(false);
    repository.tag("v1", true);
    let keys = keyring(&[gpg.public(ADA)]);
    let tagged = Case { tags: vec![repository.raw("tag", "v1")], ..Case::head(&repository) };
    let verified = tagged.check(&openpgp(&[&ada]), &keys, now()).unwrap();
    assert_eq!(verified.object, format!("tag v1 ({})", object(&revision)));
    // The same tag does not help another commit.
    repository.commit(false);
    let other = Case { tags: tagged.tags.clone(), ..Case::head(&repository) };
    let said = other.refusal(&openpgp(&[&ada]), &keys);
    assert_eq!(said, format!("the signature is about {}, not about {}", object(&revision), object(&other.revision)));
    // Neither does a tag without a signature, or one that was changed.
    repository.tag("v2", false);
    let unsigned = Case { tags: vec![repository.raw("tag", "v2")], ..Case::head(&repository) };
    assert!(unsigned.refusal(&openpgp(&[&ada]), &keys).starts_with("tag v2 (commit "));
    let changed = String::from_utf8(tagged.tags[0].clone()).unwrap().replace("a release", "no release");
    let changed = Case { tags: vec![changed.into_bytes()], revision, repository: &repository };
    assert!(changed.refusal(&openpgp(&[&ada]), &keys).contains("has a bad signature"));
}

#[test]
fn airgap_55_ssh_signatures_of_every_kind_of_key_are_verified() {
    for kind in [&["ed25519"][..], &["ecdsa", "-b", "256"], &["ecdsa", "-b", "384"], &["ecdsa", "-b", "521"], &["rsa"]]
    {
        let key = SshKey::new(kind, "ada@corp.test");
        let repository = Repository::ssh(&key);
        let revision = repository.commit(true);
        repository.tag("v1", true);
        let case = Case::head(&repository);
        let signer = Signer { scheme: Scheme::Ssh, fingerprint: key.fingerprint(), name: "ada@corp.test".to_owned() };
        let good = Ok(Verified { object: object(&revision), signer: signer.clone() });
        for allowed in ["*@corp.test", key.fingerprint().as_str()] {
            assert_eq!(case.check(&ssh(&[allowed]), &signers(&key.public()), now()), good, "{kind:?} {allowed}");
        }
        let tag = split_tag(&repository.raw("tag", "v1")).unwrap();
        let found = verify("tag v1", tag.signed, &ssh(&["*"]), &signers(&key.public()), now());
        assert_eq!(found, Ok(signer), "{kind:?}");
    }
}

#[test]
fn airgap_55_ssh_signers_are_told_apart_by_policy_key_and_time() {
    let (ada, bob) = (SshKey::new(&["ed25519"], "ada@corp.test"), SshKey::new(&["ed25519"], "bob@corp.test"));
    let repository = Repository::ssh(&bob);
    let revision = repository.commit(true);
    let case = Case::head(&repository);
    let both = signers(&format!("{}\n{}\n", ada.public(), bob.public()));
    assert_eq!(
        case.refusal(&ssh(&["ada@*"]), &both),
        format!(
            "{} is signed by the SSH key {} (bob@corp.test), which is not allowed; to allow it, add bob@corp.test to the \
             project's ssh.signers",
            object(&revision),
            bob.fingerprint()
        )
    );
    let unknown = case.refusal(&ssh(&["*"]), &signers(&ada.public()));
    assert!(unknown.contains(&format!("the SSH key {}, which is not known", bob.fingerprint())), "{unknown}");
    let line = |options: &str| signers(&format!("bob@corp.test {options} {}", bob.public()));
    let any = ssh(&["bob@corp.test"]);
    assert!(case.check(&any, &line("namespaces=\"git\""), now()).is_ok());
    let file = case.refusal(&any, &line("namespaces=\"file\""));
    assert!(file.ends_with("`namespaces` without `git`"), "{file}");
    let expired = case.check(&any, &line("valid-before=20200101"), Moment::Known);
    assert!(matches!(expired, Err(SignatureError::Expired { .. })), "{expired:?}");
    let early = case.check(&any, &line("valid-after=20900101Z"), now());
    assert!(matches!(early, Err(SignatureError::NotYetValid { .. })), "{early:?}");
    let openpgp_only = GitRequirement { openpgp: Some(vec![String::new()]), ssh: None };
    assert!(matches!(case.check(&openpgp_only, &both, now()), Err(SignatureError::NoKeys { .. })));
}

#[test]
fn airgap_55_a_signature_made_for_another_purpose_is_no_signature_of_a_commit() {
    let key = SshKey::new(&["ed25519"], "ada@corp.test");
    let signers = AllowedSigners::read([("signers", key.public().as_str())]);
    let allowed = ["*".to_owned()];
    let check = |namespace: &str| {
        signers.verify("commit 1", b"text", &key.sign(namespace, b"text"), Some(1_750_000_000), &allowed, Moment::Known)
    };
    assert!(check("git").is_ok());
    let said = check("file").unwrap_err().to_string();
    assert!(said.contains("it is made for `file`"), "{said}");
}

#[test]
fn airgap_55_a_certificate_counts_by_its_authority_and_its_principals() {
    let (authority, ada) = (SshKey::new(&["ed25519"], "authority"), SshKey::new(&["ed25519"], "ada@corp.test"));
    let public = ada.path().with_extension("pub");
    let certify = |principal: &str| {
        run(std::process::Command::new("ssh-keygen")
            .args(["-q", "-s"])
            .arg(authority.path())
            .args(["-I", "ada", "-n", principal, "-V", "-1d:+1d"])
            .arg(&public));
    };
    let certificate = ada.home().join("key-cert.pub");
    let sign = || {
        let signed = run_with(
            std::process::Command::new("ssh-keygen").args(["-q", "-Y", "sign", "-n", "git", "-f"]).arg(&certificate),
            b"text",
        );
        String::from_utf8(signed).unwrap()
    };
    let signers = AllowedSigners::read([("s", format!("*@corp.test cert-authority {}", authority.public()).as_str())]);
    #[expect(clippy::disallowed_methods, reason = "the tools that sign take the machine's time")]
    let at = jiff::Timestamp::now().as_second();
    let check =
        |armored: &str| signers.verify("commit 1", b"text", armored, Some(at), &["ada@*".to_owned()], Moment::Known);
    certify("ada@corp.test");
    let signer = check(&sign()).unwrap();
    assert_eq!((signer.name.as_str(), signer.fingerprint), ("ada@corp.test", ada.fingerprint()));
    certify("bob@corp.test");
    assert!(matches!(check(&sign()), Err(SignatureError::NotAllowed { .. })));
    certify("ada@elsewhere.test");
    assert!(matches!(check(&sign()), Err(SignatureError::UnknownKey { .. })));
    let plain = ada.sign("git", b"text");
    assert!(matches!(check(&plain), Err(SignatureError::UnknownKey { .. })), "the key without its certificate");
    run(std::process::Command::new("ssh-keygen")
        .args(["-q", "-h", "-s"])
        .arg(authority.path())
        .args(["-I", "host", "-n", "ada@corp.test", "-V", "-1d:+1d"])
        .arg(&public));
    let said = check(&sign()).unwrap_err().to_string();
    assert!(said.contains("its certificate is that of a host"), "{said}");
}

#[test]
fn airgap_55_either_kind_will_do_where_a_policy_accepts_both() {
    let gpg = Gpg::new();
    let ada = gpg.make(ADA, "ed25519", "sign", "0");
    let key = SshKey::new(&["ed25519"], "bob@corp.test");
    let keys = GitKeys { openpgp: keyring(&[gpg.public(ADA)]).openpgp, ssh: signers(&key.public()).ssh };
    let both = GitRequirement { ssh: Some(vec!["bob@*".to_owned()]), ..openpgp(&[&ada]) };
    for repository in [Repository::openpgp(&gpg, &ada), Repository::ssh(&key)] {
        repository.commit(true);
        assert!(Case::head(&repository).check(&both, &keys, now()).is_ok());
    }
    let repository = Repository::ssh(&key);
    repository.commit(true);
    let said = Case::head(&repository).refusal(&openpgp(&[&ada]), &keys);
    assert!(said.ends_with("has an SSH signature, but the project's policy accepts OpenPGP only"), "{said}");
}

#[test]
fn airgap_55_a_commit_of_a_sha256_repository_is_verified_by_its_own_header() {
    let key = SshKey::new(&["ed25519"], "ada@corp.test");
    let repository = Repository::ssh(&key);
    run(std::process::Command::new("rm").arg("-rf").arg(repository.home().join(".git")));
    run(repository.git().args(["init", "-q", "-b", "main", "--object-format=sha256"]));
    for (name, value) in [
        ("user.name", "Ada"),
        ("user.email", "ada@corp.test"),
        ("gpg.format", "ssh"),
        ("user.signingkey", key.path().to_str().unwrap()),
    ] {
        run(repository.git().args(["config", name, value]));
    }
    let revision = repository.commit(true);
    assert_eq!(revision.len(), 64);
    let verified = Case::head(&repository).check(&ssh(&["ada@*"]), &signers(&key.public()), now()).unwrap();
    assert_eq!(verified.object, object(&revision));
}

use super::*;
use crate::git::ssh::testing::{make_key, public_key, read};

struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Self {
        let keys = Self { dir: tempfile::tempdir().unwrap() };
        make_key(keys.dir.path(), "one", &["-t", "ed25519"]);
        make_key(keys.dir.path(), "two", &["-t", "ed25519"]);
        make_key(keys.dir.path(), "rsa", &["-t", "rsa", "-b", "2048"]);
        keys
    }

    fn text(&self, name: &str) -> String {
        public_key(&self.dir.path().join(name))
    }

    fn key(&self, name: &str) -> PublicKey {
        PublicKey::from_openssh(&self.text(name)).unwrap()
    }

    /// The key `one`, certified by `two`.
    fn certificate(&self, arguments: &[&str]) -> Certificate {
        let mut command = std::process::Command::new("ssh-keygen");
        command.args(["-q", "-s"]).arg(self.dir.path().join("two")).args(["-I", "id"]).args(arguments);
        assert!(command.arg(self.dir.path().join("one.pub")).status().unwrap().success());
        Certificate::from_openssh(&read(&self.dir.path().join("one-cert.pub"))).unwrap()
    }
}

fn trust(lines: &str, host: &str, port: u16) -> HostTrust {
    HostTrust::of(&KnownHosts::parse(lines).unwrap(), host, port)
}

#[test]
fn a_listed_key_is_trusted_and_any_other_is_not() {
    let keys = Keys::new();
    let (one, two) = (keys.text("one"), keys.text("two"));
    let good = trust(&format!("git.test {one}\ngit.test {}", keys.text("rsa")), "git.test", 22);
    assert_eq!(good.judge_key(&keys.key("one")), Ok(()));
    assert_eq!(good.judge_key(&keys.key("rsa")), Ok(()));
    assert_eq!(
        good.key_algorithms().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]
    );

    let Untrusted(other) = good.judge_key(&keys.key("two")).unwrap_err();
    assert!(other.starts_with("the server shows another host key than the listed one: it shows ssh-ed25519 SHA256:"));
    assert!(other.contains(&describe(&keys.key("one"))) && other.ends_with(&format!("git.test {two}")), "{other}");

    let Untrusted(unknown) = trust("", "git.test", 22).judge_key(&keys.key("one")).unwrap_err();
    assert_eq!(
        unknown,
        format!(
            "no host key is listed for git.test; the server shows {}: compare this fingerprint with the one that its \
             operators publish, then add this line to the key `known_hosts` of the Repository's Secret, or to its \
             spec.knownHosts: git.test {one}",
            describe(&keys.key("one"))
        )
    );
    assert_eq!(trust("", "git.test", 22).key_algorithms().len(), 6);

    let both = format!("git.test {one}\n@revoked * {one}");
    let Untrusted(revoked) = trust(&both, "git.test", 22).judge_key(&keys.key("one")).unwrap_err();
    assert!(revoked.contains("is listed as @revoked"), "{revoked}");
}

#[test]
fn names_with_port_come_first_then_the_plain_name_then_the_alias() {
    let keys = Keys::new();
    let (one, two) = (keys.text("one"), keys.text("two"));
    let trusts = |lines: &str, host: &str, port: u16| trust(lines, host, port).judge_key(&keys.key("one")).is_ok();
    assert!(trusts(&format!("[git.test]:2222 {one}"), "git.test", 2222));
    assert!(!trusts(&format!("[git.test]:2222 {one}"), "git.test", 22));
    assert!(trusts(&format!("git.test {one}"), "git.test", 2222));
    assert!(!trusts(&format!("git.test {one}\n[git.test]:2222 {two}"), "git.test", 2222));

    for (host, of) in ALIASES {
        assert!(trusts(&format!("{of} {one}"), host, 443), "{host}");
        assert!(!trusts(&format!("{of} {one}\n[{host}]:443 {two}"), host, 443), "{host}");
        assert!(!trusts(&format!("{of} {one}\n@revoked {of} {one}"), host, 443), "{host}");
    }
    assert!(!trusts(&format!("github.com {one}"), "ssh.github.com.evil.test", 443));
    let Untrusted(unknown) = trust("", "ssh.github.com", 443).judge_key(&keys.key("one")).unwrap_err();
    assert!(unknown.ends_with(&format!("[ssh.github.com]:443 {one}")), "{unknown}");
}

#[test]
fn certificates_are_trusted_by_their_authority_name_and_time() {
    let keys = Keys::new();
    let authority = trust(&format!("@cert-authority *.test {}", keys.text("two")), "git.test", 22);
    assert_eq!((authority.key_algorithms().len(), authority.certificate_algorithms().len()), (0, 6));
    let period = ["-h", "-n", "git.test", "-V", "20260101000000Z:20270101000000Z"];
    let certificate = keys.certificate(&period);
    let during = 1_780_000_000;
    assert_eq!(authority.judge_certificate(&certificate, during), Ok(()));
    let why =
        |trust: &HostTrust, certificate: &Certificate, now| trust.judge_certificate(certificate, now).unwrap_err().0;
    assert!(why(&authority, &certificate, 1_900_000_000).contains("has ended"));
    let revoked = format!("@cert-authority * {0}\n@revoked * {0}", keys.text("two"));
    assert!(why(&trust(&revoked, "git.test", 22), &certificate, during).contains("@revoked"));
    let other = trust(&format!("@cert-authority * {}", keys.text("rsa")), "git.test", 22);
    assert!(why(&other, &certificate, during).contains("is not signed by an @cert-authority"));
    let elsewhere = trust(&format!("@cert-authority * {}", keys.text("two")), "other.test", 22);
    assert!(why(&elsewhere, &certificate, during).contains("does not name other.test"));
    let user = keys.certificate(&["-n", "git.test", "-V", "20260101000000Z:20270101000000Z"]);
    assert!(why(&authority, &user, during).contains("is one of a user"));
    // A bare key is not trusted because an authority is.
    assert!(authority.judge_key(&keys.key("one")).is_err());
}

#[test]
fn a_server_without_a_key_of_a_listed_type_is_told_from_a_changed_one() {
    let keys = Keys::new();
    let Untrusted(text) =
        trust(&format!("git.test {}", keys.text("rsa")), "git.test", 22).no_common_type(&["ssh-ed25519".to_owned()]);
    assert!(
        text.starts_with(
            "the server has no host key of a type that known_hosts lists for git.test (ssh-rsa): it has \
        ssh-ed25519;"
        ),
        "{text}"
    );
    let Untrusted(text) = trust("", "git.test", 22).no_common_type(&["ssh-dss".to_owned()]);
    assert!(text.contains("not safe or not supported (ssh-dss)"), "{text}");
}

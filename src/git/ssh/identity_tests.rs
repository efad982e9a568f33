use super::*;
use crate::git::ssh::testing::{make_key, read};

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read_key(text: &str, passphrase: Option<&str>) -> Result<String, String> {
    SshIdentity::read(text.as_bytes(), passphrase.map(str::as_bytes)).map(|identity| identity.describe())
}

#[test]
fn every_usual_kind_and_form_of_key_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (index, (arguments, kind)) in [
        (vec!["-t", "ed25519"], "ssh-ed25519"),
        (vec!["-t", "ecdsa", "-b", "256"], "ecdsa-sha2-nistp256"),
        (vec!["-t", "ecdsa", "-b", "384"], "ecdsa-sha2-nistp384"),
        (vec!["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521"),
        (vec!["-t", "rsa", "-b", "2048"], "ssh-rsa"),
        (vec!["-t", "rsa", "-b", "2048", "-m", "PEM"], "ssh-rsa"),
        (vec!["-t", "rsa", "-b", "2048", "-m", "PKCS8"], "ssh-rsa"),
        (vec!["-t", "ecdsa", "-b", "256", "-m", "PEM"], "ecdsa-sha2-nistp256"),
        (vec!["-t", "ecdsa", "-b", "384", "-m", "PKCS8"], "ecdsa-sha2-nistp384"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = make_key(dir.path(), &format!("key{index}"), &arguments);
        let listed = std::process::Command::new("ssh-keygen").arg("-lf").arg(&path).output().unwrap().stdout;
        let fingerprint = String::from_utf8(listed).unwrap().split(' ').nth(1).unwrap().to_owned();
        let expected = Ok(format!("{kind} {fingerprint}"));
        let text = read(&path);
        assert_eq!(read_key(&text, None), expected, "{arguments:?}");
        // A passphrase that is there for something else does no harm, nor do the marks of copying.
        let copied = format!("\r\n  {}\r\n", text.trim().replace('\n', "  \r\n  "));
        assert_eq!(read_key(&copied, Some("unneeded")), expected, "{arguments:?}");
    }
    let ed25519 = String::from_utf8(openssl(&["genpkey", "-algorithm", "ed25519"])).unwrap();
    assert!(read_key(&ed25519, None).unwrap().starts_with("ssh-ed25519 SHA256:"));
}

#[test]
fn an_encrypted_key_needs_its_passphrase() {
    let dir = tempfile::tempdir().unwrap();
    for (index, arguments) in [
        vec!["-t", "ed25519", "-N", "canary phrase"],
        vec!["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "canary phrase"],
        vec!["-t", "ecdsa", "-m", "PKCS8", "-N", "canary phrase"],
    ]
    .into_iter()
    .enumerate()
    {
        let path = make_key(dir.path(), &format!("key{index}"), &arguments);
        let text = read(&path);
        assert!(read_key(&text, Some("canary phrase\n")).is_ok(), "{arguments:?}");
        let missing = read_key(&text, None).unwrap_err();
        assert_eq!(missing, "is encrypted; put its passphrase into the key `sshPrivateKeyPassphrase`", "{arguments:?}");
        let wrong = read_key(&text, Some("canary")).unwrap_err();
        assert!(wrong.starts_with("cannot be decrypted: the passphrase in") && !wrong.contains("canary"), "{wrong}");
    }
}

#[test]
fn the_secret_is_read_by_its_keys_and_mistakes_are_named_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = make_key(dir.path(), "key", &["-t", "ed25519", "-N", "phrase"]);
    let (key, public) = (read(&path), read(&path.with_extension("pub")));
    let from = |pairs: &[(&str, &str)], known: &str| {
        let get = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes());
        SshConfig::from_values(get, known).map(|config| format!("{config:?}"))
    };
    let line = format!("h {public}");
    let good = from(&[("identity", &key), ("password", "phrase"), ("known_hosts", &line)], &line).unwrap();
    assert!(good.starts_with("SshConfig { identity: SshIdentity(ssh-ed25519 SHA256:"), "{good}");
    assert!(good.ends_with("known_hosts: KnownHosts(2 keys) }"), "{good}");
    assert!(!good.contains("PRIVATE"));

    assert_eq!(from(&[], ""), Err(SshConfigError::NoKey));
    let error = |pairs: &[(&str, &str)], known: &str| from(pairs, known).unwrap_err().to_string();
    assert_eq!(
        error(&[("sshPrivateKey", &public)], ""),
        "the key `sshPrivateKey` holds a public key; it must hold the private one"
    );
    assert!(error(&[("identity", "canary")], "").starts_with("the key `identity` holds no private key; it must begin"));
    assert!(error(&[("identity", "canary")], "").find("canary").is_none());
    let broken = key.replace("AAAA", "");
    assert!(error(&[("identity", &broken)], "").contains("cannot be read: it is cut off"));
    let secret = [("sshPrivateKey", key.as_str()), ("sshPrivateKeyPassphrase", "phrase")];
    assert!(error(&secret, "h ssh-ed25519").starts_with("spec.knownHosts: line 1 cannot be read: "));
    let secret = [secret[0], secret[1], ("known_hosts", "h")];
    assert!(error(&secret, "").starts_with("the key `known_hosts`: line 1 cannot be read: "));
}

#[test]
fn keys_that_servers_refuse_are_refused_here() {
    let dir = tempfile::tempdir().unwrap();
    let short = read(&make_key(dir.path(), "short", &["-t", "rsa", "-b", "1024"]));
    assert_eq!(
        read_key(&short, None).unwrap_err(),
        "holds an RSA key of 1024 bits, which servers refuse; make one with `ssh-keygen -t ed25519`"
    );
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,AA\n\nAAAA\n";
    assert!(read_key(old, Some("x")).unwrap_err().starts_with("is encrypted in an old way"));
}

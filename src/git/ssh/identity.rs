//! The key that a repository is read with, and the servers it may be shown to.

use std::fmt;
use std::sync::Arc;

use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey, decode_secret_key};
use thiserror::Error;

use super::known_hosts::{KnownHosts, KnownHostsError};

/// RSA keys below this are refused by every current server.
const LEAST_RSA_BITS: u32 = 2048;

/// Values of a Secret that SSH can't be spoken with. Holds no part of a value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SshConfigError {
    /// No private key.
    #[error("an SSH repository needs a private key: put one into the key `sshPrivateKey` (or `identity`)")]
    NoKey,
    /// The private key can't be used.
    #[error("the key `{name}` {problem}")]
    Key {
        /// Key of the Secret.
        name: &'static str,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The list of host keys can't be used.
    #[error("{}: {error}", if *.of_secret { "the key `known_hosts`" } else { "spec.knownHosts" })]
    KnownHosts {
        /// Whether it is the one in the Secret, or the Repository's own.
        of_secret: bool,
        /// What is wrong.
        error: KnownHostsError,
    },
}

/// How to log in to SSH servers, and which to trust.
#[derive(Clone, Debug)]
pub struct SshConfig {
    /// Shown to servers whose host key is listed, never to others.
    pub identity: SshIdentity,
    /// Which host keys are trusted.
    pub known_hosts: KnownHosts,
}

impl SshConfig {
    /// Reads the values of a Secret: `sshPrivateKey` or `identity`; `sshPrivateKeyPassphrase` or `password` when the key
    /// is encrypted; `known_hosts`. The Repository's own `spec.knownHosts` counts besides the latter.
    pub fn from_values<'a>(
        get: impl Fn(&str) -> Option<&'a [u8]>,
        repository_known_hosts: &str,
    ) -> Result<Self, SshConfigError> {
        let found = ["sshPrivateKey", "identity"].into_iter().find_map(|name| Some((name, get(name)?)));
        let (name, bytes) = found.ok_or(SshConfigError::NoKey)?;
        let passphrase = ["sshPrivateKeyPassphrase", "password"].into_iter().find_map(&get);
        let identity = SshIdentity::read(bytes, passphrase).map_err(|problem| SshConfigError::Key { name, problem })?;
        let parse = |of_secret, text: &str| {
            KnownHosts::parse(text).map_err(|error| SshConfigError::KnownHosts { of_secret, error })
        };
        let listed = String::from_utf8_lossy(get("known_hosts").unwrap_or_default());
        let known_hosts = parse(true, &listed)?.with(parse(false, repository_known_hosts)?);
        Ok(Self { identity, known_hosts })
    }
}

/// A private key. Shown as its type and fingerprint only.
#[derive(Clone)]
pub struct SshIdentity {
    key: Arc<PrivateKey>,
}

impl SshIdentity {
    /// Reads a private key in the form of OpenSSH or in PEM (PKCS#8, PKCS#1, SEC1). The error says what is wrong and
    /// what to do.
    pub fn read(bytes: &[u8], passphrase: Option<&[u8]>) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "is not text; it must hold a private key".to_owned())?;
        // Secrets are often written by hand, with spaces or Windows line ends.
        let text: String = text.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
        let form = Form::of(&text)?;
        let passphrase = match passphrase {
            None => None,
            Some(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| "has a passphrase that is not text".to_owned())?;
                Some(text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty())
            }
        };
        let encrypted = match form {
            Form::Encrypted => true,
            Form::Plain => false,
            // The form of OpenSSH tells inside whether it is encrypted.
            Form::OpenSsh => PrivateKey::from_openssh(&text).is_ok_and(|key| key.is_encrypted()),
        };
        if encrypted && passphrase.is_none() {
            return Err("is encrypted; put its passphrase into the key `sshPrivateKeyPassphrase`".to_owned());
        }
        // A passphrase that is not needed must not be tried on a key in the clear.
        let key = decode_secret_key(&text, passphrase.filter(|_| encrypted)).map_err(|_| {
            if encrypted {
                "cannot be decrypted: the passphrase in `sshPrivateKeyPassphrase` is wrong, or the key is damaged".to_owned()
            } else {
                "holds a private key that cannot be read: it is cut off, altered, or of a type other than ed25519, ecdsa \
                 and rsa"
                    .to_owned()
            }
        })?;
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => {}
            Algorithm::Rsa { .. } => {
                let bits = rsa_bits(key.public_key());
                if bits < LEAST_RSA_BITS {
                    return Err(format!(
                        "holds an RSA key of {bits} bits, which servers refuse; make one with `ssh-keygen -t ed25519`"
                    ));
                }
            }
            other => {
                return Err(format!("holds a key of the type {other}; ed25519, ecdsa and rsa are supported"));
            }
        }
        Ok(Self { key: Arc::new(key) })
    }

    pub(super) fn key(&self) -> &Arc<PrivateKey> {
        &self.key
    }

    /// `ssh-ed25519 SHA256:…`: what a server's operators know the key by.
    pub fn describe(&self) -> String {
        let key = self.key.public_key();
        format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
    }
}

impl fmt::Debug for SshIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SshIdentity({})", self.describe())
    }
}

fn rsa_bits(key: &PublicKey) -> u32 {
    let modulus = key.key_data().rsa().map(|rsa| rsa.n().as_bytes().to_vec()).unwrap_or_default();
    let digits = modulus.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let bits = digits.len() * 8 - digits.first().map_or(0, |first| first.leading_zeros() as usize);
    u32::try_from(bits).unwrap_or(u32::MAX)
}

/// What the first line says.
#[derive(Clone, Copy)]
enum Form {
    OpenSsh,
    Plain,
    Encrypted,
}

impl Form {
    fn of(text: &str) -> Result<Self, String> {
        let begins = |kind: &str| text.contains(&format!("-----BEGIN {kind}-----"));
        if begins("OPENSSH PRIVATE KEY") {
            return Ok(Self::OpenSsh);
        }
        if begins("ENCRYPTED PRIVATE KEY") {
            return Ok(Self::Encrypted);
        }
        if begins("RSA PRIVATE KEY") || begins("EC PRIVATE KEY") {
            let old_encryption = text.contains("Proc-Type: 4,ENCRYPTED");
            let readable = begins("RSA PRIVATE KEY") && text.contains("DEK-Info: AES-128-CBC,");
            return match (old_encryption, readable) {
                (false, _) => Ok(Self::Plain),
                (true, true) => Ok(Self::Encrypted),
                (true, false) => {
                    Err("is encrypted in an old way that is not supported; convert it with `ssh-keygen -p -f FILE`"
                        .to_owned())
                }
            };
        }
        if begins("PRIVATE KEY") {
            return Ok(Self::Plain);
        }
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") || begins("PUBLIC KEY") {
            return Err("holds a public key; it must hold the private one".to_owned());
        }
        Err("holds no private key; it must begin with a line such as `-----BEGIN OPENSSH PRIVATE KEY-----`".to_owned())
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;

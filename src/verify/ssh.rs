//! SSH: whether a signature of git's namespace was made by one of the allowed signers.

mod signers;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::ssh_key::{Algorithm, Fingerprint, HashAlg, PublicKey, SshSig};

use super::policy::glob;
use super::{Moment, SSH_SIGNERS, Scheme, SignatureError, Signer, day, openpgp::note};
use signers::Entry;

/// What signatures by git are made for; one made for a file or a mail is no signature of a commit.
const NAMESPACE: &str = "git";

/// RSA keys with fewer bits can be broken.
const LEAST_RSA_BITS: u32 = 2048;

/// Signers, in the sense of OpenSSH's `allowed_signers`.
#[derive(Debug, Default)]
pub struct AllowedSigners {
    entries: Vec<Entry>,
    /// What could not be read.
    pub problems: Vec<String>,
}

impl AllowedSigners {
    /// Reads texts in the format of `allowed_signers`, or with plain public keys; the name says where a text is from, and
    /// is the principal of a plain key without a comment.
    pub fn read<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut all = Self::default();
        for (name, text) in texts {
            for (index, line) in text.lines().enumerate() {
                match signers::entry(line, name) {
                    Ok(entry) => all.entries.extend(entry),
                    Err(why) => all.problems.push(format!("{name}, line {}: {why}", index + 1)),
                }
            }
        }
        all
    }

    /// Whether there is no signer at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a list of principals and fingerprints allows anyone here.
    pub(super) fn has_any(&self, allowed: &[String]) -> bool {
        self.entries.iter().any(|entry| entry.authority || is_allowed(entry.principals(), &entry.fingerprint, allowed))
    }

    /// Who made a signature over `payload` at the time that whoever made it states. `allowed` are globs of principals, or
    /// fingerprints.
    pub(super) fn verify(
        &self,
        object: &str,
        payload: &[u8],
        armored: &str,
        time: Option<i64>,
        allowed: &[String],
        moment: Moment,
    ) -> Result<Signer, SignatureError> {
        let malformed = |why: String| SignatureError::Malformed { object: object.to_owned(), why };
        let signature = SshSig::from_pem(armored).map_err(|error| malformed(format!("it can't be read: {error}")))?;
        if signature.namespace() != NAMESPACE {
            return Err(malformed(format!(
                "it is made for `{}`, and one made by git (`{NAMESPACE}`) is wanted",
                signature.namespace()
            )));
        }
        if let Algorithm::Rsa { hash: None } | Algorithm::Dsa = signature.algorithm() {
            return Err(SignatureError::Weak { object: object.to_owned(), algorithm: "SHA-1".to_owned() });
        }
        let time = time.ok_or_else(|| malformed("what is signed does not say when it was made".to_owned()))?;
        let (key, certificate) = match signature.public_key() {
            KeyData::Certificate(certificate) => (certificate.public_key().clone(), Some(certificate)),
            key => (key.clone(), None),
        };
        let print = key.fingerprint(HashAlg::Sha256);
        let fingerprint = print.to_string();
        // Whoever is allowed comes first, so that one entry that does not help hides no other.
        let mut found: Vec<(&Entry, Vec<String>)> = Vec::new();
        for entry in &self.entries {
            let principals = match certificate {
                None if !entry.authority && entry.fingerprint == fingerprint => entry.principals().to_vec(),
                Some(certificate) if entry.authority => {
                    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256).to_string();
                    let of_certificate = certificate.valid_principals();
                    let held = entry.held(of_certificate);
                    if authority != entry.fingerprint || held.is_empty() {
                        continue;
                    }
                    held
                }
                None | Some(_) => continue,
            };
            found.push((entry, principals));
        }
        let Some((entry, principals)) =
            found.iter().find(|(_, principals)| is_allowed(principals, &fingerprint, allowed)).or(found.first())
        else {
            return Err(SignatureError::UnknownKey {
                object: object.to_owned(),
                scheme: Scheme::Ssh,
                key: fingerprint,
                config_map: SSH_SIGNERS,
                note: note(&self.problems),
            });
        };
        let signer = Signer { scheme: Scheme::Ssh, fingerprint: fingerprint.clone(), name: principals.join(", ") };
        let unusable = |why: &str| SignatureError::UnusableKey {
            object: object.to_owned(),
            key: signer.to_string(),
            why: why.to_owned(),
        };
        if let KeyData::Rsa(rsa) = &key
            && rsa.key_size() < LEAST_RSA_BITS
        {
            return Err(unusable("an RSA key of fewer than 2048 bits can be broken"));
        }
        // A certificate's own key signs; what vouches for that key is looked at below.
        let plain = SshSig::new(key.clone(), NAMESPACE, signature.hash_alg(), signature.signature().clone())
            .map_err(|error| malformed(error.to_string()))?;
        if PublicKey::from(key).verify(NAMESPACE, payload, &plain).is_err() {
            return Err(SignatureError::Bad { object: object.to_owned(), key: signer.to_string() });
        }
        if certificate.is_some_and(|certificate| certificate.cert_type() != CertType::User) {
            return Err(unusable("its certificate is that of a host, and says nothing about who may sign"));
        }
        if !entry.namespaces.is_empty()
            && !entry.namespaces.iter().any(|pattern| glob(pattern, false).is_match(NAMESPACE))
        {
            return Err(unusable("its line in the list of signers has `namespaces` without `git`"));
        }
        if !is_allowed(principals, &fingerprint, allowed) {
            return Err(SignatureError::NotAllowed {
                object: object.to_owned(),
                key: signer.to_string(),
                entry: principals.first().filter(|name| !name.is_empty()).cloned().unwrap_or(fingerprint),
                field: "ssh.signers",
            });
        }
        let (after, before) = (entry.valid_after, entry.valid_before);
        for at in moment.times(time) {
            if let Some(valid) = after.filter(|after| at < *after) {
                return Err(SignatureError::NotYetValid {
                    object: object.to_owned(),
                    key: signer.to_string(),
                    signed: day(at),
                    valid: day(valid),
                });
            }
            if let Some(expired) = before.filter(|before| at >= *before) {
                return Err(SignatureError::Expired {
                    object: object.to_owned(),
                    key: signer.to_string(),
                    expired: day(expired),
                    config_map: SSH_SIGNERS,
                });
            }
            if let Some(certificate) = certificate {
                let authority: Fingerprint = certificate.signature_key().fingerprint(HashAlg::Sha256);
                let second = u64::try_from(at).unwrap_or_default();
                if certificate.validate_at(second, [&authority]).is_err() {
                    return Err(unusable("its certificate is not valid at that time, or not signed by its authority"));
                }
                if !certificate.critical_options().is_empty() {
                    return Err(unusable("its certificate has critical options, which say nothing about signatures"));
                }
            }
        }
        Ok(signer)
    }
}

fn is_allowed(principals: &[String], fingerprint: &str, allowed: &[String]) -> bool {
    allowed.iter().any(|entry| {
        entry == fingerprint || {
            let pattern = glob(entry, false);
            !entry.starts_with("SHA256:") && principals.iter().any(|principal| pattern.is_match(principal))
        }
    })
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;

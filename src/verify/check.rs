//! Whether a commit counts as signed.

use super::commit::{ObjectKind, Signed, object_id, split_commit, split_tag};
use super::openpgp::Keyring;
use super::policy::GitRequirement;
use super::ssh::AllowedSigners;
use super::{GPG_KEYS, Moment, SSH_SIGNERS, Scheme, SignatureError, Signer, Verified};

/// A commit, as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct CommitInput<'a> {
    /// Its id, to which the content must hash.
    pub revision: &'a str,
    /// Its raw content.
    pub commit: &'a [u8],
    /// Raw content of annotated tags that may point to it.
    pub tags: &'a [Vec<u8>],
}

/// Keys for commits.
#[derive(Debug, Default)]
pub struct GitKeys {
    /// OpenPGP keys.
    pub openpgp: Keyring,
    /// SSH signers.
    pub ssh: AllowedSigners,
}

/// Whether a commit, or an annotated tag that points to exactly it, is signed as a project demands.
///
/// # Errors
/// Why not. A commit without a signature of its own fails for what is wrong with the signature of its tag.
pub fn check_commit(
    input: CommitInput<'_>,
    requirement: &GitRequirement,
    keys: &GitKeys,
    moment: Moment,
) -> Result<Verified, SignatureError> {
    let short: String = input.revision.chars().take(7).collect();
    let object = format!("commit {short}");
    if object_id(ObjectKind::Commit, input.commit, input.revision) != input.revision {
        let why = "what is kept is another commit than its id says".to_owned();
        return Err(SignatureError::Malformed { object, why });
    }
    can_be_met(&object, requirement, keys)?;
    let sha256 = input.revision.len() == 64;
    let own = split_commit(input.commit, sha256)
        .map_err(|why| SignatureError::Malformed { object: object.clone(), why })
        .and_then(|signed| verify(&object, signed, requirement, keys, moment));
    let mut refused = match own {
        Ok(signer) => return Ok(Verified { object, signer }),
        Err(error) => error,
    };
    for raw in input.tags {
        let called = |name: &str| format!("tag {name} ({object})");
        let verdict = match split_tag(raw) {
            Err(why) => Err(SignatureError::Malformed { object: called("of unknown name"), why }),
            Ok(tag) => {
                let about = called(&tag.name);
                if tag.object == input.revision && tag.kind == "commit" {
                    verify(&about, tag.signed, requirement, keys, moment)
                        .map(|signer| Verified { object: about, signer })
                } else {
                    let signed = format!("{} {}", tag.kind, tag.object.chars().take(7).collect::<String>());
                    Err(SignatureError::AnotherObject { object: object.clone(), signed })
                }
            }
        };
        match verdict {
            Ok(verified) => return Ok(verified),
            // Nobody signed the commit, so what is wrong with its tag is what a person has to know.
            Err(error) if matches!(refused, SignatureError::Unsigned { .. }) => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

/// A policy that no key could meet must say so, not blame the commit.
fn can_be_met(object: &str, requirement: &GitRequirement, keys: &GitKeys) -> Result<(), SignatureError> {
    let mut missing = Vec::new();
    if let Some(allowed) = &requirement.openpgp {
        if allowed.is_empty() {
            missing.push("the project's policy allows no OpenPGP key: add one to gpg.keys".to_owned());
        } else if keys.openpgp.has_any(allowed) {
            return Ok(());
        } else {
            let problem = super::openpgp::note(&keys.openpgp.problems);
            missing.push(format!(
                "none of the keys that the project allows ({}) is in the ConfigMap {GPG_KEYS}: put their public keys \
                 there{problem}",
                allowed.join(", ")
            ));
        }
    }
    if let Some(allowed) = &requirement.ssh {
        if allowed.is_empty() {
            missing.push("the project's policy allows no SSH signer: add one to ssh.signers".to_owned());
        } else if keys.ssh.has_any(allowed) {
            return Ok(());
        } else {
            let problem = super::openpgp::note(&keys.ssh.problems);
            missing.push(format!(
                "none of the signers that the project allows ({}) is in the ConfigMap {SSH_SIGNERS}: put their public keys \
                 there{problem}",
                allowed.join(", ")
            ));
        }
    }
    Err(SignatureError::NoKeys { object: object.to_owned(), why: missing.join("; and ") })
}

fn verify(
    object: &str,
    signed: Option<Signed>,
    requirement: &GitRequirement,
    keys: &GitKeys,
    moment: Moment,
) -> Result<Signer, SignatureError> {
    let accepted = requirement.accepted();
    let Some(Signed { payload, signature, time }) = signed else {
        return Err(SignatureError::Unsigned { object: object.to_owned(), accepted });
    };
    let refuse =
        |scheme| Err(SignatureError::KindNotAccepted { object: object.to_owned(), scheme, accepted: accepted.clone() });
    if signature.starts_with("-----BEGIN PGP ") {
        match &requirement.openpgp {
            Some(allowed) => keys.openpgp.verify(object, &payload, &signature, allowed, moment),
            None => refuse(Scheme::OpenPgp),
        }
    } else if signature.starts_with("-----BEGIN SSH SIGNATURE-----") {
        match &requirement.ssh {
            Some(allowed) => keys.ssh.verify(object, &payload, &signature, time, allowed, moment),
            None => refuse(Scheme::Ssh),
        }
    } else {
        let begins = signature.lines().next().unwrap_or_default().chars().take(60).collect();
        Err(SignatureError::UnknownFormat { object: object.to_owned(), begins, accepted })
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

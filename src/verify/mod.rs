//! Who signed what is deployed: bytes in, verdict out. Nothing here reads a file, a clock or the network.
//!
//! ```text
//! AppProject ─► policy::git_requirement ─┐
//! raw commit, raw tags ─► commit::split ─┼─► check_commit ─► Verified: which key, whose
//! key texts ─► openpgp, ssh ─────────────┘
//! layers of a signature manifest ────────► cosign::verify_cosign ─► Verified
//! ```
//!
//! A revision counts by the keys that are known now: taking a key away revokes what it signed. Of expiry, see [`Moment`].

mod check;
mod commit;
mod cosign;
mod error;
mod openpgp;
mod policy;
mod ssh;

pub use check::{CommitInput, GitKeys, check_commit};
pub use commit::{ObjectKind, object_id};
pub use cosign::{CosignKey, CosignLayer, verify_bundle, verify_cosign};
pub use error::SignatureError;
pub use openpgp::Keyring;
pub use policy::{CosignRequirement, GitRequirement, PolicyError, cosign_requirement, git_requirement};
pub use ssh::AllowedSigners;

use std::fmt;

use jiff::Timestamp;

/// ConfigMap with the OpenPGP keyring: key id → armored public key.
pub const GPG_KEYS: &str = "tidelock-gpg-keys-cm";
/// ConfigMap with SSH signers: any name → text in the format of OpenSSH's `allowed_signers`, or public keys.
pub const SSH_SIGNERS: &str = "tidelock-ssh-signers-cm";
/// ConfigMap with public keys of cosign: name → PEM.
pub const COSIGN_KEYS: &str = "tidelock-cosign-keys-cm";

/// How a signature was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// OpenPGP (`gpg`).
    OpenPgp,
    /// SSH (`ssh-keygen -Y sign`).
    Ssh,
    /// Cosign with a key.
    Cosign,
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OpenPgp => "OpenPGP",
            Self::Ssh => "SSH",
            Self::Cosign => "cosign",
        })
    }
}

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// How the signature was made.
    pub scheme: Scheme,
    /// Fingerprint of the key: of the primary key in upper-case hexadecimal for OpenPGP, `SHA256:…` for SSH and cosign.
    pub fingerprint: String,
    /// User id, principal, or the name that the key has among ours; may be empty.
    pub name: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} key {}", self.scheme, self.fingerprint)?;
        if self.name.is_empty() { Ok(()) } else { write!(formatter, " ({})", self.name) }
    }
}

/// A good signature by an allowed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What is signed, as messages call it: `commit 0123456`, `tag v1 (commit 0123456)`, `artifact sha256:…`.
    pub object: String,
    /// By whom.
    pub signer: Signer,
}

/// When something is judged.
///
/// The time in a signature is the word of whoever signed, so whoever has stolen a key that has expired could date back.
/// Therefore a key must be valid at the time of the signature, and, for what was not verified before, now as well. What
/// has been verified does not become unsigned by the mere passing of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Judged for the first time, now.
    New(Timestamp),
    /// Verified before, while its key was valid; judged again because keys or policies have changed, or after a restart.
    Known,
}

impl Moment {
    /// The times (seconds since 1970) at which a key must be valid.
    fn times(self, signed: i64) -> impl Iterator<Item = i64> {
        let now = match self {
            Self::New(now) => Some(now.as_second()),
            Self::Known => None,
        };
        std::iter::once(signed).chain(now)
    }
}

/// Seconds since 1970 as people write them.
fn day(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

#[cfg(test)]
mod testing;

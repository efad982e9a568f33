//! Why something does not count as signed.

use thiserror::Error;

use super::Scheme;

/// Why something does not count as signed. Every message says what was looked at and what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// There is no signature.
    #[error("{object} is not signed; sign it with {accepted} and push it, or change the project's policy")]
    Unsigned {
        /// What was looked at.
        object: String,
        /// What the policy takes.
        accepted: String,
    },
    /// The signature is of a kind that nothing here reads.
    #[error("{object} has a signature of an unknown format (`{begins}`); {accepted} is accepted")]
    UnknownFormat {
        /// What was looked at.
        object: String,
        /// How it begins.
        begins: String,
        /// What the policy takes.
        accepted: String,
    },
    /// The signature, or what it should cover, can't be read.
    #[error("the signature of {object} can't be used: {why}")]
    Malformed {
        /// What was looked at.
        object: String,
        /// What is wrong.
        why: String,
    },
    /// The policy wants another kind of signature.
    #[error("{object} has an {scheme} signature, but the project's policy accepts {accepted} only")]
    KindNotAccepted {
        /// What was looked at.
        object: String,
        /// What it is.
        scheme: Scheme,
        /// What the policy takes.
        accepted: String,
    },
    /// The policy is there and no key that could fulfil it.
    #[error("{object} can't be verified: {why}")]
    NoKeys {
        /// What was looked at.
        object: String,
        /// Which list is empty, and what to do.
        why: String,
    },
    /// The key is not among ours.
    #[error(
        "{object} is signed by the {scheme} key {key}, which is not known: put its public key into the ConfigMap \
         {config_map} if it is to be trusted{note}"
    )]
    UnknownKey {
        /// What was looked at.
        object: String,
        /// How it was signed.
        scheme: Scheme,
        /// Fingerprint or id that the signature names.
        key: String,
        /// Where keys are kept.
        config_map: &'static str,
        /// What of the ConfigMap can't be used; may be empty.
        note: String,
    },
    /// The key is known and not allowed by the policy.
    #[error("{object} is signed by the {key}, which is not allowed; to allow it, add {entry} to the project's {field}")]
    NotAllowed {
        /// What was looked at.
        object: String,
        /// Scheme, fingerprint and owner.
        key: String,
        /// What to add.
        entry: String,
        /// Where.
        field: &'static str,
    },
    /// The signature does not fit.
    #[error("{object} has a bad signature by the {key}: what is signed is not what is there")]
    Bad {
        /// What was looked at.
        object: String,
        /// Scheme, fingerprint and owner.
        key: String,
    },
    /// The hash or the algorithm can't be relied on.
    #[error("the signature of {object} is made with {algorithm}, which is too weak; sign with SHA-256 or better")]
    Weak {
        /// What was looked at.
        object: String,
        /// The algorithm.
        algorithm: String,
    },
    /// The key was revoked by its owner.
    #[error("{object} is signed by the {key}, which is revoked; sign it anew with another key")]
    Revoked {
        /// What was looked at.
        object: String,
        /// Scheme, fingerprint and owner.
        key: String,
    },
    /// The key had expired, or has.
    #[error(
        "{object} is signed by the {key}, which expired at {expired}; extend the key and put the new public key into \
         {config_map}, or sign anew with another key"
    )]
    Expired {
        /// What was looked at.
        object: String,
        /// Scheme, fingerprint and owner.
        key: String,
        /// When.
        expired: String,
        /// Where keys are kept.
        config_map: &'static str,
    },
    /// The key or the signature is of the future.
    #[error(
        "{object} is signed by the {key} at {signed}, before {valid}, when that becomes valid; are all clocks right?"
    )]
    NotYetValid {
        /// What was looked at.
        object: String,
        /// Scheme, fingerprint and owner.
        key: String,
        /// When it was signed.
        signed: String,
        /// Since when it is valid.
        valid: String,
    },
    /// The key can't sign, or is not bound as it must be.
    #[error("{object} is signed by the {key}, which can't be used: {why}")]
    UnusableKey {
        /// What was looked at.
        object: String,
        /// Scheme, fingerprint and owner.
        key: String,
        /// Why.
        why: String,
    },
    /// A good signature, of something else.
    #[error("the signature is about {signed}, not about {object}")]
    AnotherObject {
        /// What was looked at.
        object: String,
        /// What is signed.
        signed: String,
    },
    /// A signature by a certificate of Fulcio.
    #[error(
        "{object} is signed keyless (by a certificate, recorded in a transparency log), which takes services on the \
         internet to verify; sign it with a key (`cosign sign --key`) and put the public key into the ConfigMap {config_map}"
    )]
    Keyless {
        /// What was looked at.
        object: String,
        /// Where keys are kept.
        config_map: &'static str,
    },
}

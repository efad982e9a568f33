//! OpenPGP: which key of a keyring made a detached signature, and whether that key could.
//!
//! What the keyring says of a key counts only where the key itself has signed it: its user ids, its subkeys, the times
//! until which they are valid. Signatures with MD5 or SHA-1 count nowhere but in revocations, where doubt closes.

use std::collections::BTreeMap;
use std::io::Cursor;

use pgp::composed::{Deserializable, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{PublicKey, PublicSubkey, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, Tag};

use super::{GPG_KEYS, Moment, Scheme, SignatureError, Signer, day};

/// Clocks of two machines may differ by this many seconds.
const SKEW: i64 = 300;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Public keys, read and checked once.
#[derive(Debug, Default)]
pub struct Keyring {
    certificates: Vec<Certificate>,
    /// What could not be read.
    pub problems: Vec<String>,
}

#[derive(Debug)]
struct Certificate {
    fingerprint: String,
    id: String,
    user: String,
    keys: Vec<Key>,
}

impl Certificate {
    /// Keeps what another copy of the same key says of revocations: they are for ever, and an older copy does not know
    /// of them.
    fn take_revocations(&mut self, other: &Self) {
        let is_revoked = |fingerprint: &str| {
            other.keys.iter().any(|key| key.fingerprint == fingerprint && key.standing == Standing::Revoked)
        };
        let all = is_revoked(&self.fingerprint);
        for key in &mut self.keys {
            if all || is_revoked(&key.fingerprint) {
                key.standing = Standing::Revoked;
            }
        }
    }
}

/// A primary key or a subkey.
#[derive(Debug)]
struct Key {
    material: Material,
    fingerprint: String,
    id: String,
    created: i64,
    expires: Option<i64>,
    standing: Standing,
}

#[derive(Debug)]
enum Material {
    Primary(Box<PublicKey>),
    Subkey(Box<PublicSubkey>),
}

/// Whether a key may sign, its times aside.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Signs,
    Revoked,
    Unusable(String),
}

/// What the newest binding signature says of a key.
struct Binding {
    lifetime: Option<u32>,
    may_sign: Option<bool>,
    made: u32,
}

impl Binding {
    fn of(signature: &Signature) -> Self {
        let flagged = signature.config().is_some_and(|config| {
            config.hashed_subpackets().any(|part| matches!(part.data, SubpacketData::KeyFlags(_)))
        });
        Self {
            lifetime: signature.key_expiration_time().map(pgp::types::Duration::as_secs).filter(|seconds| *seconds > 0),
            may_sign: flagged.then(|| signature.key_flags().sign()),
            made: made(signature),
        }
    }
}

fn made(signature: &Signature) -> u32 {
    signature.created().map_or(0, pgp::types::Timestamp::as_secs)
}

/// A hash that nobody can make two texts for.
fn is_strong(signature: &Signature) -> bool {
    matches!(
        signature.hash_alg(),
        Some(
            HashAlgorithm::Sha256
                | HashAlgorithm::Sha384
                | HashAlgorithm::Sha512
                | HashAlgorithm::Sha3_256
                | HashAlgorithm::Sha3_512
        )
    )
}

impl Keyring {
    /// Reads texts, each with one or more armored public keys; the name says where a text is from.
    pub fn read<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut ring = Self::default();
        let mut known = BTreeMap::new();
        for (name, text) in texts {
            if text.contains("BEGIN PGP PRIVATE KEY BLOCK") {
                ring.problems.push(format!(
                    "{name}: it holds a private key, which must never be here: replace it by the output of `gpg --armor \
                     --export`, and take the key for stolen"
                ));
                continue;
            }
            let before = known.len();
            for block in blocks(text) {
                match read_block(block) {
                    Ok(certificates) => {
                        for mut certificate in certificates {
                            if let Some(before) = known.get(&certificate.fingerprint) {
                                certificate.take_revocations(before);
                            }
                            known.insert(certificate.fingerprint.clone(), certificate);
                        }
                    }
                    Err(why) => ring.problems.push(format!("{name}: {why}")),
                }
            }
            if known.len() == before && !ring.problems.iter().any(|problem| problem.starts_with(&format!("{name}: "))) {
                let repeated = blocks(text).next().is_some();
                if !repeated {
                    ring.problems.push(format!(
                        "{name}: there is no armored public key in it: put in the output of `gpg --armor --export`"
                    ));
                }
            }
        }
        ring.certificates = known.into_values().collect();
        ring
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Whether one of these ids or fingerprints is that of a key here.
    pub(super) fn has_any(&self, allowed: &[String]) -> bool {
        self.certificates.iter().any(|certificate| {
            certificate
                .keys
                .iter()
                .any(|key| names(allowed, &certificate.fingerprint, &certificate.id) || key.is(allowed))
        })
    }

    /// Who made an armored detached signature over `payload`. `allowed` are long ids or fingerprints of primary keys or
    /// subkeys, upper case.
    pub(super) fn verify(
        &self,
        object: &str,
        payload: &[u8],
        armored: &str,
        allowed: &[String],
        moment: Moment,
    ) -> Result<Signer, SignatureError> {
        let signature =
            one_signature(armored).map_err(|why| SignatureError::Malformed { object: object.to_owned(), why })?;
        let signature = &signature.signature;
        if !is_strong(signature) {
            let algorithm = signature.hash_alg().map_or_else(|| "an unknown hash".to_owned(), |hash| hash.to_string());
            return Err(SignatureError::Weak { object: object.to_owned(), algorithm });
        }
        if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
            let why = "it is no signature over a document".to_owned();
            return Err(SignatureError::Malformed { object: object.to_owned(), why });
        }
        let (fingerprints, ids) = issuers(signature);
        let candidates: Vec<(&Certificate, &Key)> = self
            .certificates
            .iter()
            .flat_map(|certificate| certificate.keys.iter().map(move |key| (certificate, key)))
            .filter(|(_, key)| fingerprints.contains(&key.fingerprint) || ids.contains(&key.id))
            .collect();
        let Some((mut certificate, mut key)) = candidates.first().copied() else {
            return Err(SignatureError::UnknownKey {
                object: object.to_owned(),
                scheme: Scheme::OpenPgp,
                key: fingerprints.first().or(ids.first()).cloned().unwrap_or_else(|| "it does not name".to_owned()),
                config_map: GPG_KEYS,
                note: note(&self.problems),
            });
        };
        let good = candidates.iter().find(|(_, key)| key.made(signature, payload));
        if let Some((of, found)) = good {
            (certificate, key) = (of, found);
        }
        let signer = Signer {
            scheme: Scheme::OpenPgp,
            fingerprint: certificate.fingerprint.clone(),
            name: certificate.user.clone(),
        };
        if good.is_none() {
            return Err(SignatureError::Bad { object: object.to_owned(), key: signer.to_string() });
        }
        if !names(allowed, &certificate.fingerprint, &certificate.id) && !key.is(allowed) {
            return Err(SignatureError::NotAllowed {
                object: object.to_owned(),
                key: signer.to_string(),
                entry: certificate.fingerprint.clone(),
                field: "gpg.keys",
            });
        }
        key.could_sign(object, &signer, signature, moment)?;
        Ok(signer)
    }
}

/// Whether a list has the id or the fingerprint.
fn names(allowed: &[String], fingerprint: &str, id: &str) -> bool {
    allowed.iter().any(|entry| entry == fingerprint || entry == id)
}

/// What of the keys can't be used, as the end of a message.
pub(super) fn note(problems: &[String]) -> String {
    problems.first().map(|problem| format!(" ({problem})")).unwrap_or_default()
}

impl Key {
    fn is(&self, allowed: &[String]) -> bool {
        names(allowed, &self.fingerprint, &self.id)
    }

    fn made(&self, signature: &Signature, payload: &[u8]) -> bool {
        match &self.material {
            Material::Primary(key) => signature.verify(&**key, payload).is_ok(),
            Material::Subkey(key) => signature.verify(&**key, payload).is_ok(),
        }
    }

    /// Whether the key could make a signature when it was made, and now if that counts.
    fn could_sign(
        &self,
        object: &str,
        signer: &Signer,
        signature: &Signature,
        moment: Moment,
    ) -> Result<(), SignatureError> {
        let (object, key) = (object.to_owned(), signer.to_string());
        match &self.standing {
            Standing::Signs => {}
            Standing::Revoked => return Err(SignatureError::Revoked { object, key }),
            Standing::Unusable(why) => return Err(SignatureError::UnusableKey { object, key, why: why.clone() }),
        }
        let Some(signed) = signature.created().map(|time| i64::from(time.as_secs())) else {
            return Err(SignatureError::Malformed { object, why: "it does not say when it was made".to_owned() });
        };
        let latest = match moment {
            Moment::New(now) => now.as_second(),
            Moment::Known => i64::MAX - SKEW,
        };
        if signed < self.created || signed > latest + SKEW {
            let valid = if signed < self.created { self.created } else { signed };
            let signed = if signed < self.created { signed } else { latest };
            return Err(SignatureError::NotYetValid { object, key, signed: day(signed), valid: day(valid) });
        }
        let of_signature = signature
            .signature_expiration_time()
            .map(|lifetime| i64::from(lifetime.as_secs()))
            .filter(|lifetime| *lifetime > 0)
            .map(|lifetime| signed + lifetime);
        let expires = [self.expires, of_signature].into_iter().flatten().min();
        match expires {
            Some(expired) if moment.times(signed).any(|time| time >= expired) => {
                Err(SignatureError::Expired { object, key, expired: day(expired), config_map: GPG_KEYS })
            }
            _ => Ok(()),
        }
    }
}

/// The armored keys of a text.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(BEGIN).map(|(start, _)| {
        let rest = &text[start..];
        rest.find(END).map_or(rest, |end| &rest[..end + END.len()])
    })
}

fn read_block(block: &str) -> Result<Vec<Certificate>, String> {
    let unreadable = |error: pgp::errors::Error| format!("the public key can't be read: {error}");
    let (keys, _) = SignedPublicKey::from_armor_many(Cursor::new(block.as_bytes())).map_err(unreadable)?;
    keys.map(|key| key.map(certificate).map_err(unreadable)).collect()
}

fn one_signature(armored: &str) -> Result<DetachedSignature, String> {
    let unreadable = |error: pgp::errors::Error| format!("it can't be read: {error}");
    let (mut found, _) = DetachedSignature::from_armor_many(Cursor::new(armored.as_bytes())).map_err(unreadable)?;
    let first = found.next().ok_or_else(|| "it is empty".to_owned())?.map_err(unreadable)?;
    if found.next().is_some() {
        return Err("it holds more than one signature".to_owned());
    }
    Ok(first)
}

/// Fingerprints and long ids that a signature names as its maker's, upper case. A hint only.
fn issuers(signature: &Signature) -> (Vec<String>, Vec<String>) {
    let fingerprints = signature.issuer_fingerprint().into_iter().map(|print| format!("{print:X}")).collect();
    let ids = signature.issuer_key_id().into_iter().map(|id| id.to_string().to_uppercase()).collect();
    (fingerprints, ids)
}

fn identity(key: &impl KeyDetails) -> (String, String, i64) {
    let fingerprint = format!("{:X}", key.fingerprint());
    (fingerprint, key.legacy_key_id().to_string().to_uppercase(), i64::from(key.created_at().as_secs()))
}

/// What a public key says of itself and can prove.
fn certificate(key: SignedPublicKey) -> Certificate {
    let SignedPublicKey { primary_key, details, public_subkeys } = key;
    let (fingerprint, id, created) = identity(&primary_key);
    let revoked = details.revocation_signatures.iter().any(|signature| signature.verify_key(&primary_key).is_ok());
    let direct = details
        .direct_signatures
        .iter()
        .filter(|signature| signature.typ() == Some(SignatureType::Key) && is_strong(signature))
        .filter(|signature| signature.verify_key(&primary_key).is_ok())
        .max_by_key(|signature| made(signature));
    let mut users: Vec<(&Signature, String)> = Vec::new();
    let mut weak = false;
    for user in &details.users {
        let own = |signature: &&Signature| signature.verify_certification(&primary_key, Tag::UserId, &user.id).is_ok();
        let certified = user.signatures.iter().filter(|one| one.typ() != Some(SignatureType::CertRevocation));
        weak |= certified.clone().any(|signature| !is_strong(signature));
        let newest = certified.filter(|one| is_strong(one)).filter(own).max_by_key(|one| made(one));
        let withdrawn = user
            .signatures
            .iter()
            .filter(|one| one.typ() == Some(SignatureType::CertRevocation))
            .filter(own)
            .map(made)
            .max();
        if let Some(newest) = newest.filter(|newest| withdrawn.is_none_or(|withdrawn| withdrawn < made(newest))) {
            users.push((newest, String::from_utf8_lossy(user.id.id()).into_owned()));
        }
    }
    // The user id that is marked as the main one, else the one that was signed last, tells about the primary key.
    users.sort_by_key(|(signature, _)| std::cmp::Reverse((signature.is_primary(), made(signature))));
    let user = users.first().map(|(_, user)| user.clone()).unwrap_or_default();
    let of_user = users.first().map(|(signature, _)| Binding::of(signature));
    let of_key = direct.map(Binding::of);
    let binding = match (of_user, of_key) {
        (Some(user), Some(key)) if key.made > user.made => Some(key),
        (Some(binding), _) | (None, Some(binding)) => Some(binding),
        (None, None) => None,
    };
    let expires = binding.as_ref().and_then(|binding| binding.lifetime).map(|lifetime| created + i64::from(lifetime));
    let standing = match &binding {
        _ if revoked => Standing::Revoked,
        None if weak => Standing::Unusable(
            "its user ids are signed with MD5 or SHA-1 only; its owner can sign them anew (`gpg --cert-digest-algo SHA256 \
             --quick-set-expire`) and export it again"
                .to_owned(),
        ),
        None => Standing::Unusable("it has no valid user id".to_owned()),
        Some(_) => Standing::Signs,
    };
    let own = match binding {
        Some(Binding { may_sign: Some(false), .. }) if standing == Standing::Signs => {
            Standing::Unusable("its primary key is not made for signing".to_owned())
        }
        _ => standing.clone(),
    };
    let mut keys = Vec::with_capacity(public_subkeys.len() + 1);
    for subkey in public_subkeys {
        keys.push(subordinate(&primary_key, subkey, &standing, expires));
    }
    keys.insert(
        0,
        Key {
            fingerprint: fingerprint.clone(),
            id: id.clone(),
            created,
            expires,
            standing: own,
            material: Material::Primary(Box::new(primary_key)),
        },
    );
    Certificate { fingerprint, id, user, keys }
}

/// A subkey is what its primary key says, if the subkey has agreed to it.
fn subordinate(primary: &PublicKey, subkey: SignedPublicSubKey, above: &Standing, ends: Option<i64>) -> Key {
    let SignedPublicSubKey { key, signatures } = subkey;
    let (fingerprint, id, created) = identity(&key);
    let bound = |signature: &&Signature| signature.verify_subkey_binding(primary, &key).is_ok();
    let revoked =
        signatures.iter().filter(|one| one.typ() == Some(SignatureType::SubkeyRevocation)).any(|one| bound(&one));
    let binding = signatures
        .iter()
        .filter(|one| one.typ() == Some(SignatureType::SubkeyBinding) && is_strong(one))
        .filter(bound)
        .max_by_key(|one| made(one));
    let (expires, standing) = match binding {
        _ if *above != Standing::Signs => (None, above.clone()),
        _ if revoked => (None, Standing::Revoked),
        None => {
            (None, Standing::Unusable("its primary key has not signed the subkey with SHA-256 or better".to_owned()))
        }
        Some(signature) => {
            let Binding { lifetime, may_sign, made: _ } = Binding::of(signature);
            let agreed = signature
                .embedded_signature()
                .is_some_and(|back| is_strong(back) && back.verify_primary_key_binding(&key, primary).is_ok());
            let standing = if may_sign != Some(true) {
                Standing::Unusable("its subkey is not made for signing".to_owned())
            } else if agreed {
                Standing::Signs
            } else {
                Standing::Unusable("its subkey has not agreed to belong to it".to_owned())
            };
            (lifetime.map(|lifetime| created + i64::from(lifetime)), standing)
        }
    };
    let expires = [expires, ends].into_iter().flatten().min();
    Key { material: Material::Subkey(Box::new(key)), fingerprint, id, created, expires, standing }
}

#[cfg(test)]
#[path = "openpgp_tests.rs"]
mod tests;

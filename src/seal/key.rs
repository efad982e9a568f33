//! The key of the seals.

use std::fmt;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::SecretSlice;
use thiserror::Error;

/// How long a key is.
pub const KEY_BYTES: usize = 32;

/// There is no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum SealKeyError {
    /// Of another length than a key has.
    #[error("the key has {0} bytes; {KEY_BYTES} are wanted")]
    Length(usize),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a key")]
    Random,
}

/// A key. Shown as its name only.
#[derive(Clone)]
pub struct SealKey {
    key: hmac::Key,
    name: String,
}

impl SealKey {
    /// Takes the bytes of a key.
    ///
    /// # Errors
    /// When they are not [`KEY_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealKeyError> {
        if bytes.len() != KEY_BYTES {
            return Err(SealKeyError::Length(bytes.len()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let name = hexadecimal(&hmac::sign(&key, b"tidelock: name of a store key").as_ref()[..8]);
        Ok(Self { key, name })
    }

    /// Random bytes for a new key.
    ///
    /// # Errors
    /// When the system has none.
    pub fn generate() -> Result<SecretSlice<u8>, SealKeyError> {
        let mut bytes = vec![0_u8; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SealKeyError::Random)?;
        Ok(SecretSlice::from(bytes))
    }

    /// Tells keys apart, and tells nothing about them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seal of these bytes, in hexadecimal digits.
    pub(super) fn seal(&self, bytes: &[u8]) -> String {
        hexadecimal(hmac::sign(&self.key, bytes).as_ref())
    }

    /// Whether this is the seal of these bytes. Takes the same time for every wrong one.
    pub(super) fn verifies(&self, bytes: &[u8], seal: &str) -> bool {
        from_hexadecimal(seal).is_some_and(|tag| hmac::verify(&self.key, bytes, &tag).is_ok())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealKey({})", self.name)
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_key_has_thirty_two_bytes() {
        assert_eq!(SealKey::from_bytes(&[1; 31]).unwrap_err(), SealKeyError::Length(31));
        assert_eq!(SealKey::from_bytes(&[]).unwrap_err(), SealKeyError::Length(0));
        let made = SealKey::generate().unwrap();
        SealKey::from_bytes(made.expose_secret()).unwrap();
        assert_ne!(made.expose_secret(), SealKey::generate().unwrap().expose_secret());
    }

    #[test]
    fn a_seal_holds_for_its_key_and_bytes_only() {
        let (key, other) = (SealKey::from_bytes(&[1; 32]).unwrap(), SealKey::from_bytes(&[2; 32]).unwrap());
        let seal = key.seal(b"content");
        assert!(key.verifies(b"content", &seal));
        assert!(!key.verifies(b"Content", &seal));
        assert!(!other.verifies(b"content", &seal));
        for broken in ["", "0", "zz", &seal[2..], &format!("{seal}00"), "é"] {
            assert!(!key.verifies(b"content", broken), "{broken}");
        }
        assert_ne!(key.name(), other.name());
    }

    #[test]
    fn what_is_shown_of_a_key_is_its_name() {
        let key = SealKey::from_bytes(b"canary-canary-canary-canary-0123").unwrap();
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("SealKey({})", key.name()));
        assert!(!shown.contains("canary"));
    }
}

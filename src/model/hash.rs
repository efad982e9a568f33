//! A short content hash, used where a whole value would be held only to be compared.

use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The first 64 bits of a SHA-256. Enough to tell versions of one object apart; never used as a proof of identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash64(pub u64);

impl Hash64 {
    /// Hash of raw bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// Hash of a JSON value in its canonical form (object keys are sorted by `serde_json`'s map).
    pub fn of_json(value: &Value) -> Self {
        struct Sink(Sha256);
        impl std::io::Write for Sink {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut sink = std::io::BufWriter::with_capacity(1024, Sink(Sha256::new()));
        // A `Value` always serialises and the sink never fails, so there is no error to report.
        let _ = serde_json::to_writer(&mut sink, value);
        let _ = std::io::Write::flush(&mut sink);
        match sink.into_inner() {
            Ok(sink) => Self::finish(sink.0),
            Err(_) => Self(0),
        }
    }

    fn finish(hasher: Sha256) -> Self {
        let digest = hasher.finalize();
        let mut first = [0_u8; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// Parses the 16 hexadecimal digits that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Hash64 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for Hash64 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn key_order_does_not_change_the_hash_of_json() {
        let left: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":[1,2]}}"#).unwrap();
        let right: Value = serde_json::from_str(r#"{"b":{"d":[1,2],"c":2},"a":1}"#).unwrap();
        assert_eq!(Hash64::of_json(&left), Hash64::of_json(&right));
        assert_ne!(Hash64::of_json(&left), Hash64::of_json(&json!({"a": 1})));
    }

    #[test]
    fn text_form_round_trips() {
        let hash = Hash64::of_bytes(b"x");
        assert_eq!(Hash64::parse(&hash.to_string()), Some(hash));
        assert_eq!(Hash64::parse("zz"), None);
    }
}

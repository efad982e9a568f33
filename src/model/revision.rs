//! A resolved commit.

use std::fmt;

use thiserror::Error;

/// A commit id: 40 hexadecimal digits (SHA-1) in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(String);

/// A text that is no commit id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a commit id: 40 hexadecimal digits are wanted")]
pub struct RevisionParseError(String);

impl Revision {
    /// Takes 40 hexadecimal digits of either case.
    pub fn parse(text: &str) -> Result<Self, RevisionParseError> {
        if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(RevisionParseError(text.chars().take(80).collect()))
        }
    }

    /// The 40 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first seven digits, as people write them.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// How a revision is called in a sentence: seven digits of a commit, twelve of a digest, a version as it is.
pub fn short_revision(text: &str) -> String {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.strip_prefix("sha256:") {
        Some(hex) if digits(hex) => format!("sha256:{}", hex.chars().take(12).collect::<String>()),
        _ if text.len() >= 40 && digits(text) => text.chars().take(7).collect(),
        _ => text.chars().take(64).collect(),
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_and_digests_are_shortened_and_versions_are_not() {
        assert_eq!(short_revision(&"a1".repeat(20)), "a1a1a1a");
        assert_eq!(short_revision(&format!("sha256:{}", "b2".repeat(32))), "sha256:b2b2b2b2b2b2");
        assert_eq!(short_revision("1.10.0-rc.1+build"), "1.10.0-rc.1+build");
        assert_eq!(short_revision("abc"), "abc");
    }
}

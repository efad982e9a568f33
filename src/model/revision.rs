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

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

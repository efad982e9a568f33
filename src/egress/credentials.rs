//! User name and password, for a proxy or a server.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

/// Credentials that Basic authentication cannot carry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CredentialsError {
    /// A `:` in the user name.
    #[error("the user name holds a `:`, which Basic authentication cannot carry")]
    ColonInUsername,
    /// A line break or another control character, usually a newline at the end of a Secret's value.
    #[error(
        "the user name or password holds a control character; is there a newline at the end of the Secret's value?"
    )]
    ControlCharacter,
}

/// User name and password for Basic authentication. Any printable character may occur in either (`:` only in the
/// password). Has no `Display`, and its `Debug` shows nothing.
#[derive(Clone)]
pub struct BasicCredentials {
    username: SecretString,
    password: SecretString,
}

impl BasicCredentials {
    /// Checks that Basic authentication can carry both.
    pub fn new(username: SecretString, password: SecretString) -> Result<Self, CredentialsError> {
        if username.expose_secret().contains(':') {
            return Err(CredentialsError::ColonInUsername);
        }
        let control = |secret: &SecretString| secret.expose_secret().chars().any(char::is_control);
        if control(&username) || control(&password) {
            return Err(CredentialsError::ControlCharacter);
        }
        Ok(Self { username, password })
    }

    /// User name and password, for protocols that carry them as they are.
    pub(super) fn parts(&self) -> (&SecretString, &SecretString) {
        (&self.username, &self.password)
    }

    /// The value of `Authorization` or `Proxy-Authorization`, marked sensitive so that its `Debug` hides it.
    pub(crate) fn header(&self) -> HeaderValue {
        let pair = SecretString::from(format!("{}:{}", self.username.expose_secret(), self.password.expose_secret()));
        let text = SecretString::from(format!("Basic {}", STANDARD.encode(pair.expose_secret())));
        // Base64 has only characters that header values may hold, so the fallback is never taken.
        let mut value =
            HeaderValue::from_str(text.expose_secret()).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
        value.set_sensitive(true);
        value
    }
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("BasicCredentials")
    }
}

/// What a server is shown with every request.
#[derive(Clone)]
pub enum Authorization {
    /// User name and password.
    Basic(BasicCredentials),
    /// A token.
    Bearer(SecretString),
}

impl Authorization {
    /// A token. Fails on characters that a header can't carry.
    pub fn bearer(token: SecretString) -> Result<Self, CredentialsError> {
        if token.expose_secret().chars().any(char::is_control) {
            return Err(CredentialsError::ControlCharacter);
        }
        Ok(Self::Bearer(token))
    }

    /// The value of `Authorization`, marked sensitive so that its `Debug` hides it.
    pub(crate) fn header(&self) -> HeaderValue {
        match self {
            Self::Basic(credentials) => credentials.header(),
            Self::Bearer(token) => {
                let text = SecretString::from(format!("Bearer {}", token.expose_secret()));
                let value = HeaderValue::from_bytes(text.expose_secret().as_bytes());
                // The constructor refused what a header can't carry, so the fallback is never taken.
                let mut value = value.unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
                value.set_sensitive(true);
                value
            }
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Basic(_) => "Basic",
            Self::Bearer(_) => "Bearer",
        })
    }
}

impl From<BasicCredentials> for Authorization {
    fn from(credentials: BasicCredentials) -> Self {
        Self::Basic(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_is_carried_and_none_is_shown() {
        let credentials = BasicCredentials::new("us er@corp".into(), "s3cr@t:/#%é\"\\".into()).unwrap();
        let header = credentials.header();
        let encoded = header.as_bytes().strip_prefix(b"Basic ").unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap(), "us er@corp:s3cr@t:/#%é\"\\".as_bytes());
        assert_eq!(format!("{header:?} {credentials:?}"), "Sensitive BasicCredentials");
    }

    #[test]
    fn what_basic_cannot_carry_is_refused() {
        let make = |user: &str, password: &str| BasicCredentials::new(user.into(), password.into()).map(|_| ());
        assert_eq!(make("a:b", "c"), Err(CredentialsError::ColonInUsername));
        assert_eq!(make("a", "c\n"), Err(CredentialsError::ControlCharacter));
        assert_eq!(make("a\r\nX y", "c"), Err(CredentialsError::ControlCharacter));
    }
}

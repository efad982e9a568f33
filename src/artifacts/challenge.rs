//! How a registry wants to be logged in to: `WWW-Authenticate` and the answer of a token service. Pure.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

/// How long a token is used when its service does not say.
const UNSTATED: Duration = Duration::from_secs(60);

/// What a registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token of this service.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The registry's name there.
        service: Option<String>,
        /// What the token is to allow.
        scope: Option<String>,
    },
}

/// The first challenge that can be answered, of all headers. A token wins over Basic when both are offered.
pub fn parse<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        for (scheme, parameters) in split(header) {
            let value = |wanted: &str| {
                let mut all = parameters.iter();
                all.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = value("realm")
            {
                return Some(Challenge::Bearer { realm, service: value("service"), scope: value("scope") });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

type Parameters = Vec<(String, String)>;

/// Schemes with their parameters. Values may be quoted, and commas separate both parameters and schemes.
fn split(header: &str) -> Vec<(String, Parameters)> {
    let mut found: Vec<(String, Parameters)> = Vec::new();
    for part in parts(header) {
        let part = part.trim();
        let Some((mut name, value)) = part.split_once('=') else {
            if !part.is_empty() {
                found.push((part.to_owned(), Vec::new()));
            }
            continue;
        };
        // `Bearer realm=…` begins a scheme and has its first parameter.
        if let Some((scheme, first)) = name.trim().split_once(' ') {
            found.push((scheme.to_owned(), Vec::new()));
            name = first;
        }
        if let Some((_, parameters)) = found.last_mut() {
            parameters.push((name.trim().to_owned(), unquoted(value.trim())));
        }
    }
    found
}

/// Splits at commas that are not in quotes.
fn parts(text: &str) -> Vec<String> {
    let (mut found, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for letter in text.chars() {
        if letter == ',' && !quoted {
            found.push(std::mem::take(&mut part));
            continue;
        }
        if letter == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = letter == '\\' && quoted && !escaped;
        part.push(letter);
    }
    found.push(part);
    found
}

fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return text.to_owned() };
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        plain.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    plain
}

#[derive(Deserialize)]
struct RawToken {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// A token and how long it may be used.
pub struct Token {
    /// The token.
    pub token: SecretString,
    /// A tenth less than the service says, so that it does not run out on the way.
    pub lasts: Duration,
}

/// Reads the answer of a token service; `None` when it holds no token.
pub fn token(answer: &[u8]) -> Option<Token> {
    let raw: RawToken = serde_json::from_slice(answer).ok()?;
    let token = raw.token.filter(|token| !token.is_empty()).or(raw.access_token).filter(|token| !token.is_empty())?;
    // Services that state less than a minute are taken to mean a minute, as the specification asks.
    let stated = raw.expires_in.map_or(UNSTATED, |seconds| Duration::from_secs(seconds.clamp(60, 86_400)));
    Some(Token { token: token.into(), lasts: stated.mul_f64(0.9) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[expect(clippy::unnecessary_wraps, reason = "the form that a reading has")]
    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
    }

    #[test]
    fn challenges_are_read_however_they_are_joined() {
        let docker =
            r#"Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push""#;
        let read = |headers: &[&str]| parse(headers.iter().copied());
        let expected = bearer("https://auth.test/token", Some("registry.test"), Some("repository:a/b:pull,push"));
        assert_eq!(read(&[docker]), expected);
        assert_eq!(read(&[&format!("Basic realm=\"x, y\", {docker}")]), expected);
        assert_eq!(read(&["Basic realm=\"x\"", docker]), expected);
        assert_eq!(read(&["BASIC realm=\"Registry \\\"Realm\\\"\""]), Some(Challenge::Basic));
        assert_eq!(read(&["Basic"]), Some(Challenge::Basic));
        assert_eq!(read(&["Bearer realm=https://a/t"]), bearer("https://a/t", None, None));
        assert_eq!(read(&["Negotiate", "NTLM abc="]), None);
        assert_eq!(read(&["Bearer error=\"x\""]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn tokens_are_used_a_little_shorter_than_they_last() {
        let read =
            |text: &str| token(text.as_bytes()).map(|found| (found.token.expose_secret().to_owned(), found.lasts));
        assert_eq!(read(r#"{"token":"t","expires_in":300}"#), Some(("t".into(), Duration::from_secs(270))));
        assert_eq!(read(r#"{"access_token":"a"}"#), Some(("a".into(), Duration::from_secs(54))));
        assert_eq!(
            read(r#"{"token":"","access_token":"a","expires_in":1}"#),
            Some(("a".into(), Duration::from_secs(54)))
        );
        assert_eq!(read("{}"), None);
        assert_eq!(read("<html>"), None);
    }
}

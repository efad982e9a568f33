//! What can go wrong between this program and a server.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::model::Reason;

use super::rules::{Decision, RuleError};

/// The part of a connection's life in which it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Choosing the route, before anything is sent.
    Route,
    /// Resolving a name. On a proxied route only ever the proxy's own name.
    Dns,
    /// Opening the TCP connection.
    Dial,
    /// Asking the proxy for a tunnel.
    Connect,
    /// TLS handshake, with the proxy or the destination.
    Tls,
    /// Waiting for the first byte of the answer.
    FirstByte,
    /// Reading the answer.
    Transfer,
}

impl Phase {
    /// As messages and metric labels show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Dns => "dns",
            Self::Dial => "dial",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first-byte",
            Self::Transfer => "transfer",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A connection failed. Holds no credential: requests and headers are never part of a message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("request to {host} failed in phase {phase}, route {route}: {message} [rule: {rule}]")]
pub struct EgressError {
    /// The reason for conditions.
    pub reason: Reason,
    /// Where in the connection's life it failed.
    pub phase: Phase,
    /// `direct`, or `proxy corporate (10.0.0.1:3128)`.
    pub route: String,
    /// The rule that chose the route.
    pub rule: String,
    /// `host:port` of the destination.
    pub host: String,
    /// What failed and what to do.
    pub message: String,
    /// How long the other side asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

/// Where a connection goes and how: what every error of it repeats.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub host: String,
    pub decision: Decision,
}

impl Place {
    pub(super) fn error(&self, reason: Reason, phase: Phase, message: impl Into<String>) -> EgressError {
        EgressError {
            reason,
            phase,
            route: self.decision.route.to_string(),
            rule: self.decision.rule.clone(),
            host: self.host.clone(),
            message: message.into(),
            retry_after: None,
        }
    }
}

impl EgressError {
    pub(super) fn no_route(host: String, error: &RuleError) -> Self {
        let reason = match error {
            RuleError::UnknownProxy(_) | RuleError::UnknownPolicyProxy { .. } => Reason::ReferenceNotFound,
            RuleError::NotHttp(_) | RuleError::Denied { .. } | RuleError::MalformedVariable { .. } => {
                Reason::EgressDenied
            }
        };
        Self {
            reason,
            phase: Phase::Route,
            route: "none".to_owned(),
            rule: error.rule(),
            host,
            message: error.to_string(),
            retry_after: None,
        }
    }

    /// The route as metrics name it: `direct`, `proxy:corporate`, or `none` where the rules gave none.
    pub fn route_label(&self) -> String {
        match self.route.strip_prefix("proxy ").and_then(|rest| rest.split(' ').next()) {
            Some(name) => format!("proxy:{name}"),
            None => self.route.clone(),
        }
    }

    /// The target names no host.
    pub(super) fn no_host(target: &str) -> Self {
        Self::no_route(target.to_owned(), &RuleError::NotHttp(target.to_owned()))
    }

    pub(super) fn after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }
}

/// The text of a page without tags and line breaks, cut to `limit` bytes: for quoting a block page in a message.
/// A title is quoted only where there is nothing else, because most pages repeat it.
pub(super) fn plain_text(body: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(body);
    let mut plain = match without_tags(&text, &["style", "script", "title"]) {
        plain if plain.is_empty() => without_tags(&text, &["style", "script"]),
        plain => plain,
    };
    plain.truncate(plain.floor_char_boundary(limit));
    plain.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

fn without_tags(text: &str, unread: &[&str]) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        plain.push_str(&rest[..start]);
        plain.push(' ');
        let tag = rest[start..].to_ascii_lowercase();
        let content_end = unread.iter().find_map(|name| {
            let inside = tag.strip_prefix('<')?.strip_prefix(name)?;
            inside.starts_with([' ', '>']).then(|| tag.find(&format!("</{name}")).unwrap_or(tag.len()))
        });
        let skip = content_end.or_else(|| tag.find('>').map(|at| at + 1)).unwrap_or(tag.len()).max(1);
        rest = &rest[start + skip..];
    }
    plain.push_str(rest);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `Retry-After`, at most a day. A date counts from the answer's own `Date`, and without one it is passed over: clocks differ.
pub(super) fn retry_after(value: Option<&str>, date: Option<&str>) -> Option<Duration> {
    const MOST: Duration = Duration::from_secs(86_400);
    let value = value?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds).min(MOST));
    }
    let instant = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok();
    let wait = instant(value)?.as_second().saturating_sub(instant(date?)?.as_second());
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_quoted_as_text() {
        let page = b"<!DOCTYPE html><html><head><style type='x'>b{a:c}</style><title>Blocked</title></head>\n\
            <body><h1>Access\tdenied</h1><script>alert(1 < 2)</script><p>Category: \xff code</body></html>";
        assert_eq!(plain_text(page, 200), "Access denied Category: \u{fffd} code");
        assert_eq!(plain_text(b"<html><title>Blocked</title></html>", 200), "Blocked");
        assert_eq!(plain_text(b"aaaa bbbb", 6), "aaaa b");
        assert_eq!(plain_text(b"a < b <", 60), "a");
        assert_eq!(plain_text("<İ><style>".as_bytes(), 60), "");
        assert_eq!(plain_text(b"", 60), "");
    }

    #[test]
    fn a_quote_has_at_most_so_many_bytes() {
        assert_eq!(plain_text("ééé".as_bytes(), 3), "é");
        assert_eq!(plain_text(&[0xff; 300], 200).len(), 198);
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date_against_the_answers_own() {
        let at = "Fri, 31 Dec 1999 23:59:59 GMT";
        assert_eq!(retry_after(Some(" 30 "), None), Some(Duration::from_secs(30)));
        assert_eq!(retry_after(Some("99999999"), None), Some(Duration::from_hours(24)));
        assert_eq!(retry_after(Some(at), Some(" Fri, 31 Dec 1999 23:59:19 GMT")), Some(Duration::from_secs(40)));
        assert_eq!(retry_after(Some(at), Some("Sat, 01 Jan 2000 23:59:59 GMT")), Some(Duration::ZERO));
        assert_eq!(retry_after(Some(at), Some("Fri, 24 Dec 1999 23:59:59 GMT")), Some(Duration::from_hours(24)));
        assert_eq!(retry_after(Some(at), None), None);
        assert_eq!(retry_after(Some(at), Some("yesterday")), None);
        for nonsense in ["", "soon", "-1", "1.5", "Fri, 99 Dec 1999 23:59:59 GMT"] {
            assert_eq!(retry_after(Some(nonsense), Some(at)), None, "{nonsense}");
        }
        assert_eq!(retry_after(None, Some(at)), None);
    }
}

//! Asking an HTTP proxy for a tunnel (CONNECT).

use std::io;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::model::Reason;

use super::BasicCredentials;
use super::connect::AGENT;
use super::destination::Destination;
use super::error::{EgressError, Phase, Place, plain_text, retry_after};
use super::proxy_url::{setting, variable_of};
use super::stream::Stream;
use super::tls::Rejected;

/// How much a proxy may say in answer to CONNECT before we stop listening, interim answers included.
const HEADER_LIMIT: usize = 16 * 1024;

/// How long the body of a refusal may take. It is only quoted.
const REFUSAL_BODY_WAIT: Duration = Duration::from_secs(2);

/// Asks the proxy for a tunnel. Any 2xx opens it, whatever body headers come along: a tunnel has no body. Gives the tunnel and
/// what the proxy said. Never ends by itself when the proxy is silent.
pub(super) async fn open(
    mut stream: Stream,
    target: &Destination,
    credentials: Option<&BasicCredentials>,
    proxy: &str,
    place: &Place,
) -> Result<(Stream, String), EgressError> {
    let unusable = |message: String| place.error(Reason::ProxyUnreachable, Phase::Connect, message);
    let closed = |received: usize, problem: String| match received {
        0 => unusable(format!("the proxy closed the connection before it answered CONNECT ({problem})")),
        _ => unusable(format!(
            "the proxy closed the connection in the middle of its answer to CONNECT, after {received} bytes ({problem})"
        )),
    };
    let broken = |received: usize, error: &io::Error| match Rejected::among(error) {
        Some(rejected) => rejected.at(place),
        None => closed(received, error.to_string()),
    };
    let header = credentials.map(BasicCredentials::header);
    let written = async {
        stream.write_all(&request(target, header.as_ref())).await?;
        stream.flush().await
    };
    // A proxy that refuses without reading has said why: its answer counts, not the failed write.
    let unsent = written.await.err();

    let mut stream = BufReader::with_capacity(HEADER_LIMIT, stream);
    let mut received = 0;
    loop {
        let head = read_head(&mut stream, HEADER_LIMIT - received).await.map_err(|error| match (error, &unsent) {
            (HeadError::Io(_, _) | HeadError::Closed(_), Some(error)) => broken(0, error),
            (HeadError::Io(before, error), None) => broken(received + before, &error),
            (HeadError::Closed(before), None) => closed(received + before, "end of stream".to_owned()),
            (HeadError::TooLong, _) => {
                unusable(format!("the proxy's answer to CONNECT has more than {HEADER_LIMIT} bytes of headers"))
            }
        })?;
        received += head.len();
        let Some(answer) = Answer::parse(&head) else {
            return Err(unusable(format!(
                "what answers there is not an HTTP proxy; check scheme and port in {}",
                setting(proxy, "url")
            )));
        };
        match answer.status {
            // An interim answer; the real one follows.
            100..200 => {}
            200..300 => return Ok((Box::new(stream), answer.line())),
            _ => {
                let mut body = Vec::new();
                // The quote is a courtesy: a body that is slow or cut is quoted as far as it came.
                let _ = timeout(REFUSAL_BODY_WAIT, stream.take(4096).read_to_end(&mut body)).await;
                return Err(answer.refusal(&plain_text(&body, 200), credentials.is_some(), proxy, place));
            }
        }
    }
}

fn request(target: &Destination, credentials: Option<&HeaderValue>) -> Vec<u8> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {AGENT}\r\n").into_bytes();
    if let Some(value) = credentials {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Squid marks the pages that it makes itself with this header; its value names the error.
pub(super) const SQUID_ERROR: HeaderName = HeaderName::from_static("x-squid-error");

/// What Squid calls its failures to reach the destination; it answers them with 500 or 503, as it does its own.
const SQUID_UPSTREAM_ERRORS: [&str; 9] = [
    "ERR_CANNOT_FORWARD",
    "ERR_CONNECT_FAIL",
    "ERR_DNS_FAIL",
    "ERR_LIFETIME_EXP",
    "ERR_READ_ERROR",
    "ERR_READ_TIMEOUT",
    "ERR_SECURE_CONNECT_FAIL",
    "ERR_WRITE_ERROR",
    "ERR_ZERO_SIZE_OBJECT",
];

/// What a 5xx of a proxy's own means; `squid_error` is what Squid names as the error.
pub(super) fn proxy_failure(status: u16, squid_error: Option<&str>) -> Reason {
    let named = squid_error.and_then(|value| value.split_whitespace().next());
    let upstream = named.is_some_and(|name| SQUID_UPSTREAM_ERRORS.contains(&name));
    match status {
        502 | 504 => Reason::ProxyUpstreamFailed,
        _ if upstream => Reason::ProxyUpstreamFailed,
        503 => Reason::ProxyUnavailable,
        _ => Reason::ProxyFailed,
    }
}

/// With how much came before.
enum HeadError {
    Io(usize, io::Error),
    Closed(usize),
    TooLong,
}

async fn read_head(stream: &mut BufReader<Stream>, limit: usize) -> Result<Vec<u8>, HeadError> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let left = limit.saturating_sub(before) as u64;
        let read = (&mut *stream).take(left).read_until(b'\n', &mut head).await;
        read.map_err(|error| HeadError::Io(head.len(), error))?;
        if head.len() >= limit {
            return Err(HeadError::TooLong);
        }
        // What does not begin like HTTP is judged at once, not after 16 KiB of it.
        if before == 0 && !head.is_empty() && !head.starts_with(b"HTTP/") && !b"HTTP/".starts_with(&head) {
            return Ok(head);
        }
        if head.len() == before || !head.ends_with(b"\n") {
            return Err(HeadError::Closed(head.len()));
        }
        if before > 0 && matches!(&head[before..], b"\r\n" | b"\n") {
            return Ok(head);
        }
    }
}

/// What a proxy says to CONNECT.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: u16,
    phrase: String,
    /// Names of the offered authentication schemes.
    schemes: Vec<String>,
    retry_after: Option<Duration>,
    /// Host that a redirect leads to.
    location: Option<String>,
    /// What Squid names as the error.
    squid_error: Option<String>,
}

impl Answer {
    /// Reads status line and headers, leniently in what does not matter. `None` is no HTTP.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let mut first = lines.next()?.trim_end().splitn(3, ' ');
        if !first.next()?.starts_with("HTTP/1.") {
            return None;
        }
        let status = first.next()?;
        let status = status.parse().ok().filter(|number| status.len() == 3 && (100..600).contains(number))?;
        let phrase = plain_text(first.next().unwrap_or_default().as_bytes(), 60);
        let mut answer =
            Self { status, phrase, schemes: Vec::new(), retry_after: None, location: None, squid_error: None };
        let (mut wait, mut date) = (None, None);
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("proxy-authenticate") {
                answer.schemes.extend(schemes(value));
            } else if name.eq_ignore_ascii_case("retry-after") {
                wait = Some(value);
            } else if name.eq_ignore_ascii_case("date") {
                date = Some(value);
            } else if name.eq_ignore_ascii_case(SQUID_ERROR.as_str()) {
                answer.squid_error = Some(plain_text(value.as_bytes(), 60));
            } else if name.eq_ignore_ascii_case("location") {
                let url = url::Url::parse(value.trim()).ok();
                answer.location = url.and_then(|url| url.host_str().map(|host| host.chars().take(100).collect()));
            }
        }
        answer.schemes = distinct(std::mem::take(&mut answer.schemes));
        answer.retry_after = retry_after(wait, date);
        Some(answer)
    }

    fn line(&self) -> String {
        format!("{} {}", self.status, self.phrase).trim_end().to_owned()
    }

    fn refusal(&self, body: &str, credentials_sent: bool, proxy: &str, place: &Place) -> EgressError {
        let said = format!("{} to CONNECT", self.line());
        let quote = if body.is_empty() { String::new() } else { format!("; it says: \"{body}\"") };
        let host = &place.host;
        let failure = proxy_failure(self.status, self.squid_error.as_deref());
        let (reason, message) = match self.status {
            407 => {
                let message = proxy_auth_message(&self.schemes, credentials_sent, proxy);
                (Reason::ProxyAuthRequired, format!("{message}{quote}"))
            }
            300..400 => {
                let to = self.location.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
                (
                    Reason::ProxyForbidden,
                    format!(
                        "the proxy redirects{to} instead of opening a tunnel ({said}{quote}), as login pages do; ask its operators to \
                         allow {host} for programs"
                    ),
                )
            }
            408 | 429 => {
                (Reason::ProxyUnavailable, format!("the proxy has no time for this connection now: {said}{quote}"))
            }
            405 | 501 => (
                Reason::ProxyForbidden,
                format!(
                    "what answers there opens no tunnels: {said}{quote}; check host and port in {}",
                    setting(proxy, "url")
                ),
            ),
            502 => (
                failure,
                format!("the proxy got no connection, or no sensible answer, from the destination: {said}{quote}"),
            ),
            503 if failure == Reason::ProxyUpstreamFailed => {
                (failure, format!("the proxy can't resolve or reach the destination: {said}{quote}"))
            }
            503 => (
                failure,
                format!(
                    "the proxy takes no connection to this destination now: it is overloaded, or can't resolve or reach it: {said}{quote}"
                ),
            ),
            504 => (failure, format!("the destination did not answer the proxy in time: {said}{quote}")),
            500.. if failure == Reason::ProxyUpstreamFailed => {
                (failure, format!("the proxy can't reach the destination: {said}{quote}"))
            }
            500.. => (failure, format!("the proxy failed within itself: {said}{quote}")),
            403 => (
                Reason::ProxyForbidden,
                format!("the proxy refuses this destination: {said}{quote}; ask its operators to allow {host}"),
            ),
            _ => (
                Reason::ProxyForbidden,
                format!(
                    "the proxy does not accept the request for a tunnel to this destination: {said}{quote}; ask its operators why"
                ),
            ),
        };
        place.error(reason, Phase::Connect, message).after(self.retry_after)
    }
}

/// What a 407 means, by what was sent and what is offered.
pub(super) fn proxy_auth_message(schemes: &[String], credentials_sent: bool, proxy: &str) -> String {
    let offered = if schemes.is_empty() { "no scheme".to_owned() } else { schemes.join(", ") };
    let basic = schemes.is_empty() || schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    let what_to_do = match (variable_of(proxy), credentials_sent) {
        (Some(variable), true) => format!("correct user name and password in the variable {variable}"),
        (Some(variable), false) => {
            format!("use an EgressProxy with a credentialsSecretRef instead of the variable {variable}")
        }
        (None, true) => "correct the Secret of the EgressProxy's credentialsSecretRef".to_owned(),
        (None, false) => {
            "name a Secret with username and password in the EgressProxy's credentialsSecretRef".to_owned()
        }
    };
    if !basic {
        format!(
            "the proxy wants authentication and offers only {offered} (407); this program can do Basic: ask the proxy's operators \
             to allow it, or put a proxy in between that logs in"
        )
    } else if credentials_sent {
        format!("the proxy refused the user name or password (407, it offers {offered}); {what_to_do}")
    } else {
        format!("the proxy wants authentication (407, it offers {offered}); {what_to_do}")
    }
}

/// Names of the schemes in a `Proxy-Authenticate` value, which may hold several challenges with parameters.
pub(super) fn schemes(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in outside_quotes(value) {
        let word = part.split_whitespace().next().unwrap_or_default();
        let is_name = !word.is_empty()
            && word.len() <= 30
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_name && !part.trim_start().trim_start_matches(word).trim_start().starts_with('=') {
            found.push(word.to_owned());
        }
    }
    found
}

/// The names, each once, and not more than a message can hold.
pub(super) fn distinct(names: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        if kept.len() < 8 && !kept.iter().any(|other| other.eq_ignore_ascii_case(&name)) {
            kept.push(name);
        }
    }
    kept
}

/// The parts between commas that stand outside of quotes.
fn outside_quotes(value: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in value.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[start..]);
    parts
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;

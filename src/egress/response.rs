//! An answer: its head, and its body piece by piece.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;
use url::Url;

use crate::model::Reason;

use super::connect::seconds;
use super::error::{EgressError, Phase, Place, plain_text, retry_after};
use super::pool::{Key, Pool, Sender};

/// How long a body that is only quoted may take.
const QUOTE_WAIT: Duration = Duration::from_secs(2);

/// The head of an answer; the body follows by [`HttpResponse::next_chunk`].
pub struct HttpResponse {
    /// Where the answer came from, after redirects.
    pub url: Url,
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Bytes of the body so far.
    pub received: u64,
    pub(super) body: Incoming,
    pub(super) idle: Duration,
    pub(super) place: Place,
    pub(super) home: Option<(Arc<Pool>, Key, Sender)>,
}

impl HttpResponse {
    /// The next piece of the body, `None` at its end. Fails with `Stalled` when nothing comes from the network for the idle time, with
    /// `ConnectionCut` when the connection ends before the body does.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, EgressError> {
        let mut before = self.arrived();
        loop {
            match timeout(self.idle, self.body.frame()).await {
                // Something came, and is not yet whole.
                Err(_) if self.arrived() != before => before = self.arrived(),
                Err(_) => {
                    self.home = None;
                    let message = format!("no byte came for {}, after {} bytes", seconds(self.idle), self.received);
                    return Err(self.place.error(Reason::Stalled, Phase::Transfer, message));
                }
                Ok(None) => {
                    if let Some((pool, key, sender)) = self.home.take() {
                        pool.put(key, sender);
                    }
                    return Ok(None);
                }
                Ok(Some(Err(error))) => {
                    self.home = None;
                    let message =
                        format!("the connection was cut after {} bytes ({})", self.received, root_cause(&error));
                    return Err(self.place.error(Reason::ConnectionCut, Phase::Transfer, message));
                }
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.received += data.len() as u64;
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn arrived(&self) -> u64 {
        self.home.as_ref().map_or(0, |(_, _, sender)| sender.arrived())
    }

    /// The whole body, or `None` when it has more than `limit` bytes.
    pub async fn read_all(&mut self, limit: usize) -> Result<Option<Vec<u8>>, EgressError> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next_chunk().await? {
            if whole.len() + chunk.len() > limit {
                return Ok(None);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Some(whole))
    }

    /// The beginning of the body as plain text, for messages. Never fails: what can't be read isn't quoted.
    pub async fn quote(&mut self) -> String {
        let mut start = Vec::new();
        let reading = async {
            while start.len() < 4096
                && let Ok(Some(chunk)) = self.next_chunk().await
            {
                start.extend_from_slice(&chunk[..chunk.len().min(4096)]);
            }
        };
        // As far as it came in time.
        let _ = timeout(QUOTE_WAIT, reading).await;
        plain_text(&start, 200)
    }

    /// The route that it came by, as metrics name it: `direct` or `proxy:NAME`.
    pub fn route_label(&self) -> String {
        self.place.decision.route.label()
    }

    /// `Content-Type` without parameters, in lower case.
    pub fn content_type(&self) -> String {
        let value = self.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Whether the body is said to be a page for people.
    pub fn is_html(&self) -> bool {
        matches!(self.content_type().as_str(), "text/html" | "application/xhtml+xml")
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = |name| self.headers.get(name).and_then(|value| value.to_str().ok());
        retry_after(text(RETRY_AFTER), text(DATE))
    }

    /// An error about this answer, with its host and route.
    pub fn error(&self, reason: Reason, message: impl Into<String>) -> EgressError {
        let phase = if self.received == 0 { Phase::FirstByte } else { Phase::Transfer };
        self.place.error(reason, phase, message).after(self.retry_after())
    }
}

/// What is at the bottom of an error of the HTTP library.
pub(super) fn root_cause(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

//! Idle connections of one client.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::stream::{Arrivals, Stream};

/// How long an unused connection is kept: longer than the usual poll interval of 60 s with its jitter, shorter than
/// what most proxies and load balancers allow. One that was closed meanwhile costs nothing but a new dial.
const KEEP: Duration = Duration::from_secs(100);

/// More idle connections than this are never useful to one client.
const MOST: usize = 4;

/// What a connection can be used for: origin and route, and whether the client's certificate was shown on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub origin: String,
    pub route: String,
    pub own: bool,
}

/// An open connection. Its task ends with this value, so that a connection that nobody uses any more is closed at once, and not
/// when the other side pleases.
pub(super) struct Sender {
    requests: SendRequest<Full<Bytes>>,
    arrivals: Arrivals,
    _task: AbortOnDropHandle<()>,
}

impl Sender {
    /// Speaks HTTP/1.1 on a stream whose bytes are counted in `arrivals`.
    pub(super) async fn on(stream: Stream, arrivals: Arrivals) -> hyper::Result<Self> {
        let (requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let task = tokio::spawn(async move {
            // What goes wrong on the connection reaches whoever waits for an answer on it.
            let _ = connection.await;
        });
        Ok(Self { requests, arrivals, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        self.requests.ready().await
    }

    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.requests.send_request(request).await
    }

    /// Bytes that have come from the network.
    pub(super) fn arrived(&self) -> u64 {
        self.arrivals.bytes()
    }

    fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<(Key, Instant, Sender)>>,
}

impl Pool {
    /// The connection that was used last, if one is open.
    pub(super) fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since, sender)| since.elapsed() < KEEP && !sender.is_closed());
        let at = idle.iter().rposition(|(other, _, _)| other == key)?;
        Some(idle.remove(at).2)
    }

    pub(super) fn put(&self, key: Key, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= MOST {
            idle.remove(0);
        }
        idle.push((key, Instant::now(), sender));
    }
}

//! Idle connections of one client.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

/// How long an unused connection is kept: longer than the usual poll interval of 60 s with its jitter, shorter than
/// what most proxies and load balancers allow. One that was closed meanwhile costs nothing but a new dial.
const KEEP: Duration = Duration::from_secs(100);

/// More idle connections than this are never useful to one client.
const MOST: usize = 4;

/// What a connection can be used for: origin and route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub origin: String,
    pub route: String,
}

pub(super) type Sender = SendRequest<Full<Bytes>>;

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

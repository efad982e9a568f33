//! The one place that sends requests about objects: limit, fence, deadline, retry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use kube::Client;
use kube::client::Body;

use super::error::ApplyError;
use super::limiter::{Bounds, Lesson, Limiter};
use crate::live::client::{Answer, NoAnswer, request_with_deadline};
use crate::model::{GroupKind, Identity, Reason};

/// Whether this operator may write right now (whether it holds its lease). Asked immediately before each write.
pub type Fence = Arc<dyn Fn() -> bool + Send + Sync>;

/// How much is asked of an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Deadline of one request.
    pub request: Duration,
    /// No retry begins later than this after the first try; also the longest `Retry-After` that is waited for.
    pub patience: Duration,
    /// Most tries of one request; those that are asked to wait (429) are bounded by `patience` alone.
    pub tries: u32,
    /// Fewest requests in flight, whatever the server says.
    pub min_in_flight: usize,
    /// Requests in flight at the start.
    pub start_in_flight: usize,
    /// Most requests in flight, however fast the server is.
    pub max_in_flight: usize,
    /// Slower answers than this don't raise the number of requests in flight.
    pub latency_target: Duration,
}

impl Default for Limits {
    /// A deadline as long as the longest admission webhook may take; in flight what an API server with default priority
    /// levels gives to one client without queueing.
    fn default() -> Self {
        Self {
            request: crate::live::client::DEFAULT_DEADLINE,
            patience: Duration::from_secs(45),
            tries: 6,
            min_in_flight: 4,
            start_in_flight: 16,
            max_in_flight: 64,
            latency_target: Duration::from_secs(1),
        }
    }
}

/// What was asked of the API server so far, for metrics and tests.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests, retries included.
    pub requests: AtomicU64,
    /// Requests that write, retries included, dry runs not.
    pub writes: AtomicU64,
    /// Requests that were sent again.
    pub retries: AtomicU64,
    /// Answers that asked to slow down.
    pub throttled: AtomicU64,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// A dry run: passes admission like a write, stores nothing.
    Try,
    Write,
}

/// Pauses between tries when the server names none.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Caller {
    client: Client,
    identity: Identity,
    /// What all callers of one API server have in common, as whoever they call: to the server they are one client.
    shared: Arc<Shared>,
}

struct Shared {
    fence: Fence,
    limits: Limits,
    limiter: Limiter,
    counters: Counters,
}

impl Caller {
    pub(super) fn new(client: Client, fence: Fence, limits: Limits) -> Self {
        let limiter = Limiter::new(Bounds {
            min: limits.min_in_flight.max(1),
            start: limits.start_in_flight.clamp(limits.min_in_flight.max(1), limits.max_in_flight.max(1)),
            max: limits.max_in_flight.max(1),
            target: limits.latency_target,
        });
        let shared = Shared { fence, limits, limiter, counters: Counters::default() };
        Self { client, identity: Identity::Own, shared: Arc::new(shared) }
    }

    /// A caller with other rights, under the same limits.
    pub(super) fn acting_as(&self, client: Client, identity: Identity) -> Self {
        Self { client, identity, shared: Arc::clone(&self.shared) }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(super) fn in_flight_limit(&self) -> usize {
        self.shared.limiter.limit()
    }

    /// Sends a request that may be sent again, until it is answered for good or the limits are reached. The error says
    /// what the last try said. An answer that refuses is shown to `accept` first, which may take it as an answer.
    pub(super) async fn send(
        &self,
        kind: &GroupKind,
        access: Access,
        make: impl Fn() -> Result<Request<Body>, NoAnswer>,
        accept: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, ApplyError> {
        let Shared { fence, limits, limiter, counters } = &*self.shared;
        let _slot = limiter.acquire().await;
        let end = Instant::now() + limits.patience;
        let mut tries = 0;
        loop {
            tries += 1;
            // Looked at after all waiting, so that nothing lies between the look at the lease and the write.
            if access == Access::Write && !fence() {
                return Err(ApplyError::lease_lost(kind));
            }
            let request = make().map_err(|error| ApplyError::unanswered(&error))?;
            let error = match self.once(access, request).await {
                Ok(answer) if answer.is_success() || accept(&answer) => return Ok(answer),
                Ok(answer) => ApplyError::refused(kind, &answer).asked_by(&self.identity),
                Err(no_answer) => ApplyError::unanswered(&no_answer),
            };
            let wait = error.retry_after.unwrap_or_else(|| pause(tries, fastrand::f64()));
            // Being asked to wait is no failure, so only patience bounds it.
            let exhausted = tries >= limits.tries && error.reason != Reason::Throttled;
            if !error.retryable || exhausted || Instant::now() + wait > end {
                return Err(error);
            }
            tracing::debug!(%kind, tries, wait_ms = wait.as_millis(), reason = %error.reason, "asking again");
            counters.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, access: Access, request: Request<Body>) -> Result<Answer, NoAnswer> {
        let Shared { fence: _, limits, limiter, counters } = &*self.shared;
        counters.requests.fetch_add(1, Ordering::Relaxed);
        if access == Access::Write {
            counters.writes.fetch_add(1, Ordering::Relaxed);
        }
        let started = Instant::now();
        let result = request_with_deadline(&self.client, request, limits.request).await;
        limiter.learn(match &result {
            Ok(answer) if matches!(answer.status, 429 | 503 | 504) => {
                counters.throttled.fetch_add(1, Ordering::Relaxed);
                Lesson::Overloaded
            }
            Ok(_) => Lesson::Answered(started.elapsed()),
            Err(error) if error.timed_out => Lesson::Overloaded,
            Err(_) => Lesson::Nothing,
        });
        result
    }
}

/// The pause after so many tries; `random` in 0..1 spreads it over its second half.
fn pause(tries: u32, random: f64) -> Duration {
    let doubled = BACKOFF.0.saturating_mul(1 << tries.saturating_sub(1).min(10));
    doubled.min(BACKOFF.1).mul_f64(random.clamp(0.0, 1.0).mul_add(0.5, 0.5))
}

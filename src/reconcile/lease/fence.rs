//! The fence between a lost lease and the next write.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;

/// Tells whether this process may write. Cheap to clone; ask before every write.
#[derive(Clone, Debug)]
pub struct Fence {
    clock: Clock,
    limit: Duration,
    renewed: Arc<Mutex<Option<Renewal>>>,
}

/// When the last renewal that succeeded was sent.
#[derive(Clone, Copy, Debug)]
struct Renewal {
    monotonic: Instant,
    time_of_day: Timestamp,
}

impl Fence {
    /// A closed fence. After a renewal writes go on for `limit`.
    pub(super) fn closed(clock: Clock, limit: Duration) -> Self {
        Self { clock, limit, renewed: Arc::default() }
    }

    /// Whether this process may write now.
    pub fn may_write(&self) -> bool {
        self.remaining().is_some_and(|remaining| !remaining.is_zero())
    }

    /// How long writes may go on without another renewal; `None` when the lease is not held.
    ///
    /// The monotonic clock stands still while a machine is suspended, the time of day does not; the one that moved
    /// further counts. Setting the time of day forward closes the fence until the next renewal, which is harmless.
    pub fn remaining(&self) -> Option<Duration> {
        let renewal = (*self.renewed.lock().unwrap_or_else(PoisonError::into_inner))?;
        let monotonic = self.clock.monotonic().saturating_duration_since(renewal.monotonic);
        let time_of_day = self.clock.now().duration_since(renewal.time_of_day).max(SignedDuration::ZERO).unsigned_abs();
        Some(self.limit.saturating_sub(monotonic.max(time_of_day)))
    }

    /// Opens the fence: a renewal that was sent at these times succeeded.
    pub(super) fn renewed(&self, monotonic: Instant, time_of_day: Timestamp) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Renewal { monotonic, time_of_day });
    }

    /// Closes the fence.
    pub(super) fn close(&self) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

//! The clock as a value: everything that needs the time is handed one, so that tests turn it by hand.
//!
//! This is the only module that asks the system for the time of day.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Tells the time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Hands>),
}

/// The start of a manual clock and how far its two hands have moved since. They move apart when the time of day is
/// set while the monotonic time goes on.
#[derive(Debug)]
struct Hands {
    start: Timestamp,
    start_instant: Instant,
    elapsed_nanoseconds: AtomicU64,
    stepped_nanoseconds: AtomicU64,
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self { source: Source::System }
    }

    /// A clock that stands at `start` until its hands are moved.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let hands = Arc::new(Hands {
            start,
            start_instant: Instant::now(),
            elapsed_nanoseconds: AtomicU64::new(0),
            stepped_nanoseconds: AtomicU64::new(0),
        });
        (Self { source: Source::Manual(Arc::clone(&hands)) }, ManualClock { hands })
    }

    /// The time of day. It may jump either way.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system")]
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::System => Timestamp::now(),
            Source::Manual(hands) => {
                let moved = hands.elapsed().saturating_add(hands.stepped());
                let moved = SignedDuration::try_from(moved).unwrap_or(SignedDuration::MAX);
                hands.start.saturating_add(moved).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// A time that only ever goes forward, for measuring how long something takes.
    pub fn monotonic(&self) -> Instant {
        match &self.source {
            Source::System => Instant::now(),
            Source::Manual(hands) => hands.start_instant + hands.elapsed(),
        }
    }
}

impl Hands {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanoseconds.load(Ordering::Acquire))
    }

    fn stepped(&self) -> Duration {
        Duration::from_nanos(self.stepped_nanoseconds.load(Ordering::Acquire))
    }
}

/// Moves the hands of a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    hands: Arc<Hands>,
}

impl ManualClock {
    /// Lets time pass: the time of day and the monotonic time move together.
    pub fn advance(&self, by: Duration) {
        self.hands.elapsed_nanoseconds.fetch_add(nanoseconds(by), Ordering::AcqRel);
    }

    /// Sets the time of day forward while no monotonic time passes, as after a suspended machine wakes.
    pub fn step_time_of_day(&self, by: Duration) {
        self.hands.stepped_nanoseconds.fetch_add(nanoseconds(by), Ordering::AcqRel);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let (clock, hands) = Clock::manual(start);
        let first = clock.monotonic();
        assert_eq!((clock.now(), clock.monotonic()), (start, first));
        hands.advance(Duration::from_millis(1_500));
        assert_eq!(clock.now(), Timestamp::from_millisecond(1_700_000_001_500).unwrap());
        assert_eq!(clock.monotonic() - first, Duration::from_millis(1_500));
    }

    #[test]
    fn setting_the_time_of_day_leaves_monotonic_time_alone() {
        let (clock, hands) = Clock::manual(Timestamp::UNIX_EPOCH);
        let first = clock.monotonic();
        hands.step_time_of_day(Duration::from_hours(1));
        assert_eq!(clock.now(), Timestamp::from_second(3_600).unwrap());
        assert_eq!(clock.monotonic(), first);
    }
}

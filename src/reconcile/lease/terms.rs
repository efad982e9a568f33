//! How long a lease lasts, and what follows from it.

use std::time::Duration;

use crate::settings::{LEASE_SECONDS, LEAST_LEASE_SECONDS, MOST_LEASE_SECONDS};

/// The times of one lease. All follow from how long its holder may be gone before another takes its place, so that one
/// setting moves them together and their order always holds:
///
/// ```text
/// renewal sent   +renew                  +writes_end       +on_lease       duration
///      ├────────────┼───── tries again ──────┼─── margin ─────┼──── look ─────┤
///      └ the fence is open ──────────────────┘                └ a rival takes it, which looked within this time
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Within this time of its last renewal a holder that is gone is replaced.
    pub duration: Duration,
    /// What stands on the Lease, in whole seconds: a rival that saw it unchanged for this long takes it.
    pub on_lease: Duration,
    /// How long a holder goes on writing after it sent the last renewal that succeeded.
    pub writes_end: Duration,
    /// Between renewals. Two requests that time out and a third try fit between a renewal and the end of the writes.
    pub renew: Duration,
    /// After a failure.
    pub retry: Duration,
    /// Between looks at another's lease.
    pub look: Duration,
    /// For one request about the Lease.
    pub request: Duration,
}

impl Terms {
    /// Terms by which a holder that is gone is replaced within so many seconds, which are brought into the bounds of the flag.
    pub fn lasting(seconds: u16) -> Self {
        let seconds = seconds.clamp(LEAST_LEASE_SECONDS, MOST_LEASE_SECONDS);
        let duration = Duration::from_secs(u64::from(seconds));
        // The Lease holds whole seconds. What is left is for a rival's look, which may come that late.
        let on_lease = Duration::from_secs(u64::from(seconds - (2 * seconds).div_ceil(15)));
        Self {
            duration,
            on_lease,
            writes_end: duration * 2 / 3,
            renew: duration * 3 / 10,
            retry: duration / 30,
            look: duration / 10,
            request: duration * 2 / 15,
        }
    }

    /// How long a write that was put on the wire last may be on its way before a rival may start: as long the kernel tries
    /// to deliver it. A quarter is left for the network itself and for timers that are late.
    pub fn delivery(&self) -> Duration {
        self.on_lease.saturating_sub(self.writes_end) * 3 / 4
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self::lasting(LEASE_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_terms_are_those_of_the_manual() {
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds);
        assert_eq!(
            Terms::default(),
            Terms {
                duration: seconds(15.0),
                on_lease: seconds(13.0),
                writes_end: seconds(10.0),
                renew: seconds(4.5),
                retry: seconds(0.5),
                look: seconds(1.5),
                request: seconds(2.0),
            }
        );
        assert_eq!(Terms::default().delivery(), seconds(2.25));
    }

    #[test]
    fn whatever_the_duration_writes_end_and_arrive_before_a_rival_starts_and_a_rival_starts_within_it() {
        for seconds in 0..=u16::MAX {
            let terms = Terms::lasting(seconds);
            assert!(terms.renew + 2 * (terms.request + terms.retry) < terms.writes_end, "{terms:?}");
            assert!(terms.writes_end + terms.delivery() < terms.on_lease, "{terms:?}");
            assert!(terms.on_lease + terms.look < terms.duration, "{terms:?}");
            assert_eq!(terms.on_lease.subsec_nanos(), 0, "{terms:?}");
            assert!(terms.delivery() >= Duration::from_millis(250), "{terms:?}");
        }
    }
}

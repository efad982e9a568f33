//! When a repository is asked again.

use std::time::Duration;

/// First pause after a failure that may pass by itself; doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// The longest `Retry-After` that is heeded: nobody should wait for a day because of a mistyped header.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// How a poll ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// Polls that failed without a success between them, this one included; 0 after a success.
    pub failures: u32,
    /// Whether the failure may pass without anybody's doing.
    pub passing: bool,
    /// How long the other side asks to wait.
    pub retry_after: Option<Duration>,
}

/// The pause before the next poll. `random` lies between 0 and 1: it keeps the repositories of one host, and the operators
/// of one fleet, from asking in step.
///
/// What only a change can help is asked about at the interval, never sooner. Nobody is asked before the time that they
/// named, not even when the interval is shorter.
pub(super) fn pause(interval: Duration, ended: Ended, random: f64) -> Duration {
    let jitter = 0.9 + 0.2 * random;
    let jittered = interval.mul_f64(jitter);
    if let Some(asked) = ended.retry_after {
        let spread = asked.min(LONGEST_WAIT).mul_f64(1.0 + 0.1 * random);
        return if ended.passing { spread } else { spread.max(jittered) };
    }
    if !ended.passing {
        return jittered;
    }
    let backoff = FIRST_RETRY.saturating_mul(1 << ended.failures.min(10).saturating_sub(1));
    backoff.mul_f64(jitter).min(jittered.max(FIRST_RETRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn seconds(interval: u64, failures: u32, passing: bool, retry_after: Option<u64>) -> Vec<f64> {
        let ended = Ended { failures, passing, retry_after: retry_after.map(Duration::from_secs) };
        [0.0, 0.5, 1.0]
            .iter()
            .map(|random| pause(Duration::from_secs(interval), ended, *random).as_secs_f64())
            .collect()
    }

    #[test]
    fn a_success_and_what_only_a_change_can_help_wait_for_the_interval_give_or_take_a_tenth() {
        assert_eq!(seconds(60, 0, false, None), [54.0, 60.0, 66.0]);
        assert_eq!(seconds(60, 9, false, None), [54.0, 60.0, 66.0]);
    }

    #[test]
    fn what_may_pass_is_tried_soon_and_then_with_doubling_pauses_up_to_the_interval() {
        let pauses: Vec<f64> = (1..=8).map(|failures| seconds(60, failures, true, None)[1]).collect();
        assert_eq!(pauses, [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(seconds(60, u32::MAX, true, None), [54.0, 60.0, 66.0]);
        assert_eq!(seconds(1, 3, true, None), [2.0, 2.0, 2.0], "never faster than the first retry");
    }

    #[test]
    fn nobody_is_asked_before_the_time_that_they_named() {
        assert_eq!(seconds(60, 1, true, Some(20)), [20.0, 21.0, 22.0]);
        assert_eq!(seconds(5, 1, true, Some(20)), [20.0, 21.0, 22.0], "though the interval is shorter");
        assert_eq!(seconds(60, 1, false, Some(20)), [54.0, 60.0, 66.0], "and never sooner than at the interval");
        assert!((seconds(5, 1, false, Some(20))[0] - 20.0).abs() < 1e-9);
        let day = Ended { failures: 1, passing: true, retry_after: Some(Duration::from_hours(24)) };
        assert_eq!(pause(MINUTE, day, 0.0), LONGEST_WAIT);
    }
}

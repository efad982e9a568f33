//! When a failed sync is tried again.

use std::time::Duration;

use crate::api::Retry;
use crate::model::parse_duration;

/// Pause before the first retry, its growth and its limit: Argo CD's defaults.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(3);
const GROWTH: f64 = 2.0;

/// Pauses once `retry.limit` is used up. Slow enough to be no load, and soon enough that a cause which lies outside of git
/// (a quota, an image registry, a webhook) needs nobody's hand once it has gone away.
const FIRST_SLOW_PAUSE: Duration = Duration::from_mins(10);
const LONGEST_SLOW_PAUSE: Duration = Duration::from_hours(1);

/// The pause after a number of failures of an automated sync.
///
/// Without a limit attempts go on for ever at `retry.backoff`. A limit does not end them either, as it does in Argo CD,
/// where the revision is then never tried again: from there on they go on at 10 minutes, doubling to an hour.
pub fn automated_pause(failures: u32, retry: Option<&Retry>) -> Duration {
    let over = limit_of(retry).map_or(0, |limit| i64::from(failures) - limit);
    if over > 0 {
        let doublings = u32::try_from(over - 1).unwrap_or(u32::MAX).min(16);
        return FIRST_SLOW_PAUSE.saturating_mul(1 << doublings).min(LONGEST_SLOW_PAUSE);
    }
    pause(failures, retry)
}

/// The pause after a number of failures of a sync that a person asked for (`operation.retry`); `None` when the operation
/// ends with this failure. Without a limit it is tried once.
pub fn requested_pause(failures: u32, retry: Option<&Retry>) -> Option<Duration> {
    is_within_limit(failures, retry).then(|| pause(failures, retry))
}

/// Whether another attempt still belongs to the same operation. A negative limit is for ever; an unset one is none.
pub fn is_within_limit(failures: u32, retry: Option<&Retry>) -> bool {
    let limit = retry.and_then(|retry| retry.limit).unwrap_or(0);
    limit < 0 || i64::from(failures) <= limit
}

fn limit_of(retry: Option<&Retry>) -> Option<i64> {
    retry.and_then(|retry| retry.limit).filter(|limit| *limit >= 0)
}

fn pause(failures: u32, retry: Option<&Retry>) -> Duration {
    let settings = retry.and_then(|retry| retry.backoff.as_ref());
    let read = |text: Option<&String>, default| text.and_then(|text| parse_duration(text)).unwrap_or(default);
    let first = read(settings.and_then(|settings| settings.duration.as_ref()), FIRST_PAUSE);
    let longest = read(settings.and_then(|settings| settings.max_duration.as_ref()), LONGEST_PAUSE);
    #[expect(clippy::cast_precision_loss, reason = "a growth factor is a small number")]
    let growth = settings.and_then(|settings| settings.factor).map_or(GROWTH, |factor| factor.max(1) as f64);
    let pause =
        first.as_secs_f64() * growth.powi(i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(64));
    Duration::try_from_secs_f64(pause).unwrap_or(longest).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Backoff;

    fn limited(limit: i64) -> Retry {
        Retry { limit: Some(limit), ..Retry::default() }
    }

    #[test]
    fn a_used_up_limit_slows_automated_attempts_and_never_ends_them() {
        let pauses =
            |retry: Option<&Retry>| (1..=7).map(|failures| automated_pause(failures, retry).as_secs()).collect();
        let cases: [(Option<Retry>, Vec<u64>); 4] = [
            (None, vec![5, 10, 20, 40, 80, 160, 180]),
            (Some(limited(-1)), vec![5, 10, 20, 40, 80, 160, 180]),
            (Some(limited(2)), vec![5, 10, 600, 1200, 2400, 3600, 3600]),
            (Some(limited(0)), vec![600, 1200, 2400, 3600, 3600, 3600, 3600]),
        ];
        for (retry, expected) in cases {
            let found: Vec<u64> = pauses(retry.as_ref());
            assert_eq!(found, expected, "{retry:?}");
        }
    }

    #[test]
    fn an_operation_of_a_person_ends_with_its_limit() {
        let custom = Retry {
            limit: Some(2),
            backoff: Some(Backoff { duration: Some("1s".into()), factor: Some(3), max_duration: Some("2s".into()) }),
            refresh: false,
        };
        let pauses: Vec<Option<u64>> =
            (1..=3).map(|failures| requested_pause(failures, Some(&custom)).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), None]);
        assert_eq!(requested_pause(1, None), None);
        assert_eq!(requested_pause(90, Some(&limited(-1))), Some(LONGEST_PAUSE));
    }
}

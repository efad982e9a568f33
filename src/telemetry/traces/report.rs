//! What is said of exports: that they fail, once in a while, and that they succeed again. Pure.

use std::time::{Duration, Instant};

/// How long nothing more is said of failures of which something was said.
const SILENCE: Duration = Duration::from_mins(10);

/// What was said, and when.
#[derive(Debug, Default)]
pub(super) struct Report {
    said: Option<Instant>,
    /// Whether it was said that exports fail, and not yet that they succeed again.
    open: bool,
}

impl Report {
    /// An export failed. True when that is to be said.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let due = self.said.is_none_or(|said| now.saturating_duration_since(said) >= SILENCE);
        if due {
            self.said = Some(now);
            self.open = true;
        }
        due
    }

    /// An export succeeded. True when it is to be said that failures, of which something was said, are over.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_failures_something_is_said_once_in_ten_minutes_and_once_that_they_are_over() {
        let mut report = Report::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!report.succeeded());
        let said: Vec<bool> = [0, 5, 599, 600, 605].into_iter().map(|second| report.failed(after(second))).collect();
        assert_eq!(said, [true, false, false, true, false]);
        assert!(report.succeeded());
        assert!(!report.succeeded());
        assert!(!report.failed(after(700)), "a collector that comes and goes fills no log");
        assert!(!report.succeeded());
    }
}

//! The timers of a gate.

use std::time::Duration;

use jiff::Timestamp;

use super::progress::{GatePolicy, Progress};

/// When a time that began at `since` has passed; a time that no calendar holds never ends.
pub(super) fn end(since: Timestamp, length: Duration) -> Timestamp {
    since.checked_add(length).unwrap_or(Timestamp::MAX)
}

/// Whether a time that began at `since` has passed.
pub(super) fn passed(since: Timestamp, length: Duration, now: Timestamp) -> bool {
    end(since, length) <= now
}

/// When the group that is under way fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines {
    /// By `gate.timeout`.
    pub(super) timeout: Option<Timestamp>,
    /// By `gate.noProgressTimeout`.
    pub(super) no_progress: Option<Timestamp>,
}

impl Deadlines {
    pub(super) fn new(progress: &Progress, policy: &GatePolicy, hook_runs: bool) -> Self {
        let timeout = policy.timeout.zip(progress.group_since).map(|(length, since)| end(since, length));
        let no_progress = policy.no_progress_timeout.zip(progress.last_change).filter(|_| !hook_runs);
        Self { timeout, no_progress: no_progress.map(|(length, since)| end(since, length)) }
    }

    /// The one that ends first, with the setting that it is from.
    pub(super) fn first(&self) -> Option<(Timestamp, &'static str)> {
        let timeout = self.timeout.map(|end| (end, "gate.timeout"));
        let no_progress = self.no_progress.map(|end| (end, "gate.noProgressTimeout"));
        timeout.into_iter().chain(no_progress).min()
    }
}

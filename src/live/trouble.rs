//! How long a watch waits before it tries again. Pure.

use std::time::Duration;

use super::LiveError;

/// The first pause after a failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause while the API server does not answer, which ends any time.
const LONGEST_PAUSE_UNREACHABLE: Duration = Duration::from_secs(5);
/// The longest pause while the API server refuses, which ends when somebody changes something.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_mins(1);

/// What has gone wrong in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    failures: u32,
    expired: u32,
    refused: bool,
}

impl Trouble {
    /// The watch ended for no reason.
    pub(super) fn more(self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self }
    }

    /// The watch failed.
    pub(super) fn failed(self, error: &LiveError) -> Self {
        Self { refused: !error.is_transient(), ..self.more() }
    }

    /// The position was too old. The server answers, so failures to reach it are over.
    pub(super) fn expired(self) -> Self {
        let expired = self.expired.saturating_add(1);
        Self { failures: expired, expired, refused: false }
    }

    /// How long to wait; `random` in 0..1 spreads it over its second half, so that the watches of many kinds don't come
    /// back together.
    pub(super) fn pause(self, random: f64) -> Option<Duration> {
        let longest = if self.refused { LONGEST_PAUSE_REFUSED } else { LONGEST_PAUSE_UNREACHABLE };
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.checked_sub(1)?.min(10));
        Some(doubled.min(longest).mul_f64(random.clamp(0.0, 1.0).mul_add(0.5, 0.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Scope;
    use crate::model::{GroupKind, Identity, Reason};

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_is_spread() {
        let scope = Scope::all_of(GroupKind::new("", "ConfigMap"));
        let refused = LiveError::of_status(&scope, &Identity::Own, 403, "no");
        let silent = LiveError::of_server(Reason::ClusterUnreachable, "no answer");
        let after = |error: &LiveError, times| (0..times).fold(Trouble::default(), |trouble, _| trouble.failed(error));
        assert_eq!(Trouble::default().pause(1.0), None);
        assert_eq!(after(&silent, 1).pause(1.0), Some(Duration::from_millis(250)));
        assert_eq!(after(&silent, 1).pause(0.0), Some(Duration::from_millis(125)));
        assert_eq!(after(&silent, 3).pause(1.0), Some(Duration::from_secs(1)));
        assert_eq!(after(&silent, 4000).pause(1.0), Some(Duration::from_secs(5)));
        assert_eq!(after(&refused, 4000).pause(1.0), Some(LONGEST_PAUSE_REFUSED));
    }

    #[test]
    fn a_server_that_came_back_is_listed_soon_but_not_in_a_loop() {
        let silent = LiveError::of_server(Reason::ClusterUnreachable, "no answer");
        let long_away = (0..20).fold(Trouble::default(), |trouble, _| trouble.failed(&silent));
        assert_eq!(long_away.expired().pause(1.0), Some(Duration::from_millis(250)));
        assert_eq!(long_away.expired().expired().expired().pause(1.0), Some(Duration::from_secs(1)));
    }
}

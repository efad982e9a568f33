//! Whether to sync now.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{Automated, Retry};
use crate::diff::{Cause, Difference, Differences};
use crate::model::{Hash64, parse_duration};

/// Pause before the first retry, its growth and its limit: Argo CD's defaults.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(3);
const GROWTH: f64 = 2.0;

/// What may be done without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether to sync without being asked.
    pub automated: bool,
    /// Whether to delete what git no longer has.
    pub prune: bool,
    /// Whether to put back what was changed in the cluster.
    pub self_heal: bool,
    /// Whether a source may render nothing.
    pub allow_empty: bool,
}

impl Policy {
    /// Reads `syncPolicy.automated`, where every switch is off unless set, but `enabled` is on.
    pub fn new(automated: Option<&Automated>) -> Self {
        let Some(Automated { enabled, prune, self_heal, allow_empty }) = automated else { return Self::default() };
        let on = enabled.unwrap_or(true);
        Self {
            automated: on,
            prune: on && prune.unwrap_or(false),
            self_heal: on && self_heal.unwrap_or(false),
            allow_empty: allow_empty.unwrap_or(false),
        }
    }
}

/// A sync that a person asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Whether to prune.
    pub prune: bool,
    /// Whether only to try on the server.
    pub dry_run: bool,
}

/// The last attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// What it tried to bring: changes with the desired set and with nothing else.
    pub target: Hash64,
    /// When it ended.
    pub ended: Timestamp,
    /// How many attempts at the same target failed so far.
    pub failures: u32,
}

/// What the decision reads.
#[derive(Clone, Copy, Debug)]
pub struct DecideInput<'a> {
    /// What may be done without being asked.
    pub policy: Policy,
    /// What a person asked for.
    pub request: Option<Request>,
    /// What differs.
    pub differences: &'a Differences,
    /// Whether the plan deletes anything, or strikes off the record what is gone.
    pub prunes: bool,
    /// What a sync would bring.
    pub target: Hash64,
    /// The last attempt that failed.
    pub last_failure: Option<&'a LastAttempt>,
    /// How a failure is tried again.
    pub retry: Option<&'a Retry>,
    /// Earliest time for another self-healing sync, when healing is held back because it did not last.
    pub heal_not_before: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
}

/// Whether to sync now.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Sync.
    Sync {
        /// Whether to prune.
        prune: bool,
        /// Whether only to try on the server.
        dry_run: bool,
        /// Whether the sync only puts back what was changed in the cluster.
        heal: bool,
    },
    /// Not before this time.
    Later(Timestamp),
    /// Not before something changes.
    Hold,
}

/// Decides whether to sync now.
pub fn decide(input: DecideInput<'_>) -> Decision {
    if let Some(Request { prune, dry_run }) = input.request {
        return Decision::Sync { prune, dry_run, heal: false };
    }
    let Policy { automated, prune, self_heal, allow_empty: _ } = input.policy;
    if !automated {
        return Decision::Hold;
    }
    let mut from_git = false;
    let mut drift = false;
    for difference in input.differences.objects.values() {
        match difference {
            // Fields that people added and that are only reported ask for nothing.
            Difference::InSync | Difference::Conflict { .. } | Difference::Changed(Cause::Extra) => {}
            other if other.is_drift() => drift = true,
            _ => from_git = true,
        }
    }
    let heal = drift && !from_git && !input.prunes;
    if !(from_git || input.prunes || (drift && self_heal)) {
        return Decision::Hold;
    }
    if let Some(failure) = input.last_failure.filter(|failure| failure.target == input.target) {
        match backoff(failure.failures, input.retry) {
            None => return Decision::Hold,
            Some(pause) => {
                let due = failure.ended.checked_add(pause).unwrap_or(failure.ended);
                if due > input.now {
                    return Decision::Later(due);
                }
            }
        }
    }
    if heal && let Some(not_before) = input.heal_not_before.filter(|not_before| *not_before > input.now) {
        return Decision::Later(not_before);
    }
    Decision::Sync { prune, dry_run: false, heal }
}

/// The pause after a number of failures, or `None` when the limit of attempts is used up.
///
/// Without a limit attempts go on for ever, at the longest pause in the end: a failure that lies outside of git must not
/// need a commit to go away.
pub fn backoff(failures: u32, retry: Option<&Retry>) -> Option<Duration> {
    let limit = retry.and_then(|retry| retry.limit);
    if limit.is_some_and(|limit| limit >= 0 && i64::from(failures) > limit) {
        return None;
    }
    let settings = retry.and_then(|retry| retry.backoff.as_ref());
    let read = |text: Option<&String>, default| text.and_then(|text| parse_duration(text)).unwrap_or(default);
    let first = read(settings.and_then(|settings| settings.duration.as_ref()), FIRST_PAUSE);
    let longest = read(settings.and_then(|settings| settings.max_duration.as_ref()), LONGEST_PAUSE);
    #[expect(clippy::cast_precision_loss, reason = "a growth factor is a small number")]
    let growth = settings.and_then(|settings| settings.factor).map_or(GROWTH, |factor| factor.max(1) as f64);
    let pause =
        first.as_secs_f64() * growth.powi(i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(64));
    Some(Duration::try_from_secs_f64(pause).unwrap_or(longest).min(longest))
}

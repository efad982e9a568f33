use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::api::{Automated, Backoff, Retry};
use crate::diff::Cause;
use crate::model::Reason;

const TARGET: Hash64 = Hash64(7);

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn in_seconds(seconds: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

/// Automated with prune and self-healing, nothing asked, nothing failed.
#[derive(Clone, Default)]
struct Situation {
    policy: Policy,
    request: Option<Request>,
    differences: Differences,
    prunes: bool,
    last_failure: Option<LastAttempt>,
    retry: Option<Retry>,
    heal_not_before: Option<Timestamp>,
    automated_blocked_by: Option<Hold>,
    manual_blocked_by: Option<Hold>,
}

impl Situation {
    fn automated(differences: &Differences) -> Self {
        let policy = Policy { automated: true, prune: true, self_heal: true, ..Policy::default() };
        Self { policy, differences: differences.clone(), ..Self::default() }
    }

    fn pruning(mut self) -> Self {
        self.prunes = true;
        self
    }

    fn without(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
        self
    }

    fn failed(mut self, seconds_ago: i64, failures: u32, limit: Option<i64>) -> Self {
        self.last_failure =
            Some(LastAttempt { target: TARGET, ended: in_seconds(-seconds_ago), failures, terminated: false });
        self.retry = limit.map(|limit| Retry { limit: Some(limit), ..Retry::default() });
        self
    }

    fn decide(&self) -> Decision {
        decide(DecideInput {
            policy: self.policy,
            request: self.request,
            differences: &self.differences,
            held: &BTreeSet::new(),
            prunes: self.prunes,
            target: TARGET,
            last_failure: self.last_failure.as_ref(),
            automated_blocked_by: self.automated_blocked_by.as_ref(),
            manual_blocked_by: self.manual_blocked_by.as_ref(),
            retry: self.retry.as_ref(),
            heal_not_before: self.heal_not_before,
            now: now(),
        })
    }
}

fn differing(objects: impl IntoIterator<Item = (ObjectKey, Difference)>) -> Differences {
    Differences { objects: objects.into_iter().collect(), ..Differences::default() }
}

const SYNC: Decision = Decision::Sync { prune: true, dry_run: false, heal: false };
const HEAL: Decision = Decision::Sync { prune: true, dry_run: false, heal: true };
const SYNC_WITHOUT_PRUNE: Decision = Decision::Sync { prune: false, dry_run: false, heal: false };

#[test]
fn what_is_synced_without_being_asked() {
    let new = differing([(config("a"), absent())]);
    let drift = differing([(config("a"), Difference::Changed(Cause::Live))]);
    let both = differing([
        (config("a"), Difference::Changed(Cause::Live)),
        (config("b"), Difference::Changed(Cause::Desired)),
    ]);
    let in_sync = differing([(config("a"), Difference::InSync)]);
    let conflict = differing([(config("a"), Difference::Conflict { application: "x/y".into() })]);
    let nothing = Differences::default();
    let automated = Situation::automated;
    for (situation, decision, what) in [
        (automated(&new), SYNC, "git has something new"),
        (automated(&new).without(|policy| policy.automated = false), Decision::Hold, "manual only"),
        (automated(&new).without(|policy| policy.prune = false), SYNC_WITHOUT_PRUNE, "pruning is off"),
        (automated(&in_sync), Decision::Hold, "nothing differs"),
        (automated(&conflict), Decision::Hold, "another Application's object"),
        (automated(&drift), HEAL, "a hand edit"),
        (automated(&drift).without(|policy| policy.self_heal = false), Decision::Hold, "self-healing is off"),
        (automated(&both), SYNC, "a hand edit and a commit"),
        (automated(&both).without(|policy| policy.self_heal = false), SYNC, "a commit heals along"),
        (automated(&nothing).pruning(), SYNC, "something to prune only"),
        (
            automated(&nothing).without(|policy| policy.prune = false).pruning(),
            SYNC_WITHOUT_PRUNE,
            "a record that has to be struck off",
        ),
        (automated(&drift).pruning(), SYNC, "a hand edit and something to prune"),
        (
            automated(&drift).without(|policy| policy.self_heal = false).pruning(),
            SYNC,
            "a prune heals along what self-healing alone would not",
        ),
    ] {
        assert_eq!(situation.decide(), decision, "{what}");
    }
}

#[test]
fn a_person_is_obeyed_at_once_whatever_policy_and_failures_say() {
    let mut situation = Situation::automated(&Differences::default()).failed(0, 9, Some(1));
    situation.policy = Policy::default();
    for (prune, dry_run) in [(true, false), (false, true)] {
        situation.request = Some(Request { prune, dry_run });
        assert_eq!(situation.decide(), Decision::Sync { prune, dry_run, heal: false });
    }
}

#[test]
fn a_failure_is_tried_again_after_a_pause_that_grows_and_a_used_up_limit_only_slows_it() {
    let new = differing([(config("a"), absent())]);
    let failed =
        |seconds_ago, failures, limit| Situation::automated(&new).failed(seconds_ago, failures, limit).decide();
    assert_eq!(failed(0, 1, None), Decision::Later(in_seconds(5)));
    assert_eq!(failed(2, 2, None), Decision::Later(in_seconds(8)));
    assert_eq!(failed(0, 40, None), Decision::Later(in_seconds(180)));
    assert_eq!(failed(5, 1, None), SYNC);
    assert_eq!(failed(0, 1, Some(0)), Decision::Later(in_seconds(600)));
    assert_eq!(failed(600, 1, Some(0)), SYNC);
    assert_eq!(failed(999, 3, Some(3)), SYNC);
    assert_eq!(failed(0, 4, Some(3)), Decision::Later(in_seconds(600)));
    assert_eq!(failed(0, 40, Some(3)), Decision::Later(in_seconds(3600)));
    assert_eq!(failed(999, u32::MAX, Some(-1)), SYNC);
    let mut of_another_target = Situation::automated(&new).failed(0, 9, Some(0));
    of_another_target.last_failure =
        of_another_target.last_failure.map(|last| LastAttempt { target: Hash64(8), ..last });
    assert_eq!(of_another_target.decide(), SYNC);
}

#[test]
fn healing_that_does_not_last_is_held_back_and_a_commit_is_not() {
    let drift = differing([(config("a"), Difference::Changed(Cause::Replaced))]);
    let mut situation = Situation::automated(&drift);
    situation.heal_not_before = Some(in_seconds(30));
    assert_eq!(situation.decide(), Decision::Later(in_seconds(30)));
    situation.heal_not_before = Some(now());
    assert_eq!(situation.decide(), HEAL);
    situation.heal_not_before = Some(in_seconds(30));
    situation.differences.objects.insert(config("b"), absent());
    assert_eq!(situation.decide(), SYNC);
}

#[test]
fn every_switch_is_off_unless_set_but_automation_itself() {
    assert_eq!(Policy::new(None), Policy::default());
    let on = Automated::default();
    assert_eq!(Policy::new(Some(&on)), Policy { automated: true, ..Policy::default() });
    let off = Automated { enabled: Some(false), prune: Some(true), self_heal: Some(true), allow_empty: Some(true) };
    assert_eq!(Policy::new(Some(&off)), Policy { allow_empty: true, ..Policy::default() });
}

#[test]
fn the_pause_follows_what_the_retry_states() {
    let backoff_of = |duration: &str, factor, longest: &str| Retry {
        backoff: Some(Backoff {
            duration: Some(duration.into()),
            factor: Some(factor),
            max_duration: Some(longest.into()),
        }),
        ..Retry::default()
    };
    let pauses = |retry: &Retry| -> Vec<u64> {
        (1..5).map(|failures| automated_pause(failures, Some(retry)).as_secs()).collect()
    };
    assert_eq!(pauses(&backoff_of("1s", 3, "10s")), [1, 3, 9, 10]);
    assert_eq!(pauses(&backoff_of("2s", 0, "1m")), [2, 2, 2, 2]);
    assert_eq!(pauses(&backoff_of("nonsense", 2, "nonsense")), [5, 10, 20, 40]);
    assert_eq!(automated_pause(u32::MAX, None), Duration::from_secs(180));
}

#[test]
fn what_holds_a_start_back_is_told_and_holds_only_what_would_start() {
    let hold = |reason| Hold { reason, message: "closed until tomorrow".into(), until: Some(in_seconds(60)) };
    let new = differing([(config("a"), absent())]);
    let mut situation = Situation::automated(&new);
    situation.automated_blocked_by = Some(hold(Reason::WindowClosed));
    assert_eq!(situation.decide(), Decision::Blocked(hold(Reason::WindowClosed)));
    situation.request = Some(Request { prune: false, dry_run: false });
    assert_eq!(situation.decide(), SYNC_WITHOUT_PRUNE);
    situation.manual_blocked_by = Some(hold(Reason::WaitingForDependency));
    assert_eq!(situation.decide(), Decision::Blocked(hold(Reason::WaitingForDependency)));
    situation.request = Some(Request { prune: false, dry_run: true });
    assert_eq!(situation.decide(), Decision::Sync { prune: false, dry_run: true, heal: false });
    situation.request = None;
    situation.differences = differing([(config("a"), Difference::InSync)]);
    assert_eq!(situation.decide(), Decision::Hold);
}

#[test]
fn drift_policy_wins_over_self_heal_and_never_over_a_missing_automation() {
    use crate::api::DriftPolicy::{Correct, Hold, Report};
    let switched = |automated, self_heal, drift| {
        let policy = Policy { automated, self_heal, ..Policy::default() }.with_drift_policy(drift);
        (policy.self_heal, policy.hold_drifted)
    };
    for (automated, self_heal, drift, expected) in [
        (true, true, None, (true, false)),
        (true, false, Some(Correct), (true, false)),
        (false, false, Some(Correct), (false, false)),
        (true, true, Some(Report), (false, false)),
        (true, true, Some(Hold), (false, true)),
    ] {
        assert_eq!(switched(automated, self_heal, drift), expected, "{drift:?}");
    }
}

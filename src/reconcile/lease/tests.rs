//! The decision, case by case, and the fence.

use super::*;
use crate::clock::Clock;

const NOW: i64 = 1_700_000_000;
const THIRTY: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW + seconds).unwrap()
}

fn lease(holder: Option<&str>, duration: Option<i32>) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(LEASE_NAME.to_owned()),
            resource_version: Some("7".to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            acquire_time: Some(MicroTime(at(-100))),
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: duration,
            lease_transitions: Some(3),
            renew_time: Some(MicroTime(at(-5))),
            ..LeaseSpec::default()
        }),
    }
}

fn taken(acquired: i64, transitions: i32) -> Decision {
    let mut taken = lease(Some("me"), Some(30));
    let spec = taken.spec.as_mut().unwrap();
    spec.acquire_time = Some(MicroTime(at(acquired)));
    spec.renew_time = Some(MicroTime(at(0)));
    spec.lease_transitions = Some(transitions);
    Decision::Take(Box::new(taken))
}

#[test]
fn each_state_of_the_lease_has_its_decision() {
    let rival = lease(Some("rival"), Some(30));
    let wait = |seconds| Decision::Wait { holder: "rival".to_owned(), expires_in: Duration::from_secs(seconds) };
    let cases: [(&str, Lease, u64, Decision); 9] = [
        ("held by another", rival.clone(), 0, wait(30)),
        ("held by another, seen for a while", rival.clone(), 29, wait(1)),
        ("ran out by our own watch", rival.clone(), 30, taken(0, 4)),
        ("its own duration counts", lease(Some("rival"), Some(60)), 45, wait(15)),
        ("no duration is the usual one", lease(Some("rival"), None), 29, wait(1)),
        ("a negative duration is the usual one", lease(Some("rival"), Some(-1)), 29, wait(1)),
        ("released", lease(Some(""), Some(1)), 0, taken(0, 4)),
        ("never held", lease(None, None), 0, taken(0, 4)),
        ("ours", lease(Some("me"), Some(30)), 0, taken(-100, 3)),
    ];
    for (name, lease, unchanged, expected) in cases {
        let decision = evaluate(Some(&lease), &Holder::named("me"), THIRTY, Duration::from_secs(unchanged), at(0));
        assert_eq!(decision, expected, "{name}");
    }
}

#[test]
fn a_rivals_clock_that_is_far_off_changes_nothing() {
    let me = Holder::named("me");
    for renewed in [-1_000_000, 1_000_000] {
        let mut lease = lease(Some("rival"), Some(30));
        lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(at(renewed)));
        let decision = evaluate(Some(&lease), &me, THIRTY, Duration::from_secs(10), at(0));
        assert_eq!(
            decision,
            Decision::Wait { holder: "rival".to_owned(), expires_in: Duration::from_secs(20) },
            "{renewed}"
        );
    }
}

#[test]
fn an_absent_lease_is_created_without_a_version() {
    let Decision::Create(lease) = evaluate(None, &Holder::named("me"), THIRTY, Duration::ZERO, at(0)) else {
        panic!("an absent lease must be created");
    };
    assert_eq!(lease.metadata.resource_version, None);
    assert_eq!(lease.spec.unwrap(), held_by(&Holder::named("me"), THIRTY, at(0), at(0), 0));
}

#[test]
fn the_fence_closes_before_the_lease_runs_out_and_opens_with_a_renewal() {
    let (clock, hands) = Clock::manual(at(0));
    let fence = Fence::closed(clock.clone(), Duration::from_secs(22));
    assert!(!fence.may_write());
    fence.renewed(clock.monotonic(), clock.now());
    hands.advance(Duration::from_secs(21));
    assert!(fence.may_write());
    assert_eq!(fence.remaining(), Some(Duration::from_secs(1)));
    hands.advance(Duration::from_secs(1));
    assert!(!fence.may_write());
    fence.renewed(clock.monotonic(), clock.now());
    assert!(fence.clone().may_write());
    fence.close();
    assert!(!fence.may_write());
}

#[test]
fn a_machine_that_was_suspended_may_not_write_on_waking() {
    let (clock, hands) = Clock::manual(at(0));
    let fence = Fence::closed(clock.clone(), Duration::from_secs(22));
    fence.renewed(clock.monotonic(), clock.now());
    hands.step_time_of_day(Duration::from_secs(40));
    assert!(!fence.may_write());
}

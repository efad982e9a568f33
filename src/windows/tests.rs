use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::api::{Application, SyncWindow};
use crate::model::Reason;

mod daylight;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(kind: &str, schedule: &str, duration: &str) -> SyncWindow {
    SyncWindow {
        kind: kind.into(),
        schedule: schedule.into(),
        duration: duration.into(),
        applications: vec!["*".into()],
        ..SyncWindow::default()
    }
}

fn cart() -> Subject<'static> {
    Subject {
        application: "cart",
        namespace: "shop-prod",
        clusters: vec!["https://kubernetes.default.svc", "in-cluster"],
    }
}

fn state(windows: &[SyncWindow], now: &str) -> Option<(bool, bool)> {
    let windows = SyncWindows::new("shop", windows);
    assert_eq!(windows.problems(), []);
    windows.evaluate(&cart(), at(now)).map(|state| (state.open, state.manual_sync))
}

#[test]
fn without_a_window_that_selects_the_application_nothing_is_said_and_nothing_held() {
    let other = SyncWindow { applications: vec!["search".into()], ..window("deny", "* * * * *", "1h") };
    assert_eq!(state(&[], "2026-03-02T12:00:00Z"), None);
    assert_eq!(state(std::slice::from_ref(&other), "2026-03-02T12:00:00Z"), None);
    assert_eq!(SyncWindows::new("shop", &[other]).hold(&cart(), false, at("2026-03-02T12:00:00Z")), None);
}

#[test]
fn a_window_is_open_from_its_first_instant_to_just_before_its_end() {
    let windows = [window("allow", "0 22 * * *", "2h")];
    for (now, open) in [
        ("2026-03-02T21:59:59.999Z", false),
        ("2026-03-02T22:00:00Z", true),
        ("2026-03-02T23:59:59.999Z", true),
        ("2026-03-03T00:00:00Z", false),
    ] {
        assert_eq!(state(&windows, now), Some((open, open)), "{now}");
    }
}

#[test]
fn selectors_match_any_of_them_or_with_the_operator_all() {
    let base = SyncWindow { applications: Vec::new(), ..window("deny", "* * * * *", "1h") };
    let select = |applications: &[&str], namespaces: &[&str], clusters: &[&str], and_operator| SyncWindow {
        applications: applications.iter().map(ToString::to_string).collect(),
        namespaces: namespaces.iter().map(ToString::to_string).collect(),
        clusters: clusters.iter().map(ToString::to_string).collect(),
        and_operator,
        ..base.clone()
    };
    for (window, concerned) in [
        (select(&["ca*"], &[], &[], false), true),
        (select(&["CART"], &[], &[], false), false),
        (select(&["x"], &["shop-*"], &[], false), true),
        (select(&["x"], &["y"], &["in-cluster"], false), true),
        (select(&["x"], &["y"], &["https://kubernetes.*"], false), true),
        (select(&["x"], &["y"], &["z"], false), false),
        (select(&["ca*"], &["shop-{prod,dev}"], &[], true), true),
        (select(&["ca*"], &["y"], &[], true), false),
        (select(&["ca*"], &["shop-prod"], &["z"], true), false),
        (select(&["ca*"], &["shop-prod"], &["*"], true), true),
    ] {
        let found =
            SyncWindows::new("shop", std::slice::from_ref(&window)).evaluate(&cart(), at("2026-03-02T12:00:00Z"));
        assert_eq!(found.is_some(), concerned, "{window:?}");
    }
}

#[test]
fn destination_of_the_own_cluster_is_selected_by_its_url_and_by_its_name() {
    let mut application = Application::default();
    application.metadata.name = Some("cart".into());
    application.spec.destination.namespace = Some("shop-prod".into());
    assert_eq!(Subject::of(&application), cart());
    application.spec.destination.name = Some("in-cluster".into());
    assert_eq!(Subject::of(&application), cart());
    application.spec.destination.name = Some("eu-1".into());
    assert_eq!(Subject::of(&application).clusters, ["eu-1"]);
}

/// The deciding windows of Argo CD's rule, with what a person may do meanwhile.
#[test]
fn who_may_sync_follows_from_all_windows_that_close() {
    let open = |kind: &str, manual_sync| SyncWindow { manual_sync, ..window(kind, "0 12 * * *", "1h") };
    let shut = |kind: &str, manual_sync| SyncWindow { manual_sync, ..window(kind, "0 3 * * *", "1h") };
    for (windows, expected) in [
        (vec![open("allow", false)], (true, true)),
        (vec![shut("allow", false)], (false, false)),
        (vec![shut("allow", true)], (false, true)),
        (vec![shut("allow", true), shut("allow", false)], (false, false)),
        (vec![shut("allow", false), open("allow", false)], (true, true)),
        (vec![open("deny", false)], (false, false)),
        (vec![open("deny", true)], (false, true)),
        (vec![open("deny", true), open("deny", false)], (false, false)),
        (vec![shut("deny", false)], (true, true)),
        (vec![open("allow", true), open("deny", false)], (false, false)),
        (vec![shut("allow", false), open("deny", true)], (false, true)),
        (vec![shut("allow", true), shut("deny", false)], (false, true)),
        (vec![open("allow", false), shut("deny", false)], (true, true)),
    ] {
        assert_eq!(state(&windows, "2026-03-02T12:30:00Z"), Some(expected), "{windows:#?}");
    }
}

#[test]
fn state_names_the_deciding_window_and_the_next_change() {
    let freeze = SyncWindow {
        time_zone: "Europe/Berlin".into(),
        description: "nightly batch".into(),
        manual_sync: true,
        ..window("deny", "0 22 * * 1-5", "8h")
    };
    let windows = SyncWindows::new("shop", &[window("allow", "* * * * *", "5m"), freeze]);
    assert_eq!(
        windows.evaluate(&cart(), at("2026-03-02T23:30:00Z")),
        Some(WindowState {
            open: false,
            manual_sync: true,
            overrun: false,
            next_change: Some(at("2026-03-03T05:00:00Z")),
            look_again: Some(at("2026-03-03T05:00:00Z")),
            message:
                "denied by syncWindows[1] (deny `0 22 * * 1-5` for 8h, Europe/Berlin, nightly batch) of project `shop`"
                    .into(),
        })
    );
    assert_eq!(
        windows.hold(&cart(), false, at("2026-03-02T23:30:00Z")),
        Some(Hold {
            reason: Reason::WindowClosed,
            message: "denied by syncWindows[1] (deny `0 22 * * 1-5` for 8h, Europe/Berlin, nightly batch) of project `shop`; a sync \
                      may start from 2026-03-03T05:00:00Z on; until then a sync that is asked for may"
                .into(),
            until: Some(at("2026-03-03T05:00:00Z")),
            manual_allowed: true,
        })
    );
    assert_eq!(windows.hold(&cart(), true, at("2026-03-02T23:30:00Z")), None);
    let open = windows.evaluate(&cart(), at("2026-03-03T05:00:00Z")).unwrap();
    assert_eq!((open.open, open.next_change), (true, Some(at("2026-03-03T21:00:00Z"))));
    assert_eq!(open.message, "allowed by syncWindows[0] (allow `* * * * *` for 5m, UTC) of project `shop`");
    let status = open.status();
    assert_eq!(status.next_change.as_deref(), Some("2026-03-03T21:00:00Z"));
}

#[test]
fn windows_that_touch_or_overlap_count_as_one() {
    let windows =
        SyncWindows::new("shop", &[window("allow", "0 8,9,10 * * *", "1h"), window("allow", "30 10 * * *", "2h")]);
    let state = windows.evaluate(&cart(), at("2026-03-02T08:00:00Z")).unwrap();
    assert_eq!(state.next_change, Some(at("2026-03-02T12:30:00Z")));
    let longer_than_its_period = SyncWindows::new("shop", &[window("deny", "0 0 * * *", "30h")]);
    let state = longer_than_its_period.evaluate(&cart(), at("2026-03-02T08:00:00Z")).unwrap();
    assert_eq!((state.open, state.next_change), (false, None));
    assert!(state.look_again.is_some_and(|again| again > at("2027-03-02T00:00:00Z")));
}

#[test]
fn a_freeze_that_comes_once_a_year_is_foreseen() {
    let windows = SyncWindows::new("shop", &[window("deny", "0 0 20 12 *", "336h")]);
    let state = windows.evaluate(&cart(), at("2026-01-03T00:00:00Z")).unwrap();
    assert_eq!((state.open, state.next_change), (true, Some(at("2026-12-20T00:00:00Z"))));
}

#[test]
fn a_running_sync_goes_on_only_if_all_that_close_let_it_and_its_start_was_allowed() {
    let allow = |sync_overrun| SyncWindow { sync_overrun, ..window("allow", "0 8 * * *", "1h") };
    let deny = |sync_overrun| SyncWindow { sync_overrun, ..window("deny", "0 8 * * *", "1h") };
    let (before, inside, after) = ("2026-03-02T07:30:00Z", "2026-03-02T08:30:00Z", "2026-03-02T09:30:00Z");
    for (windows, started, now, expected) in [
        (vec![allow(true)], inside, after, true),
        (vec![allow(false)], inside, after, false),
        (vec![allow(true)], before, after, false),
        (vec![allow(false)], before, inside, true),
        (
            vec![allow(true), SyncWindow { sync_overrun: false, ..window("allow", "0 20 * * *", "1h") }],
            inside,
            after,
            false,
        ),
        (vec![deny(true)], before, inside, true),
        (vec![deny(false)], before, inside, false),
        (vec![deny(true), deny(false)], before, inside, false),
        (vec![deny(true)], inside, "2026-03-02T08:40:00Z", false),
        (vec![deny(false)], inside, after, true),
        (vec![], before, inside, true),
    ] {
        let compiled = SyncWindows::new("shop", &windows);
        assert_eq!(
            compiled.may_continue(&cart(), at(started), false, at(now)),
            expected,
            "{started} {now} {windows:#?}"
        );
    }
    // A person's sync was allowed where an automated one was not.
    let manual = SyncWindow { manual_sync: true, ..allow(true) };
    let compiled = SyncWindows::new("shop", &[manual]);
    assert!(compiled.may_continue(&cart(), at(before), true, at(before)));
    assert!(!compiled.may_continue(&cart(), at(before), false, at(before)));
}

#[test]
fn windows_that_cannot_be_read_are_named_and_close() {
    let broken = |change: fn(&mut SyncWindow), kind: &str| {
        let mut window = window(kind, "0 8 * * *", "1h");
        change(&mut window);
        window
    };
    let cases = [
        (
            broken(|window| window.schedule = "0 8 * *".into(), "deny"),
            "spec.syncWindows[0].schedule: schedule `0 8 * *` is no cron expression of five fields",
            Some((false, false)),
        ),
        (
            broken(|window| window.schedule = "0 8 * * * 2030".into(), "allow"),
            "spec.syncWindows[0].schedule: schedule `0 8 * * * 2030` is no cron expression of five fields",
            Some((false, false)),
        ),
        (
            broken(|window| window.schedule = "0 8 31 2 *".into(), "deny"),
            "spec.syncWindows[0].schedule: schedule `0 8 31 2 *` never comes",
            Some((false, false)),
        ),
        (
            broken(|window| window.duration = "1d".into(), "allow"),
            "spec.syncWindows[0].duration: duration `1d` is no length of time above zero",
            Some((false, false)),
        ),
        (
            broken(|window| window.duration = "0s".into(), "deny"),
            "spec.syncWindows[0].duration: duration `0s` is no length of time above zero",
            Some((false, false)),
        ),
        (
            broken(|window| window.time_zone = "Europe/Atlantis".into(), "deny"),
            "spec.syncWindows[0].timeZone: timeZone `Europe/Atlantis` is not a name of the IANA time zone database",
            Some((false, false)),
        ),
        (
            broken(
                |window| {
                    window.time_zone = "Local".into();
                    window.manual_sync = true;
                },
                "deny",
            ),
            "spec.syncWindows[0].timeZone: timeZone `Local` is not a name of the IANA time zone database",
            Some((false, true)),
        ),
        (
            broken(|_| {}, "Deny"),
            "spec.syncWindows[0].kind: `Deny` is neither `allow` nor `deny`",
            Some((false, false)),
        ),
        (
            broken(|window| window.applications.clear(), "deny"),
            "spec.syncWindows[0].applications: the window selects nothing and has no effect",
            None,
        ),
    ];
    for (window, problem, expected) in cases {
        let windows = SyncWindows::new("shop", std::slice::from_ref(&window));
        let problems: Vec<String> = windows.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 1, "{window:?}: {problems:?}");
        assert!(problems[0].starts_with(&format!("AppProject `shop`: {problem}")), "{}", problems[0]);
        let state = windows.evaluate(&cart(), at("2026-03-02T12:00:00Z"));
        assert_eq!(state.as_ref().map(|state| (state.open, state.manual_sync)), expected, "{window:?}");
        if expected.is_some() {
            assert_eq!(state.and_then(|state| state.look_again), None, "{window:?}");
        }
    }
    let glob = SyncWindow { applications: vec!["[".into()], ..window("deny", "0 8 * * *", "1h") };
    let windows = SyncWindows::new("shop", &[glob]);
    assert!(windows.problems()[0].message.ends_with("it counts as `*`"));
    assert!(windows.evaluate(&cart(), at("2026-03-02T12:00:00Z")).is_some());
}

#[test]
fn schedules_are_read_as_argo_cd_reads_them() {
    let starts = |schedule: &str, from: &str| {
        let windows = SyncWindows::new("shop", &[window("allow", schedule, "1m")]);
        assert_eq!(windows.problems(), [], "{schedule}");
        windows.evaluate(&cart(), at(from)).and_then(|state| state.next_change)
    };
    for (schedule, start) in [
        ("@daily", "2026-03-03T00:00:00Z"),
        ("5/15 * * * *", "2026-03-02T12:05:00Z"),
        ("0 0 * * SUN", "2026-03-08T00:00:00Z"),
        ("0 0 * * 0", "2026-03-08T00:00:00Z"),
        ("0 0 ? * mon-fri", "2026-03-03T00:00:00Z"),
        // A day of the month or a day of the week, when both are given.
        ("0 0 13 * 5", "2026-03-06T00:00:00Z"),
        ("0 0 1 jan *", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(starts(schedule, "2026-03-02T12:00:30Z"), Some(at(start)), "{schedule}");
    }
}

fn some_window() -> impl Strategy<Value = SyncWindow> {
    let schedule = prop_oneof![
        (0..60_u32, 0..24_u32).prop_map(|(minute, hour)| format!("{minute} {hour} * * *")),
        (0..60_u32, 0..24_u32, 0..7_u32).prop_map(|(minute, hour, day)| format!("{minute} {hour} * * {day}")),
        (0..60_u32).prop_map(|minute| format!("{minute} * * * *")),
        (2..40_u32).prop_map(|step| format!("*/{step} * * * *")),
        (0..24_u32, 0..24_u32).prop_map(|(first, second)| format!("15 {first},{second} * * *")),
    ];
    let zone = prop_oneof![Just(""), Just("Europe/Berlin"), Just("America/New_York"), Just("Asia/Kolkata")];
    (any::<bool>(), schedule, 1..2000_u32, zone, any::<bool>(), any::<bool>()).prop_map(
        |(allow, schedule, minutes, time_zone, manual_sync, sync_overrun)| SyncWindow {
            manual_sync,
            sync_overrun,
            time_zone: time_zone.into(),
            ..window(if allow { "allow" } else { "deny" }, &schedule, &format!("{minutes}m"))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against every minute of three days, which lie around a change of the clock or not.
    #[test]
    fn the_next_change_is_the_first_minute_at_which_the_verdict_is_another(
        windows in proptest::collection::vec(some_window(), 1..4),
        day in prop_oneof![Just("2026-03-28T00:00:00Z"), Just("2026-10-24T00:00:00Z"), Just("2026-03-07T00:00:00Z"), Just("2026-06-01T00:00:00Z")],
        offset in 0..1440_i64,
    ) {
        let compiled = SyncWindows::new("shop", &windows);
        let start = at(day) + SignedDuration::from_mins(offset);
        let state = compiled.evaluate(&cart(), start).unwrap();
        let hold = compiled.hold(&cart(), true, start);
        prop_assert_eq!(hold.is_none(), state.manual_sync);
        let minutes = 3 * 1440;
        let mut change = None;
        let mut manual = None;
        for minute in 1..minutes {
            let time = start + SignedDuration::from_mins(minute);
            if change.is_none() && compiled.may_start(&cart(), false, time) != state.open {
                change = Some(time);
            }
            if manual.is_none() && compiled.may_start(&cart(), true, time) != state.manual_sync {
                manual = Some(time);
            }
            if change.is_some() && (manual.is_some() || hold.is_none()) {
                break;
            }
        }
        let seen = |time: Option<Timestamp>| time.filter(|time| *time < start + SignedDuration::from_mins(minutes));
        prop_assert_eq!(seen(state.next_change), change);
        if let Some(hold) = hold {
            prop_assert_eq!(seen(hold.until), manual);
        }
    }
}

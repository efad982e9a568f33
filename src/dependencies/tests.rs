use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::{Application, ApplicationDependency, DependencyCondition};
use crate::model::Reason;
use crate::plan::Waiting;

fn id(text: &str) -> ApplicationId {
    let (namespace, name) = text.split_once('/').unwrap();
    ApplicationId::new(namespace, name)
}

fn application(change: impl Fn(&mut Value)) -> Arc<Application> {
    let mut value = json!({
        "metadata": { "name": "database", "namespace": "tidelock", "generation": 3 },
        "spec": { "project": "default", "destination": {} },
        "status": {
            "observedGeneration": 3,
            "sync": { "status": "Synced", "revision": "0123456789abcdef0123456789abcdef01234567" },
            "health": { "status": "Healthy" },
            "operationState": { "phase": "Succeeded", "startedAt": "2026-03-02T12:00:00Z" }
        }
    });
    change(&mut value);
    Arc::new(serde_json::from_value(value).unwrap())
}

fn on(name: &str) -> ApplicationDependency {
    ApplicationDependency { name: name.into(), ..ApplicationDependency::default() }
}

fn evaluate(dependency: &ApplicationDependency, sight: Sight) -> Option<Waiting> {
    let dependencies = Dependencies::new(id("tidelock/shop"), std::slice::from_ref(dependency));
    let other = dependencies.ids().into_iter().next().unwrap();
    dependencies.evaluate(&BTreeMap::from([(other, sight)]), None).into_iter().next()
}

#[test]
fn an_application_that_is_synced_and_healthy_releases_what_depends_on_it() {
    let by = |condition, revision: &str, when: &str| ApplicationDependency {
        condition,
        revision: revision.into(),
        when: when.into(),
        ..on("database")
    };
    for dependency in [
        on("database"),
        by(Some(DependencyCondition::Synced), "", ""),
        by(Some(DependencyCondition::Healthy), "0123456", ""),
        by(None, "0123456789ABCDEF0123456789ABCDEF01234567", ""),
        by(None, "", "status.sync.status == 'Synced' && metadata.generation == 3"),
    ] {
        assert_eq!(evaluate(&dependency, Sight::Present(application(|_| {}))), None, "{dependency:?}");
    }
}

#[test]
fn each_state_that_holds_is_named_with_what_releases_it() {
    let healthy = on("database");
    let synced = ApplicationDependency { condition: Some(DependencyCondition::Synced), ..on("database") };
    let at = |revision: &str| ApplicationDependency { revision: revision.into(), ..on("database") };
    let when = |when: &str| ApplicationDependency { when: when.into(), ..on("database") };
    let present = |change: fn(&mut Value)| Sight::Present(application(change));
    let cases = [
        (&healthy, Sight::Missing, Reason::WaitingForDependency, "Application `tidelock/database` does not exist"),
        (
            &healthy,
            Sight::Unseen { why: "forbidden".into() },
            Reason::WaitingForDependency,
            "Application `tidelock/database` could not be looked at: forbidden",
        ),
        (
            &healthy,
            Sight::Unreadable { why: "bad".into() },
            Reason::WaitingForDependency,
            "Application `tidelock/database` can't be read by this version: bad",
        ),
        (
            &healthy,
            present(|value| value["metadata"]["generation"] = json!(4)),
            Reason::WaitingForDependency,
            "Application `tidelock/database` was changed and its status does not tell of it yet",
        ),
        (
            &healthy,
            present(|value| value["status"] = Value::Null),
            Reason::WaitingForDependency,
            "Application `tidelock/database` was changed and its status does not tell of it yet",
        ),
        (
            &healthy,
            present(|value| value["metadata"]["deletionTimestamp"] = json!("2026-03-02T12:00:00Z")),
            Reason::WaitingForDependency,
            "Application `tidelock/database` is being deleted",
        ),
        (
            &healthy,
            present(|value| value["status"]["sync"]["status"] = json!("OutOfSync")),
            Reason::WaitingForDependency,
            "Application `tidelock/database` is OutOfSync",
        ),
        (
            &healthy,
            present(|value| value["status"]["operationState"]["phase"] = json!("Running")),
            Reason::WaitingForDependency,
            "Application `tidelock/database` is being synced",
        ),
        (
            &healthy,
            present(|value| value["status"]["health"] = json!({ "status": "Degraded", "message": "1 of 3" })),
            Reason::WaitingForDependency,
            "Application `tidelock/database` is Degraded: 1 of 3",
        ),
        (
            &synced,
            present(|value| value["status"]["operationState"]["phase"] = json!("Failed")),
            Reason::WaitingForDependency,
            "the last sync of Application `tidelock/database` failed: ",
        ),
        (
            &at("fedcba9"),
            present(|_| {}),
            Reason::WaitingForDependency,
            "Application `tidelock/database` is at revision `0123456789abcdef0123456789abcdef01234567`, not at `fedcba9`",
        ),
        (
            &at("0123"),
            present(|_| {}),
            Reason::InvalidSpec,
            "revision `0123` of the dependency on `tidelock/database` is too short to name a commit",
        ),
        (
            &when("status.health.status == 'Degraded'"),
            present(|_| {}),
            Reason::WaitingForDependency,
            "Application `tidelock/database`: `status.health.status == 'Degraded'` is false",
        ),
        (&when("status.("), present(|_| {}), Reason::InvalidSpec, "spec.dependsOn[0].when can't be used: "),
    ];
    for (dependency, sight, reason, message) in cases {
        let waiting = evaluate(dependency, sight).unwrap_or_else(|| panic!("should wait: {message}"));
        assert_eq!(waiting.reason, reason, "{waiting:?}");
        assert!(waiting.message.starts_with(message), "{} should start with {message}", waiting.message);
        assert!(!waiting.release.is_empty(), "{waiting:?}");
        assert_eq!(waiting.key.to_string(), "tidelock.dev/Application/tidelock/database");
    }
    let failed = present(|value| value["status"]["operationState"]["phase"] = json!("Failed"));
    assert_eq!(evaluate(&healthy, failed), None, "Healthy asks for the state, not for how the last sync went");
}

#[test]
fn another_namespace_must_grant_it() {
    let far = ApplicationDependency { namespace: "payments".into(), ..on("database") };
    for (granted, allowed) in [
        (None, false),
        (Some("*"), true),
        (Some("tidelock"), true),
        (Some("a, tidelock"), true),
        (Some("tidelock-2"), false),
    ] {
        let other = application(|value| {
            value["metadata"]["annotations"] =
                granted.map_or(Value::Null, |granted| json!({ ALLOW_DEPENDENTS_ANNOTATION: granted }));
        });
        let waiting = evaluate(&far, Sight::Present(other));
        assert_eq!(waiting.is_none(), allowed, "{granted:?}");
        if let Some(waiting) = waiting {
            assert_eq!(waiting.reason, Reason::NotPermitted);
            assert_eq!(waiting.release, "set its annotation `tidelock.dev/allow-dependents` to `tidelock` or `*`");
        }
    }
}

#[test]
fn the_gravest_reason_heads_the_hold() {
    let entries = [on("missing"), ApplicationDependency { namespace: "payments".into(), ..on("database") }];
    let dependencies = Dependencies::new(id("tidelock/shop"), &entries);
    let sights = BTreeMap::from([
        (id("tidelock/missing"), Sight::Missing),
        (id("payments/database"), Sight::Present(application(|_| {}))),
    ]);
    let waiting = dependencies.evaluate(&sights, None);
    assert_eq!(waiting.len(), 2);
    let hold = Dependencies::hold(&waiting).unwrap();
    assert_eq!(hold.reason, Reason::NotPermitted);
    assert!(hold.message.ends_with("; and 1 more in status.waitingOn"), "{}", hold.message);
    assert_eq!(Dependencies::hold(&[]), None);
}

fn edges(pairs: &[(&str, &str)]) -> Edges {
    let mut edges = Edges::new();
    for (from, to) in pairs {
        edges.entry(id(from)).or_default().insert(id(to));
    }
    edges
}

#[test]
fn the_shortest_circle_is_printed_and_only_its_members_are_refused() {
    let edges = edges(&[
        ("t/a", "t/b"),
        ("t/b", "t/c"),
        ("t/c", "t/a"),
        ("t/c", "t/d"),
        ("t/d", "t/b"),
        ("t/x", "t/a"),
        ("t/s", "t/s"),
    ]);
    let found = |of: &str| circle(&id(of), &edges).map(|path| path.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(found("t/a"), Some(vec!["t/a".into(), "t/b".into(), "t/c".into(), "t/a".into()]));
    assert_eq!(found("t/d"), Some(vec!["t/d".into(), "t/b".into(), "t/c".into(), "t/d".into()]));
    assert_eq!(found("t/s"), Some(vec!["t/s".into(), "t/s".into()]));
    assert_eq!(found("t/x"), None);
    assert_eq!(found("t/unknown"), None);
    let path = circle(&id("t/a"), &edges);
    let waiting = Dependencies::new(id("t/a"), &[on("b")]).evaluate(&BTreeMap::new(), path.as_deref());
    assert_eq!(
        waiting,
        [Waiting {
            key: id("t/a").key(),
            condition: "ready",
            message: "the Applications wait for each other: t/a → t/b → t/c → t/a".into(),
            reason: Reason::DependencyCycle,
            release: "take one of these out of the spec.dependsOn of the one before it".into(),
        }]
    );
}

#[test]
fn what_others_need_goes_after_them_unless_they_have_no_right_to_hold_it() {
    let edges = edges(&[
        ("tidelock/shop", "tidelock/database"),
        ("tidelock/ring", "tidelock/database"),
        ("tidelock/database", "tidelock/ring"),
    ]);
    let going = application(|value| value["metadata"]["deletionTimestamp"] = json!("2026-03-02T12:00:00Z"));
    let dependents = BTreeMap::from([
        (id("tidelock/going"), Arc::clone(&going)),
        (id("tidelock/ring"), application(|_| {})),
        (id("tidelock/shop"), application(|_| {})),
        (id("intruder/shop"), application(|_| {})),
    ]);
    let waits = deletion_waits(&id("tidelock/database"), &going, &dependents, &edges);
    let seen: BTreeSet<(String, String)> =
        waits.into_iter().map(|waiting| (waiting.key.name, waiting.release)).collect();
    assert_eq!(
        seen,
        BTreeSet::from([
            ("going".into(), "the end of its deletion".into()),
            ("shop".into(), "delete `tidelock/shop`, or take `database` out of its spec.dependsOn".into()),
        ])
    );
}

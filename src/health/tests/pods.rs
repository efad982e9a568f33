//! Workloads told by their pods.

use serde_json::{Value, json};

use super::context;
use crate::health::{selector_text, worst_pod};

fn pod(name: &str, born: &str, status: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "creationTimestamp": born},
        "spec": {"restartPolicy": "Always"}, "status": status,
    })
}

fn crashing() -> Value {
    json!({"phase": "Running", "containerStatuses": [{
        "name": "app", "ready": false,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
    }]})
}

fn well() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

#[test]
fn the_youngest_of_the_worst_pods_speaks() {
    let starting = json!({"phase": "Pending", "containerStatuses": [
        {"name": "app", "state": {"waiting": {"reason": "ContainerCreating"}}},
    ]});
    let pods = [
        pod("old", "2026-01-01T00:00:00Z", &crashing()),
        pod("young", "2026-01-01T00:00:09Z", &crashing()),
        pod("youngest", "2026-01-01T00:00:20Z", &starting),
        pod("well", "2026-01-01T00:00:30Z", &well()),
    ];
    assert_eq!(
        worst_pod(&pods, &context()).as_deref(),
        Some("pod young: container `app` waits: CrashLoopBackOff: back-off 20s; before that it exited with code 1")
    );
    assert_eq!(
        worst_pod(&[pod("a", "2026-01-01T00:00:00Z", &starting)], &context()).as_deref(),
        Some("pod a: container `app` waits: ContainerCreating")
    );
}

#[test]
fn pods_that_are_well_or_leave_say_nothing() {
    let mut leaving = pod("leaving", "2026-01-01T00:00:00Z", &crashing());
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:05Z");
    assert_eq!(worst_pod(&[leaving, pod("well", "2026-01-01T00:00:00Z", &well())], &context()), None);
    assert_eq!(worst_pod(&[], &context()), None);
}

#[test]
fn a_selector_is_written_as_a_list_takes_it() {
    let text = |selector: Value| selector_text(&json!({"spec": {"selector": selector}}));
    assert_eq!(text(json!({"matchLabels": {"app": "a", "tier": "b"}})).as_deref(), Some("app=a,tier=b"));
    let expressions = json!([
        {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "x", "operator": "NotIn", "values": ["c"]},
        {"key": "y", "operator": "Exists"}, {"key": "z", "operator": "DoesNotExist"},
    ]);
    assert_eq!(text(json!({"matchExpressions": expressions})).as_deref(), Some("tier in (a,b),x notin (c),y,!z"));
    // What selects everything would bring the pods of others.
    assert_eq!(text(json!({})), None);
    assert_eq!(text(json!({"matchExpressions": [{"key": "a", "operator": "Like"}]})), None);
    assert_eq!(selector_text(&json!({"spec": {}})), None);
}

//! Pod.

use HealthStatus::{Degraded, Healthy, Progressing, Unknown};

use super::*;

fn pod(restart_policy: &str, status: &Value) -> Value {
    object("v1", "Pod", &json!({"restartPolicy": restart_policy}), status)
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [
        {"name": "side", "ready": true, "state": {"running": {}}},
        {"name": "app", "ready": false, "state": {"waiting": {"reason": reason, "message": message}}},
    ]})
}

fn unschedulable(since: &str) -> Value {
    json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": since,
        "message": "0/3 nodes are available",
    }]})
}

#[test]
fn a_pod_that_waits_names_the_container_and_its_reason() {
    check(&[
        (
            "creating",
            pod("Always", &waiting("ContainerCreating", "")),
            Progressing,
            "container `app` waits: ContainerCreating",
        ),
        (
            "image",
            pod("Always", &waiting("ImagePullBackOff", "no such image")),
            Degraded,
            "container `app` waits: ImagePullBackOff: no such image",
        ),
        (
            "image of a task",
            pod("Never", &waiting("ErrImagePull", "no such image")),
            Degraded,
            "container `app` waits: ErrImagePull: no such image",
        ),
        (
            "config",
            pod("Always", &waiting("CreateContainerConfigError", "no secret")),
            Degraded,
            "container `app` waits: CreateContainerConfigError: no secret",
        ),
        (
            "crash loop of a task is its retry",
            pod("OnFailure", &waiting("CrashLoopBackOff", "back-off")),
            Progressing,
            "container `app` waits: CrashLoopBackOff: back-off",
        ),
        ("nothing known", pod("Always", &json!({"phase": "Pending"})), Progressing, "is Pending"),
        ("no status", pod("Always", &Value::Null), Progressing, "has no status yet"),
        ("odd phase", pod("Always", &json!({"phase": "Odd"})), Unknown, "phase is Odd"),
        (
            "init container",
            pod(
                "Always",
                &json!({"phase": "Pending", "initContainerStatuses": [{
                    "name": "init", "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 2, "reason": "Error", "message": "no database"}},
                }]}),
            ),
            Degraded,
            "container `init` waits: CrashLoopBackOff; before that it exited with code 2: no database",
        ),
    ]);
}

#[test]
fn an_unschedulable_pod_fails_after_fifteen_seconds() {
    check(&[
        (
            "for 15 s",
            pod("Always", &unschedulable("2026-01-01T11:59:45Z")),
            Progressing,
            "can't be scheduled: 0/3 nodes are available",
        ),
        (
            "for 16 s",
            pod("Always", &unschedulable("2026-01-01T11:59:44Z")),
            Degraded,
            "can't be scheduled: 0/3 nodes are available",
        ),
        (
            "since nobody knows when",
            pod("Always", &unschedulable("")),
            Progressing,
            "can't be scheduled: 0/3 nodes are available",
        ),
    ]);
}

#[test]
fn a_running_pod_is_healthy_when_ready_unless_it_runs_to_completion() {
    let running = |ready: &str, container: Value| {
        json!({"phase": "Running", "containerStatuses": [container],
               "conditions": [{"type": "Ready", "status": ready, "message": "containers with unready status: [app]"}]})
    };
    let restarted = json!({"name": "app", "ready": false, "state": {"running": {}},
                           "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
    let recovered = json!({"name": "app", "ready": true, "state": {"running": {}},
                           "lastState": {"terminated": {"exitCode": 1}}});
    check(&[
        ("ready", pod("Always", &running("True", json!({"name": "app", "ready": true}))), Healthy, ""),
        ("ready again", pod("Always", &running("True", recovered)), Healthy, ""),
        (
            "not ready",
            pod("Always", &running("False", json!({"name": "app", "ready": false}))),
            Progressing,
            "containers with unready status: [app]",
        ),
        (
            "restarted",
            pod("Always", &running("False", restarted)),
            Degraded,
            "container `app` was restarted after it was killed for lack of memory (OOMKilled)",
        ),
        (
            "task",
            pod("Never", &running("True", json!({"name": "app", "ready": true}))),
            Progressing,
            "runs; it is done when its containers have succeeded",
        ),
    ]);
}

#[test]
fn a_finished_pod_is_healthy_or_says_why_not() {
    let failed = json!({"phase": "Failed", "containerStatuses": [
        {"name": "ok", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
        {"name": "app", "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "bad flag\n"}}},
    ]});
    check(&[
        ("succeeded", pod("Never", &json!({"phase": "Succeeded"})), Healthy, ""),
        (
            "own message",
            pod("Never", &json!({"phase": "Failed", "message": "Pod was evicted"})),
            Degraded,
            "Pod was evicted",
        ),
        ("container", pod("Never", &failed), Degraded, "container `app` exited with code 3: bad flag"),
        (
            "reason",
            pod("Never", &json!({"phase": "Failed", "reason": "NodeLost"})),
            Degraded,
            "phase is Failed: NodeLost",
        ),
    ]);
}

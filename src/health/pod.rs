//! Pod: Argo CD's reading of failures, kstatus' reading of scheduling.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::conditions::find;
use super::object::Object;
use super::{AssessContext, degraded, progressing};
use crate::model::{Health, HealthStatus};

/// How long a pod may be unschedulable before that counts as failure (kstatus' window).
const SCHEDULING_WINDOW: SignedDuration = SignedDuration::from_secs(15);

/// A pod that restarts for ever is healthy once ready; one that runs to completion, once it has succeeded.
pub fn pod(object: Object<'_>, context: &AssessContext) -> Health {
    let runs_for_ever = matches!(object.text("/spec/restartPolicy"), "" | "Always");
    let containers = containers(object);
    if !matches!(object.text("/status/phase"), "Succeeded" | "Failed") {
        if let Some(health) = stuck_container(&containers, runs_for_ever) {
            return health;
        }
        if let Some(health) = unschedulable(object, context.now) {
            return health;
        }
    }
    match object.text("/status/phase") {
        "Succeeded" => Health::healthy(),
        "Failed" => degraded(failure(object, &containers)),
        "Running" if runs_for_ever => running(object, &containers),
        "Running" => progressing("runs; it is done when its containers have succeeded"),
        "Pending" => progressing(waiting(&containers).unwrap_or_else(|| "is Pending".to_owned())),
        "" => progressing("has no status yet"),
        phase => Health::new(HealthStatus::Unknown, format!("phase is {phase}")),
    }
}

/// One container's status, init containers first.
struct Container<'a> {
    name: &'a str,
    status: &'a Value,
}

impl<'a> Container<'a> {
    fn text(&self, pointer: &str) -> &'a str {
        self.status.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    fn with_message(&self, verb: &str, reason: &str, message: &str) -> String {
        let name = self.name;
        let message = message.trim();
        match (reason.is_empty(), message.is_empty()) {
            (false, false) => format!("container `{name}` {verb}: {reason}: {message}"),
            (false, true) => format!("container `{name}` {verb}: {reason}"),
            (true, false) => format!("container `{name}` {verb}: {message}"),
            (true, true) => format!("container `{name}` {verb}"),
        }
    }
}

fn containers(object: Object<'_>) -> Vec<Container<'_>> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .iter()
        .flat_map(|pointer| object.list(pointer))
        .map(|status| Container { name: status.get("name").and_then(Value::as_str).unwrap_or("?"), status })
        .collect()
}

/// A container that waits for a reason that time alone rarely heals. A crash loop is failure only where the pod is to
/// run for ever: elsewhere the restart is the retry that was asked for.
fn stuck_container(containers: &[Container<'_>], runs_for_ever: bool) -> Option<Health> {
    containers.iter().find_map(|container| {
        let reason = container.text("/state/waiting/reason");
        let is_failure = reason.starts_with("Err")
            || reason.ends_with("Error")
            || reason.ends_with("BackOff")
            || reason == "InvalidImageName";
        if !is_failure || (reason == "CrashLoopBackOff" && !runs_for_ever) {
            return None;
        }
        let mut message = container.with_message("waits", reason, container.text("/state/waiting/message"));
        if let Some(last) = termination(container, "/lastState/terminated") {
            message = format!("{message}; before that it {last}");
        }
        Some(degraded(message))
    })
}

fn unschedulable(object: Object<'_>, now: Timestamp) -> Option<Health> {
    let conditions = object.conditions();
    let condition = find(&conditions, "PodScheduled")
        .filter(|condition| condition.is_false() && condition.reason == "Unschedulable")?;
    let since = [condition.last_transition, object.text("/metadata/creationTimestamp")]
        .iter()
        .find_map(|text| text.parse::<Timestamp>().ok());
    let message = format!("can't be scheduled: {}", condition.explain());
    let is_over = since.is_some_and(|since| now.duration_since(since) > SCHEDULING_WINDOW);
    Some(if is_over { degraded(message) } else { progressing(message) })
}

fn running(object: Object<'_>, containers: &[Container<'_>]) -> Health {
    let conditions = object.conditions();
    let ready = find(&conditions, "Ready");
    if ready.is_some_and(super::conditions::Condition::is_true) {
        return Health::healthy();
    }
    let restarted = containers.iter().find_map(|container| {
        let is_up = container.status.get("ready").and_then(Value::as_bool).unwrap_or(false);
        let last = termination(container, "/lastState/terminated").filter(|_| !is_up)?;
        Some(format!("container `{}` was restarted after it {last}", container.name))
    });
    if let Some(message) = restarted {
        return degraded(message);
    }
    if let Some(message) = waiting(containers) {
        return progressing(message);
    }
    match ready {
        Some(condition) => progressing(condition.explain()),
        None => progressing("condition Ready is not reported yet"),
    }
}

fn waiting(containers: &[Container<'_>]) -> Option<String> {
    containers.iter().find_map(|container| {
        container.status.pointer("/state/waiting")?;
        Some(container.with_message(
            "waits",
            container.text("/state/waiting/reason"),
            container.text("/state/waiting/message"),
        ))
    })
}

fn failure(object: Object<'_>, containers: &[Container<'_>]) -> String {
    let message = object.text("/status/message").trim();
    if !message.is_empty() {
        return message.to_owned();
    }
    let failed = containers.iter().find_map(|container| {
        let code = container.status.pointer("/state/terminated/exitCode").and_then(Value::as_i64)?;
        let how = termination(container, "/state/terminated").filter(|_| code != 0)?;
        Some(format!("container `{}` {how}", container.name))
    });
    failed.unwrap_or_else(|| match object.text("/status/reason") {
        "" => "phase is Failed".to_owned(),
        reason => format!("phase is Failed: {reason}"),
    })
}

/// How a container ended: `exited with code 1: Error: message`.
fn termination(container: &Container<'_>, pointer: &str) -> Option<String> {
    let state = container.status.pointer(pointer).filter(|state| state.is_object())?;
    let text = |field: &str| state.get(field).and_then(Value::as_str).unwrap_or_default().trim();
    let code = state.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    let mut sentence = match text("reason") {
        "OOMKilled" => "was killed for lack of memory (OOMKilled)".to_owned(),
        "" | "Error" | "Completed" => format!("exited with code {code}"),
        reason => format!("exited with code {code} ({reason})"),
    };
    let message = text("message");
    if !message.is_empty() {
        sentence = format!("{sentence}: {message}");
    }
    Some(sentence)
}

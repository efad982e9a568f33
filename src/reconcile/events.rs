//! Events on Applications: which change of status is worth one, and the task that writes them.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter as Source};
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::{ApplicationStatus, ConditionStatus, OperationPhase};
use crate::model::{HealthStatus, Reason, shorten};
use crate::status::READY;

/// Longest note of an event: the API server refuses more than 1024 bytes.
const NOTE_BYTES: usize = 1000;
/// Events that may wait to be written. More are dropped: an API server that is slow must not be pressed by news of old.
const WAITING: usize = 1024;
/// How long the API server may take for one event.
const DEADLINE: Duration = Duration::from_secs(10);

/// Takes events without making the reconcile wait. They are written one after the other: nothing depends on them, so
/// they must not compete with applies for the API server.
pub(super) struct EventOutbox {
    waiting: mpsc::Sender<(Event, ObjectReference)>,
}

/// Writes what the outbox takes.
pub(super) struct EventWriter {
    waiting: mpsc::Receiver<(Event, ObjectReference)>,
    recorder: Recorder,
}

/// An outbox and its writer. `instance` is the process that the events come from.
pub(super) fn outbox(client: &Client, instance: &str) -> (EventOutbox, EventWriter) {
    let source = Source { controller: "tidelock".to_owned(), instance: Some(instance.to_owned()) };
    let (sender, receiver) = mpsc::channel(WAITING);
    (
        EventOutbox { waiting: sender },
        EventWriter { waiting: receiver, recorder: Recorder::new(client.clone(), source) },
    )
}

impl EventOutbox {
    /// Takes an event about an object.
    pub(super) fn put(&self, event: Event, about: ObjectReference) {
        if self.waiting.try_send((event, about)).is_err() {
            warn!(waiting = WAITING, "an event was dropped: the API server takes them too slowly");
        }
    }
}

impl EventWriter {
    /// Writes until the outbox is gone.
    pub(super) async fn run(mut self) {
        while let Some((event, about)) = self.waiting.recv().await {
            match tokio::time::timeout(DEADLINE, self.recorder.publish(&event, &about)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "an event could not be written"),
                Err(_) => warn!(seconds = DEADLINE.as_secs(), "an event could not be written: no answer in time"),
            }
        }
    }
}

fn event(type_: EventType, reason: &str, action: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(shorten(note, NOTE_BYTES)),
        action: action.to_owned(),
        secondary: None,
    }
}

/// The events that a change of status is worth: the end of a sync, a change of health that the end of the sync does not
/// tell, a new failure. That a new Application makes progress is no news.
pub(super) fn events(before: &ApplicationStatus, after: &ApplicationStatus) -> Vec<Event> {
    let mut events = Vec::new();
    let ended = |status: &ApplicationStatus| {
        status.operation_state.as_ref().and_then(|state| Some((state.phase, state.finished_at.clone()?)))
    };
    let health = (before.health.status, after.health.status);
    let mut health_is_told = health.0 == health.1
        || matches!(
            health,
            (HealthStatus::Unknown | HealthStatus::Missing, HealthStatus::Progressing | HealthStatus::Missing)
        );
    if ended(before) != ended(after)
        && let Some(state) = &after.operation_state
    {
        match state.phase {
            OperationPhase::Succeeded if health.1 == HealthStatus::Healthy => {
                health_is_told |= health.0 != HealthStatus::Degraded;
                events.push(event(EventType::Normal, "Synced", "Sync", &format!("{}, Healthy", state.message)));
            }
            OperationPhase::Succeeded => events.push(event(EventType::Normal, "Synced", "Sync", &state.message)),
            OperationPhase::Failed | OperationPhase::Error => {
                events.push(event(EventType::Warning, "SyncFailed", "Sync", &state.message));
            }
            OperationPhase::Running | OperationPhase::Terminating => {}
        }
    }
    if !health_is_told {
        let note = format!("{} → {} {}", health.0, health.1, after.health.message);
        let type_ = if health.1 == HealthStatus::Degraded { EventType::Warning } else { EventType::Normal };
        events.push(event(type_, "HealthChanged", "Assess", note.trim_end()));
    }
    let ready = |status: &ApplicationStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == READY)?;
        (condition.status == ConditionStatus::False).then(|| (condition.reason.clone(), condition.message.clone()))
    };
    let failing = ready(after).filter(|(reason, _)| ready(before).is_none_or(|(former, _)| former != *reason));
    let quiet = [
        Reason::Progressing,
        Reason::OutOfSync,
        Reason::Pending,
        Reason::WaitingForHealth,
        Reason::WaitingForHook,
        Reason::WaitingForDependency,
        Reason::WindowClosed,
        Reason::PruneWaiting,
    ]
    .map(Reason::as_str);
    if let Some((reason, message)) = failing.filter(|(reason, _)| !quiet.contains(&reason.as_str())) {
        events.push(event(EventType::Warning, &reason, "Reconcile", &message));
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{InitiatedBy, OperationState};

    fn status(health: HealthStatus, ended: Option<OperationPhase>) -> ApplicationStatus {
        let mut status = ApplicationStatus::default();
        status.health.status = health;
        status.operation_state = ended.map(|phase| OperationState {
            operation: None,
            initiated_by: InitiatedBy::default(),
            phase,
            message: "synced to revision 1234567".to_owned(),
            revision: String::new(),
            revisions: Vec::new(),
            started_at: "2026-01-01T00:00:00Z".to_owned(),
            finished_at: Some("2026-01-01T00:00:01Z".to_owned()),
            retry_count: 0,
            resources: Vec::new(),
        });
        status
    }

    fn told(before: &ApplicationStatus, after: &ApplicationStatus) -> Vec<(String, String)> {
        events(before, after).into_iter().map(|event| (event.reason, event.note.unwrap_or_default())).collect()
    }

    #[test]
    fn a_first_sync_is_one_event_at_its_end() {
        let (new, working) = (status(HealthStatus::Unknown, None), status(HealthStatus::Progressing, None));
        let done = status(HealthStatus::Healthy, Some(OperationPhase::Succeeded));
        assert_eq!(told(&new, &working), []);
        let synced = [("Synced".to_owned(), "synced to revision 1234567, Healthy".to_owned())];
        assert_eq!(told(&working, &done), synced);
        assert_eq!(told(&new, &done), synced);
        assert_eq!(told(&done, &done), []);
    }

    #[test]
    fn health_that_is_lost_or_comes_back_is_an_event() {
        let healthy = status(HealthStatus::Healthy, Some(OperationPhase::Succeeded));
        let degraded = status(HealthStatus::Degraded, Some(OperationPhase::Succeeded));
        let changed = |note: &str| [("HealthChanged".to_owned(), note.to_owned())];
        assert_eq!(told(&healthy, &degraded), changed("Healthy → Degraded"));
        assert_eq!(told(&degraded, &healthy), changed("Degraded → Healthy"));
    }

    #[test]
    fn a_sync_that_repairs_says_so_besides_its_end() {
        let degraded = status(HealthStatus::Degraded, None);
        let repaired = status(HealthStatus::Healthy, Some(OperationPhase::Succeeded));
        let reasons: Vec<String> = told(&degraded, &repaired).into_iter().map(|(reason, _)| reason).collect();
        assert_eq!(reasons, ["Synced", "HealthChanged"]);
    }
}

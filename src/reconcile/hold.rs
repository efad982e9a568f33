//! What keeps a sync from starting although there is something to do: sync windows, and Applications that are not ready.

use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use super::attempts::until;
use super::driver::Driver;
use super::memory::Memory;
use super::requests::asks_for_sync;
use crate::api::{Application, ApplicationStatus, WaitingOn};
use crate::dependencies::Dependencies;
use crate::plan::progress::Waiting;
use crate::status::rfc3339;
use crate::windows::Subject;

/// What keeps a sync from starting.
pub(super) struct Held {
    /// When to ask again, when no event tells.
    pub(super) due: Option<Duration>,
}

impl Driver {
    /// Takes note of how windows and dependencies stand, and tells whether they keep a sync from starting. What a person
    /// asks for stays where it is until it may be taken.
    pub(super) fn held(&self, application: &Application, memory: &mut Memory, now: Timestamp) -> Option<Held> {
        let manual = asks_for_sync(application, memory);
        let subject = Subject::of(application);
        let project = self.projects.get(&application.spec.project).and_then(Result::ok);
        let windows = project.map(|project| self.windows.of(&project));
        let state = windows.as_ref().and_then(|windows| windows.evaluate(&subject, now));
        let closed = windows.as_ref().and_then(|windows| windows.hold(&subject, manual, now));
        memory.window_due = state.as_ref().and_then(|state| state.look_again);
        memory.sync_window = state.as_ref().map(crate::windows::WindowState::status);
        memory.awaited = self.dependencies.waits(application.metadata.name.as_deref().unwrap_or_default());
        let waits = Dependencies::hold(&memory.awaited);
        let reason = closed.as_ref().map(|hold| (hold.reason, &hold.message));
        let reason = reason.or(waits.as_ref().map(|hold| (hold.reason, &hold.message)));
        let (reason, message) = reason?;
        info!(%reason, %message, manual, "no sync may start");
        let due = closed.and_then(|hold| hold.until).and_then(|time| until(time, now));
        Some(Held { due })
    }
}

/// Puts what was noted into a status.
pub(super) fn show(memory: &Memory, now: Timestamp, status: &mut ApplicationStatus) {
    status.sync_window.clone_from(&memory.sync_window);
    if !status.waiting_on.is_empty() {
        return;
    }
    let since = |object: &str, condition: &str| {
        let known =
            memory.status.waiting_on.iter().find(|known| known.object == object && known.condition == condition);
        known.map_or_else(|| rfc3339(now), |known| known.since.clone())
    };
    let shown = |waiting: &Waiting| {
        let object = waiting.key.to_string();
        WaitingOn {
            since: since(&object, waiting.condition),
            object,
            condition: waiting.condition.to_owned(),
            message: waiting.message.clone(),
            release: waiting.release.clone(),
        }
    };
    status.waiting_on = memory.awaited.iter().take(MOST_SHOWN).map(shown).collect();
}

/// Most Applications that the status lists as waited for.
const MOST_SHOWN: usize = 10;

//! What keeps a sync from starting although there is something to do: sync windows, and other Applications that have not
//! come far enough.

use jiff::Timestamp;

use super::driver::Driver;
use crate::api::{Application, SyncWindowStatus};
use crate::dependencies::Dependencies;
use crate::plan::Hold;
use crate::plan::Waiting;
use crate::windows::{Subject, WindowState};

/// How windows and other Applications stand.
pub(super) struct Holds {
    /// Why no automated sync may start.
    pub(super) automated: Option<Hold>,
    /// Why no sync may start that a person asks for.
    pub(super) manual: Option<Hold>,
    /// What other Applications are waited for.
    pub(super) waits: Vec<Waiting>,
    /// The windows, when any concerns the Application.
    pub(super) window: Option<SyncWindowStatus>,
    /// When the windows have to be looked at again.
    pub(super) look_again: Option<Timestamp>,
}

impl Driver {
    /// How windows and other Applications stand for an Application.
    pub(super) fn holds(&self, application: &Application, now: Timestamp) -> Holds {
        let subject = Subject::of(application);
        let project = self.projects.get(&application.spec.project).and_then(Result::ok);
        let windows = project.map(|project| self.windows.of(&project));
        let state = windows.as_ref().and_then(|windows| windows.evaluate(&subject, now));
        let closed = |manual: bool| {
            let hold = windows.as_ref()?.hold(&subject, manual, now)?;
            Some(Hold { reason: hold.reason, message: hold.message, until: hold.until })
        };
        let waits = self.dependencies.waits(application.metadata.name.as_deref().unwrap_or_default());
        let awaited = Dependencies::hold(&waits).map(|hold| Hold {
            reason: hold.reason,
            message: hold.message,
            until: hold.until,
        });
        Holds {
            automated: closed(false).or_else(|| awaited.clone()),
            manual: closed(true).or(awaited),
            waits,
            look_again: state.as_ref().and_then(|state| state.look_again),
            window: state.as_ref().map(WindowState::status),
        }
    }

    /// Whether a sync that has started may go on although windows have closed since.
    pub(super) fn may_continue(
        &self,
        application: &Application,
        started: Timestamp,
        manual: bool,
        now: Timestamp,
    ) -> bool {
        let project = self.projects.get(&application.spec.project).and_then(Result::ok);
        project.is_none_or(|project| {
            self.windows.of(&project).may_continue(&Subject::of(application), started, manual, now)
        })
    }
}

//! What the windows of a project say about one Application at one time.

use jiff::{SignedDuration, Timestamp};

use super::compile::{Effect, SyncWindows, Window};
use crate::api::{Application, Destination, IN_CLUSTER_NAME, IN_CLUSTER_SERVER, SyncWindowStatus};
use crate::model::Reason;

/// How far ahead a change is searched for. More than a year, for freezes that come once in it.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How many openings and closings of single windows are looked at in one search.
const MOST_BOUNDARIES: usize = 2048;

/// An Application as windows select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Name of the Application.
    pub application: &'a str,
    /// Namespace that it deploys to.
    pub namespace: &'a str,
    /// URL and name of the cluster that it deploys to, as far as they are known.
    pub clusters: Vec<&'a str>,
}

impl<'a> Subject<'a> {
    /// An Application by its name and its destination.
    pub fn of(application: &'a Application) -> Self {
        let Destination { server, name, namespace } = &application.spec.destination;
        let text = |field: &'a Option<String>| field.as_deref().filter(|text| !text.is_empty());
        let (server, name) = (text(server), text(name));
        let own =
            server.is_none_or(|server| server == IN_CLUSTER_SERVER) && name.is_none_or(|name| name == IN_CLUSTER_NAME);
        let clusters =
            if own { vec![IN_CLUSTER_SERVER, IN_CLUSTER_NAME] } else { server.into_iter().chain(name).collect() };
        Self {
            application: application.metadata.name.as_deref().unwrap_or_default(),
            namespace: namespace.as_deref().unwrap_or_default(),
            clusters,
        }
    }
}

/// How the windows of a project stand for an Application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowState {
    /// Whether an automated sync may start.
    pub open: bool,
    /// Whether a sync that a person asks for may start.
    pub manual_sync: bool,
    /// Whether a sync that was allowed to start may go on although none may start now.
    pub overrun: bool,
    /// When `open` changes; `None` when it does not within 400 days, or too far ahead to be searched for.
    pub next_change: Option<Timestamp>,
    /// When to evaluate again at the latest; `None` when nothing ever changes.
    pub look_again: Option<Timestamp>,
    /// Which windows decide.
    pub message: String,
}

impl WindowState {
    /// As the status shows it.
    pub fn status(&self) -> SyncWindowStatus {
        SyncWindowStatus {
            open: self.open,
            manual_sync: self.manual_sync,
            message: self.message.clone(),
            next_change: self.next_change.map(|time| time.to_string()),
        }
    }
}

/// Why a sync may not start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Always `WindowClosed`.
    pub reason: Reason,
    /// Which windows decide, when it opens, and what a person can do.
    pub message: String,
    /// When to ask again; `None` when only a change of the project can release it.
    pub until: Option<Timestamp>,
    /// Whether a sync that a person asks for may start all the same.
    pub manual_allowed: bool,
}

/// What holds at one instant.
struct Verdict<'a> {
    open: bool,
    manual: bool,
    overrun: bool,
    deciding: Vec<&'a Window>,
}

impl SyncWindows {
    /// How the windows stand; `None` when none concerns the Application.
    pub fn evaluate(&self, subject: &Subject<'_>, now: Timestamp) -> Option<WindowState> {
        let windows = self.concerning(subject);
        if windows.is_empty() {
            return None;
        }
        let verdict = verdict(&windows, now);
        let (next_change, look_again) = search(&windows, now, |verdict| verdict.open);
        let message = self.sentence(&verdict);
        Some(WindowState {
            open: verdict.open,
            manual_sync: verdict.manual,
            overrun: verdict.overrun,
            next_change,
            look_again,
            message,
        })
    }

    /// Whether a sync may start now. `manual` is whether a person asked for it.
    pub fn may_start(&self, subject: &Subject<'_>, manual: bool, now: Timestamp) -> bool {
        let verdict = verdict(&self.concerning(subject), now);
        if manual { verdict.manual } else { verdict.open }
    }

    /// Why a sync may not start now; `None` when it may. `manual` is whether a person asked for it.
    pub fn hold(&self, subject: &Subject<'_>, manual: bool, now: Timestamp) -> Option<Hold> {
        let windows = self.concerning(subject);
        let verdict = verdict(&windows, now);
        let may_start = |verdict: &Verdict<'_>| if manual { verdict.manual } else { verdict.open };
        if may_start(&verdict) {
            return None;
        }
        let (change, look_again) = search(&windows, now, may_start);
        let opens = match change {
            Some(time) => format!("a sync may start from {time} on"),
            None => "no opening is in sight: change the windows of the project".to_owned(),
        };
        let meanwhile = if verdict.manual { "; until then a sync that is asked for may" } else { "" };
        Some(Hold {
            reason: Reason::WindowClosed,
            message: format!("{}; {opens}{meanwhile}", self.sentence(&verdict)),
            until: change.or(look_again),
            manual_allowed: verdict.manual,
        })
    }

    /// Whether a sync that has started may go on. Once it may not start any more, every window that closes must have
    /// `syncOverrun`, and its start must have been allowed.
    pub fn may_continue(&self, subject: &Subject<'_>, started: Timestamp, manual: bool, now: Timestamp) -> bool {
        let windows = self.concerning(subject);
        let allowed = |verdict: &Verdict<'_>| if manual { verdict.manual } else { verdict.open };
        let current = verdict(&windows, now);
        allowed(&current) || (current.overrun && allowed(&verdict(&windows, started)))
    }

    fn concerning(&self, subject: &Subject<'_>) -> Vec<&Window> {
        self.windows.iter().filter(|window| window.concerns(subject)).collect()
    }

    fn sentence(&self, verdict: &Verdict<'_>) -> String {
        let titles: Vec<&str> = verdict.deciding.iter().map(|window| window.title.as_str()).collect();
        let (project, titles) = (&self.project, titles.join(", "));
        let denied = verdict.deciding.first().is_some_and(|window| window.effect == Effect::Deny);
        match (verdict.open, denied, verdict.deciding.is_empty()) {
            (true, _, true) => format!("no window of project `{project}` denies now"),
            (true, _, false) => format!("allowed by {titles} of project `{project}`"),
            (false, true, _) => format!("denied by {titles} of project `{project}`"),
            (false, false, _) => format!("outside of {titles} of project `{project}`"),
        }
    }
}

/// Argo CD's rule. An open deny window closes; else an open allow window opens; else allow windows that are not open
/// close.
fn verdict<'a>(windows: &[&'a Window], at: Timestamp) -> Verdict<'a> {
    let of = |effect: Effect| windows.iter().copied().filter(move |window| window.effect == effect);
    let closed_by = |deciding: Vec<&'a Window>| Verdict {
        open: false,
        manual: deciding.iter().all(|window| window.manual_sync),
        overrun: deciding.iter().all(|window| window.sync_overrun),
        deciding,
    };
    let denying: Vec<&Window> = of(Effect::Deny).filter(|window| window.is_open(at)).collect();
    if !denying.is_empty() {
        return closed_by(denying);
    }
    let (allowing, waiting): (Vec<&Window>, Vec<&Window>) = of(Effect::Allow).partition(|window| window.is_open(at));
    if allowing.is_empty() && !waiting.is_empty() {
        return closed_by(waiting);
    }
    Verdict { open: true, manual: true, overrun: true, deciding: allowing }
}

/// When something about the verdict changes, and when to look again at the latest.
fn search(
    windows: &[&Window],
    from: Timestamp,
    read: impl Fn(&Verdict<'_>) -> bool,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let current = read(&verdict(windows, from));
    let end = from.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
    let mut at = from;
    for _ in 0..MOST_BOUNDARIES {
        let boundaries = windows.iter().filter_map(|window| window.schedule.as_ref()?.next_boundary(at));
        let Some(next) = boundaries.min() else { return (None, None) };
        if next > end {
            return (None, Some(end));
        }
        at = next;
        if read(&verdict(windows, at)) != current {
            return (Some(at), Some(at));
        }
    }
    (None, Some(at))
}

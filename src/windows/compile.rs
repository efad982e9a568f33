//! The windows of a project, read once for each of its generations.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;
use thiserror::Error;

use super::evaluate::Subject;
use super::schedule::{Schedule, ScheduleError};
use crate::api::SyncWindow;

/// A window that can't be used as it stands.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("AppProject `{project}`: spec.syncWindows[{index}].{field}: {message}")]
pub struct WindowProblem {
    /// Name of the project.
    pub project: String,
    /// Place in `spec.syncWindows`.
    pub index: usize,
    /// Field of the window.
    pub field: &'static str,
    /// What is wrong with it, what it counts as, and what to write.
    pub message: String,
}

/// What a window does while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// One window.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) effect: Effect,
    /// `None` when it can't be read: then it closes.
    pub(super) schedule: Option<Schedule>,
    pub(super) manual_sync: bool,
    pub(super) sync_overrun: bool,
    /// For people.
    pub(super) title: String,
    applications: GlobSet,
    namespaces: GlobSet,
    clusters: GlobSet,
    all_must_match: bool,
}

impl Window {
    /// Whether it concerns an Application. One that selects by nothing concerns none.
    pub(super) fn concerns(&self, subject: &Subject<'_>) -> bool {
        let verdicts = [
            (&self.applications, self.applications.is_match(subject.application)),
            (&self.namespaces, self.namespaces.is_match(subject.namespace)),
            (&self.clusters, subject.clusters.iter().any(|cluster| self.clusters.is_match(cluster))),
        ];
        let mut set = verdicts.iter().filter(|(globs, _)| !globs.is_empty()).map(|(_, matches)| *matches).peekable();
        if self.all_must_match {
            set.peek().is_some() && set.all(|matches| matches)
        } else {
            set.any(|matches| matches)
        }
    }

    /// Whether it is open.
    pub(super) fn is_open(&self, at: Timestamp) -> bool {
        match (&self.schedule, self.effect) {
            (Some(schedule), _) => schedule.is_open(at),
            (None, Effect::Deny) => true,
            (None, Effect::Allow) => false,
        }
    }
}

/// The windows of one project.
#[derive(Clone, Debug, Default)]
pub struct SyncWindows {
    pub(super) project: String,
    pub(super) windows: Vec<Window>,
    problems: Vec<WindowProblem>,
}

impl SyncWindows {
    /// Reads `spec.syncWindows` of a project.
    pub fn new(project: &str, windows: &[SyncWindow]) -> Self {
        let mut problems = Vec::new();
        let windows = windows
            .iter()
            .enumerate()
            .map(|(index, window)| {
                read(index, window, &mut |field, message| {
                    problems.push(WindowProblem { project: project.to_owned(), index, field, message });
                })
            })
            .collect();
        Self { project: project.to_owned(), windows, problems }
    }

    /// What is wrong with them, in order.
    pub fn problems(&self) -> &[WindowProblem] {
        &self.problems
    }
}

fn read(index: usize, window: &SyncWindow, problem: &mut dyn FnMut(&'static str, String)) -> Window {
    let SyncWindow {
        kind,
        schedule,
        duration,
        applications,
        namespaces,
        clusters,
        manual_sync,
        time_zone,
        and_operator,
        sync_overrun,
        description,
    } = window;
    let (effect, kind_is_known) = match kind.as_str() {
        "allow" => (Effect::Allow, true),
        "deny" => (Effect::Deny, true),
        _ => (Effect::Deny, false),
    };
    if !kind_is_known {
        problem("kind", format!("`{kind}` is neither `allow` nor `deny`; it counts as `deny` that is always open"));
    }
    let schedule = Schedule::new(schedule, duration, time_zone)
        .map_err(|error: ScheduleError| {
            let counts_as = match effect {
                Effect::Allow => "until then it never opens",
                Effect::Deny => "until then it denies always",
            };
            problem(error.field(), format!("{error}; {counts_as}"));
        })
        .ok()
        .filter(|_| kind_is_known);
    if applications.is_empty() && namespaces.is_empty() && clusters.is_empty() {
        problem(
            "applications",
            "the window selects nothing and has no effect: set applications, namespaces or clusters; `*` is all"
                .to_owned(),
        );
    }
    let mut globs = |field: &'static str, patterns: &[String]| {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let build = |text: &str| GlobBuilder::new(text).literal_separator(false).build();
            match build(pattern) {
                Ok(glob) => {
                    set.add(glob);
                }
                Err(error) => {
                    problem(field, format!("`{pattern}` is no glob ({}); it counts as `*`", error.kind()));
                    if let Ok(any) = build("*") {
                        set.add(any);
                    }
                }
            }
        }
        // Globs that are valid one by one fail together only above a size that the API server refuses.
        set.build().unwrap_or_else(|error| {
            problem(field, format!("the globs can't be used together ({error}); the window selects nothing by them"));
            GlobSet::empty()
        })
    };
    Window {
        effect,
        schedule,
        manual_sync: *manual_sync,
        sync_overrun: *sync_overrun,
        applications: globs("applications", applications),
        namespaces: globs("namespaces", namespaces),
        clusters: globs("clusters", clusters),
        all_must_match: *and_operator,
        title: title(index, window, description),
    }
}

fn title(index: usize, window: &SyncWindow, description: &str) -> String {
    let zone = if window.time_zone.is_empty() { "UTC" } else { &window.time_zone };
    let description: String = description.chars().take(120).collect();
    let described = if description.is_empty() { String::new() } else { format!(", {description}") };
    let (kind, schedule, duration) = (&window.kind, &window.schedule, &window.duration);
    format!("syncWindows[{index}] ({kind} `{schedule}` for {duration}, {zone}{described})")
}

//! What a sync waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::identity::{ALLOW_DEPENDENTS_ANNOTATION, ApplicationId, grants};
use crate::api::{
    Application, ApplicationDependency, ApplicationStatus, DependencyCondition, OperationPhase, OperationState,
    SyncState,
};
use crate::expression::Predicate;
use crate::model::{HealthStatus, Reason};
use crate::plan::Waiting;

/// Fewest digits that name a commit.
const FEWEST_DIGITS: usize = 7;

/// How another Application was last seen.
#[derive(Clone, Debug)]
pub enum Sight {
    /// As it is.
    Present(Arc<Application>),
    /// It does not exist.
    Missing,
    /// It could not be looked at.
    Unseen {
        /// Why.
        why: String,
    },
    /// It exists and can't be read.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// Why a sync may not start yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The gravest reason: a mistake before a wait.
    pub reason: Reason,
    /// What is waited for.
    pub message: String,
    /// When to ask again: never by itself, since every change of another Application wakes those that depend on it.
    pub until: Option<jiff::Timestamp>,
    /// Whether a sync that a person asks for may start all the same: it may not.
    pub manual_allowed: bool,
}

/// One entry of `spec.dependsOn`, read.
#[derive(Debug)]
struct Entry {
    id: ApplicationId,
    condition: DependencyCondition,
    revision: String,
    when: Option<Result<Predicate, String>>,
}

/// The dependencies of one Application, read once for each of its generations.
#[derive(Debug)]
pub struct Dependencies {
    own: ApplicationId,
    entries: Vec<Entry>,
}

impl Dependencies {
    /// Reads `spec.dependsOn` of an Application.
    pub fn new(own: ApplicationId, dependencies: &[ApplicationDependency]) -> Self {
        let entries = dependencies
            .iter()
            .map(|dependency| Entry {
                id: ApplicationId::named_by(dependency, &own.namespace),
                condition: dependency.condition.unwrap_or_default(),
                revision: dependency.revision.trim().to_ascii_lowercase(),
                when: (!dependency.when.trim().is_empty())
                    .then(|| Predicate::compile(&dependency.when).map_err(|error| error.to_string())),
            })
            .collect();
        Self { own, entries }
    }

    /// The Applications to look at.
    pub fn ids(&self) -> BTreeSet<ApplicationId> {
        self.entries.iter().map(|entry| entry.id.clone()).collect()
    }

    /// What is waited for, in the order of `spec.dependsOn`; empty when the sync may start. `circle` is the circle that
    /// the Application is part of.
    pub fn evaluate(&self, sights: &BTreeMap<ApplicationId, Sight>, circle: Option<&[ApplicationId]>) -> Vec<Waiting> {
        if let Some(circle) = circle {
            let path: Vec<String> = circle.iter().map(ToString::to_string).collect();
            return vec![Waiting {
                key: self.own.key(),
                condition: "ready",
                message: format!("the Applications wait for each other: {}", path.join(" → ")),
                reason: Reason::DependencyCycle,
                release: "take one of these out of the spec.dependsOn of the one before it".to_owned(),
            }];
        }
        self.entries.iter().enumerate().filter_map(|(index, entry)| self.wait(index, entry, sights)).collect()
    }

    fn wait(&self, index: usize, entry: &Entry, sights: &BTreeMap<ApplicationId, Sight>) -> Option<Waiting> {
        let id = &entry.id;
        let waiting = |condition, reason, message: String, release: String| {
            Some(Waiting { key: id.key(), condition, message, reason, release })
        };
        let seen = match sights.get(id) {
            Some(Sight::Present(seen)) => seen,
            Some(Sight::Missing) => {
                return waiting(
                    "present",
                    Reason::WaitingForDependency,
                    format!("Application `{id}` does not exist"),
                    format!("create it, or take it out of spec.dependsOn[{index}]"),
                );
            }
            Some(Sight::Unreadable { why }) => {
                return waiting(
                    "present",
                    Reason::WaitingForDependency,
                    format!("Application `{id}` can't be read by this version: {why}"),
                    "correct it".to_owned(),
                );
            }
            Some(Sight::Unseen { why }) => {
                return waiting(
                    "present",
                    Reason::WaitingForDependency,
                    format!("Application `{id}` could not be looked at: {why}"),
                    "it is looked at again by itself".to_owned(),
                );
            }
            None => {
                return waiting(
                    "present",
                    Reason::WaitingForDependency,
                    format!("Application `{id}` has not been looked at yet"),
                    "it is looked at by itself".to_owned(),
                );
            }
        };
        if !grants(seen, &id.namespace, &self.own.namespace) {
            return waiting(
                "present",
                Reason::NotPermitted,
                format!(
                    "Application `{id}` does not let Applications of namespace `{}` depend on it",
                    self.own.namespace
                ),
                format!("set its annotation `{ALLOW_DEPENDENTS_ANNOTATION}` to `{}` or `*`", self.own.namespace),
            );
        }
        if let Some(Err(error)) = &entry.when {
            return waiting(
                "ready",
                Reason::InvalidSpec,
                format!("spec.dependsOn[{index}].when can't be used: {error}"),
                "correct the expression".to_owned(),
            );
        }
        if let Some((condition, message, release)) = not_yet(entry, seen) {
            return match release {
                Release::Mistake(release) => waiting(condition, Reason::InvalidSpec, message, release),
                Release::Time(release) => waiting(condition, Reason::WaitingForDependency, message, release.to_owned()),
            };
        }
        let Some(Ok(predicate)) = &entry.when else { return None };
        let holds = serde_json::to_value(&**seen)
            .map_err(|error| error.to_string())
            .and_then(|value| predicate.holds_for(&value).map_err(|error| error.to_string()));
        match holds {
            Ok(true) => None,
            Ok(false) => waiting(
                "ready",
                Reason::WaitingForDependency,
                format!("Application `{id}`: `{}` is false", predicate.text()),
                format!("goes on with the change of `{id}` that makes it true"),
            ),
            // What fails today may hold tomorrow: a field that is not there yet is the commonest cause.
            Err(error) => waiting(
                "ready",
                Reason::WaitingForDependency,
                format!("spec.dependsOn[{index}].when has no value for Application `{id}`: {error}"),
                format!("goes on with the change of `{id}` that gives it one; or correct the expression"),
            ),
        }
    }

    /// Why a sync may not start, from what it waits for; `None` when it may.
    pub fn hold(waiting: &[Waiting]) -> Option<Hold> {
        let gravest =
            waiting.iter().find(|waiting| waiting.reason != Reason::WaitingForDependency).or(waiting.first())?;
        let others = match waiting.len() - 1 {
            0 => String::new(),
            others => format!("; and {others} more in status.waitingOn"),
        };
        Some(Hold {
            reason: gravest.reason,
            message: format!("{}; {}{others}", gravest.message, gravest.release),
            until: None,
            manual_allowed: false,
        })
    }
}

/// What releases a wait.
enum Release {
    /// A change of this Application's spec.
    Mistake(String),
    /// What goes on by itself.
    Time(&'static str),
}

/// What another Application has not reached yet.
fn not_yet(entry: &Entry, seen: &Application) -> Option<(&'static str, String, Release)> {
    let id = &entry.id;
    let empty = ApplicationStatus::default();
    let status = seen.status.as_ref().unwrap_or(&empty);
    let condition = match entry.condition {
        DependencyCondition::Synced => "synced",
        DependencyCondition::Healthy => "healthy",
    };
    let wait = |message: String, release| Some((condition, message, Release::Time(release)));
    if seen.metadata.deletion_timestamp.is_some() {
        return wait(format!("Application `{id}` is being deleted"), "goes on when it was deleted and is made anew");
    }
    if status.observed_generation < seen.metadata.generation {
        return wait(
            format!("Application `{id}` was changed and its status does not tell of it yet"),
            "goes on when the operator that looks after it tells of the change",
        );
    }
    if status.sync.status != SyncState::Synced {
        return wait(
            format!("Application `{id}` is {}", status.sync.status.as_str()),
            "goes on after its next sync that succeeds",
        );
    }
    match status.operation_state.as_ref() {
        Some(OperationState { phase: OperationPhase::Running | OperationPhase::Terminating, .. }) => {
            return wait(format!("Application `{id}` is being synced"), "goes on when its sync ends");
        }
        Some(OperationState { phase: OperationPhase::Failed | OperationPhase::Error, message, .. })
            if entry.condition == DependencyCondition::Synced =>
        {
            return wait(
                format!("the last sync of Application `{id}` failed: {message}"),
                "goes on after its next sync that succeeds",
            );
        }
        Some(OperationState {
            phase: OperationPhase::Failed | OperationPhase::Error | OperationPhase::Succeeded,
            ..
        })
        | None => {}
    }
    if !entry.revision.is_empty() {
        let has = std::iter::once(&status.sync.revision).chain(&status.sync.revisions);
        let digits = entry.revision.len();
        let commit = entry.revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        if commit && digits < FEWEST_DIGITS {
            return Some((
                condition,
                format!("revision `{}` of the dependency on `{id}` is too short to name a commit", entry.revision),
                Release::Mistake(format!("write at least {FEWEST_DIGITS} digits")),
            ));
        }
        let reached = has
            .map(|revision| revision.to_ascii_lowercase())
            .any(|revision| if commit { revision.starts_with(&entry.revision) } else { revision == entry.revision });
        if !reached {
            return wait(
                format!("Application `{id}` is at revision `{}`, not at `{}`", status.sync.revision, entry.revision),
                "goes on when it is synced to that revision",
            );
        }
    }
    match (entry.condition, status.health.status) {
        (DependencyCondition::Synced, _) | (DependencyCondition::Healthy, HealthStatus::Healthy) => None,
        (DependencyCondition::Healthy, health) => {
            let cause =
                if status.health.message.is_empty() { String::new() } else { format!(": {}", status.health.message) };
            wait(format!("Application `{id}` is {}{cause}", health.as_str()), "goes on when it is Healthy")
        }
    }
}

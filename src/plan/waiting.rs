//! What a gate waits for, in sentences: what is missing, and what would release it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::graph::{Need, NeedCause, Work};
use super::hook_life::told;
use super::progress::{GatePolicy, GroupId, Progress, Waiting};
use super::standing::{Lack, MovesInput};
use super::survey::{Held, Hold, Survey};
use super::timers::{Deadlines, end};
use crate::desired::DependencyState;
use crate::model::{Health, HealthStatus, ObjectKey, Reason};

/// So many of the objects that wait for the same one are named.
const NAMED_DEPENDENTS: usize = 3;

/// `90 s`, for people.
pub(super) fn seconds(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}

/// `wave 2 of PreSync`.
pub(super) fn named(id: GroupId) -> String {
    match id.work {
        Work::Apply => format!("wave {} of {}", id.wave, id.phase),
        Work::Prune => format!("the prune of wave {} of {}", id.wave, id.phase),
    }
}

/// The time of day, and the day when it is not within a day from now.
pub(super) fn time(time: Timestamp, now: Timestamp) -> String {
    let near = time.duration_since(now).unsigned_abs() < Duration::from_hours(24);
    time.strftime(if near { "%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%SZ" }).to_string()
}

/// What holds a step, in one sentence, for messages of failures.
pub(super) fn sentence(held: &Held<'_>, input: &MovesInput<'_>) -> String {
    let id = &held.step.id;
    match held.by {
        Hold::Health(lack) => format!("{id} is not healthy: {}", missing(lack)),
        Hold::Need(need, lack) => format!("{id} needs {} {}: {}", need.on, be(need.state), missing(lack)),
        Hold::AwaitsGone | Hold::Pruned | Hold::HookClears => {
            let deleting = input.live.objects.get(&id.key).is_some_and(|record| record.deleting);
            format!("{id} is not gone{}", if deleting { ": it is being deleted" } else { "" })
        }
        Hold::HookRuns(health) => format!("hook {id} has not finished: {}", missing(Lack::Running(health))),
    }
}

const fn be(state: DependencyState) -> &'static str {
    match state {
        DependencyState::Present => "to be present",
        DependencyState::Ready => "to be ready",
        DependencyState::Completed => "to be completed",
    }
}

fn missing(lack: Lack<'_>) -> String {
    match lack {
        Lack::Pending => "it has not been applied yet".to_owned(),
        Lack::Absent => "it is not in the cluster".to_owned(),
        Lack::Deleting => "it is being deleted".to_owned(),
        Lack::Stale { seen, applied } => {
            format!("generation {applied} was applied, and generation {seen} was seen last")
        }
        Lack::Unhealthy(health) | Lack::Running(Some(health)) => told(health),
        Lack::Running(None) => "it runs".to_owned(),
    }
}

/// Everything that holds a group, one entry for each object and condition.
pub(super) fn waiting_for(survey: &Survey<'_>, progress: &Progress, input: &MovesInput<'_>) -> Vec<Waiting> {
    let deadlines = Deadlines::new(progress, &input.policy, survey.hook_runs);
    let fails = Fails { deadlines, input, progress };
    let mut all = Vec::with_capacity(survey.held.len());
    let mut needs: BTreeMap<(&ObjectKey, DependencyState), (&Need, Lack<'_>, Vec<&Held<'_>>)> = BTreeMap::new();
    // What waits for an object of the same group waits for what holds that one, which is told by itself.
    let told_by_itself = survey.held.iter().any(|held| !matches!(held.by, Hold::Need(_, Lack::Pending)));
    for held in &survey.held {
        let key = &held.step.id.key;
        let (condition, message, reason, release) = match held.by {
            Hold::Need(_, Lack::Pending) if told_by_itself => continue,
            Hold::Need(need, lack) => {
                needs.entry((&need.on, need.state)).or_insert_with(|| (need, lack, Vec::new())).2.push(held);
                continue;
            }
            Hold::Health(lack) => {
                let degraded = matches!(lack, Lack::Unhealthy(health) if health.status == HealthStatus::Degraded);
                let reason = if degraded { Reason::HealthDegraded } else { Reason::WaitingForHealth };
                (healthy(key), missing(lack), reason, fails.health(key, lack))
            }
            Hold::AwaitsGone => (
                "gone",
                "it is being deleted and will be made again".to_owned(),
                Reason::WaitingForHealth,
                fails.gone("it is made again as soon as it is gone"),
            ),
            Hold::Pruned => (
                "gone",
                "its deletion was accepted; a finalizer or an owned object may hold it".to_owned(),
                Reason::PruneWaiting,
                fails.gone("the next prunes run when it is gone"),
            ),
            Hold::HookClears => (
                "gone",
                "the object of an earlier run of this hook is being deleted".to_owned(),
                Reason::WaitingForHook,
                fails.gone("the hook starts as soon as the old object is gone"),
            ),
            Hold::HookRuns(health) => {
                ("completed", missing(Lack::Running(health)), Reason::WaitingForHook, fails.hook(key, health))
            }
        };
        all.push(Waiting { key: key.clone(), condition, message, reason, release });
    }
    for ((on, state), (need, lack, dependents)) in needs {
        let condition = match state {
            DependencyState::Present => "present",
            DependencyState::Ready => healthy(on),
            DependencyState::Completed => "completed",
        };
        all.push(Waiting {
            key: on.clone(),
            condition,
            message: format!("{}; needed by {}", missing(lack), dependents_of(&dependents, need.cause)),
            reason: Reason::WaitingForDependency,
            release: fails.need(on, state, lack),
        });
    }
    all.sort_by(|left, right| (&left.key, left.condition).cmp(&(&right.key, right.condition)));
    all
}

fn dependents_of(dependents: &[&Held<'_>], cause: NeedCause) -> String {
    let mut names: Vec<String> =
        dependents.iter().take(NAMED_DEPENDENTS).map(|held| held.step.id.to_string()).collect();
    if dependents.len() > NAMED_DEPENDENTS {
        names.push(format!("{} more", dependents.len() - NAMED_DEPENDENTS));
    }
    let why = match cause {
        NeedCause::Definition => "it defines their kind",
        NeedCause::Namespace => "it is their namespace",
        NeedCause::Account => "it is or grants the account they run as",
        NeedCause::Configuration => "their pods read or mount it",
        NeedCause::Webhook => "it serves their webhooks or API",
        NeedCause::Explicit => "annotation tidelock.dev/depends-on",
    };
    format!("{} ({why})", names.join(", "))
}

/// Objects that the cluster keeps until nothing uses them any more.
pub(super) fn used_elsewhere(key: &ObjectKey) -> Waiting {
    Waiting {
        key: key.clone(),
        condition: "gone",
        message: "its deletion was accepted; the cluster keeps it while something uses it".to_owned(),
        reason: Reason::PruneWaiting,
        release: "goes when no pod or claim uses it any more; delete what still does".to_owned(),
    }
}

/// A group in which everything is healthy, for not long enough.
pub(super) fn stable(key: &ObjectKey, id: GroupId, since: Timestamp, policy: &GatePolicy, now: Timestamp) -> Waiting {
    let until = time(end(since, policy.stable_for), now);
    Waiting {
        key: key.clone(),
        condition: "stable",
        message: format!("{} is healthy since {}", named(id), time(since, now)),
        reason: Reason::WaitingForHealth,
        release: format!("opens at {until} if everything stays healthy until then (gate.stableFor)"),
    }
}

fn healthy(key: &ObjectKey) -> &'static str {
    let definition = key.group == "apiextensions.k8s.io" && key.kind == "CustomResourceDefinition";
    if definition { "established" } else { "healthy" }
}

/// Says what would release something, and when it fails otherwise.
struct Fails<'a, 'b> {
    deadlines: Deadlines,
    input: &'b MovesInput<'a>,
    progress: &'b Progress,
}

impl Fails<'_, '_> {
    fn or_fails(&self, release: &str) -> String {
        match self.deadlines.first().filter(|_| self.progress.failed.is_none()) {
            Some((end, setting)) => format!("{release}; fails the sync at {} ({setting})", time(end, self.input.now)),
            None => release.to_owned(),
        }
    }

    fn gone(&self, then: &str) -> String {
        self.or_fails(&format!("{then}; if it stays, look at its metadata.finalizers and at who has to clear them"))
    }

    fn health(&self, key: &ObjectKey, lack: Lack<'_>) -> String {
        match lack {
            Lack::Absent => self.or_fails(
                "becomes healthy when it is in the cluster again; self-healing (syncPolicy.automated.selfHeal) or the next \
                 sync makes it if something deleted it",
            ),
            Lack::Pending => self.or_fails("becomes healthy after it has been applied"),
            Lack::Deleting => self.gone("it is made again when it is gone"),
            Lack::Stale { applied, .. } => {
                self.or_fails(&format!("is judged as soon as generation {applied} is seen; nothing needs to be done"))
            }
            Lack::Unhealthy(health) | Lack::Running(Some(health)) if health.status == HealthStatus::Degraded => {
                let grace = self.progress.degraded_since.get(key).map(|since| end(*since, self.input.policy.degraded_grace));
                match grace.filter(|_| self.progress.failed.is_none()) {
                    Some(grace) => format!(
                        "fails the sync at {} unless it recovers before (gate.degradedGracePeriod)",
                        time(grace, self.input.now)
                    ),
                    None => self.or_fails("becomes healthy when it recovers"),
                }
            }
            Lack::Unhealthy(health) | Lack::Running(Some(health)) => self.or_fails(&becomes_healthy(key, health)),
            Lack::Running(None) => self.or_fails("becomes healthy when it finishes"),
        }
    }

    fn hook(&self, key: &ObjectKey, health: Option<&Health>) -> String {
        if let Some(health) = health.filter(|health| health.status == HealthStatus::Degraded) {
            return self.health(key, Lack::Running(Some(health)));
        }
        let own_deadline = matches!(
            (key.group.as_str(), key.kind.as_str()),
            ("batch", "Job") | ("", "Pod") | ("argoproj.io", "Workflow")
        );
        let limit = if own_deadline { "; spec.activeDeadlineSeconds limits it" } else { "" };
        let suspended = health.is_some_and(|health| health.status == HealthStatus::Suspended);
        let first = if suspended { "goes on when it is resumed" } else { "goes on when the hook finishes" };
        self.or_fails(&format!(
            "{first}; a hook that runs is never cut, so delete its object or terminate the operation to end it{limit}"
        ))
    }

    fn need(&self, on: &ObjectKey, state: DependencyState, lack: Lack<'_>) -> String {
        let outside = !self.input.live.objects.contains_key(on) && !self.input.desired.objects.contains_key(on);
        match lack {
            Lack::Absent if outside => self.or_fails(&format!(
                "goes on when {on} exists{}; it is not part of this Application, so something else has to make it",
                match state {
                    DependencyState::Present => "",
                    DependencyState::Ready => " and is healthy",
                    DependencyState::Completed => " and has completed",
                }
            )),
            Lack::Running(_) => self.or_fails("goes on when the hook has succeeded"),
            Lack::Unhealthy(health) if state == DependencyState::Completed => {
                self.or_fails(&format!("goes on when it has run to its end and succeeded; it is {} now", health.status))
            }
            Lack::Unhealthy(health) => self.or_fails(&becomes_healthy(on, health)),
            Lack::Pending => self.or_fails("goes on when it has been applied; it waits for its own dependencies"),
            Lack::Absent | Lack::Deleting | Lack::Stale { .. } => self.health(on, lack),
        }
    }
}

/// What makes an object healthy, as far as its kind and its own words tell.
fn becomes_healthy(key: &ObjectKey, health: &Health) -> String {
    if health.status == HealthStatus::Suspended {
        return match (key.group.as_str(), key.kind.as_str()) {
            ("apps", "Deployment") => "is paused: it goes on when spec.paused is false in git".to_owned(),
            ("batch", "Job") => "is suspended: it goes on when spec.suspend is false in git".to_owned(),
            ("argoproj.io", "Rollout") => "is paused: promote the rollout, or abort it".to_owned(),
            _ => "is held on purpose: it goes on when it is resumed".to_owned(),
        };
    }
    if let Some(complete) = complete_count(&health.message) {
        return format!("becomes healthy when {complete}");
    }
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "PersistentVolumeClaim") => "becomes healthy when it is bound to a volume".to_owned(),
        ("", "Service") | ("networking.k8s.io", "Ingress") => {
            "becomes healthy when its controller publishes an address (status.loadBalancer.ingress)".to_owned()
        }
        ("", "Pod") => "becomes healthy when all its containers are ready, or have succeeded".to_owned(),
        ("batch", "Job") => "becomes healthy when the Job completes".to_owned(),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            "becomes healthy when all its replicas are updated and available".to_owned()
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            "becomes established when the API server accepts its names and serves it".to_owned()
        }
        _ => "becomes healthy when its status says so; the annotation tidelock.dev/ignore-healthcheck=true takes it out of \
              the gate"
            .to_owned(),
    }
}

/// `3 of 3 replicas are available` from `2 of 3 replicas are available; …`.
fn complete_count(message: &str) -> Option<String> {
    let clause = message.split([';', ',']).find(|clause| clause.contains(" of "))?.trim();
    let (count, rest) = clause.split_once(" of ")?;
    let (total, what) = rest.split_once(' ')?;
    let number = |text: &str| text.parse::<u64>().is_ok();
    (number(count) && number(total)).then(|| format!("{total} of {total} {what}"))
}

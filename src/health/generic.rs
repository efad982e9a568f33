//! Kinds without a rule of their own: custom resources.
//!
//! Every source of evidence (conditions, state words, flags, counts) votes; the worst vote wins. Healthy needs at least
//! one vote for it, and no vote is taken from a status that is about an older generation. So the reading errs towards
//! Progressing: it may wait where nothing is to wait for, but it doesn't call a thing healthy that never said so.

use super::conditions::{self, Condition, Truth};
use super::counts::{self, Counts};
use super::object::Object;
use super::observed::{stale_condition, stale_reference, stale_status};
use super::words::{self, Meaning};
use super::{AssessContext, degraded, progressing, revisions, states, suspended};
use crate::model::{Health, HealthStatus};

/// Spec flags that hold an object.
const HOLD_FLAGS: [&str; 5] =
    ["/spec/suspend", "/spec/suspended", "/spec/paused", "/spec/pause", "/spec/updateStrategy/rollingUpdate/paused"];

/// Reads the health of any object from the conventions of its status.
pub fn assess(object: Object<'_>, context: &AssessContext) -> Health {
    let held = HOLD_FLAGS.iter().find(|pointer| object.is_true(pointer));
    if states::is_empty(object.at("/status")) {
        return match (held, context.has_status_subresource) {
            (Some(pointer), _) => suspended(hold_message(pointer)),
            (None, Some(false)) => Health::healthy(),
            (None, Some(true) | None) => progressing("has no status yet"),
        };
    }
    if let Some(health) = stale_status(object).or_else(|| stale_reference(object)) {
        return held.map_or(health, |pointer| suspended(hold_message(pointer)));
    }
    let mut verdict = Verdict::default();
    let conditions = object.conditions();
    let is_ready = read_conditions(object, &conditions, &mut verdict);
    if !is_ready && promises_ready(object, &conditions) {
        verdict.vote(progressing("condition Ready is not True yet"));
    }
    read_groups(object, &mut verdict);
    states::read(object, is_ready, !conditions.is_empty(), &mut verdict);
    if let Some(message) = revisions::read(object) {
        verdict.vote(progressing(message));
    }
    match counts::read(object) {
        Counts::None => {}
        Counts::Complete => verdict.vote(Health::healthy()),
        Counts::Short(message) => verdict.vote(progressing(message)),
    }
    if let Some(pointer) = held {
        verdict.vote(suspended(hold_message(pointer)));
    }
    verdict.finish()
}

/// Whether the object follows Crossplane's contract for managed and composite resources, by which `Synced` tells only
/// that the last reconcile went well and `Ready` is always to come.
fn promises_ready(object: Object<'_>, conditions: &[Condition<'_>]) -> bool {
    object.at("/status/atProvider").is_some()
        || conditions.iter().any(|condition| condition.kind == "Synced" && condition.reason.starts_with("Reconcile"))
}

fn hold_message(pointer: &str) -> String {
    format!("is held by {}", pointer.trim_start_matches('/').replace('/', "."))
}

/// The worst vote so far; of equals the first, since sources vote in order of their authority.
#[derive(Debug, Default)]
pub struct Verdict {
    worst: Option<Health>,
}

impl Verdict {
    /// Takes a vote.
    pub fn vote(&mut self, health: Health) {
        let is_worse = self.worst.as_ref().is_none_or(|worst| {
            let (new, old) = (weight(health.status), weight(worst.status));
            new > old || (new == old && worst.message.is_empty() && !health.message.is_empty())
        });
        if is_worse {
            self.worst = Some(health);
        }
    }

    /// Whether any vote was taken.
    pub const fn is_open(&self) -> bool {
        self.worst.is_none()
    }

    fn finish(self) -> Health {
        self.worst.unwrap_or_else(|| progressing("its status says nothing that is known to mean health"))
    }
}

/// Evidence of failure weighs more than a hold, a hold more than progress, progress more than not knowing.
const fn weight(status: HealthStatus) -> u8 {
    match status {
        HealthStatus::Healthy => 0,
        HealthStatus::Unknown => 1,
        HealthStatus::Progressing => 2,
        HealthStatus::Suspended => 3,
        HealthStatus::Missing => 4,
        HealthStatus::Degraded => 5,
    }
}

/// What the type of a condition makes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polarity {
    /// `Ready`: sums up the others.
    Summary,
    /// Names a state in which an object can rest: `Available`, `Synced`.
    Final,
    /// A final state of a part: `DatabaseAvailable`.
    PartFinal,
    /// `Stalled`, `FetchFailed`.
    Negative,
    /// `NotReady`: a negative one that also stands while things begin.
    NotFinal,
    /// `Progressing`.
    Activity,
    /// `Paused`.
    Hold,
    /// Says nothing by itself (`Scheduled`, `Warning`).
    Neutral,
}

/// Last words of the types that name a state in which an object can rest.
const FINAL_WORDS: &[&str] = &[
    "accepted",
    "admitted",
    "advertised",
    "adopted",
    "applied",
    "attached",
    "available",
    "bound",
    "compliant",
    "complete",
    "completed",
    "deployed",
    "discoverable",
    "established",
    "finished",
    "healthy",
    "installed",
    "issued",
    "programmed",
    "provisioned",
    "published",
    "ready",
    "reconciled",
    "refs",
    "succeeded",
    "success",
    "successful",
    "synced",
    "synchronized",
    "valid",
    "validated",
];

/// Types that read like failure but are told in passing.
const NOTICES: &[&str] = &["warning", "warnings", "missing", "missed", "expired", "down", "outdated", "deprecated"];

/// Last words of final types that are a judgement on the spec: False is a refusal, not a delay.
const DECISION_WORDS: &[&str] = &["accepted", "admitted", "adopted", "valid", "validated"];

fn is_decision(kind: &str) -> bool {
    words::split(kind).last().is_some_and(|last| DECISION_WORDS.contains(&last.as_str()))
}

/// Whether an activity is the object's as a whole (`Progressing`), not one of a part (`ContinuousArchiving`).
fn is_whole(kind: &str) -> bool {
    words::split(kind).len() == 1
}

fn polarity(kind: &str) -> Polarity {
    let local = kind.rsplit('/').next().unwrap_or(kind);
    let words = words::split(local);
    let Some(last) = words.last().map(String::as_str) else { return Polarity::Neutral };
    let before = words.len().checked_sub(2).and_then(|index| words.get(index)).map_or("", String::as_str);
    if NOTICES.contains(&last) {
        return Polarity::Neutral;
    }
    if words.ends_with(&["up", "to", "date"].map(str::to_owned)) {
        return Polarity::PartFinal;
    }
    if matches!(before, "not" | "un") && FINAL_WORDS.contains(&last) {
        return Polarity::NotFinal;
    }
    match words::meaning(local) {
        Some(Meaning::Bad) => return Polarity::Negative,
        Some(Meaning::Paused) => return Polarity::Hold,
        Some(Meaning::Working) if words::is_activity(last) || matches!(last, "progress" | "pending") => {
            return Polarity::Activity;
        }
        _ => {}
    }
    if last == "ready" && words.len() == 1 {
        return Polarity::Summary;
    }
    if FINAL_WORDS.contains(&last) {
        return if words.len() == 1 { Polarity::Final } else { Polarity::PartFinal };
    }
    Polarity::Neutral
}

/// Votes for `status.conditions`; tells whether there is a `Ready` that is True.
fn read_conditions(object: Object<'_>, conditions: &[Condition<'_>], verdict: &mut Verdict) -> bool {
    let summary = conditions.iter().find(|condition| polarity(condition.kind) == Polarity::Summary);
    let is_ready = summary.is_some_and(Condition::is_true);
    for condition in conditions {
        let polarity = polarity(condition.kind);
        let is_decisive = match polarity {
            Polarity::Summary => true,
            Polarity::Final | Polarity::PartFinal => summary.is_none(),
            _ => false,
        };
        match stale_condition(object, condition) {
            Some(health) if is_decisive => verdict.vote(health),
            Some(_) => {}
            None => {
                if let Some(health) = vote_of(object, condition, polarity, is_ready) {
                    verdict.vote(health);
                }
            }
        }
    }
    is_ready
}

fn vote_of(object: Object<'_>, condition: &Condition<'_>, polarity: Polarity, is_ready: bool) -> Option<Health> {
    let reason = words::meaning_beyond(condition.kind, condition.reason);
    let is_failure = matches!(reason, Some(Meaning::Bad | Meaning::Absent)) || condition.severity == "Error";
    match (polarity, condition.truth) {
        (Polarity::Summary | Polarity::Final | Polarity::PartFinal, Truth::True) => Some(Health::healthy()),
        (Polarity::Summary | Polarity::Final | Polarity::PartFinal, Truth::False) => {
            if is_failure || words::tells_failure(condition.message) {
                return Some(degraded(condition.explain()));
            }
            if reason == Some(Meaning::Paused) {
                return Some(suspended(condition.explain()));
            }
            let is_wanted = object.int("/spec/replicas") != Some(0) || object.count("/status/replicas") > 0;
            if !is_wanted && condition.kind == "Available" {
                return None;
            }
            if is_decision(condition.kind) && reason != Some(Meaning::Working) {
                return Some(degraded(condition.explain()));
            }
            let is_overruled = is_ready && polarity == Polarity::PartFinal && reason != Some(Meaning::Working);
            (!is_overruled).then(|| progressing(condition.explain()))
        }
        (Polarity::Summary | Polarity::Final, Truth::Unknown) => Some(progressing(condition.explain())),
        (Polarity::PartFinal, Truth::Unknown) => (!is_ready).then(|| progressing(condition.explain())),
        (Polarity::Negative, Truth::True) => Some(degraded(condition.explain())),
        (Polarity::NotFinal, Truth::True) => Some(match reason {
            Some(Meaning::Working) => progressing(condition.explain()),
            _ => degraded(condition.explain()),
        }),
        (Polarity::Hold, Truth::True) => Some(suspended(condition.explain())),
        (Polarity::Activity, Truth::True) => match reason {
            Some(Meaning::Good) if !is_whole(condition.kind) => None,
            // Workload controllers leave `Progressing` True when they are done. Only a known generation tells of which.
            Some(Meaning::Good) if object.at("/status/observedGeneration").is_some() => Some(Health::healthy()),
            Some(Meaning::Paused) => Some(suspended(condition.explain())),
            _ => Some(progressing(condition.explain())),
        },
        (Polarity::Activity, Truth::Unknown) => match reason {
            Some(Meaning::Good) => None,
            Some(Meaning::Paused) => Some(suspended(condition.explain())),
            _ => Some(progressing(condition.explain())),
        },
        // A run that goes on (as Ansible operators tell of each reconcile) means work, unless something says that it is
        // what was wanted.
        (Polarity::Neutral, Truth::True)
            if condition.kind == "Running" && !is_ready && reason != Some(Meaning::Good) =>
        {
            Some(progressing(condition.explain()))
        }
        (Polarity::Activity | Polarity::Neutral, Truth::False) => is_failure.then(|| degraded(condition.explain())),
        (Polarity::Neutral, Truth::True | Truth::Unknown)
        | (Polarity::Negative | Polarity::NotFinal | Polarity::Hold, Truth::False | Truth::Unknown) => None,
    }
}

/// Votes for lists of items that have conditions each, as the Gateway API has them per parent. Items about an older
/// generation are left out when there are newer ones: their controller no longer serves the object.
fn read_groups(object: Object<'_>, verdict: &mut Verdict) {
    let Some(status) = object.at("/status").and_then(serde_json::Value::as_object) else { return };
    let groups: Vec<(bool, Vec<Condition<'_>>)> = status
        .values()
        .filter_map(serde_json::Value::as_array)
        .flatten()
        .filter_map(|item| {
            let answers_for_parent = item.get("parentRef").or_else(|| item.get("ancestorRef")).is_some();
            Some((answers_for_parent, conditions::parse(item.get("conditions")?)))
        })
        .filter(|(_, group)| !group.is_empty())
        .collect();
    let is_stale = |group: &[Condition<'_>]| group.iter().any(|condition| stale_condition(object, condition).is_some());
    let has_current = groups.iter().any(|(_, group)| !is_stale(group));
    for (answers_for_parent, group) in groups.iter().filter(|(_, group)| !has_current || !is_stale(group)) {
        let mut own = Verdict::default();
        read_conditions(object, group, &mut own);
        if own.is_open() && *answers_for_parent {
            own.vote(progressing("waits for a parent's controller to accept it"));
        }
        if let Some(worst) = own.worst {
            verdict.vote(worst);
        }
    }
}

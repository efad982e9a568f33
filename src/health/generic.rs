//! Kinds without a rule of their own: custom resources.
//!
//! Every source of evidence (conditions, state words, flags, counts) votes; the worst vote wins. Healthy needs at least
//! one vote for it, and no vote is taken from a status that is about an older generation. So the reading errs towards
//! Progressing: it may wait where nothing is to wait for, but it doesn't call a thing healthy that never said so.

use serde_json::Value;

use super::conditions::{self, Condition, Truth, find};
use super::counts::{self, Counts};
use super::object::Object;
use super::observed::{stale_condition, stale_reference, stale_status};
use super::polarity::{Polarity, is_decision, is_diagnosis, is_hold_of_all, is_use, is_whole, polarity};
use super::table::{self, Row, Silence};
use super::words::{self, Meaning};
use super::{AssessContext, degraded, hold, progressing, revisions, states, suspended};
use crate::model::{Health, HealthStatus};

/// Reads the health of any object from the conventions of its status, corrected by what the table knows of its kind.
pub fn assess(value: &Value, context: &AssessContext) -> Health {
    let whole = Object::new(value);
    let row = table::row_of(whole.group(), whole.kind());
    let reduced = row.without_ignored(value);
    let object = reduced.as_ref().map_or(whole, Object::new);
    let held = hold::held(object);
    if states::is_empty(object.at("/status")) {
        if let Some(message) = held {
            return suspended(message);
        }
        if let Some(health) = row.decide(object) {
            return health;
        }
        return match (row.silence, context.has_status_subresource) {
            (Silence::IsHealthy, _) | (Silence::Waits, Some(false)) => Health::healthy(),
            (Silence::Waits, Some(true) | None) => progressing("has no status yet"),
        };
    }
    if let Some(health) = stale_status(object).or_else(|| stale_reference(object)) {
        return held.or_else(|| held_by_condition(object, row)).map_or(health, suspended);
    }
    if let Some(health) = row.decide(object) {
        return health;
    }
    let mut verdict = Verdict::default();
    let conditions = object.conditions();
    let is_ready = read_conditions(object, row, &conditions, &mut verdict);
    for kind in awaited(object, row, &conditions) {
        if !find(&conditions, kind).is_some_and(Condition::is_true) {
            verdict.vote(progressing(format!("condition {kind} is not True yet")));
        }
    }
    read_groups(object, row, &mut verdict);
    states::read(object, row, is_ready, &mut verdict);
    read_uses(&conditions, &mut verdict);
    if let Some(message) = revisions::read(object) {
        verdict.vote(progressing(message));
    }
    match counts::read(object) {
        Counts::None => {}
        Counts::Complete => verdict.vote(Health::healthy()),
        Counts::Short(message) => verdict.vote(progressing(message)),
    }
    if let Some(message) = held.or_else(|| hold::by_partition(object)) {
        verdict.vote(suspended(message));
    }
    verdict.finish(row.silence)
}

/// A controller that is told to pause doesn't see the generation that tells it, but says that it pauses.
fn held_by_condition(object: Object<'_>, row: &Row) -> Option<String> {
    let is_hold = |condition: &Condition<'_>| {
        let polarity = row.role(condition.kind).unwrap_or_else(|| polarity(condition.kind));
        polarity == Polarity::Hold && condition.is_true() && is_hold_of_all(condition.kind)
    };
    object.conditions().iter().find(|condition| is_hold(condition)).map(Condition::explain)
}

/// Where nothing else has said anything, a condition such as `Active` decides.
fn read_uses(conditions: &[Condition<'_>], verdict: &mut Verdict) {
    if !verdict.is_open() {
        return;
    }
    for condition in conditions.iter().filter(|condition| is_use(condition.kind)) {
        verdict.vote(if condition.is_true() { Health::healthy() } else { progressing(condition.explain()) });
    }
    // By kstatus' contract an object that is neither reconciling nor stalled is as it should be.
    if verdict.is_open() && find(conditions, "Reconciling").is_some_and(Condition::is_false) {
        verdict.vote(Health::healthy());
    }
}

/// The conditions that are still to come. Besides what the table says, Crossplane's contract for managed and composite
/// resources is known by its signs: `Synced` tells only that the last reconcile went well, and `Ready` always comes.
fn awaited(object: Object<'_>, row: &Row, conditions: &[Condition<'_>]) -> Vec<&'static str> {
    let mut awaited = row.awaited.to_vec();
    let is_crossplane = object.at("/status/atProvider").is_some()
        || conditions.iter().any(|condition| condition.kind == "Synced" && condition.reason.starts_with("Reconcile"));
    if is_crossplane && !awaited.contains(&"Ready") {
        awaited.push("Ready");
    }
    awaited
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

    fn finish(self, silence: Silence) -> Health {
        self.worst.unwrap_or_else(|| match silence {
            Silence::IsHealthy => Health::healthy(),
            Silence::Waits => progressing("its status says nothing that is known to mean health"),
        })
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

/// Votes for `status.conditions`; tells whether there is a `Ready` that is True.
fn read_conditions(object: Object<'_>, row: &Row, conditions: &[Condition<'_>], verdict: &mut Verdict) -> bool {
    let polarity = |kind: &str| row.role(kind).unwrap_or_else(|| polarity(kind));
    let summary = conditions.iter().find(|condition| polarity(condition.kind) == Polarity::Summary);
    let is_ready = summary.is_some_and(Condition::is_true);
    for condition in conditions {
        let polarity = polarity(condition.kind);
        let is_decisive = match polarity {
            Polarity::Summary => true,
            Polarity::Final | Polarity::PartFinal | Polarity::Verdict => summary.is_none(),
            Polarity::Negative
            | Polarity::NotFinal
            | Polarity::Activity
            | Polarity::Hold
            | Polarity::Neutral
            | Polarity::Ignored => false,
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
    // Cluster API marks with this severity what is only on its way, whatever words the reason has.
    let is_failure = is_failure && condition.severity != "Info";
    let tells_failure = words::tells_failure(condition.message) && condition.severity != "Info";
    match (polarity, condition.truth) {
        (Polarity::Summary | Polarity::Final | Polarity::PartFinal | Polarity::Verdict, Truth::True) => {
            Some(Health::healthy())
        }
        (Polarity::Summary | Polarity::Final | Polarity::PartFinal, Truth::False) => {
            if is_failure || tells_failure {
                return Some(degraded(condition.explain()));
            }
            if reason == Some(Meaning::Paused) || words::tells_hold(condition.message) {
                return Some(suspended(condition.explain()));
            }
            let is_wanted = object.int("/spec/replicas") != Some(0) || object.count("/status/replicas") > 0;
            if !is_wanted && condition.kind == "Available" {
                return None;
            }
            if (is_decision(condition.kind) || is_diagnosis(condition.kind)) && reason != Some(Meaning::Working) {
                return Some(degraded(condition.explain()));
            }
            let is_overruled = is_ready && polarity == Polarity::PartFinal && reason != Some(Meaning::Working);
            (!is_overruled).then(|| progressing(condition.explain()))
        }
        (Polarity::Summary | Polarity::Final | Polarity::Verdict, Truth::Unknown) => {
            Some(progressing(condition.explain()))
        }
        (Polarity::PartFinal, Truth::Unknown) => (!is_ready).then(|| progressing(condition.explain())),
        (Polarity::Negative, Truth::True) | (Polarity::Verdict, Truth::False) => Some(degraded(condition.explain())),
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
            _ if words::tells_hold(condition.message) => Some(suspended(condition.explain())),
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
        (Polarity::Ignored, _)
        | (Polarity::Neutral, Truth::True | Truth::Unknown)
        | (Polarity::Negative | Polarity::NotFinal | Polarity::Hold, Truth::False | Truth::Unknown) => None,
    }
}

/// Votes for lists of items that have conditions each, as the Gateway API has them per parent. Items about an older
/// generation are left out when there are newer ones: their controller no longer serves the object.
fn read_groups(object: Object<'_>, row: &Row, verdict: &mut Verdict) {
    let Some(status) = object.at("/status").and_then(Value::as_object) else { return };
    let groups: Vec<(bool, Vec<Condition<'_>>)> = status
        .values()
        .filter_map(Value::as_array)
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
        read_conditions(object, row, group, &mut own);
        if own.is_open() && *answers_for_parent {
            own.vote(progressing("waits for a parent's controller to accept it"));
        }
        if let Some(worst) = own.worst {
            verdict.vote(worst);
        }
    }
}

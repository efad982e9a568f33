//! What the type of a condition tells: whether True is good, bad, work or a hold.

use super::words::{self, Meaning};

/// What the type of a condition makes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// `Ready`: sums up the others.
    Summary,
    /// Names a state in which an object can rest: `Available`, `Synced`.
    Final,
    /// A final state of a part: `DatabaseAvailable`.
    PartFinal,
    /// A final state of which False always means failure, whatever the reason: `ReconcileSuccess`.
    Verdict,
    /// `Stalled`, `FetchFailed`.
    Negative,
    /// `NotReady`: a negative one that also stands while things begin.
    NotFinal,
    /// `Progressing`.
    Activity,
    /// `Paused`.
    Hold,
    /// Says nothing by itself (`Scheduled`, `Warning`), but may fail.
    Neutral,
    /// Is not read at all.
    Ignored,
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
    "done",
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
    "satisfied",
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

/// Last words of types such as `RollingUpdate`, whose first word tells that they are work.
const ROUNDS: &[&str] = &["update", "upgrade", "restart", "rollout"];

/// Types that say that a thing is in use, which is enough where nothing else is said.
const USES: &[&str] = &["active", "enabled", "online", "operational"];

/// Whether the type tells only that the thing is in use (`Active`): well when True.
pub fn is_use(kind: &str) -> bool {
    let local = kind.rsplit('/').next().unwrap_or(kind);
    match words::split(local).as_slice() {
        [word] => USES.contains(&word.as_str()),
        [.., last] => last == "active",
        [] => false,
    }
}

/// Whether a hold is of all that the controller does (`Paused`, `ReconciliationPaused`), not of a part.
pub fn is_hold_of_all(kind: &str) -> bool {
    match words::split(kind).as_slice() {
        [_] => true,
        [first, ..] => first.starts_with("reconcil"),
        [] => false,
    }
}

/// Last words of final types that are a judgement on the spec: False is a refusal, not a delay.
const DECISION_WORDS: &[&str] = &["accepted", "admitted", "adopted", "valid", "validated"];

/// Whether False is a refusal of the spec (`Accepted`), not a delay.
pub fn is_decision(kind: &str) -> bool {
    words::split(kind).last().is_some_and(|last| DECISION_WORDS.contains(&last.as_str()))
}

/// Whether False says that the thing is unwell (`PodsHealthy`), which is failure unless work is the reason.
pub fn is_diagnosis(kind: &str) -> bool {
    words::split(kind).last().is_some_and(|last| last == "healthy")
}

/// Whether an activity is the object's as a whole (`Progressing`), not one of a part (`ContinuousArchiving`).
pub fn is_whole(kind: &str) -> bool {
    words::split(kind).len() == 1
}

/// What is read in a condition's type from its words alone.
pub fn polarity(kind: &str) -> Polarity {
    let local = kind.rsplit('/').next().unwrap_or(kind);
    let words = words::split(local);
    let Some(last) = words.last().map(String::as_str) else { return Polarity::Neutral };
    let before = words.len().checked_sub(2).and_then(|index| words.get(index)).map_or("", String::as_str);
    if NOTICES.contains(&last) {
        return Polarity::Neutral;
    }
    if words.first().is_some_and(|first| words::is_activity(first)) && ROUNDS.contains(&last) {
        return Polarity::Activity;
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

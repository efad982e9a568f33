//! State words and flags in a status: `phase: Ready`, `ready: false`, `error: …`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::generic::Verdict;
use super::object::Object;
use super::table::Row;
use super::words::{self, Meaning};
use super::{degraded, progressing, suspended};
use crate::model::{Health, HealthStatus};

/// Last words of the fields that hold a state.
const STATE_FIELDS: &[&str] = &["phase", "state", "status", "health", "stage", "result", "compliant", "compliance"];
/// First words of fields that tell of another time than now, or of a wish.
const OTHER_TIMES: &[&str] = &["last", "previous", "history", "desired", "target", "expected", "initial", "old"];
/// Flags that are false until the object is well.
const READY_FLAGS: &[&str] = &["ready", "readyToUse", "available", "healthy", "synced", "upToDate"];
/// Flags that are false when the object has failed.
const SUCCESS_FLAGS: &[&str] = &["success", "succeeded", "pass", "passed", "valid"];
/// Fields that are set when the object has failed.
const ERROR_FIELDS: &[&str] =
    &["error", "errorMessage", "errorMsg", "errMsg", "errorDescription", "failureMessage", "failureReason"];
/// How deep maps are searched below `status`.
const DEPTH: usize = 3;

/// Last words of kinds that run to completion: "Running" is not yet good for them.
const TASK_KINDS: &[&str] = &[
    "analysis",
    "backup",
    "build",
    "clone",
    "execution",
    "experiment",
    "export",
    "import",
    "job",
    "migration",
    "operation",
    "promotion",
    "recovery",
    "request",
    "restore",
    "run",
    "scan",
    "snapshot",
    "task",
    "test",
    "upgrade",
    "workflow",
];

/// Whether there is no status, or one that holds nothing yet.
pub fn is_empty(status: Option<&Value>) -> bool {
    match status {
        None => true,
        Some(Value::Object(map)) => map.values().all(|value| match value {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        }),
        Some(_) => false,
    }
}

/// Votes for the state words and flags of `status`. Words below the first level are read for failure; where
/// neither the conditions nor the first level say anything, for everything.
pub fn read(object: Object<'_>, row: &Row, is_ready: bool, verdict: &mut Verdict) {
    let Some(status) = object.at("/status").and_then(Value::as_object) else { return };
    let reader = Reader { row, runs_to_completion: runs_to_completion(object.kind()) };
    let message = object.text("/status/message");
    let mut said = false;
    for (field, text) in states(status) {
        if matches!(text, Cow::Owned(_)) && row.meaning(field, &text).is_none() {
            continue;
        }
        let text = text.as_ref();
        let health = match reader.health(field, text, message) {
            Some(health) => health,
            None if is_ready || !is_main(field) => continue,
            None => progressing(format!("{field} is `{text}`")),
        };
        said = true;
        verdict.vote(health);
    }
    said |= flags(status, verdict);
    for (label, text) in own_labels(object) {
        if let Some(health) = reader.health(label, text, "") {
            said = true;
            verdict.vote(health);
        }
    }
    let below_decides = !said && verdict.is_open();
    reader.descend(status, DEPTH, below_decides, verdict);
}

struct Reader<'r> {
    row: &'r Row,
    runs_to_completion: bool,
}

impl Reader<'_> {
    fn health(&self, field: &str, text: &str, message: &str) -> Option<Health> {
        let explain = |message: &str| {
            if message.is_empty() { format!("{field} is `{text}`") } else { format!("{field} is `{text}`: {message}") }
        };
        Some(match self.row.meaning(field, text).or_else(|| words::meaning(text))? {
            Meaning::Running if self.runs_to_completion => progressing(explain(message)),
            Meaning::Good | Meaning::Running => Health::healthy(),
            Meaning::Working => progressing(explain(message)),
            Meaning::Paused => suspended(explain(message)),
            Meaning::Bad => degraded(explain(message)),
            Meaning::Absent => Health::new(HealthStatus::Missing, explain(message)),
            Meaning::Unknown => Health::new(HealthStatus::Unknown, explain(message)),
        })
    }

    fn descend(&self, map: &Map<String, Value>, depth: usize, decides: bool, verdict: &mut Verdict) {
        if depth == 0 {
            return;
        }
        let below = map.iter().filter(|(field, _)| *field != "conditions" && is_about_now(field));
        for (_, value) in below {
            match value {
                Value::Object(inner) => {
                    self.item(inner, decides, verdict);
                    // Further down, errors are often those of an attempt that is long over.
                    if let Some(health) = errors(inner).filter(|_| depth == DEPTH) {
                        verdict.vote(health);
                    }
                    self.descend(inner, depth - 1, decides, verdict);
                }
                // Lists further down hold other objects' states.
                Value::Array(items) if depth == DEPTH => {
                    for item in items.iter().filter_map(Value::as_object) {
                        self.item(item, decides, verdict);
                    }
                }
                _ => {}
            }
        }
    }

    fn item(&self, map: &Map<String, Value>, decides: bool, verdict: &mut Verdict) {
        let message = ["message", "reason"].iter().find_map(|field| map.get(*field)?.as_str()).unwrap_or_default();
        for (field, text) in states(map) {
            let Some(health) = self.health(field, &text, message) else { continue };
            if decides || matches!(health.status, HealthStatus::Degraded | HealthStatus::Progressing) {
                verdict.vote(health);
            }
        }
    }
}

/// Labels that a controller of the object's own domain puts on it to tell a state: `shoot.gardener.cloud/status` on an
/// object of `core.gardener.cloud`.
fn own_labels(object: Object<'_>) -> impl Iterator<Item = (&str, &str)> {
    let domain = registered_domain(object.group());
    object.at("/metadata/labels").and_then(Value::as_object).into_iter().flatten().filter_map(move |(label, value)| {
        let (prefix, name) = label.split_once('/')?;
        let is_own = domain.is_some() && registered_domain(prefix) == domain;
        let is_state = words::split(name).last().is_some_and(|last| STATE_FIELDS.contains(&last.as_str()));
        Some((label.as_str(), value.as_str().filter(|_| is_own && is_state)?))
    })
}

/// The last two labels of a domain, unless the whole community shares them.
pub fn registered_domain(domain: &str) -> Option<&str> {
    let start = domain.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot + 1);
    domain.get(start..).filter(|own| own.contains('.') && !matches!(*own, "k8s.io" | "x-k8s.io" | "kubernetes.io"))
}

/// The fields of a map that hold a state word about now. A few operators write the number of the word.
fn states(map: &Map<String, Value>) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    map.iter().filter_map(|(field, value)| {
        let text = match value {
            Value::String(text) => Cow::Borrowed(text.trim()),
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        };
        let words = words::split(field);
        let is_state = words.last().is_some_and(|last| STATE_FIELDS.contains(&last.as_str()));
        (!text.is_empty() && is_state && is_about_now(field)).then_some((field.as_str(), text))
    })
}

/// Whether a field holds the state of the object as a whole: `phase`, `currentState`.
fn is_main(field: &str) -> bool {
    let words = words::split(field);
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_] => true,
        [first, _] => matches!(*first, "current" | "overall"),
        _ => false,
    }
}

fn is_about_now(field: &str) -> bool {
    !words::split(field).first().is_some_and(|first| OTHER_TIMES.contains(&first.as_str()))
}

fn flags(status: &Map<String, Value>, verdict: &mut Verdict) -> bool {
    let mut said = false;
    for (field, value) in status {
        let value = match value {
            Value::Bool(value) => *value,
            Value::String(text) if text.eq_ignore_ascii_case("true") => true,
            Value::String(text) if text.eq_ignore_ascii_case("false") => false,
            _ => continue,
        };
        let health = match (READY_FLAGS.contains(&field.as_str()), SUCCESS_FLAGS.contains(&field.as_str()), value) {
            (true, _, true) | (_, true, true) => Health::healthy(),
            (true, _, false) => progressing(format!("{field} is false")),
            (false, true, false) => degraded(format!("{field} is false")),
            (false, false, _) => continue,
        };
        said = true;
        verdict.vote(health);
    }
    if let Some(health) = errors(status) {
        said = true;
        verdict.vote(health);
    }
    said
}

fn errors(map: &Map<String, Value>) -> Option<Health> {
    ERROR_FIELDS.iter().find_map(|field| {
        let value = map.get(*field)?;
        let text = value.as_str().or_else(|| value.get("message")?.as_str())?.trim();
        (!text.is_empty()).then(|| degraded(text))
    })
}

fn runs_to_completion(kind: &str) -> bool {
    words::split(kind).last().is_some_and(|last| TASK_KINDS.contains(&last.as_str()))
}

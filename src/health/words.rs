//! The words by which controllers say how a thing is doing, and what each says.
//!
//! Controllers share no vocabulary, but they share English: `ReconcileError`, `CONFIG_ERROR` and `Error: no such key`
//! say the same. Texts are split into words and looked up in the tables below. The tables hold words, never kinds.

/// What a state word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Done, or as it should be.
    Good,
    /// On its way.
    Working,
    /// Held on purpose.
    Paused,
    /// Failed.
    Bad,
    /// The thing that the object stands for is not there.
    Absent,
    /// The controller itself does not know.
    Unknown,
    /// It runs: good for a service, on its way for a task.
    Running,
}

/// Words that begin like this say failure.
const BAD_STEMS: &[&str] = &[
    "abort",
    "cancel",
    "conflict",
    "corrupt",
    "crash",
    "critical",
    "degrad",
    "denied",
    "deny",
    "err",
    "exceed",
    "exception",
    "expired",
    "fail",
    "fatal",
    "forbidden",
    "illegal",
    "incompatib",
    "insufficient",
    "invalid",
    "lost",
    "malform",
    "mismatch",
    "misconfig",
    "noncompliant",
    "orphan",
    "overlap",
    "refus",
    "reject",
    "stall",
    "terminal",
    "unable",
    "unauthori",
    "unhealthy",
    "unreachable",
    "unresolv",
    "unsupported",
    "violat",
    "warn",
    "wrong",
];

/// Whole words that say failure.
const BAD_WORDS: &[&str] = &[
    "bad",
    "broken",
    "cannot",
    "dead",
    "disconnected",
    "down",
    "killed",
    "missing",
    "notfound",
    "offline",
    "red",
    "reached",
    "timeout",
    "undefined",
    "unschedulable",
];

/// Pairs of words that say failure.
const BAD_PAIRS: &[(&str, &str)] = &[
    ("not", "found"),
    ("not", "allowed"),
    ("not", "permitted"),
    ("not", "supported"),
    ("not", "accepted"),
    ("not", "valid"),
    ("not", "exist"),
    ("non", "compliant"),
    ("no", "matching"),
    ("timed", "out"),
    ("no", "such"),
    ("no", "quorum"),
    ("could", "not"),
    ("failing", "over"),
    ("limit", "reached"),
    ("action", "required"),
];

/// Words that begin like this say that the thing is held.
const PAUSED_STEMS: &[&str] = &["hibernat", "pause", "suspend", "stopped", "halted", "sleeping", "shelved", "approval"];

/// Whole words that say it is on its way; so do words in `-ing` that are not in [`NOT_WORKING`].
const WORKING_WORDS: &[&str] = &[
    "creation",
    "inprogress",
    "init",
    "partial",
    "pending",
    "progress",
    "queued",
    "reconcile",
    "requested",
    "retry",
    "scheduled",
    "started",
    "submitted",
    "unavailable",
    "uninitialized",
    "unsynced",
    "yellow",
    "outofsync",
];

/// Pairs of words that say it is on its way.
const WORKING_PAIRS: &[(&str, &str)] = &[("of", "sync"), ("of", "date"), ("in", "flight")];

/// Words in `-ing` that are no activity.
const NOT_WORKING: &[&str] = &[
    "binding",
    "existing",
    "missing",
    "nothing",
    "ping",
    "ring",
    "running",
    "serving",
    "setting",
    "string",
    "thing",
    "warning",
    "routing",
    "following",
    "listening",
];

/// Whole words that say that all is well.
const GOOD_WORDS: &[&str] = &[
    "accepted",
    "active",
    "admitted",
    "applied",
    "approved",
    "attached",
    "available",
    "bound",
    "compliant",
    "complete",
    "completed",
    "configured",
    "connected",
    "created",
    "deployed",
    "done",
    "enabled",
    "established",
    "executed",
    "exist",
    "exists",
    "finished",
    "green",
    "healthy",
    "initialized",
    "installed",
    "issued",
    "latest",
    "normal",
    "ok",
    "online",
    "operational",
    "passed",
    "programmed",
    "provisioned",
    "published",
    "ready",
    "reconciled",
    "registered",
    "resolved",
    "stable",
    "succeeded",
    "success",
    "successful",
    "successfully",
    "synced",
    "synchronized",
    "up",
    "uptodate",
    "valid",
    "validated",
    "verified",
];

/// Words that turn the next one round.
const NEGATIONS: &[&str] = &["no", "non", "not", "without", "zero", "un", "never"];

/// Splits CamelCase, `snake_case`, and sentences into lower-case words; punctuation separates.
pub fn split(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let characters: Vec<char> = text.chars().collect();
    for (index, &character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() {
            flush(&mut words, &mut word);
            continue;
        }
        let after_lower = index > 0 && characters.get(index - 1).is_some_and(|previous| previous.is_lowercase());
        let ends_acronym = index > 0
            && characters.get(index - 1).is_some_and(|previous| previous.is_uppercase())
            && characters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if character.is_uppercase() && (after_lower || ends_acronym) {
            flush(&mut words, &mut word);
        }
        word.extend(character.to_lowercase());
    }
    flush(&mut words, &mut word);
    words
}

fn flush(words: &mut Vec<String>, word: &mut String) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// What the text of a `phase`, `state` or `reason` says; `None` when no word of it is known. Failure outweighs a hold, a
/// hold outweighs work, work outweighs success, so that `WaitingForReady` is work and `ReconcileError` failure.
pub fn meaning(text: &str) -> Option<Meaning> {
    let words = split(text);
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["unknown" | "inconclusive"] => return Some(Meaning::Unknown),
        // Only alone: `NewReplicaSetAvailable` is done.
        ["new"] => return Some(Meaning::Working),
        ["not", "found"] | ["notfound" | "absent"] => return Some(Meaning::Absent),
        _ => {}
    }
    let mut found: Option<Meaning> = None;
    for (index, word) in words.iter().enumerate() {
        let previous = index.checked_sub(1).and_then(|before| words.get(before)).map_or("", String::as_str);
        if let Some(read) = of_word(previous, word) {
            found = Some(found.map_or(read, |known| heavier(known, read)));
        }
    }
    found
}

/// What a reason says beyond the words of the type that it explains: `ContinuousArchivingSuccess` says success of
/// `ContinuousArchiving`.
pub fn meaning_beyond(kind: &str, reason: &str) -> Option<Meaning> {
    let known = split(kind);
    let more: Vec<String> = split(reason).into_iter().filter(|word| !known.contains(word)).collect();
    if more.is_empty() { meaning(reason) } else { meaning(&more.join(" ")) }
}

/// Phrases that tell failure wherever they stand in a sentence.
const FAILURE_PHRASES: &[&str] = &["failed to ", "error: ", "failed: "];

/// Phrases that tell failure in a sentence that does not begin with what is being done about it: `Waiting for a key
/// that was not found` is work.
const TROUBLE_PHRASES: &[&str] = &[
    "access denied",
    "connection refused",
    "could not be ",
    "forbidden",
    "is not supported",
    "no such ",
    "not found",
    "not permitted",
    "not working",
    "permission denied",
    "unauthorized",
    "unexpectedly",
];

/// Phrases that tell that the object waits for a person.
const HOLD_PHRASES: &[&str] = &["approval", "manual confirm", "manually confirm", "manual intervention"];

/// Whether a sentence for people tells that one of them has to act before anything goes on.
pub fn tells_hold(message: &str) -> bool {
    let lower = message.to_lowercase();
    HOLD_PHRASES.iter().any(|phrase| lower.contains(phrase))
}

/// Whether a sentence for people tells of failure. Sentences use many words in passing, so besides a few phrases only
/// how they begin counts.
pub fn tells_failure(message: &str) -> bool {
    let lower = message.to_lowercase();
    if FAILURE_PHRASES.iter().any(|phrase| lower.contains(phrase)) {
        return true;
    }
    let words = split(message);
    let is_work =
        words.first().is_some_and(|first| is_activity(first) || matches!(first.as_str(), "pending" | "waits"));
    if !is_work && TROUBLE_PHRASES.iter().any(|phrase| lower.contains(phrase)) {
        return true;
    }
    let first: Vec<&str> = words.iter().take(6).map(String::as_str).collect();
    match first.as_slice() {
        [] => false,
        ["error" | "errors" | "failed" | "failure" | "cannot" | "unable" | "invalid" | "fatal" | "panic", ..] => true,
        more => {
            more.iter().any(|word| matches!(*word, "failed" | "cannot" | "invalid" | "unable"))
                && !more.iter().any(|word| NEGATIONS.contains(word) || matches!(*word, "0" | "waiting" | "retrying"))
        }
    }
}

fn of_word(previous: &str, word: &str) -> Option<Meaning> {
    if BAD_PAIRS.contains(&(previous, word)) {
        return Some(Meaning::Bad);
    }
    let is_negated = NEGATIONS.contains(&previous);
    let starts = |stems: &[&str]| stems.iter().any(|stem| word.starts_with(stem));
    if starts(BAD_STEMS) || BAD_WORDS.contains(&word) {
        return (!is_negated).then_some(Meaning::Bad);
    }
    if starts(PAUSED_STEMS) {
        return (!is_negated).then_some(Meaning::Paused);
    }
    if word == "running" {
        return Some(if is_negated { Meaning::Working } else { Meaning::Running });
    }
    if WORKING_WORDS.contains(&word) || is_activity(word) {
        return (!is_negated).then_some(Meaning::Working);
    }
    if WORKING_PAIRS.contains(&(previous, word)) {
        return Some(Meaning::Working);
    }
    if GOOD_WORDS.contains(&word) {
        return Some(if is_negated { Meaning::Working } else { Meaning::Good });
    }
    None
}

/// Whether a word names an activity (`Reconciling`).
pub fn is_activity(word: &str) -> bool {
    word.len() > 4 && word.ends_with("ing") && !NOT_WORKING.contains(&word)
}

fn heavier(one: Meaning, other: Meaning) -> Meaning {
    const fn weight(meaning: Meaning) -> u8 {
        match meaning {
            Meaning::Good => 0,
            Meaning::Running => 1,
            Meaning::Unknown => 2,
            Meaning::Working => 3,
            Meaning::Paused => 4,
            Meaning::Absent => 5,
            Meaning::Bad => 6,
        }
    }
    if weight(other) > weight(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_style_are_split_into_words() {
        for (text, words) in [
            ("ReconcileError", vec!["reconcile", "error"]),
            ("HEALTH_WARN", vec!["health", "warn"]),
            ("DNSZoneReady", vec!["dns", "zone", "ready"]),
            ("in-sync now", vec!["in", "sync", "now"]),
            ("ACK.Terminal", vec!["ack", "terminal"]),
            ("", vec![]),
        ] {
            assert_eq!(split(text), words, "{text}");
        }
    }

    #[test]
    fn words_of_states_and_reasons_say_what_people_read_in_them() {
        for (text, wanted) in [
            ("Ready", Some(Meaning::Good)),
            ("READY", Some(Meaning::Good)),
            ("NotReady", Some(Meaning::Working)),
            ("DEPLOYED_NOT_READY", Some(Meaning::Working)),
            ("InProgress", Some(Meaning::Working)),
            ("WaitingForReady", Some(Meaning::Working)),
            ("ApplyingChanges", Some(Meaning::Working)),
            ("ReconcileError", Some(Meaning::Bad)),
            ("HEALTH_ERR", Some(Meaning::Bad)),
            ("TokenNotFound", Some(Meaning::Bad)),
            ("NoErrors", None),
            ("NotFound", Some(Meaning::Absent)),
            ("Unknown", Some(Meaning::Unknown)),
            ("Running", Some(Meaning::Running)),
            ("NewReplicaSetAvailable", Some(Meaning::Good)),
            ("ProgressDeadlineExceeded", Some(Meaning::Bad)),
            ("ReconcilePaused", Some(Meaning::Paused)),
            ("Cluster in healthy state", Some(Meaning::Good)),
            ("RestoreNotComplete", Some(Meaning::Working)),
            ("Flibbertigibbet", None),
        ] {
            assert_eq!(meaning(text), wanted, "{text}");
        }
    }

    #[test]
    fn only_the_beginning_of_a_sentence_tells_failure() {
        assert!(tells_failure("Error: checksum mismatch"));
        assert!(tells_failure("create failed: cannot create role"));
        assert!(!tells_failure("Waiting for 3 pods, of which none has failed"));
        assert!(!tells_failure("0 of 3 failed"));
        assert!(!tells_failure(""));
    }
}

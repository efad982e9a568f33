//! Whether the newest commit or artifact of a source is older than it may be.

use std::time::Duration;

use jiff::Timestamp;

/// The tip of a target, and what is known of its source.
#[derive(Clone, Copy, Debug)]
pub struct Tip<'a> {
    /// The repository.
    pub source: &'a str,
    /// What is tracked of it.
    pub target: &'a str,
    /// The newest revision of it, as messages call it.
    pub revision: &'a str,
    /// When that was made.
    pub made: Timestamp,
    /// When the source last answered; `None` when it never has.
    pub reached: Option<Timestamp>,
    /// Whether it answers now.
    pub answers: bool,
}

/// Whether a tip is as young as `maxAge` wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It is.
    Fresh,
    /// It is not; a sentence says which commit, how old, and since when the source was last reached.
    Stale(String),
}

/// Judges a tip. A commit dated in the future is fresh: clocks differ.
///
/// The sentence changes only when its meaning does (age is told in whole days, hours or minutes, and the time of the last
/// answer only while there is none), since every change is a write to a status.
pub fn freshness(tip: Tip<'_>, max_age: Duration, now: Timestamp) -> Freshness {
    let age = Duration::try_from(now.duration_since(tip.made)).unwrap_or_default();
    if age <= max_age {
        return Freshness::Fresh;
    }
    let contact = match (tip.answers, tip.reached) {
        (true, _) => "the source answers and has nothing newer: is it a mirror that no longer moves?".to_owned(),
        (false, Some(reached)) => {
            format!("the source was last reached at {}", super::rfc3339(reached))
        }
        (false, None) => "the source was never reached".to_owned(),
    };
    Freshness::Stale(format!(
        "{} of {} is at {}, made {} ago at {}, which is more than maxAge {}; {contact}",
        tip.target,
        tip.source,
        tip.revision,
        coarse(age),
        super::rfc3339(tip.made),
        coarse(max_age),
    ))
}

/// A span in the largest unit of which it has two, rounded down.
fn coarse(span: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let seconds = span.as_secs();
    UNITS
        .iter()
        .find(|(length, _)| seconds >= 2 * length)
        .map_or_else(|| "less than 2 minutes".to_owned(), |(length, name)| format!("{} {name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn tip() -> Tip<'static> {
        Tip {
            source: "https://git.corp.test/app",
            target: "main",
            revision: "0123456",
            made: at("2026-01-01T00:00:00Z"),
            reached: Some(at("2026-02-01T00:00:00Z")),
            answers: true,
        }
    }

    const MONTH: Duration = Duration::from_hours(720);

    #[test]
    fn a_tip_is_stale_from_the_second_after_max_age() {
        assert_eq!(freshness(tip(), MONTH, at("2026-01-01T00:00:00Z")), Freshness::Fresh);
        assert_eq!(freshness(tip(), MONTH, at("2026-01-31T00:00:00Z")), Freshness::Fresh);
        assert!(matches!(freshness(tip(), MONTH, at("2026-01-31T00:00:01Z")), Freshness::Stale(_)));
        assert!(matches!(freshness(tip(), Duration::ZERO, at("2026-01-01T00:00:01Z")), Freshness::Stale(_)));
    }

    #[test]
    fn a_commit_from_the_future_is_fresh() {
        assert_eq!(freshness(tip(), Duration::ZERO, at("2025-06-01T00:00:00Z")), Freshness::Fresh);
    }

    #[test]
    fn the_sentence_says_what_is_old_and_whether_the_source_answers() {
        let now = at("2026-02-10T12:00:00Z");
        let start = "main of https://git.corp.test/app is at 0123456, made 40 days ago at 2026-01-01T00:00:00Z, which \
                     is more than maxAge 30 days; ";
        let says = |tip, end: &str| {
            assert_eq!(freshness(tip, MONTH, now), Freshness::Stale(format!("{start}{end}")));
        };
        says(tip(), "the source answers and has nothing newer: is it a mirror that no longer moves?");
        says(Tip { answers: false, ..tip() }, "the source was last reached at 2026-02-01T00:00:00Z");
        says(Tip { answers: false, reached: None, ..tip() }, "the source was never reached");
    }

    #[test]
    fn the_sentence_stays_the_same_for_as_long_as_it_means_the_same() {
        let then = |text| freshness(Tip { reached: Some(at(text)), ..tip() }, MONTH, at(text));
        assert_eq!(then("2026-02-10T00:00:00Z"), then("2026-02-10T23:59:59Z"));
        assert_ne!(then("2026-02-10T23:59:59Z"), then("2026-02-11T00:00:00Z"));
    }

    #[test]
    fn spans_are_told_in_the_largest_unit_of_which_they_have_two() {
        let told = [59, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|seconds| coarse(Duration::from_secs(seconds)));
        let expected =
            ["less than 2 minutes", "less than 2 minutes", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days"];
        assert_eq!(told, expected);
    }
}

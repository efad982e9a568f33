//! Which version a `targetRevision` means among those that a repository has. Pure.

use semver::Version;

use crate::git::{Constraint, newest, parse_version};

/// A version as a tag: `+` can't stand in one.
pub fn tag_of_version(version: &str) -> String {
    version.replace('+', "_")
}

/// The version that a tag stands for.
pub fn version_of_tag(tag: &str) -> String {
    tag.replace('_', "+")
}

/// Whether a text asks for the greatest of several versions.
pub fn is_range(text: &str) -> bool {
    let text = text.trim();
    is_newest(text) || Constraint::parse(text).is_some()
}

/// Nothing, or what stands for the newest, is meant.
fn is_newest(text: &str) -> bool {
    matches!(text, "" | "HEAD")
}

/// The name that is meant, of the versions that there are. The exact text wins; then an equal version (`v1.2.3` for `1.2.3`);
/// an incomplete one (`1.2`) means the greatest that begins with it. Pre-releases count only where the text names one.
pub fn choose<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let text = text.trim();
    if is_newest(text) {
        let released: Vec<&str> = names.iter().copied().filter(|name| is_released(name)).collect();
        return newest(released.iter().copied()).and_then(|found| names.iter().copied().find(|name| *name == found));
    }
    if let Some(exact) = names.iter().find(|name| **name == text) {
        return Some(exact);
    }
    let constraint = match parse_version(text) {
        Some(version) if is_complete(text) => return equal(&version, text, names),
        Some(_) => Constraint::parse(&format!("={}", text.strip_prefix('v').unwrap_or(text)))?,
        None => Constraint::parse(text)?,
    };
    constraint.best(names.iter().copied())
}

/// The newest of all, pre-releases included, for messages.
pub fn newest_of<'a>(names: &[&'a str]) -> Option<&'a str> {
    newest(names.iter().copied())
}

fn is_released(name: &str) -> bool {
    parse_version(name).is_some_and(|version| version.pre.is_empty())
}

fn is_complete(text: &str) -> bool {
    let numbers = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
    numbers.split('.').count() == 3
}

fn equal<'a>(version: &Version, text: &str, names: &[&'a str]) -> Option<&'a str> {
    let build = |text: &str| text.split_once('+').map(|(_, build)| build.to_owned());
    let wanted = build(text);
    let mut found = names.iter().copied().filter(|name| {
        parse_version(name).is_some_and(|other| other.cmp_precedence(version).is_eq())
            && (wanted.is_none() || build(name) == wanted)
    });
    found.next()
}

/// Names that look like one, the nearest first: for what to write instead.
pub fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted_lower = wanted.to_lowercase();
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let contained = wanted_lower.len() >= 3 && (lower.contains(&wanted_lower) || wanted_lower.contains(&lower));
            let distance = distance(&wanted_lower, &lower);
            let allowed = 1 + wanted_lower.chars().count() / 4;
            (distance <= allowed || contained).then_some((distance, name))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many letters are to be changed, added or taken away. Long texts are cut: names of charts are short.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (place, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 8] = ["0.9.0", "1.2.0", "1.2.3", "1.2.3+build.5", "v1.10.0", "2.0.0-rc.1", "nightly", "1.3.0"];

    #[test]
    fn exact_versions_ranges_and_the_newest_are_found_as_helm_finds_them() {
        for (text, expected) in [
            ("", Some("v1.10.0")),
            ("HEAD", Some("v1.10.0")),
            ("*", Some("v1.10.0")),
            ("1.2.3", Some("1.2.3")),
            ("v1.2.0", Some("1.2.0")),
            ("1.10.0", Some("v1.10.0")),
            ("1.2.3+build.5", Some("1.2.3+build.5")),
            ("1.2.3+other", None),
            ("1.2", Some("1.2.3")),
            ("1", Some("v1.10.0")),
            ("~1.2", Some("1.2.3")),
            (">=1 <1.3", Some("1.2.3")),
            ("^2", None),
            ("^2.0.0-0", Some("2.0.0-rc.1")),
            ("2.0.0-rc.1", Some("2.0.0-rc.1")),
            ("nightly", Some("nightly")),
            ("weekly", None),
            ("9.9.9", None),
        ] {
            assert_eq!(choose(text, &NAMES), expected, "{text}");
        }
        assert_eq!((is_range(""), is_range("1.x"), is_range("1.2.3"), is_range("stable")), (true, true, false, false));
        assert_eq!(newest_of(&NAMES), Some("2.0.0-rc.1"));
        assert_eq!((tag_of_version("1+b"), version_of_tag("1_b")), ("1_b".to_owned(), "1+b".to_owned()));
    }

    #[test]
    fn near_misses_are_named_nearest_first() {
        let names = ["redis", "redis-cluster", "nginx", "reddit", "postgres"];
        assert_eq!(near("reddis", names.into_iter()), ["reddit", "redis"]);
        assert_eq!(near("Redis", names.into_iter()), ["redis", "reddit", "redis-cluster"]);
        assert_eq!(near("kafka", names.into_iter()), Vec::<&str>::new());
    }
}

//! Version ranges over tags: which tag a `targetRevision` such as `1.2.*` or `>=1.4 <2` means. Pure.
//!
//! The grammar is the one that Argo CD's users know: comparators joined by spaces or commas must all hold, `||` joins
//! alternatives. It differs from Cargo's: `1.2` by itself is no range, wildcards are allowed after any operator, and
//! a caret or tilde may be followed by one, two or three numbers.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// Operators, longest first, so that the first that fits is meant.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::Different),
    (">=", Operator::AtLeast),
    ("=>", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("=<", Operator::AtMost),
    ("~>", Operator::Tilde),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("=", Operator::Equal),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

/// A range of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    alternatives: Vec<Alternative>,
}

/// Comparators that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alternative {
    comparators: Vec<Comparator>,
    /// Pre-releases count only where a comparator names one.
    prereleases: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    stated: Stated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Different,
    Above,
    Below,
    AtLeast,
    AtMost,
    Tilde,
    Caret,
}

/// How much of a version is stated; a wildcard and all that follows it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Any,
    Major,
    Minor,
    Full,
}

/// A version of which the end may be missing. What is missing counts as zero.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stated {
    version: Version,
    precision: Precision,
}

impl Constraint {
    /// Reads a range. `None` when the text is none, and when it is a plain version (`v1.2.3`, `1.2`): that is a name.
    pub fn parse(text: &str) -> Option<Self> {
        if parse_version(text).is_some() {
            return None;
        }
        let alternatives = text.split("||").map(Alternative::parse).collect::<Option<Vec<_>>>()?;
        Some(Self { alternatives })
    }

    /// Whether a version lies in the range.
    pub fn matches(&self, version: &Version) -> bool {
        self.alternatives.iter().any(|alternative| alternative.matches(version))
    }

    /// The name of the greatest version in the range. Names that are no versions are passed over. Of names of equal
    /// versions (`1.0.0` and `v1.0.0`) the first by the alphabet is taken.
    pub fn best<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        let found = names.into_iter().filter_map(|name| Some((parse_version(name)?, name)));
        found
            .filter(|(version, _)| self.matches(version))
            .max_by(|(left, left_name), (right, right_name)| {
                left.cmp_precedence(right).then_with(|| right_name.cmp(left_name))
            })
            .map(|(_, name)| name)
    }
}

/// The name of the greatest version, pre-releases included.
pub fn newest<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .filter_map(|name| Some((parse_version(name)?, name)))
        .max_by(|(left, _), (right, _)| left.cmp_precedence(right))
        .map(|(_, name)| name)
}

/// Reads a version as tags write it: `v1.2.3`, `1.2`, `2`, `1.0.0-rc.1+build`. Missing numbers are zero.
pub fn parse_version(text: &str) -> Option<Version> {
    let stated = Stated::parse(text)?;
    // A wildcard is no version; a missing number is.
    (!numbers_of(text).any(is_wildcard)).then_some(stated.version)
}

fn is_wildcard(number: &str) -> bool {
    matches!(number, "x" | "X" | "*")
}

/// The numbers in front of pre-release and build.
fn numbers_of(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('v').unwrap_or(text);
    text.split(['-', '+']).next().unwrap_or_default().split('.')
}

impl Stated {
    fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<&str> = numbers_of(text).collect();
        if numbers.len() > 3 {
            return None;
        }
        let mut parsed = [0_u64; 3];
        let mut precision = Precision::Any;
        let mut open = false;
        for ((number, place), next) in
            numbers.iter().zip(&mut parsed).zip([Precision::Major, Precision::Minor, Precision::Full])
        {
            if is_wildcard(number) {
                open = true;
                continue;
            }
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let value = number.parse().ok()?;
            if !open {
                *place = value;
                precision = next;
            }
        }
        let rest = text.find(['-', '+']).and_then(|start| text.get(start..)).unwrap_or_default();
        let (pre, build) = rest.split_once('+').map_or((rest, None), |(pre, build)| (pre, Some(build)));
        let pre = match pre.strip_prefix('-') {
            Some("") => return None,
            Some(pre) => Prerelease::new(pre).ok()?,
            None => Prerelease::EMPTY,
        };
        if let Some(build) = build
            && (build.is_empty() || BuildMetadata::new(build).is_err())
        {
            return None;
        }
        let [major, minor, patch] = parsed;
        Some(Self { version: Version { major, minor, patch, pre, build: BuildMetadata::EMPTY }, precision })
    }
}

impl Alternative {
    fn parse(text: &str) -> Option<Self> {
        let mut comparators = Vec::new();
        let mut rest = text.trim();
        loop {
            let (operator, after) = OPERATORS
                .iter()
                .find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)))
                .map_or((None, rest), |(operator, after)| (Some(operator), after.trim_start()));
            let (first, after) = word(after);
            let stated = Stated::parse(first)?;
            let after_space = after.trim_start();
            if operator.is_none()
                && after_space.len() < after.len()
                && let Some(upper) = after_space.strip_prefix("- ")
            {
                let (last, after) = word(upper.trim_start());
                comparators.push(Comparator { operator: Operator::AtLeast, stated });
                comparators.push(Comparator { operator: Operator::AtMost, stated: Stated::parse(last)? });
                rest = after.trim_start();
            } else {
                comparators.push(Comparator { operator: operator.unwrap_or(Operator::Equal), stated });
                rest = after_space;
            }
            if let Some(next) = rest.strip_prefix(',') {
                // A comma announces another comparator.
                rest = next.trim_start();
            } else if rest.is_empty() {
                break;
            }
        }
        let prereleases = comparators.iter().any(|comparator| !comparator.stated.version.pre.is_empty());
        Some(Self { comparators, prereleases })
    }

    fn matches(&self, version: &Version) -> bool {
        (self.prereleases || version.pre.is_empty())
            && self.comparators.iter().all(|comparator| comparator.matches(version))
    }
}

/// A text up to the next space or comma, and the rest.
fn word(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| character.is_whitespace() || character == ',').unwrap_or(text.len()))
}

impl Comparator {
    fn matches(&self, version: &Version) -> bool {
        let Stated { version: stated, precision } = &self.stated;
        let order = version.cmp_precedence(stated);
        // Compared by what is stated only: 1.2.7 is equal to 1.2, and 1.3 is greater.
        let stated_order = match precision {
            Precision::Any => Ordering::Equal,
            Precision::Major => version.major.cmp(&stated.major),
            Precision::Minor => (version.major, version.minor).cmp(&(stated.major, stated.minor)),
            Precision::Full => order,
        };
        match self.operator {
            Operator::Equal if *precision == Precision::Full => order.is_eq(),
            Operator::Equal => order.is_ge() && stated_order.is_eq(),
            Operator::Different => stated_order.is_ne(),
            Operator::Above => stated_order.is_gt(),
            Operator::Below => order.is_lt(),
            Operator::AtLeast => order.is_ge(),
            Operator::AtMost => stated_order.is_le(),
            Operator::Tilde => order.is_ge() && version_in_tilde(version, stated, *precision),
            Operator::Caret => order.is_ge() && version_in_caret(version, stated, *precision),
        }
    }
}

/// The last stated number but one stays: `~1.2.3` and `~1.2` keep 1.2, `~1` keeps 1.
fn version_in_tilde(version: &Version, stated: &Version, precision: Precision) -> bool {
    match precision {
        Precision::Any => true,
        Precision::Major => version.major == stated.major,
        Precision::Minor | Precision::Full => (version.major, version.minor) == (stated.major, stated.minor),
    }
}

/// The first number that is not zero stays.
fn version_in_caret(version: &Version, stated: &Version, precision: Precision) -> bool {
    match precision {
        Precision::Any => true,
        Precision::Major => version.major == stated.major,
        Precision::Minor | Precision::Full if stated.major > 0 => version.major == stated.major,
        Precision::Full if stated.minor == 0 => (version.major, version.minor, version.patch) == (0, 0, stated.patch),
        Precision::Minor | Precision::Full => (version.major, version.minor) == (0, stated.minor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: &str, inside: &[&str], outside: &[&str]) {
        let constraint = Constraint::parse(range).unwrap_or_else(|| panic!("`{range}` is a range"));
        for (versions, expected) in [(inside, true), (outside, false)] {
            for version in versions {
                let parsed = parse_version(version).unwrap_or_else(|| panic!("`{version}` is a version"));
                assert_eq!(constraint.matches(&parsed), expected, "{version} in {range}");
            }
        }
    }

    #[test]
    fn wildcards_keep_what_is_stated() {
        check("*", &["0.0.0", "0.1.0", "7.8.9"], &["1.0.0-rc.1"]);
        check("1.*", &["1.0.0", "v1.9.3"], &["0.9.0", "2.0.0", "1.2.0-rc.1"]);
        check("1.x", &["1.0.0", "1.9.3"], &["2.0.0"]);
        check("v1.X.X", &["1.0.0", "1.9.3"], &["2.0.0"]);
        check("1.2.*", &["1.2.0", "v1.2.30"], &["1.1.9", "1.3.0", "1.2.3-beta"]);
        check("=1.2.x", &["1.2.0", "1.2.30"], &["1.3.0"]);
        check("=1.2", &["1.2.0", "1.2.9"], &["1.3.0", "1.1.0"]);
        check("=1", &["1.0.0", "1.2.9"], &["2.0.0"]);
        check("=1.2.3", &["1.2.3", "v1.2.3+build"], &["1.2.4"]);
        check("0.0.*", &["0.0.0", "0.0.9"], &["0.1.0", "1.0.0"]);
    }

    #[test]
    fn a_caret_keeps_the_first_number_that_is_not_zero() {
        check("^1.2.3", &["1.2.3", "1.9.0"], &["1.2.2", "2.0.0", "0.9.0"]);
        check("^1.2", &["1.2.0", "1.9.0"], &["1.1.9", "2.0.0"]);
        check("^1", &["1.0.0", "1.9.0"], &["0.9.0", "2.0.0"]);
        check("^1.x", &["1.0.0", "1.9.0"], &["2.0.0"]);
        check("^0.2.3", &["0.2.3", "0.2.9"], &["0.2.2", "0.3.0", "1.2.3"]);
        check("^0.2", &["0.2.0", "0.2.9"], &["0.3.0", "1.2.0"]);
        check("^0.0.3", &["0.0.3"], &["0.0.2", "0.0.4", "0.1.3", "1.0.3"]);
        check("^0.0", &["0.0.0", "0.0.9"], &["0.1.0"]);
        check("^0", &["0.0.0", "0.9.0"], &["1.0.0"]);
        check("^*", &["0.0.0", "9.0.0"], &["9.0.0-rc"]);
    }

    #[test]
    fn a_tilde_keeps_the_minor_version_if_one_is_stated() {
        check("~1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]);
        check("~>1.2.3", &["1.2.3", "1.2.9"], &["1.2.2", "1.3.0"]);
        check("~1.2", &["1.2.0", "1.2.9"], &["1.1.9", "1.3.0"]);
        check("~1", &["1.0.0", "1.9.0"], &["2.0.0"]);
        check("~0.1.0", &["0.1.0", "0.1.9"], &["0.2.0"]);
        check("~*", &["0.0.0", "9.0.0"], &[]);
    }

    #[test]
    fn comparisons_with_an_open_end_are_about_what_is_stated() {
        check(">1.2.3", &["1.2.4", "2.0.0"], &["1.2.3", "1.2.2"]);
        check(">1.2", &["1.3.0", "2.0.0"], &["1.2.0", "1.2.9"]);
        check(">11", &["12.0.0"], &["11.1.0", "10.0.0"]);
        check(">=1.2", &["1.2.0", "1.2.9", "2.0.0"], &["1.1.9"]);
        check("=>1.2", &["1.2.0"], &["1.1.9"]);
        check("<1.2", &["1.1.9"], &["1.2.0", "1.2.9"]);
        check("<=1.2", &["1.1.9", "1.2.0", "1.2.9"], &["1.3.0"]);
        check("=<1", &["0.9.0", "1.2.9"], &["2.0.0"]);
        check("!=1.2.3", &["1.2.4"], &["1.2.3", "1.2.4-rc"]);
        check("!=1.2.x", &["1.3.0", "1.1.0"], &["1.2.3"]);
        check("!=1", &["2.0.0"], &["1.2.3"]);
    }

    #[test]
    fn comparators_are_joined_by_spaces_commas_hyphens_and_bars() {
        for range in [">=1.0 <2.0", ">=1.0, <2.0", ">=1.0,<2.0", ">= 1.0 , < 2.0", "  >=1.0   <2.0  "] {
            check(range, &["1.0.0", "1.9.9"], &["0.9.0", "2.0.0"]);
        }
        check(">=1.2 !=1.2.5 <1.3", &["1.2.4", "1.2.6"], &["1.2.5", "1.3.0"]);
        check("1.2 - 2.3.4", &["1.2.0", "2.3.4"], &["1.1.9", "2.3.5"]);
        check("v1.2.0 - v2", &["1.2.0", "2.9.0"], &["3.0.0"]);
        check("1.x || 3.x", &["1.5.0", "3.1.0"], &["2.0.0", "4.0.0"]);
        check("1.0 - 1.2 || >=3||~2.5", &["1.1.0", "3.1.0", "2.5.9"], &["1.3.0", "2.4.0", "2.6.0"]);
    }

    #[test]
    fn pre_releases_count_only_where_the_range_names_one() {
        check(">=1.0.0", &["1.0.0"], &["1.1.0-rc.1"]);
        check(">=1.1.0-0", &["1.1.0-rc.1", "1.1.0", "1.2.0-alpha"], &["1.0.9"]);
        check("~1.1.0-rc", &["1.1.0-rc.1", "1.1.5"], &["1.1.0-beta", "1.2.0"]);
        check("^1.1.0-0 <2.0.0-0", &["1.1.0-rc.1", "1.9.0"], &["2.0.0-rc.1", "2.0.0"]);
        check("1.x-0 || 2.x", &["1.1.0-rc.1", "2.0.0"], &["2.0.0-rc.1"]);
        check(">=1.0.0-0 <2", &["1.5.0-rc"], &["3.0.0-rc"]);
    }

    #[test]
    fn plain_versions_and_other_texts_are_no_ranges() {
        for text in [
            "1.2.3",
            "v1.2.3",
            "1.2",
            "v1",
            "20240101",
            "1.0.0-rc.1+b",
            "main",
            "release-1.x",
            "feature/x",
            "",
            "1.2.3.4",
            "1.2.*.4",
            ">=",
            ">=a",
            "1..2",
            ">1,",
            "|| 1.x",
            "1.x ||",
            "^1.2.3-",
            "^1.2.3-a..b",
            "1.x - ",
            "^^1",
            "v",
            "1x",
            "^99999999999999999999",
            "HEAD",
            "v1.x-rc_1",
        ] {
            assert_eq!(Constraint::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_greatest_version_wins_and_other_tags_are_passed_over() {
        let tags = ["v1.2.3", "1.10.0", "v1.9.9", "nightly", "v2.0.0-rc.1", "1.10.0-rc.2", "v1.10", "1.2.3.4", "v0.9"];
        let best = |range: &str| Constraint::parse(range).and_then(|constraint| constraint.best(tags));
        assert_eq!(best("1.x"), Some("1.10.0"));
        assert_eq!(best("1.2.*"), Some("v1.2.3"));
        assert_eq!(best(">=2.0.0-0"), Some("v2.0.0-rc.1"));
        assert_eq!(best("<1"), Some("v0.9"));
        assert_eq!(best("3.x"), None);
        assert_eq!(newest(tags), Some("v2.0.0-rc.1"));
        assert_eq!(newest(["main"]), None);
    }
}

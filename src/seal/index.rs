//! The index: what each target of a source was verified to be. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::SealKey;

/// Stands in front of what is sealed, so that a seal of another purpose under the same key proves nothing here.
const PURPOSE: &[u8] = b"tidelock verified index 1\n";

/// Targets that nobody wants now are remembered for this many hours, since whoever wants them may be about to say so.
const KEPT_HOURS: i64 = 30 * 24;

/// Targets that are remembered at most.
const MOST_TARGETS: usize = 1024;

/// What one target was verified to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verified {
    /// Commit, version or digest.
    pub revision: String,
    /// Identity of all its files; empty where a revision is itself a hash of the content.
    pub tree: String,
    /// The full name of the ref, tag or version that gave the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When the source last said so.
    pub seen: Timestamp,
    /// When the revision was made, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
}

/// What was verified of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Index {
    /// The address of the source in its canonical form.
    pub source: String,
    /// By target.
    pub targets: BTreeMap<String, Verified>,
}

/// An index with its seal, as it lies on the volume.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sealed {
    index: Index,
    /// Name of the key.
    key: String,
    seal: String,
}

/// An index proves nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SealError {
    /// Not what [`Index::seal`] writes.
    #[error("it can't be read ({0}): it was damaged, or written by something else")]
    Unreadable(String),
    /// Sealed with another key.
    #[error(
        "it is sealed with the key {index} and the key in force is {current}: the Secret with the key was deleted or \
         replaced, or the volume is of another installation"
    )]
    OtherKey {
        /// Name of the key it is sealed with.
        index: String,
        /// Name of the key in force.
        current: String,
    },
    /// About another source.
    #[error("it is about {0}: the files of another store were put here")]
    OtherSource(String),
    /// Changed since it was sealed.
    #[error("its seal does not match what it says: somebody or something has changed it")]
    Changed,
}

impl Index {
    /// Nothing verified yet.
    pub fn empty(source: &str) -> Self {
        Self { source: source.to_owned(), targets: BTreeMap::new() }
    }

    /// The text for the volume.
    ///
    /// # Errors
    /// Never, as long as an index is made of text and times.
    pub fn seal(&self, key: &SealKey) -> Result<Vec<u8>, SealError> {
        let seal = key.seal(&self.canonical()?);
        let sealed = Sealed { index: self.clone(), key: key.name().to_owned(), seal };
        let mut text = serde_json::to_vec_pretty(&sealed).map_err(|error| SealError::Unreadable(error.to_string()))?;
        text.push(b'\n');
        Ok(text)
    }

    /// What a text from the volume proves about a source.
    ///
    /// # Errors
    /// When it proves nothing: damaged, sealed with another key, about another source, or changed.
    pub fn open(text: &[u8], key: &SealKey, source: &str) -> Result<Self, SealError> {
        let Sealed { index, key: name, seal } = serde_json::from_slice(text).map_err(|error| {
            // The error's own text could quote what stands there.
            SealError::Unreadable(format!("line {}, column {}", error.line(), error.column()))
        })?;
        if name != key.name() {
            // Anybody may have written the name: it is shown only in the form that names have.
            let index = if name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                name
            } else {
                "(no name)".to_owned()
            };
            return Err(SealError::OtherKey { index, current: key.name().to_owned() });
        }
        if !key.verifies(&index.canonical()?, &seal) {
            return Err(SealError::Changed);
        }
        if index.source != source {
            return Err(SealError::OtherSource(index.source));
        }
        Ok(index)
    }

    /// The same bytes for the same index: fields in the order of their declaration, targets sorted, no blanks.
    fn canonical(&self) -> Result<Vec<u8>, SealError> {
        let mut bytes = PURPOSE.to_vec();
        serde_json::to_writer(&mut bytes, self).map_err(|error| SealError::Unreadable(error.to_string()))?;
        Ok(bytes)
    }

    /// Takes in what the source said now. Targets that are not `wanted` stay for a while. True when anything but the
    /// time of the contact is new.
    pub fn learn(&mut self, found: BTreeMap<String, Verified>, wanted: impl Fn(&str) -> bool, now: Timestamp) -> bool {
        let mut changed = false;
        for (target, new) in found {
            let same = |old: &Verified| {
                old.revision == new.revision
                    && old.tree == new.tree
                    && old.reference == new.reference
                    && old.made == new.made
            };
            changed |= !self.targets.get(&target).is_some_and(same);
            self.targets.insert(target, new);
        }
        let before = self.targets.len();
        let is_recent = |verified: &Verified| now.duration_since(verified.seen).as_hours() < KEPT_HOURS;
        self.targets.retain(|target, verified| wanted(target) || is_recent(verified));
        if self.targets.len() > MOST_TARGETS {
            let mut unwanted: Vec<(Timestamp, String)> = self
                .targets
                .iter()
                .filter(|(target, _)| !wanted(target))
                .map(|(target, verified)| (verified.seen, target.clone()))
                .collect();
            unwanted.sort();
            for (_, target) in unwanted.into_iter().take(self.targets.len() - MOST_TARGETS) {
                self.targets.remove(&target);
            }
        }
        changed || self.targets.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "https://git.corp.test/team/app";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn key(byte: u8) -> SealKey {
        SealKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn verified(digit: char, seen: &str) -> Verified {
        Verified {
            revision: digit.to_string().repeat(40),
            tree: "e".repeat(40),
            reference: Some("refs/heads/main".to_owned()),
            seen: at(seen),
            made: Some(at("2026-01-01T00:00:00Z")),
        }
    }

    fn index() -> Index {
        let targets = BTreeMap::from([("main".to_owned(), verified('a', "2026-02-01T00:00:00Z"))]);
        Index { source: SOURCE.to_owned(), targets }
    }

    #[test]
    fn what_was_sealed_is_opened_again() {
        let text = index().seal(&key(1)).unwrap();
        assert_eq!(Index::open(&text, &key(1), SOURCE), Ok(index()));
    }

    #[test]
    fn an_index_is_worth_nothing_under_another_key() {
        let text = index().seal(&key(1)).unwrap();
        let expected = SealError::OtherKey { index: key(1).name().to_owned(), current: key(2).name().to_owned() };
        assert_eq!(Index::open(&text, &key(2), SOURCE), Err(expected));
        // Even when it claims the key in force.
        let text = String::from_utf8(text).unwrap().replace(key(1).name(), key(2).name());
        assert_eq!(Index::open(text.as_bytes(), &key(2), SOURCE), Err(SealError::Changed));
        let text = text.replace(key(2).name(), "\u{1b}[31mpassword");
        let error = Index::open(text.as_bytes(), &key(2), SOURCE).unwrap_err();
        assert!(!error.to_string().contains("password"), "{error}");
    }

    #[test]
    fn the_index_of_another_source_is_refused_whether_its_address_was_changed_or_not() {
        let text = index().seal(&key(1)).unwrap();
        let elsewhere = "https://git.corp.test/team/other";
        assert_eq!(Index::open(&text, &key(1), elsewhere), Err(SealError::OtherSource(SOURCE.to_owned())));
        let text = String::from_utf8(text).unwrap().replace(SOURCE, elsewhere);
        assert_eq!(Index::open(text.as_bytes(), &key(1), elsewhere), Err(SealError::Changed));
    }

    #[test]
    fn no_byte_of_what_it_says_can_be_changed() {
        let text = index().seal(&key(1)).unwrap();
        let mut accepted = Vec::new();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            // Layout and the case of the seal's digits are no content.
            if let Ok(opened) = Index::open(&changed, &key(1), SOURCE)
                && opened != index()
            {
                accepted.push(at);
            }
        }
        assert_eq!(accepted, Vec::<usize>::new());
        let text = String::from_utf8(text).unwrap();
        for (from, to) in [("aaaa", "bbbb"), ("2026-02-01", "2026-03-01"), ("\"main\"", "\"prod\"")] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert_eq!(Index::open(changed.as_bytes(), &key(1), SOURCE), Err(SealError::Changed), "{from}");
        }
    }

    #[test]
    fn what_is_no_index_is_unreadable_and_never_a_panic() {
        let text = index().seal(&key(1)).unwrap();
        for cut in 0..text.len() - 2 {
            let error = Index::open(&text[..cut], &key(1), SOURCE).unwrap_err();
            assert!(matches!(error, SealError::Unreadable(_)), "{cut}: {error}");
        }
        let more = String::from_utf8(text).unwrap().replacen('{', "{\"more\": 1,", 1);
        let error = Index::open(more.as_bytes(), &key(1), SOURCE).unwrap_err();
        assert!(matches!(error, SealError::Unreadable(_)), "{error}");
    }

    #[test]
    fn learning_tells_a_change_from_a_contact_and_forgets_what_nobody_wants_after_a_month() {
        let mut index = index();
        let wanted = |target: &str| target == "main";
        let later = at("2026-02-02T00:00:00Z");
        let same = BTreeMap::from([("main".to_owned(), verified('a', "2026-02-02T00:00:00Z"))]);
        assert!(!index.learn(same, wanted, later));
        assert_eq!(index.targets["main"].seen, later);
        let moved = BTreeMap::from([("main".to_owned(), verified('b', "2026-02-02T00:00:00Z"))]);
        assert!(index.learn(moved, wanted, later));

        index.targets.insert("old".to_owned(), verified('c', "2026-02-02T00:00:00Z"));
        assert!(!index.learn(BTreeMap::new(), wanted, at("2026-03-01T00:00:00Z")));
        assert_eq!(index.targets.len(), 2);
        assert!(index.learn(BTreeMap::new(), wanted, at("2026-03-06T00:00:00Z")));
        assert_eq!(index.targets.keys().collect::<Vec<_>>(), ["main"]);
    }

    #[test]
    fn the_number_of_targets_is_bounded_and_the_oldest_unwanted_go_first() {
        let mut index = Index::empty(SOURCE);
        let now = at("2026-02-02T00:00:00Z");
        let seen = |number: usize| now - jiff::SignedDuration::from_secs(i64::try_from(number).unwrap());
        let found = (0..MOST_TARGETS + 2)
            .map(|number| {
                (format!("t{number}"), Verified { seen: seen(number), ..verified('a', "2026-02-02T00:00:00Z") })
            })
            .collect();
        // The oldest of all is wanted.
        let oldest = format!("t{}", MOST_TARGETS + 1);
        index.learn(found, |target| target == oldest, now);
        assert_eq!(index.targets.len(), MOST_TARGETS);
        assert!(index.targets.contains_key(&oldest));
        assert!(!index.targets.contains_key(&format!("t{MOST_TARGETS}")));
    }
}

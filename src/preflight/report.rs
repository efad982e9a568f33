//! What the trial of a whole change found.

use crate::model::{ObjectKey, Reason};

/// An object that the server could not judge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unverified {
    /// The object.
    pub key: ObjectKey,
    /// Why not, and what was checked instead.
    pub why: String,
}

/// An object that would be refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The object.
    pub key: ObjectKey,
    /// Why, as conditions carry it.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
}

/// What the trial of a whole change found. Nothing was written.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreflightReport {
    /// How many objects the server would take.
    pub verified: usize,
    /// Objects not verified by admission, by identity.
    pub unverified: Vec<Unverified>,
    /// Objects that would be refused, by identity. With one of them the change must not begin.
    pub refused: Vec<Refused>,
}

impl PreflightReport {
    /// Whether the change may begin.
    pub const fn passes(&self) -> bool {
        self.refused.is_empty()
    }

    /// Puts the lists into the order of identities.
    pub fn sort(&mut self) {
        self.unverified.sort();
        self.refused.sort();
    }
}

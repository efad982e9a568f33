//! What an Application applied, as it is remembered between runs: the write-ahead record behind every prune.
//!
//! An entry is written as *intended* before its object is first applied and becomes *applied* with the uid that the API
//! server gave it. The inventory only shrinks when a prune was confirmed (invariants N1, N2).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Hash64, ObjectKey};

/// What is remembered of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InventoryEntry {
    /// About to be applied; it may or may not exist.
    Intended,
    /// Applied.
    Applied {
        /// `metadata.uid` that the API server gave it.
        uid: String,
        /// Hash of what was applied.
        desired: Hash64,
        /// Hash of our entry in `managedFields` afterwards.
        owned: Hash64,
    },
}

/// The objects of an Application by identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Entries by identity.
    pub entries: BTreeMap<ObjectKey, InventoryEntry>,
}

impl Inventory {
    /// One line an entry: `<key> intended`, or `<key> <uid> <desired> <owned>`.
    pub fn to_lines(&self) -> Vec<String> {
        self.entries
            .iter()
            .map(|(key, entry)| {
                let mut line = key.to_string();
                // Writing to a String can't fail.
                let _ = match entry {
                    InventoryEntry::Intended => write!(line, " intended"),
                    InventoryEntry::Applied { uid, desired, owned } => write!(line, " {uid} {desired} {owned}"),
                };
                line
            })
            .collect()
    }

    /// Reads lines that `to_lines` wrote. A line that can't be read is kept as *intended* when its key can be told:
    /// an entry must never be lost, and an intended one is never deleted without a fresh proof.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut entries = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let Some(key) = words.next().and_then(ObjectKey::parse) else { continue };
            let entry = match (words.next(), words.next(), words.next()) {
                (Some(uid), Some(desired), Some(owned)) => match (Hash64::parse(desired), Hash64::parse(owned)) {
                    (Some(desired), Some(owned)) => InventoryEntry::Applied { uid: uid.to_owned(), desired, owned },
                    _ => InventoryEntry::Intended,
                },
                _ => InventoryEntry::Intended,
            };
            entries.insert(key, entry);
        }
        Self { entries }
    }

    /// Whether anything in it was really applied.
    pub fn has_applied(&self) -> bool {
        self.entries.values().any(|entry| matches!(entry, InventoryEntry::Applied { .. }))
    }

    /// Adds the keys that are not there yet as intended; true when there were any.
    pub fn intend<'a>(&mut self, keys: impl IntoIterator<Item = &'a ObjectKey>) -> bool {
        let mut grew = false;
        for key in keys {
            if !self.entries.contains_key(key) {
                self.entries.insert(key.clone(), InventoryEntry::Intended);
                grew = true;
            }
        }
        grew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip() {
        let mut inventory = Inventory::default();
        inventory.entries.insert(ObjectKey::new("", "Namespace", "", "shop"), InventoryEntry::Intended);
        inventory.entries.insert(
            ObjectKey::new("apps", "Deployment", "shop", "cart"),
            InventoryEntry::Applied {
                uid: "0b1f6a3e-93c0-4a35-8a6e-0c8b2b7a9e11".into(),
                desired: Hash64(1),
                owned: Hash64(u64::MAX),
            },
        );
        let lines = inventory.to_lines();
        assert_eq!(
            lines,
            [
                "/Namespace//shop intended",
                "apps/Deployment/shop/cart 0b1f6a3e-93c0-4a35-8a6e-0c8b2b7a9e11 0000000000000001 ffffffffffffffff",
            ]
        );
        assert_eq!(Inventory::from_lines(lines.iter().map(String::as_str)), inventory);
    }

    #[test]
    fn damaged_line_keeps_its_object_as_intended() {
        let inventory = Inventory::from_lines(["apps/Deployment/shop/cart uid zz", "nonsense"]);
        assert_eq!(
            inventory.entries.into_iter().collect::<Vec<_>>(),
            [(ObjectKey::new("apps", "Deployment", "shop", "cart"), InventoryEntry::Intended)]
        );
    }
}

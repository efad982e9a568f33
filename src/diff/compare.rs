//! What differs, object by object, decided from hashes alone.
//!
//! An object is in sync when what we applied last is what git wants now (`desired` hashes agree), the live object is
//! the very one we applied (uids agree), and nobody took a field of ours since (our `managedFields` entry hashes the
//! same). None of it needs a request or an object's body.
//!
//! Where rules say that some differences do not count, or that fields people added do, the objects concerned are
//! examined besides ([`super::examine`]), once for each state they are in, and the verdicts are passed in here.

use std::collections::{BTreeMap, BTreeSet};

use super::{IgnoreRules, Verdict};
use crate::api::ExtraFields;
use crate::desired::{DesiredObject, DesiredSet};
use crate::live::{LiveRecord, LiveView};
use crate::model::{Consent, Inventory, InventoryEntry, ObjectKey, Owner};

/// Why an object has to be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Git wants something else than what was applied last, or it was never applied.
    Desired,
    /// A field of ours was changed, or removed, in the cluster.
    Live,
    /// The object was deleted and made again by somebody else.
    Replaced,
    /// The ownership marks are missing or are another object's.
    Marks,
    /// People added fields, and the Application's `extraFields` is `report`: nothing is done about it.
    Extra,
    /// People added fields, and the Application's `extraFields` is `remove`: a sync removes them.
    ExtraToRemove,
}

/// The state of one desired object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing to do.
    InSync,
    /// Not in the cluster; `drift` when it had been applied as it is wanted now, so somebody deleted it.
    Absent {
        /// Whether somebody deleted it.
        drift: bool,
    },
    /// In the cluster and not as wanted.
    Changed(Cause),
    /// Being deleted; it can be made again once it is gone.
    Terminating,
    /// Another Application owns it.
    Conflict {
        /// `<namespace>/<name>` of the Application.
        application: String,
    },
}

impl Difference {
    /// Whether the difference came about in the cluster, not in git: what self-healing is about.
    pub const fn is_drift(&self) -> bool {
        match self {
            Self::InSync | Self::Conflict { .. } | Self::Changed(Cause::Desired | Cause::Extra) => false,
            Self::Absent { drift } => *drift,
            Self::Changed(Cause::Live | Cause::Replaced | Cause::Marks | Cause::ExtraToRemove) | Self::Terminating => {
                true
            }
        }
    }
}

/// The state of an object that is ours and that git does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Recorded, seen live, ours: may be pruned.
    Prunable {
        /// Its uid.
        uid: String,
    },
    /// An annotation forbids to prune it.
    Kept,
    /// Recorded and not seen: it is gone, or its label was removed; a live read has to tell.
    Unseen,
    /// Seen with our marks and not recorded: it has to be recorded before it may be pruned.
    Unrecorded,
    /// Being deleted.
    Terminating,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Desired objects.
    pub objects: BTreeMap<ObjectKey, Difference>,
    /// Objects that are ours and that git does not have.
    pub extras: BTreeMap<ObjectKey, Extra>,
    /// Those of `extras` that an annotation (`compare-options: IgnoreExtraneous`) keeps from putting the Application
    /// out of sync. They may be pruned like the others.
    pub extraneous_ignored: BTreeSet<ObjectKey>,
}

impl Differences {
    /// Whether live state is what git wants. Kept objects do not count, nor do those that an annotation excepts.
    pub fn is_synced(&self) -> bool {
        self.objects.values().all(|difference| *difference == Difference::InSync)
            && self
                .extras
                .iter()
                .all(|(key, extra)| matches!(extra, Extra::Kept) || self.extraneous_ignored.contains(key))
    }
}

/// What is known of objects besides their hashes.
#[derive(Clone, Copy, Debug)]
pub struct Examined<'a> {
    /// The rules in force.
    pub rules: &'a IgnoreRules,
    /// What is done about fields that people added.
    pub extra_fields: ExtraFields,
    /// What examinations found, of objects that were examined.
    pub accepted: &'a BTreeMap<ObjectKey, Verdict>,
}

/// Compares a desired set with the live view of its Application by hashes alone: every difference counts, and fields that
/// people added do not.
pub fn compare(desired: &DesiredSet, live: &LiveView, inventory: &Inventory, owner: &Owner) -> Differences {
    compare_with(desired, live, inventory, owner, None)
}

/// Compares a desired set with the live view of its Application, with what examinations found. A verdict counts only for
/// the very state of the object that it was found in.
pub fn compare_examined(
    desired: &DesiredSet,
    live: &LiveView,
    inventory: &Inventory,
    owner: &Owner,
    examined: &Examined<'_>,
) -> Differences {
    compare_with(desired, live, inventory, owner, Some(examined))
}

/// The objects that have to be examined before [`compare_examined`] can tell of them: they differ by their hashes and a
/// rule is about them, or people added fields and that counts; and they were not examined in the state they are in.
pub fn to_examine(
    desired: &DesiredSet,
    live: &LiveView,
    inventory: &Inventory,
    owner: &Owner,
    examined: &Examined<'_>,
) -> Vec<ObjectKey> {
    if examined.rules.is_empty() && examined.extra_fields == ExtraFields::Ignore {
        return Vec::new();
    }
    let wanted = desired.objects.iter().filter(|(key, object)| {
        let Some(record) = live.objects.get(*key) else { return false };
        let is_in_question = match compare_one(object, Some(record), inventory.entries.get(*key), owner) {
            Difference::Changed(Cause::Live | Cause::Desired) => !object.kind_is_new && examined.rules.matches(key),
            Difference::InSync => examined.extra_fields != ExtraFields::Ignore && record.by_hand.is_some(),
            Difference::Changed(Cause::Replaced | Cause::Marks | Cause::Extra | Cause::ExtraToRemove)
            | Difference::Absent { .. }
            | Difference::Terminating
            | Difference::Conflict { .. } => false,
        };
        is_in_question && examined.verdict(object, record).is_none()
    });
    wanted.map(|(key, _)| key.clone()).collect()
}

impl Examined<'_> {
    /// The verdict on an object in the state that it is in.
    fn verdict(&self, object: &DesiredObject, record: &LiveRecord) -> Option<&Verdict> {
        self.accepted.get(&object.key).filter(|verdict| verdict.holds(object, record, self.rules, self.extra_fields))
    }

    /// What a difference by hashes comes to.
    fn weigh(&self, object: &DesiredObject, record: &LiveRecord, difference: Difference) -> Difference {
        let verdict = self.verdict(object, record);
        let weighed = match difference {
            Difference::Changed(Cause::Live | Cause::Desired)
                if verdict.is_some_and(|verdict| verdict.only_ignored) =>
            {
                Difference::InSync
            }
            other => other,
        };
        let has_extras = record.by_hand.is_some() && verdict.is_none_or(|verdict| verdict.has_extras);
        match self.extra_fields {
            ExtraFields::Report if weighed == Difference::InSync && has_extras => Difference::Changed(Cause::Extra),
            ExtraFields::Remove if weighed == Difference::InSync && has_extras => {
                Difference::Changed(Cause::ExtraToRemove)
            }
            ExtraFields::Ignore | ExtraFields::Report | ExtraFields::Remove => weighed,
        }
    }
}

fn compare_with(
    desired: &DesiredSet,
    live: &LiveView,
    inventory: &Inventory,
    owner: &Owner,
    examined: Option<&Examined<'_>>,
) -> Differences {
    let mut objects = Vec::with_capacity(desired.objects.len());
    let mut extraneous_ignored = BTreeSet::new();
    let mut extras = Vec::new();
    // An object that became a hook is the hook's to delete before it runs.
    let hooks: BTreeSet<&ObjectKey> = desired.hooks.iter().map(|hook| &hook.object.key).collect();
    for Joined { key, object, record, entry } in joined(desired, live, inventory) {
        if let Some(object) = object {
            let difference = compare_one(object, record, entry, owner);
            let weighed = match (examined, record) {
                (Some(examined), Some(record)) => examined.weigh(object, record, difference),
                (None, _) | (_, None) => difference,
            };
            objects.push((key.clone(), weighed));
            continue;
        }
        if hooks.contains(key) {
            continue;
        }
        let ours = record.filter(|record| record.hook_attempt.is_none() && record.marks.prove(owner, key));
        let extra = match (ours, entry) {
            (Some(record), _) if record.deleting => Extra::Terminating,
            (Some(record), _) if record.prune == Some(Consent::Refused) => Extra::Kept,
            (Some(record), Some(InventoryEntry::Applied { uid, .. })) if *uid != record.uid => Extra::Unrecorded,
            (Some(record), Some(_)) => Extra::Prunable { uid: record.uid.clone() },
            (Some(_), None) => Extra::Unrecorded,
            (None, Some(_)) => Extra::Unseen,
            (None, None) => continue,
        };
        if ours.is_some_and(|record| record.extraneous_ignored) {
            extraneous_ignored.insert(key.clone());
        }
        extras.push((key.clone(), extra));
    }
    Differences { objects: objects.into_iter().collect(), extras: extras.into_iter().collect(), extraneous_ignored }
}

/// What is known of one object.
struct Joined<'a> {
    key: &'a ObjectKey,
    object: Option<&'a DesiredObject>,
    record: Option<&'a LiveRecord>,
    entry: Option<&'a InventoryEntry>,
}

/// Everything that is wanted, seen or recorded, by identity. The three are sorted alike and are walked side by side: to look
/// each object up in the others would cost many times as much.
fn joined<'a>(
    desired: &'a DesiredSet,
    live: &'a LiveView,
    inventory: &'a Inventory,
) -> impl Iterator<Item = Joined<'a>> {
    let mut objects = desired.objects.iter().peekable();
    let mut records = live.objects.iter().peekable();
    let mut entries = inventory.entries.iter().peekable();
    std::iter::from_fn(move || {
        let first = [
            objects.peek().map(|(key, _)| *key),
            records.peek().map(|(key, _)| *key),
            entries.peek().map(|(key, _)| *key),
        ];
        let key = first.into_iter().flatten().min()?;
        Some(Joined {
            key,
            object: objects.next_if(|(found, _)| *found == key).map(|(_, object)| object.as_ref()),
            record: records.next_if(|(found, _)| *found == key).map(|(_, record)| record.as_ref()),
            entry: entries.next_if(|(found, _)| *found == key).map(|(_, entry)| entry),
        })
    })
}

fn compare_one(
    object: &DesiredObject,
    record: Option<&LiveRecord>,
    entry: Option<&InventoryEntry>,
    owner: &Owner,
) -> Difference {
    let applied = match entry {
        Some(InventoryEntry::Applied { uid, desired, owned }) => Some((uid, *desired, *owned)),
        Some(InventoryEntry::Intended) | None => None,
    };
    let wanted_was_applied = applied.is_some_and(|(_, desired, _)| desired == object.hash);
    let Some(record) = record else { return Difference::Absent { drift: wanted_was_applied } };
    if record.marks.instance != owner.instance
        && let Some(application) = record.marks.application_of(&object.key)
    {
        return Difference::Conflict { application: application.to_owned() };
    }
    if record.deleting {
        return Difference::Terminating;
    }
    let Some((uid, desired, owned)) = applied else { return Difference::Changed(Cause::Desired) };
    if desired != object.hash {
        Difference::Changed(Cause::Desired)
    } else if *uid != record.uid {
        Difference::Changed(Cause::Replaced)
    } else if !record.marks.prove(owner, &object.key) {
        Difference::Changed(Cause::Marks)
    } else if record.owned != Some(owned) {
        Difference::Changed(Cause::Live)
    } else {
        Difference::InSync
    }
}

#[cfg(test)]
mod tests;

//! What differs, object by object, decided from hashes alone.
//!
//! An object is in sync when what we applied last is what git wants now (`desired` hashes agree), the live object is
//! the very one we applied (uids agree), and nobody took a field of ours since (our `managedFields` entry hashes the
//! same). None of it needs a request or an object's body.

use std::collections::BTreeMap;

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
            Self::InSync | Self::Conflict { .. } | Self::Changed(Cause::Desired) => false,
            Self::Absent { drift } => *drift,
            Self::Changed(Cause::Live | Cause::Replaced | Cause::Marks) | Self::Terminating => true,
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
}

impl Differences {
    /// Whether live state is what git wants. Kept objects do not count, nor do those that are being deleted.
    pub fn is_synced(&self) -> bool {
        self.objects.values().all(|difference| *difference == Difference::InSync)
            && self.extras.values().all(|extra| matches!(extra, Extra::Kept))
    }
}

/// Compares a desired set with the live view of its Application.
pub fn compare(desired: &DesiredSet, live: &LiveView, inventory: &Inventory, owner: &Owner) -> Differences {
    let objects = desired
        .objects
        .iter()
        .map(|(key, object)| {
            let record = live.objects.get(key).map(AsRef::as_ref);
            (key.clone(), compare_one(object, record, inventory.entries.get(key), owner))
        })
        .collect();
    let mut extras = BTreeMap::new();
    for (key, record) in &live.objects {
        if desired.objects.contains_key(key) || !record.marks.prove(owner, key) || record.hook_attempt.is_some() {
            continue;
        }
        let extra = if record.deleting {
            Extra::Terminating
        } else if record.prune == Some(Consent::Refused) {
            Extra::Kept
        } else {
            match inventory.entries.get(key) {
                Some(InventoryEntry::Applied { uid, .. }) if *uid != record.uid => Extra::Unrecorded,
                Some(_) => Extra::Prunable { uid: record.uid.clone() },
                None => Extra::Unrecorded,
            }
        };
        extras.insert(key.clone(), extra);
    }
    for key in inventory.entries.keys() {
        if !desired.objects.contains_key(key) {
            extras.entry(key.clone()).or_insert(Extra::Unseen);
        }
    }
    Differences { objects, extras }
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
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::desired::ObjectOptions;
    use crate::model::{Consent, GroupVersionKind, Hash64, Marks, Origin};

    fn owner() -> Owner {
        Owner::new("tidelock", "tidelock", "shop")
    }

    fn key() -> ObjectKey {
        ObjectKey::new("", "ConfigMap", "shop", "a")
    }

    fn desired(hash: u64) -> DesiredSet {
        let object = DesiredObject {
            key: key(),
            gvk: GroupVersionKind::from_api_version("v1", "ConfigMap"),
            body: Bytes::new(),
            hash: Hash64(hash),
            wave: 0,
            options: ObjectOptions::default(),
            origin: Origin::default(),
            kind_is_new: false,
            depends_on: Vec::new(),
        };
        DesiredSet { objects: BTreeMap::from([(key(), Arc::new(object))]), ..DesiredSet::default() }
    }

    fn record() -> LiveRecord {
        LiveRecord {
            uid: "u1".into(),
            resource_version: 1,
            generation: 0,
            marks: Marks { instance: owner().instance, tracking_id: owner().tracking_id(&key()) },
            owned: Some(Hash64(7)),
            health: None,
            deleting: false,
            prune: None,
            delete: None,
            extraneous_ignored: false,
            hook_attempt: None,
            by_hand: None,
            health_ignored: false,
            wave: 0,
        }
    }

    fn view(record: LiveRecord) -> LiveView {
        LiveView { objects: BTreeMap::from([(key(), Arc::new(record))]) }
    }

    fn inventory(uid: &str, desired: u64, owned: u64) -> Inventory {
        let entry = InventoryEntry::Applied { uid: uid.into(), desired: Hash64(desired), owned: Hash64(owned) };
        Inventory { entries: BTreeMap::from([(key(), entry)]) }
    }

    fn difference(desired_set: &DesiredSet, live: &LiveView, inventory: &Inventory) -> Difference {
        compare(desired_set, live, inventory, &owner()).objects.remove(&key()).unwrap()
    }

    #[test]
    fn each_way_to_differ_is_told_apart() {
        let applied = inventory("u1", 1, 7);
        assert_eq!(difference(&desired(1), &view(record()), &applied), Difference::InSync);
        assert_eq!(difference(&desired(2), &view(record()), &applied), Difference::Changed(Cause::Desired));
        assert_eq!(
            difference(&desired(1), &view(record()), &inventory("u0", 1, 7)),
            Difference::Changed(Cause::Replaced)
        );
        assert_eq!(difference(&desired(1), &view(record()), &inventory("u1", 1, 8)), Difference::Changed(Cause::Live));
        assert_eq!(difference(&desired(1), &LiveView::default(), &applied), Difference::Absent { drift: true });
        assert_eq!(difference(&desired(2), &LiveView::default(), &applied), Difference::Absent { drift: false });
        assert_eq!(
            difference(&desired(1), &LiveView::default(), &Inventory::default()),
            Difference::Absent { drift: false }
        );
        let deleting = LiveRecord { deleting: true, ..record() };
        assert_eq!(difference(&desired(1), &view(deleting), &applied), Difference::Terminating);
        let wiped = LiveRecord { owned: None, ..record() };
        assert_eq!(difference(&desired(1), &view(wiped), &applied), Difference::Changed(Cause::Live));
    }

    #[test]
    fn object_of_another_application_is_a_conflict_and_copied_marks_are_not() {
        let other = Owner::new("tidelock", "tidelock", "other");
        let theirs = Marks { instance: other.instance.clone(), tracking_id: other.tracking_id(&key()) };
        let record_of = |marks| view(LiveRecord { marks, ..record() });
        assert_eq!(
            difference(&desired(1), &record_of(theirs), &Inventory::default()),
            Difference::Conflict { application: "tidelock/other".into() }
        );
        let elsewhere = ObjectKey::new("", "ConfigMap", "shop", "b");
        let copied = Marks { instance: other.instance.clone(), tracking_id: other.tracking_id(&elsewhere) };
        assert_eq!(
            difference(&desired(1), &record_of(copied), &Inventory::default()),
            Difference::Changed(Cause::Desired)
        );
    }

    #[test]
    fn only_recorded_objects_with_proven_identity_may_be_pruned() {
        let none = DesiredSet::default();
        let extra = |live: &LiveView, inventory: &Inventory| compare(&none, live, inventory, &owner()).extras;
        let one = |state| BTreeMap::from([(key(), state)]);
        assert_eq!(extra(&view(record()), &inventory("u1", 1, 7)), one(Extra::Prunable { uid: "u1".into() }));
        assert_eq!(extra(&view(record()), &Inventory::default()), one(Extra::Unrecorded));
        assert_eq!(extra(&view(record()), &inventory("u0", 1, 7)), one(Extra::Unrecorded));
        assert_eq!(extra(&LiveView::default(), &inventory("u1", 1, 7)), one(Extra::Unseen));
        let kept = LiveRecord { prune: Some(Consent::Refused), ..record() };
        assert_eq!(extra(&view(kept), &inventory("u1", 1, 7)), one(Extra::Kept));
        let copied =
            Marks { tracking_id: owner().tracking_id(&ObjectKey::new("", "ConfigMap", "shop", "b")), ..record().marks };
        assert_eq!(extra(&view(LiveRecord { marks: copied, ..record() }), &Inventory::default()), BTreeMap::new());
    }
}

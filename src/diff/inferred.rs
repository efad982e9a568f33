//! What must have been recorded of live objects, where the record itself is not at hand.

use std::collections::BTreeMap;

use super::ObjectChanges;
use crate::desired::DesiredSet;
use crate::live::LiveView;
use crate::model::{Hash64, Inventory, InventoryEntry, ObjectKey, Owner};

/// Makes an inventory from live objects alone: an object that carries the owner's marks counts as recorded with its uid,
/// and as applied as it is wanted now when applying it again would change nothing. Objects of hooks are never recorded.
pub fn infer_inventory(
    desired: &DesiredSet,
    live: &LiveView,
    changes: &BTreeMap<ObjectKey, ObjectChanges>,
    owner: &Owner,
) -> Inventory {
    let recorded =
        live.objects.iter().filter(|(key, record)| record.hook_attempt.is_none() && record.marks.prove(owner, key));
    let entries = recorded.map(|(key, record)| {
        let wanted = desired.objects.get(key).filter(|_| changes.get(key).is_some_and(ObjectChanges::is_empty));
        let entry = InventoryEntry::Applied {
            uid: record.uid.clone(),
            desired: wanted.map_or(Hash64(0), |object| object.hash),
            owned: record.owned.unwrap_or(Hash64(0)),
        };
        (key.clone(), entry)
    });
    Inventory { entries: entries.collect() }
}

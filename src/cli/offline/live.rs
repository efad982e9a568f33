//! Live objects from a dump, reduced as the controller reduces what it watches.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::Value;

use super::OfflineError;
use crate::health::{AssessContext, assess};
use crate::live::{LiveView, reduce};
use crate::model::{ApiSurface, Hash64, Manifest, ObjectKey};

/// A dump, in both forms: records for decisions, bodies for people.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) view: LiveView,
    pub(super) bodies: BTreeMap<ObjectKey, Value>,
}

/// Reduces the objects of a dump.
pub(super) fn dump(objects: Vec<Manifest>, surface: &ApiSurface, now: jiff::Timestamp) -> Result<Dump, OfflineError> {
    let mut dump = Dump::default();
    for manifest in objects {
        let kind = manifest.gvk().group_kind();
        let has_status_subresource = surface.kinds.get(&kind).map(|info| info.has_status);
        let health = assess(&manifest.object, &AssessContext { now, has_status_subresource });
        let Some((key, mut record)) = reduce(&kind, &manifest.object, health) else {
            let (place, name) = (manifest.origin.to_string(), manifest.name().to_owned());
            return Err(OfflineError::NotLive { place, kind: kind.kind, name });
        };
        // Without `managedFields` nothing speaks for a change of owned fields; values decide.
        record.owned = Some(record.owned.unwrap_or(Hash64(0)));
        match dump.bodies.entry(key.clone()) {
            Entry::Vacant(slot) => {
                slot.insert(manifest.object);
                dump.view.objects.insert(key, Arc::new(record));
            }
            // The same list may have been dumped twice over.
            Entry::Occupied(slot) if *slot.get() == manifest.object => {}
            Entry::Occupied(_) => {
                let (place, name) = (manifest.origin.to_string(), key.name);
                return Err(OfflineError::LiveTwice { place, kind: key.kind, name });
            }
        }
    }
    Ok(dump)
}

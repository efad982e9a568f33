//! The objects of an Application, each with its state.

use super::limits::{OBJECT_MESSAGE_BYTES, RESOURCES_BYTES, within};
use super::observed::Comparison;
use crate::api::{ResourceStatus, SyncState};
use crate::diff::{Cause, Difference, Extra};
use crate::health;
use crate::model::{Health, HealthStatus, ObjectKey, shorten};

/// How many fields a message names.
const FIELDS_SHOWN: usize = 3;

/// How well the Application does: as its worst object.
pub(super) fn application_health(comparison: Comparison<'_>) -> Health {
    let verdicts: Vec<(&ObjectKey, Health)> = comparison
        .desired
        .objects
        .keys()
        .filter_map(|key| match comparison.live.objects.get(key) {
            None => Some((key, Health::new(HealthStatus::Missing, "it is not in the cluster"))),
            Some(record) if record.health_ignored => None,
            Some(record) => record.health.clone().map(|health| (key, health)),
        })
        .collect();
    health::aggregate(verdicts.iter().map(|(key, health)| (*key, health)))
}

/// The objects, those that are not in order first, and how many there are in all.
pub(super) fn resources(comparison: Comparison<'_>) -> (Vec<ResourceStatus>, i64) {
    let mut all: Vec<ResourceStatus> = Vec::new();
    for (key, difference) in &comparison.differences.objects {
        let object = comparison.desired.objects.get(key);
        let health = comparison
            .live
            .objects
            .get(key)
            .map_or(Some(Health::new(HealthStatus::Missing, String::new())), |record| record.health.clone());
        let blocked =
            comparison.blocked.iter().find(|blocked| blocked.key == *key).map(|blocked| blocked.message.clone());
        let message = blocked
            .or_else(|| describe(difference, comparison.by_hand.get(key).map_or(&[], Vec::as_slice)))
            .or_else(|| health.as_ref().map(|health| health.message.clone()))
            .unwrap_or_default();
        all.push(ResourceStatus {
            group: key.group.clone(),
            version: object.map(|object| object.gvk.version.clone()).unwrap_or_default(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            status: if *difference == Difference::InSync { SyncState::Synced } else { SyncState::OutOfSync },
            health: health.map(|health| health.status),
            message: shorten(&message, OBJECT_MESSAGE_BYTES),
            requires_pruning: false,
            sync_wave: object.map_or(0, |object| i64::from(object.wave)),
        });
    }
    for (key, extra) in &comparison.differences.extras {
        all.push(ResourceStatus {
            group: key.group.clone(),
            version: String::new(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            status: if *extra == Extra::Kept { SyncState::Synced } else { SyncState::OutOfSync },
            health: comparison
                .live
                .objects
                .get(key)
                .and_then(|record| record.health.as_ref())
                .map(|health| health.status),
            message: "no longer in git".to_owned(),
            requires_pruning: *extra != Extra::Kept,
            sync_wave: 0,
        });
    }
    let count = i64::try_from(all.len()).unwrap_or(i64::MAX);
    // What is not in order is what people look for, so it survives a cut.
    all.sort_by_key(|resource| {
        let in_order = resource.status == SyncState::Synced
            && resource.health.is_none_or(|health| health == HealthStatus::Healthy);
        (in_order, ())
    });
    (within(all, RESOURCES_BYTES), count)
}

fn describe(difference: &Difference, by_hand: &[String]) -> Option<String> {
    Some(match difference {
        Difference::InSync => return None,
        Difference::Absent { drift: true } => "it was deleted in the cluster".to_owned(),
        Difference::Absent { drift: false } => "it is not in the cluster yet".to_owned(),
        Difference::Changed(Cause::Desired) => "git wants a change".to_owned(),
        Difference::Changed(Cause::Live) => "a field that git sets was changed in the cluster".to_owned(),
        Difference::Changed(Cause::Replaced) => "it was deleted and made again in the cluster".to_owned(),
        Difference::Changed(Cause::Marks) => "its ownership marks were changed in the cluster".to_owned(),
        Difference::Changed(Cause::Extra | Cause::ExtraToRemove) => {
            let shown = by_hand.iter().take(FIELDS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = by_hand.len().saturating_sub(FIELDS_SHOWN);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            format!("people added fields to it in the cluster: {shown}{more}")
        }
        Difference::Terminating => "it is being deleted".to_owned(),
        Difference::Conflict { application } => format!("it belongs to the Application {application}"),
    })
}

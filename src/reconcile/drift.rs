//! What changed in the cluster, looked at closely where rules are about it, and which of it is put back when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::Instrument as _;

use super::compare::Compared;
use super::driver::Driver;
use super::memory::{CompiledRules, Memory, Seen};
use crate::api::{Application, ExtraFields};
use crate::desired::DesiredSet;
use crate::diff::{Cause, Difference, Differences, Examination, Examined, IgnoreRules, Verdict, to_examine};
use crate::model::{Hash64, InventoryEntry, ObjectKey, Owner};
use crate::plan::{Heals, Policy};
use crate::spans;

/// Drifted objects that are looked at closely in one reconcile, to name who changed what.
const MOST_LOOKED_AT: usize = 20;

/// Who changed an object.
pub(super) struct Culprit {
    /// The object.
    pub(super) object: ObjectKey,
    /// The field manager; empty when it is not known.
    pub(super) manager: String,
    /// A field that it changed; empty when the object was deleted or made again.
    pub(super) field: String,
}

impl Driver {
    /// Compares a desired set with live state. Objects that rules are about, and that are not settled by hashes, are read.
    pub(super) async fn compare_closely(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        desired: &DesiredSet,
    ) -> Compared {
        let span = spans::compare(desired.objects.len());
        let looking = self.look_closely(application, owner, memory, desired);
        let compared = looking.instrument(span.clone()).await;
        let Differences { objects, extras, extraneous_ignored: _ } = &compared.differences;
        let different = objects.values().filter(|difference| **difference != Difference::InSync).count();
        spans::compared(&span, different, extras.len());
        compared
    }

    async fn look_closely(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        desired: &DesiredSet,
    ) -> Compared {
        let rules = self.rules_of(application, memory);
        let extra_fields = application.spec.extra_fields.unwrap_or_default();
        if rules.is_empty() && extra_fields == ExtraFields::Ignore {
            memory.examined.clear();
            return self.compare(owner, memory, desired, None);
        }
        let live = self.view_of_set(owner, memory, desired);
        memory.examined.retain(|key, _| desired.objects.contains_key(key));
        let mut accepted: BTreeMap<ObjectKey, Verdict> =
            memory.examined.iter().map(|(key, seen)| (key.clone(), seen.verdict.clone())).collect();
        let examined = Examined { rules: &rules, extra_fields, accepted: &accepted };
        let inventory = memory.inventory.get_or_insert_default();
        let unsettled = to_examine(desired, &live, inventory, owner, &examined);
        if !unsettled.is_empty() {
            let mut found = self.examine(&unsettled, desired, &live, &rules, extra_fields).await;
            for (key, error) in &found.failed {
                tracing::warn!(object = %key, reason = %error.reason, "it could not be looked at closely; all its differences count");
            }
            for (key, verdict) in std::mem::take(&mut found.verdicts) {
                let examination = found.found.remove(&key).unwrap_or_default();
                let extras = examination.extras.into_iter().map(|extra| extra.pointer).collect();
                accepted.insert(key.clone(), verdict.clone());
                memory.examined.insert(key, Seen { verdict, extras });
            }
        }
        let examined = Examined { rules: &rules, extra_fields, accepted: &accepted };
        self.compare(owner, memory, desired, Some(&examined))
    }

    /// The rules of differences that don't count: the Application's, and those for all.
    pub(super) fn rules_of(&self, application: &Application, memory: &mut Memory) -> Arc<IgnoreRules> {
        let fleet = self.fleet.current();
        let system = &fleet.customizations.ignore_differences;
        let source = Hash64::of_json(&serde_json::json!([application.spec.ignore_differences, system]));
        if let Some(compiled) = memory.rules.as_ref().filter(|compiled| compiled.source == source) {
            return Arc::clone(&compiled.rules);
        }
        let (rules, problems) = IgnoreRules::compile(&application.spec.ignore_differences, system);
        let rules = Arc::new(rules);
        let problems = problems.into_iter().map(|problem| format!("{}: {}", problem.reason, problem.message)).collect();
        memory.rules = Some(CompiledRules { source, rules: Arc::clone(&rules), problems });
        rules
    }

    /// Who changed the objects that are about to be put back. Only those that were put back lately are read: a first
    /// change is no fight.
    pub(super) async fn culprits(
        &self,
        memory: &mut Memory,
        desired: &DesiredSet,
        compared: &Compared,
        healing: &BTreeSet<ObjectKey>,
        now: Timestamp,
    ) -> Vec<Culprit> {
        let changed =
            |key: &&ObjectKey| matches!(compared.differences.objects.get(*key), Some(Difference::Changed(Cause::Live)));
        let again: Vec<ObjectKey> = healing
            .iter()
            .filter(changed)
            .filter(|key| memory.heals.is_known(key, now))
            .take(MOST_LOOKED_AT)
            .cloned()
            .collect();
        let none = IgnoreRules::default();
        let rules = memory.rules.as_ref().map_or(&none, |compiled| &compiled.rules);
        let found = if again.is_empty() {
            BTreeMap::new()
        } else {
            self.examine(&again, desired, &compared.live, rules, ExtraFields::Ignore).await.found
        };
        healing
            .iter()
            .map(|key| {
                let (manager, field) = found.get(key).and_then(culprit).unwrap_or_default();
                Culprit { object: key.clone(), manager, field }
            })
            .collect()
    }
}

/// The first field that another manager owns now.
fn culprit(examination: &Examination) -> Option<(String, String)> {
    examination.fields.iter().find_map(|field| {
        let owner = field.managers.iter().find(|owner| !owner.ours)?;
        Some((owner.manager.clone(), field.path.clone()))
    })
}

/// Objects whose differences an automated sync leaves as they are: drift that the policy holds.
pub(super) fn held_objects(
    policy: Policy,
    memory: &Memory,
    desired: &DesiredSet,
    compared: &Compared,
) -> BTreeSet<ObjectKey> {
    let mut held = BTreeSet::new();
    if policy.hold_drifted {
        held.extend(drifted(&compared.differences).cloned());
        // A change of git besides does not make the drift undone.
        let entries = memory.inventory.iter().flat_map(|inventory| &inventory.entries);
        held.extend(entries.filter_map(|(key, entry)| {
            let InventoryEntry::Applied { uid, owned, .. } = entry else { return None };
            let record = compared.live.objects.get(key)?;
            let is_drifted = record.uid == *uid && record.owned != Some(*owned) && *owned != Hash64(0);
            (is_drifted && desired.objects.contains_key(key)).then(|| key.clone())
        }));
    }
    held
}

/// Objects that somebody changed in the cluster.
pub(super) fn drifted(differences: &Differences) -> impl Iterator<Item = &ObjectKey> {
    differences
        .objects
        .iter()
        .filter(|(_, difference)| difference.is_drift() && **difference != Difference::Changed(Cause::Extra))
        .map(|(key, _)| key)
}

/// The established fights, as the status tells them.
pub(super) fn fights(heals: &Heals, now: Timestamp) -> Vec<String> {
    heals.fights(now).iter().map(ToString::to_string).collect()
}

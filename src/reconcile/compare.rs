//! A desired set against what the cluster holds, and the plan that follows from it.

use super::attempt::Choices;
use super::driver::Driver;
use super::memory::Memory;
use crate::api::Application;
use crate::desired::DesiredSet;
use crate::diff::{Differences, Examined, Extra, compare, compare_examined};
use crate::live::LiveView;
use crate::model::{Hash64, InventoryEntry, Owner};
use crate::plan::Plan;
use crate::plan::{CompileInput, Consents, HookNaming, PlanError, compile};

/// Annotation that consents to prune kinds that hold more than themselves, and what says `Prune=confirm`, at one revision.
const APPROVE_PRUNE_ANNOTATION: &str = "tidelock.dev/approve-prune";
/// Annotations that consent to delete, with its Application, what says `Delete=confirm`.
const APPROVE_DELETION_ANNOTATIONS: [&str; 2] =
    ["tidelock.dev/approve-deletion", "argocd.argoproj.io/deletion-approved"];
/// The shortest revision that a consent may name.
const SHORTEST_REVISION: usize = 7;

/// A desired set compared with live state.
pub(super) struct Compared {
    pub(super) live: LiveView,
    pub(super) differences: Differences,
}

impl Driver {
    /// Compares a desired set with live state, and takes note of objects that carry our marks and are not recorded.
    ///
    /// Without what examinations found, every difference counts, and fields that people added do not.
    pub(super) fn compare(
        &self,
        owner: &Owner,
        memory: &mut Memory,
        desired: &DesiredSet,
        examined: Option<&Examined<'_>>,
    ) -> Compared {
        let recorded = memory.recorded_now.clone();
        let live = self.view_of_set(owner, memory, desired);
        let inventory = memory.inventory.get_or_insert_default();
        let mut differences = match examined {
            Some(examined) => compare_examined(desired, &live, inventory, owner, examined),
            None => compare(desired, &live, inventory, owner),
        };
        // What was recorded in this very reconcile may be pruned in a later one only.
        for key in recorded {
            if let Some(extra @ Extra::Prunable { .. }) = differences.extras.get_mut(&key) {
                *extra = Extra::Unrecorded;
            }
        }
        for (key, extra) in &differences.extras {
            if *extra == Extra::Unrecorded
                && let Some(record) = live.objects.get(key)
            {
                let entry = InventoryEntry::Applied {
                    uid: record.uid.clone(),
                    desired: Hash64(0),
                    owned: record.owned.unwrap_or(Hash64(0)),
                };
                inventory.entries.insert(key.clone(), entry);
                memory.recorded_now.insert(key.clone());
            }
        }
        // A recorded object of a kind that is no longer served can't exist.
        let surface = self.surface.current();
        differences.extras.retain(|key, extra| {
            let unserved = *extra == Extra::Unseen
                && !surface.kinds.contains_key(&key.group_kind())
                && !surface.unavailable_groups.contains(&key.group);
            if unserved {
                inventory.entries.remove(key);
            }
            !unserved
        });
        Compared { live, differences }
    }

    /// What the cluster holds of a desired set and of what is recorded.
    pub(super) fn view_of_set(&self, owner: &Owner, memory: &Memory, desired: &DesiredSet) -> LiveView {
        let hooks = desired.hooks.iter().map(|hook| &hook.object.key);
        let recorded = memory.inventory.iter().flat_map(|inventory| inventory.entries.keys());
        let live = self.destination.cache.view(&owner.instance, desired.objects.keys().chain(hooks).chain(recorded));
        memory.explanations.complete(live)
    }

    /// The plan that brings a desired set, as a sync with these choices would carry it out.
    pub(super) fn plan(
        application: &Application,
        memory: &Memory,
        desired: &DesiredSet,
        compared: &Compared,
        choices: &Choices,
        naming: HookNaming<'_>,
    ) -> Result<Plan, PlanError> {
        // Both the newest commit and the one that the status shows are meant by a person who looks. What an operation brings
        // instead of them has been consented to only by its own revision.
        let held = memory.held.as_ref();
        let revisions = match held.filter(|held| std::ptr::eq(&raw const *held.desired, desired)) {
            Some(held) => vec![held.revision.to_string(), held.reported.clone()],
            None => vec![naming.revision.to_owned()],
        };
        compile(CompileInput {
            desired,
            differences: &compared.differences,
            live: &compared.live,
            options: &choices.options,
            prune: choices.prune,
            consents: consents(application, &revisions),
            only: choices.only.as_ref(),
            held: &choices.held,
            hooks: choices.hooks.then_some(naming),
        })
    }
}

/// What a person has consented to by annotations, for a set of one of these revisions.
pub(super) fn consents(application: &Application, revisions: &[String]) -> Consents {
    let annotations = application.metadata.annotations.as_ref();
    let approved = annotations.and_then(|all| all.get(APPROVE_PRUNE_ANNOTATION));
    let prune = approved.is_some_and(|approved| {
        let begins = |revision: &String| approved.len() >= SHORTEST_REVISION && revision.starts_with(approved.as_str());
        // A chart's version may be shorter, and is named whole.
        revisions.iter().any(|revision| revision == approved || begins(revision))
    });
    let deletion = annotations.is_some_and(|all| {
        APPROVE_DELETION_ANNOTATIONS.iter().any(|name| all.get(*name).is_some_and(|value| !value.is_empty()))
    });
    Consents { protected_kinds: prune, prune, deletion }
}

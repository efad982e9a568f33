//! The plan that deletes everything an Application owns.

use std::collections::{BTreeMap, BTreeSet};

use super::compile::{Consents, HookNaming, PlanError, groups, hooks};
use super::graph::{Blocked, Group, Plan};
use super::prune::{Going, Staying, in_reverse};
use super::waves::{is_definition, is_namespace};
use crate::desired::{DesiredSet, SyncOptions};
use crate::live::LiveView;
use crate::model::{Consent, ObjectKey, Owner, Phase, Reason};

/// What the deletion of an Application is planned from.
#[derive(Clone, Copy, Debug)]
pub struct DeletionInput<'a> {
    /// The Application.
    pub owner: &'a Owner,
    /// What it owns by its record, each with the uid it was last seen with.
    pub owned: &'a BTreeMap<ObjectKey, Option<String>>,
    /// What git wanted last: its hooks and dependencies count, its objects do not. Empty when it is not known.
    pub desired: &'a DesiredSet,
    /// What the cluster holds; whatever carries proven marks goes too, hooks of earlier syncs among it.
    pub live: &'a LiveView,
    /// Options of the Application.
    pub options: &'a SyncOptions,
    /// What a person has consented to. To delete kinds that hold more than themselves is consented to by the deletion.
    pub consents: Consents,
    /// How hooks are named; `None` when no hooks run.
    pub hooks: Option<HookNaming<'a>>,
}

/// Makes the plan of a deletion: hooks before it, everything in reverse order, hooks after it, and what hooks leave.
///
/// While an object waits for consent nothing is deleted, not even by a hook: half an Application is worse than a whole one.
///
/// # Errors
/// The hooks' dependencies go in a circle.
pub fn compile_deletion(input: DeletionInput<'_>) -> Result<Plan, PlanError> {
    let (going, blocked) = going(input);
    if !blocked.is_empty() {
        return Ok(Plan { blocked, ..Plan::default() });
    }
    let mut nodes = Vec::new();
    if let Some(naming) = input.hooks {
        hooks(input.desired, naming, |phase| matches!(phase, Phase::PreDelete | Phase::PostDelete), &mut nodes);
    }
    let hook_keys = |phase: Phase| -> BTreeSet<ObjectKey> {
        nodes.iter().filter(|node| node.id.phase == phase).map(|node| node.id.key.clone()).collect()
    };
    let (before, after) = (hook_keys(Phase::PreDelete), hook_keys(Phase::PostDelete));
    let mut hooks = groups(nodes)?;
    let post_delete = hooks.split_off(hooks.partition_point(|group| group.phase < Phase::PostDelete));

    // What the last hooks run in outlives them, and so do they themselves.
    let outlives = |key: &ObjectKey| {
        after.contains(key)
            || after.iter().any(|hook| is_namespace(key) && hook.namespace == key.name)
            || (is_definition(key)
                && after.iter().any(|hook| key.name.split_once('.').is_some_and(|(_, group)| group == hook.group)))
    };
    let (mut last, mut going): (Going, Going) = going.into_iter().partition(|(key, _)| outlives(key));
    for key in before.into_iter().filter(|key| !after.contains(key)) {
        going.entry(key).or_insert(None);
    }
    for key in after {
        last.entry(key).or_insert(None);
    }
    let first = dependents(input.desired);
    let prune = |phase: Phase, going: &Going| -> Vec<Group> { in_reverse(phase, going, input.live, &first) };
    let groups = [hooks, prune(Phase::Sync, &going), post_delete, prune(Phase::PostDelete, &last)].concat();
    Ok(Plan { groups, on_failure: Vec::new(), blocked: Vec::new() })
}

/// What goes, and what waits for consent.
fn going(input: DeletionInput<'_>) -> (Going, Vec<Blocked>) {
    let mut all = input.owned.clone();
    for (key, record) in &input.live.objects {
        if record.marks.prove(input.owner, key) {
            all.entry(key.clone()).or_insert_with(|| Some(record.uid.clone()));
        }
    }
    let (mut staying, mut blocked) = (Staying::default(), Vec::new());
    all.retain(|key, _| {
        let record = input.live.objects.get(key);
        match record.and_then(|record| record.delete).unwrap_or(input.options.delete) {
            Consent::Given => true,
            Consent::Needed if input.consents.deletion => true,
            Consent::Needed => {
                blocked.push(Blocked {
                    key: key.clone(),
                    reason: Reason::DeletionBlocked,
                    message: format!(
                        "{key} is deleted only after consent (Delete=confirm), and nothing before it: annotate the \
                         Application with tidelock.dev/approve-deletion=true, or the object with \
                         tidelock.dev/sync-options=Delete=false to keep it"
                    ),
                });
                false
            }
            Consent::Refused => {
                staying.note(key);
                false
            }
        }
    });
    // What is kept must not go with what holds it.
    all.retain(|key, _| staying.inside(key).is_none());
    (all, blocked)
}

/// For each object those that depend on it by annotation, which go before it.
fn dependents(desired: &DesiredSet) -> BTreeMap<&ObjectKey, Vec<&ObjectKey>> {
    let mut dependents: BTreeMap<&ObjectKey, Vec<&ObjectKey>> = BTreeMap::new();
    for object in desired.objects.values().chain(desired.hooks.iter().map(|hook| &hook.object)) {
        for dependency in &object.depends_on {
            dependents.entry(&dependency.key).or_default().push(&object.key);
        }
    }
    dependents
}

//! The plan: every object in exactly one step, steps in stages, stages in order.
//!
//! A stage holds the objects of one kind in one wave; they are applied together. Between waves stands a gate on
//! health. Prunes come last, in reverse order, after everything that stays is healthy: what is taken away may be what
//! the new is replacing.

use std::collections::BTreeMap;

use super::order::kind_rank;
use crate::desired::DesiredSet;
use crate::diff::{Cause, Difference, Differences, Extra};
use crate::live::LiveView;
use crate::model::{GroupKind, ObjectKey, Reason};

/// Kinds whose deletion destroys more than themselves: pruning one wants a person's consent.
const PROTECTED_KINDS: [(&str, &str); 4] = [
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
];

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Apply an object that is not there.
    Create,
    /// Apply an object that is there and differs.
    Configure,
    /// Leave an object that is in sync; it still counts for its wave's gate.
    Keep,
    /// Wait until an object that is being deleted is gone.
    AwaitGone,
    /// Delete an object after a live proof that it is ours; the uid as last seen, if it was seen.
    Prune {
        /// `metadata.uid` that the proof must find.
        uid: Option<String>,
    },
}

/// One object and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The object.
    pub key: ObjectKey,
    /// What is done.
    pub action: Action,
}

/// Objects of one kind in one wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The sync wave.
    pub wave: i32,
    /// Place of the kind inside the wave.
    pub rank: u16,
    /// Whether it holds definitions of kinds that later steps need, so that each must be established first.
    pub defines_kinds: bool,
    /// The steps, by identity.
    pub steps: Vec<Step>,
}

/// An object for which there is no step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocked {
    /// The object.
    pub key: ObjectKey,
    /// Why.
    pub reason: Reason,
    /// What a person can do.
    pub message: String,
}

/// All that will be done, in order.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Applies, by wave and kind.
    pub stages: Vec<Stage>,
    /// Prunes, in reverse order.
    pub prunes: Vec<Stage>,
    /// Objects that the plan leaves alone although they differ.
    pub blocked: Vec<Blocked>,
}

impl Plan {
    /// The steps that apply something, in order.
    pub fn applies(&self) -> impl Iterator<Item = &Step> {
        let steps = self.stages.iter().flat_map(|stage| &stage.steps);
        steps.filter(|step| matches!(step.action, Action::Create | Action::Configure))
    }

    /// Whether any step writes.
    pub fn writes(&self) -> bool {
        self.stages.iter().chain(&self.prunes).flat_map(|stage| &stage.steps).any(|step| step.action != Action::Keep)
    }
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// What git wants.
    pub desired: &'a DesiredSet,
    /// What differs.
    pub differences: &'a Differences,
    /// What the cluster holds.
    pub live: &'a LiveView,
    /// Whether objects that git no longer has are deleted.
    pub prune: bool,
    /// Whether a person consented to prune kinds that hold more than themselves.
    pub prune_protected: bool,
}

/// Makes the plan. Deterministic: equal input gives an equal plan, whatever the order of anything before it.
pub fn plan(input: PlanInput<'_>) -> Plan {
    let mut stages: BTreeMap<(i32, u16), Vec<Step>> = BTreeMap::new();
    let mut blocked = Vec::new();
    let waves = effective_waves(input.desired);
    for (key, difference) in &input.differences.objects {
        let action = match difference {
            Difference::InSync | Difference::Changed(Cause::Extra) => Action::Keep,
            Difference::Absent { .. } => Action::Create,
            Difference::Changed(_) => Action::Configure,
            Difference::Terminating => Action::AwaitGone,
            Difference::Conflict { application } => {
                blocked.push(Blocked {
                    key: key.clone(),
                    reason: Reason::OwnedByOther,
                    message: format!(
                        "{key} belongs to the Application {application}; remove it from one of the two sources"
                    ),
                });
                continue;
            }
        };
        let wave = waves.get(key).copied().unwrap_or_default();
        stages.entry((wave, kind_rank(&key.group, &key.kind))).or_default().push(Step { key: key.clone(), action });
    }
    let brings_kinds = input.desired.objects.values().any(|object| object.kind_is_new);
    let stages = stages
        .into_iter()
        .map(|((wave, rank), steps)| {
            let defines_kinds = brings_kinds && steps.iter().any(|step| is_definition(&step.key));
            Stage { wave, rank, defines_kinds, steps }
        })
        .collect();

    let mut prunable = Vec::new();
    for (key, extra) in &input.differences.extras {
        let uid = match extra {
            Extra::Kept | Extra::Terminating => continue,
            Extra::Prunable { uid } => Some(uid.clone()),
            Extra::Unseen => None,
            Extra::Unrecorded => {
                blocked.push(Blocked {
                    key: key.clone(),
                    reason: Reason::PruneWaiting,
                    message: format!("{key} carries this Application's marks and was not recorded; it is recorded now and pruned by the next sync"),
                });
                continue;
            }
        };
        // An object that is recorded but not seen is only struck off the record once a live read finds it gone, so
        // neither switch concerns it.
        if uid.is_some() && !input.prune {
            blocked.push(Blocked {
                key: key.clone(),
                reason: Reason::PruneWaiting,
                message: format!("{key} is no longer in git; pruning is off (syncPolicy.automated.prune)"),
            });
        } else if uid.is_some() && is_protected(key) && !input.prune_protected {
            blocked.push(Blocked {
                key: key.clone(),
                reason: Reason::PruneWaiting,
                message: format!(
                    "{key} is no longer in git; deleting a {} deletes what it holds, so it waits for consent: annotate \
                     the Application with tidelock.dev/approve-prune=<revision>, or annotate the object with \
                     tidelock.dev/sync-options=Prune=false to keep it",
                    key.kind
                ),
            });
        } else {
            prunable.push((key.clone(), uid));
        }
    }
    blocked.sort();
    Plan { stages, prunes: reversed(prunable, input.live), blocked }
}

/// The plan that deletes everything an Application owns, in reverse order. Consent is given by the deletion itself.
pub fn plan_deletion(objects: impl IntoIterator<Item = (ObjectKey, Option<String>)>, live: &LiveView) -> Plan {
    Plan { prunes: reversed(objects.into_iter().collect(), live), ..Plan::default() }
}

fn reversed(objects: Vec<(ObjectKey, Option<String>)>, live: &LiveView) -> Vec<Stage> {
    let mut stages: BTreeMap<(i32, u16), Vec<Step>> = BTreeMap::new();
    let wave_of = |key: &ObjectKey| live.objects.get(key).map_or(0, |record| record.wave);
    let waves: Vec<i32> = objects.iter().map(|(key, _)| first_wave_within(key, &objects, wave_of)).collect();
    for ((key, uid), wave) in objects.into_iter().zip(waves) {
        stages
            .entry((wave, kind_rank(&key.group, &key.kind)))
            .or_default()
            .push(Step { key, action: Action::Prune { uid } });
    }
    stages.into_iter().rev().map(|((wave, rank), steps)| Stage { wave, rank, defines_kinds: false, steps }).collect()
}

/// The wave of an object that goes: a Namespace and a definition outlive what depends on them, as they came before it.
/// A definition is named after its group, which is all that is known of it here.
fn first_wave_within(
    key: &ObjectKey,
    objects: &[(ObjectKey, Option<String>)],
    wave_of: impl Fn(&ObjectKey) -> i32,
) -> i32 {
    let holds = |other: &ObjectKey| {
        if is_definition(key) {
            key.name.split_once('.').is_some_and(|(_, group)| group == other.group)
        } else {
            key.group.is_empty() && key.kind == "Namespace" && other.namespace == key.name
        }
    };
    let first = objects.iter().map(|(other, _)| other).filter(|other| holds(other)).map(&wave_of).min();
    first.map_or(wave_of(key), |first| first.min(wave_of(key)))
}

/// Waves as stated, but a Namespace no later than the first object inside it, and a definition no later than the
/// first object of its kind.
fn effective_waves(desired: &DesiredSet) -> BTreeMap<ObjectKey, i32> {
    let mut first_in_namespace: BTreeMap<&str, i32> = BTreeMap::new();
    let mut first_of_kind: BTreeMap<GroupKind, i32> = BTreeMap::new();
    for (key, object) in &desired.objects {
        if !key.namespace.is_empty() {
            let first = first_in_namespace.entry(&key.namespace).or_insert(object.wave);
            *first = object.wave.min(*first);
        }
        let first = first_of_kind.entry(key.group_kind()).or_insert(object.wave);
        *first = object.wave.min(*first);
    }
    desired
        .objects
        .iter()
        .map(|(key, object)| {
            let dependent = if is_definition(key) {
                defined_kind(&object.body).and_then(|kind| first_of_kind.get(&kind).copied())
            } else if key.group.is_empty() && key.kind == "Namespace" {
                first_in_namespace.get(key.name.as_str()).copied()
            } else {
                None
            };
            (key.clone(), dependent.map_or(object.wave, |wave| wave.min(object.wave)))
        })
        .collect()
}

fn defined_kind(body: &[u8]) -> Option<GroupKind> {
    #[derive(serde::Deserialize)]
    struct Definition {
        spec: Spec,
    }
    #[derive(serde::Deserialize)]
    struct Spec {
        group: String,
        names: Names,
    }
    #[derive(serde::Deserialize)]
    struct Names {
        kind: String,
    }
    let Definition { spec: Spec { group, names: Names { kind } } } = serde_json::from_slice(body).ok()?;
    Some(GroupKind { group, kind })
}

fn is_definition(key: &ObjectKey) -> bool {
    key.group == "apiextensions.k8s.io" && key.kind == "CustomResourceDefinition"
}

fn is_protected(key: &ObjectKey) -> bool {
    PROTECTED_KINDS.iter().any(|(group, kind)| *group == key.group && *kind == key.kind)
}

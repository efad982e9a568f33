//! What goes: which of the objects that git no longer has may be pruned, and in which order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::compile::CompileInput;
use super::graph::{Action, Blocked, Group, Step, StepId, Work};
use super::order::kind_rank;
use super::waves::{is_definition, is_namespace};
use crate::diff::Extra;
use crate::live::LiveView;
use crate::model::{Consent, ObjectKey, Phase, Reason};

/// Kinds whose deletion destroys more than themselves: pruning one wants a person's consent.
const PROTECTED_KINDS: [(&str, &str); 4] = [
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
];

/// Objects that go, each with the uid it was last seen with.
pub(super) type Going = BTreeMap<ObjectKey, Option<String>>;

/// What becomes of what git no longer has.
#[derive(Clone, Debug, Default)]
pub(super) struct Pruned {
    /// The prunes, in order.
    pub(super) groups: Vec<Group>,
    /// What waits.
    pub(super) blocked: Vec<Blocked>,
}

/// What becomes of an object that git no longer has.
enum Verdict {
    Goes(Option<String>),
    Stays,
    Waits(String),
}

/// Decides what is pruned.
pub(super) fn prunes(input: CompileInput<'_>) -> Pruned {
    let mut staying = Staying::default();
    let hooks: BTreeSet<&ObjectKey> = input.desired.hooks.iter().map(|hook| &hook.object.key).collect();
    for key in input.desired.objects.keys().chain(hooks.iter().copied()) {
        staying.note(key);
    }
    let (mut going, mut pruned) = (Going::new(), Pruned::default());
    // What holds others is decided when it is known what stays.
    let (holders, others): (Vec<_>, Vec<_>) =
        input.differences.extras.iter().partition(|(key, _)| is_namespace(key) || is_definition(key));
    for (key, extra) in others.into_iter().chain(holders) {
        let verdict = match verdict(input, &hooks, key, extra) {
            Verdict::Goes(Some(uid)) => match staying.inside(key) {
                Some(inside) => Verdict::Waits(format!(
                    "{key} is no longer in git and is not pruned, since {inside} would go with it, which stays"
                )),
                None => Verdict::Goes(Some(uid)),
            },
            verdict => verdict,
        };
        match verdict {
            Verdict::Goes(uid) => {
                going.insert(key.clone(), uid);
            }
            Verdict::Stays => staying.note(key),
            Verdict::Waits(message) => {
                staying.note(key);
                pruned.blocked.push(Blocked { key: key.clone(), reason: Reason::PruneWaiting, message });
            }
        }
    }
    pruned.groups = in_reverse(Phase::Sync, &going, input.live, &BTreeMap::new());
    pruned
}

fn verdict(input: CompileInput<'_>, hooks: &BTreeSet<&ObjectKey>, key: &ObjectKey, extra: &Extra) -> Verdict {
    // A hook of this name deletes the object itself before it runs.
    if hooks.contains(key) || input.only.is_some_and(|only| !only.contains(key)) {
        return Verdict::Stays;
    }
    let uid = match extra {
        // On its way out already: the step stands for waiting until it is gone.
        Extra::Terminating if input.prune => return Verdict::Goes(None),
        Extra::Kept | Extra::Terminating => return Verdict::Stays,
        // An object that is recorded but not seen is only struck off the record once a live read finds it gone, so
        // no switch concerns it.
        Extra::Unseen => return Verdict::Goes(None),
        Extra::Unrecorded => {
            return Verdict::Waits(format!(
                "{key} carries this Application's marks and was not recorded; it is recorded now and pruned by the next sync"
            ));
        }
        Extra::Prunable { uid } => uid,
    };
    let record = input.live.objects.get(key);
    let consent = record.and_then(|record| record.prune).unwrap_or(input.options.prune);
    if consent == Consent::Refused {
        return Verdict::Stays;
    }
    if !input.prune {
        return if record.is_some_and(|record| record.extraneous_ignored) {
            Verdict::Stays
        } else {
            Verdict::Waits(format!("{key} is no longer in git; pruning is off (syncPolicy.automated.prune)"))
        };
    }
    if is_protected(key) && !input.consents.protected_kinds {
        return Verdict::Waits(format!(
            "{key} is no longer in git; deleting a {} deletes what it holds, so it waits for consent: annotate \
             the Application with tidelock.dev/approve-prune=<revision>, or annotate the object with \
             tidelock.dev/sync-options=Prune=false to keep it",
            key.kind
        ));
    }
    if consent == Consent::Needed && !input.consents.prune {
        return Verdict::Waits(format!(
            "{key} is no longer in git and waits for consent (Prune=confirm): annotate the Application with \
             tidelock.dev/approve-prune=<revision>, or annotate the object with \
             tidelock.dev/sync-options=Prune=false to keep it"
        ));
    }
    Verdict::Goes(Some(uid.clone()))
}

fn is_protected(key: &ObjectKey) -> bool {
    PROTECTED_KINDS.iter().any(|(group, kind)| *group == key.group && *kind == key.kind)
}

/// What stays, by what would take it along.
#[derive(Clone, Debug, Default)]
pub(super) struct Staying {
    by_namespace: BTreeMap<String, ObjectKey>,
    by_kind: BTreeMap<(String, String), ObjectKey>,
}

impl Staying {
    /// Notes an object that stays.
    pub(super) fn note(&mut self, key: &ObjectKey) {
        if !key.namespace.is_empty() && !self.by_namespace.contains_key(&key.namespace) {
            self.by_namespace.insert(key.namespace.clone(), key.clone());
        }
        self.by_kind.entry((key.group.clone(), key.kind.clone())).or_insert_with(|| key.clone());
    }

    /// An object that stays and that would be deleted with this one.
    pub(super) fn inside(&self, key: &ObjectKey) -> Option<&ObjectKey> {
        if is_namespace(key) {
            return self.by_namespace.get(&key.name);
        }
        if !is_definition(key) {
            return None;
        }
        // Of the kind that a definition defines only its plural is known here, from its name.
        let (plural, group) = key.name.split_once('.')?;
        let mut kinds = self.by_kind.iter();
        kinds.find_map(|((own_group, kind), key)| (own_group == group && is_plural_of(plural, kind)).then_some(key))
    }
}

/// Whether a plural could be that of a kind, by the rules that generators of definitions use.
fn is_plural_of(plural: &str, kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let stem = |cut: &str, ending: &str| kind.strip_suffix(cut).is_some_and(|stem| plural == format!("{stem}{ending}"));
    plural == kind || stem("", "s") || stem("", "es") || stem("y", "ies") || stem("f", "ves") || stem("fe", "ves")
}

/// Groups of prunes: later waves first, in a wave the kinds that come last first. A Namespace and a definition outlive what
/// depends on them, as they came before it; so does what others depend on by annotation (`first`: objects that go before a key).
pub(super) fn in_reverse(
    phase: Phase,
    going: &Going,
    live: &LiveView,
    first: &BTreeMap<&ObjectKey, Vec<&ObjectKey>>,
) -> Vec<Group> {
    let wave_of = |key: &ObjectKey| live.objects.get(key).map_or(0, |record| record.wave);
    let (mut in_namespace, mut in_group) = (BTreeMap::<&str, i32>::new(), BTreeMap::<&str, i32>::new());
    for key in going.keys() {
        let wave = wave_of(key);
        for (map, name) in [(&mut in_namespace, &key.namespace), (&mut in_group, &key.group)] {
            let earliest = map.entry(name).or_insert(wave);
            *earliest = wave.min(*earliest);
        }
    }
    let mut waves: BTreeMap<i32, Vec<&ObjectKey>> = BTreeMap::new();
    for key in going.keys() {
        let held = if is_namespace(key) {
            in_namespace.get(key.name.as_str())
        } else if is_definition(key) {
            key.name.split_once('.').and_then(|(_, group)| in_group.get(group))
        } else {
            None
        };
        let own = wave_of(key);
        waves.entry(held.map_or(own, |wave| own.min(*wave))).or_default().push(key);
    }
    let mut groups = Vec::new();
    for (wave, keys) in waves.into_iter().rev() {
        let layers = layers(keys, first);
        let after = layers.len();
        for (index, mut keys) in layers.into_iter().enumerate() {
            keys.sort_by_key(|key| (Reverse(kind_rank(&key.group, &key.kind)), *key));
            let step = |key: &ObjectKey| Step {
                id: StepId { phase: Phase::Sync, key: key.clone() },
                action: Action::Prune { uid: going.get(key).cloned().flatten() },
                rank: kind_rank(&key.group, &key.kind),
                needs: Vec::new(),
            };
            groups.push(Group {
                phase,
                wave,
                work: Work::Prune,
                layer: u16::try_from(after - 1 - index).unwrap_or(u16::MAX),
                steps: keys.into_iter().map(step).collect(),
            });
        }
    }
    groups
}

/// Splits the objects of a wave so that each comes after those that go before it. Objects that wait for each other in a
/// circle go together, last.
fn layers<'a>(keys: Vec<&'a ObjectKey>, first: &BTreeMap<&ObjectKey, Vec<&ObjectKey>>) -> Vec<Vec<&'a ObjectKey>> {
    if first.is_empty() {
        return vec![keys];
    }
    let mut open: BTreeMap<&ObjectKey, usize> = keys.iter().map(|key| (*key, 0)).collect();
    let mut waiting: BTreeMap<&ObjectKey, Vec<&'a ObjectKey>> = BTreeMap::new();
    for key in &keys {
        let others = first.get(*key).into_iter().flatten();
        let others: BTreeSet<&ObjectKey> =
            others.copied().filter(|other| open.contains_key(other) && other != key).collect();
        for other in &others {
            waiting.entry(*other).or_default().push(*key);
        }
        open.insert(*key, others.len());
    }
    let (mut free, mut left): (Vec<&ObjectKey>, Vec<&ObjectKey>) =
        keys.into_iter().partition(|key| open.get(key) == Some(&0));
    let mut layers = Vec::new();
    while !free.is_empty() {
        let mut next = Vec::new();
        for key in free.iter().flat_map(|key| waiting.get(key).into_iter().flatten()) {
            if let Some(count) = open.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    next.push(*key);
                }
            }
        }
        layers.push(std::mem::replace(&mut free, next));
    }
    left.retain(|key| open.get(key).is_some_and(|count| *count > 0));
    if !left.is_empty() {
        layers.push(left);
    }
    layers
}

//! Compiles what is wanted and what differs into a plan.
//!
//! ```text
//! objects, hooks ─► nodes ─► pulled ahead ─► edges, circles refused ─► groups in order
//! extras ─► consent ─► prunes, in reverse
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use jiff::Timestamp;
use thiserror::Error;

use super::edges::{Edges, edges};
use super::graph::{Action, Blocked, Cycle, Group, Need, Plan, Step, StepId, Work};
use super::prune::{Pruned, prunes};
use super::references::{Definition, definition};
use super::waves::{Node, Place, is_definition, pull_ahead};
use crate::desired::{DesiredSet, SyncOptions};
use crate::diff::{Cause, Difference, Differences};
use crate::live::LiveView;
use crate::model::{ObjectKey, Phase, Reason};

/// What a person has consented to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consents {
    /// To prune kinds that hold more than themselves (`tidelock.dev/approve-prune`).
    pub protected_kinds: bool,
    /// To prune what says `Prune=confirm`.
    pub prune: bool,
    /// To delete, with its Application, what says `Delete=confirm` (`tidelock.dev/approve-deletion`).
    pub deletion: bool,
}

/// What names of hooks are generated from. The same for every plan of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookNaming<'a> {
    /// The revision.
    pub revision: &'a str,
    /// When the attempt started.
    pub started: Timestamp,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct CompileInput<'a> {
    /// What git wants.
    pub desired: &'a DesiredSet,
    /// What differs.
    pub differences: &'a Differences,
    /// What the cluster holds.
    pub live: &'a LiveView,
    /// Options of the Application.
    pub options: &'a SyncOptions,
    /// Whether objects that git no longer has are deleted.
    pub prune: bool,
    /// What a person has consented to.
    pub consents: Consents,
    /// The only objects that the sync is about; `None` for all.
    pub only: Option<&'a BTreeSet<ObjectKey>>,
    /// Objects whose differences stay although they could be corrected (`driftPolicy: hold`).
    pub held: &'a BTreeSet<ObjectKey>,
    /// How hooks are named; `None` when no hooks run. A sync of selected objects never runs hooks.
    pub hooks: Option<HookNaming<'a>>,
}

/// Why there is no plan. Nothing may be applied then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Dependencies contradict each other or the waves.
    #[error("{0}")]
    Cycle(Cycle),
    /// Objects belong to other Applications and the options say that this fails the sync.
    #[error("{}", shared(.0))]
    SharedResource(Vec<(ObjectKey, String)>),
}

impl PlanError {
    /// The reason for conditions.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Cycle(_) => Reason::DependencyCycle,
            Self::SharedResource(_) => Reason::OwnedByOther,
        }
    }
}

fn shared(objects: &[(ObjectKey, String)]) -> String {
    let listed: Vec<String> =
        objects.iter().map(|(key, application)| format!("{key} belongs to the Application {application}")).collect();
    format!(
        "{}; nothing was applied, since FailOnSharedResource=true: remove each from one of the two sources",
        listed.join(", ")
    )
}

/// Makes the plan. Deterministic: equal input gives an equal plan, whatever the order of anything before it.
///
/// # Errors
/// Nothing may be applied when dependencies go in a circle, or when objects of others are to fail the sync.
pub fn compile(input: CompileInput<'_>) -> Result<Plan, PlanError> {
    let mut nodes = Vec::new();
    let mut blocked = Vec::new();
    objects(input, &mut nodes, &mut blocked)?;
    if let Some(naming) = input.hooks.filter(|_| input.only.is_none()) {
        let runs = |phase: Phase| !matches!(phase, Phase::PreDelete | Phase::PostDelete);
        hooks(input.desired, naming, runs, &mut nodes);
    }
    let mut groups = groups(nodes)?;
    let Pruned { groups: pruning, blocked: waiting } = prunes(input);
    blocked.extend(waiting);
    blocked.sort();

    let on_failure = groups.split_off(groups.partition_point(|group| group.phase < Phase::SyncFail));
    let after_sync = groups.partition_point(|group| group.phase <= Phase::Sync);
    let at = if input.options.prune_last { groups.len() } else { after_sync };
    groups.splice(at..at, pruning);
    Ok(Plan { groups, on_failure, blocked })
}

fn objects<'a>(
    input: CompileInput<'a>,
    nodes: &mut Vec<Node<'a>>,
    blocked: &mut Vec<Blocked>,
) -> Result<(), PlanError> {
    let mut shared = Vec::new();
    for (key, difference) in &input.differences.objects {
        // Differences are about the objects of the same desired set.
        let Some(object) = input.desired.objects.get(key) else { continue };
        if input.only.is_some_and(|only| !only.contains(key)) {
            continue;
        }
        let action = match difference {
            // What people added to an object is only reported: applying would not take it away.
            Difference::InSync | Difference::Changed(Cause::Extra) => Action::Keep,
            Difference::Conflict { application } => {
                shared.push((key.clone(), application.clone()));
                blocked.push(Blocked {
                    key: key.clone(),
                    reason: Reason::OwnedByOther,
                    message: format!(
                        "{key} belongs to the Application {application}; remove it from one of the two sources"
                    ),
                });
                continue;
            }
            _ if input.held.contains(key) => {
                let what = match difference {
                    Difference::Absent { .. } | Difference::Terminating => {
                        "deleted in the cluster and is not made again"
                    }
                    Difference::InSync | Difference::Changed(_) | Difference::Conflict { .. } => {
                        "changed in the cluster and is left as it is"
                    }
                };
                blocked.push(Blocked {
                    key: key.clone(),
                    reason: Reason::OutOfSync,
                    message: format!(
                        "{key} was {what} (driftPolicy: hold); ask for a sync to correct it, or bring git in line with it"
                    ),
                });
                continue;
            }
            Difference::Absent { .. } => Action::Create,
            Difference::Changed(
                Cause::Desired | Cause::Live | Cause::Replaced | Cause::Marks | Cause::ExtraToRemove,
            ) => Action::Configure,
            Difference::Terminating => Action::AwaitGone,
        };
        nodes.push(Node::new(StepId { phase: Phase::Sync, key: key.clone() }, object, action));
    }
    if input.options.fail_on_shared_resource && !shared.is_empty() {
        return Err(PlanError::SharedResource(shared));
    }
    Ok(())
}

/// Adds the hooks of some phases, each phase of a hook as a step of its own.
pub(super) fn hooks<'a>(
    desired: &'a DesiredSet,
    naming: HookNaming<'_>,
    runs: impl Fn(Phase) -> bool,
    nodes: &mut Vec<Node<'a>>,
) {
    let mut taken: BTreeSet<StepId> = nodes.iter().map(|node| node.id.clone()).collect();
    for (index, hook) in desired.hooks.iter().enumerate() {
        for phase in hook.phases.iter().copied().filter(|phase| runs(*phase)) {
            let name = hook.name_in(phase, naming.revision, naming.started);
            let mut id = StepId { phase, key: ObjectKey { name: name.clone(), ..hook.object.key.clone() } };
            // Hooks that begin their names alike need names of their own.
            let mut number = 2_u32;
            while hook.generate_name.is_some() && taken.contains(&id) {
                id.key.name = format!("{name}-{number}");
                number += 1;
            }
            taken.insert(id.clone());
            nodes.push(Node::new(id, &hook.object, Action::Hook { index }));
        }
    }
}

/// Puts nodes into groups, by phase and wave, each in the order in which its steps would run if nothing held them.
pub(super) fn groups(mut nodes: Vec<Node<'_>>) -> Result<Vec<Group>, PlanError> {
    nodes.sort_by(|left, right| left.id.cmp(&right.id));
    let definitions: BTreeMap<usize, Definition<'_>> = nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| is_definition(&node.id.key))
        .filter_map(|(number, node)| Some((number, definition(&node.object.body)?)))
        .collect();
    pull_ahead(&mut nodes, &definitions);
    let edges = edges(&nodes, &definitions).map_err(PlanError::Cycle)?;
    let order = in_order(&nodes, &edges);
    let mut needs = needs(&nodes, edges);
    let mut groups: BTreeMap<Place, Vec<Step>> = BTreeMap::new();
    for number in order {
        let node = &nodes[number];
        groups.entry(node.place).or_default().push(Step {
            id: node.id.clone(),
            action: node.action.clone(),
            rank: node.rank,
            needs: std::mem::take(&mut needs[number]),
        });
    }
    let group = |(place, steps): (Place, Vec<Step>)| Group {
        phase: place.phase,
        wave: place.wave,
        work: Work::Apply,
        layer: 0,
        steps,
    };
    Ok(groups.into_iter().map(group).collect())
}

/// All nodes, each after those of its own place that it waits for; of those that could be next the lowest rank is.
fn in_order(nodes: &[Node<'_>], edges: &Edges) -> Vec<usize> {
    let mut preferred: Vec<usize> = (0..nodes.len()).collect();
    preferred.sort_by_key(|number| (nodes[*number].rank, *number));
    let mut turn = vec![0; nodes.len()];
    for (position, number) in preferred.iter().enumerate() {
        turn[*number] = position;
    }
    let mut open = vec![0_usize; nodes.len()];
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for edge in edges.inside.iter().filter(|edge| nodes[edge.from].place == nodes[edge.to].place) {
        open[edge.from] += 1;
        waiting[edge.to].push(edge.from);
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        preferred.iter().filter(|number| open[**number] == 0).map(|number| Reverse(turn[*number])).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(position)) = ready.pop() {
        let number = preferred[position];
        order.push(number);
        for from in &waiting[number] {
            open[*from] -= 1;
            if open[*from] == 0 {
                ready.push(Reverse(turn[*from]));
            }
        }
    }
    order
}

fn needs(nodes: &[Node<'_>], edges: Edges) -> Vec<Vec<Need>> {
    let mut needs: Vec<Vec<Need>> = vec![Vec::new(); nodes.len()];
    for edge in edges.inside {
        needs[edge.from].push(Need { on: nodes[edge.to].id.key.clone(), state: edge.state, cause: edge.cause });
    }
    for (from, need) in edges.outside {
        needs[from].push(need);
    }
    for needs in &mut needs {
        needs.sort_unstable();
        needs.dedup();
    }
    needs
}

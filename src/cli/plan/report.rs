//! The plan as a value of plain words: what `-o json` prints, and what the text is made from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::cli::offline::{ApplicationName, ObjectName, Survey};
use crate::diff::Extra;
use crate::model::{ObjectKey, Phase};
use crate::plan::{Action, Condition, Group, Holding, NeedCause, Next, Plan, Prerequisite, Step, waits};

/// Version of the shape of this report; it grows with changes that readers must know of.
const FORMAT: u32 = 2;
/// How many objects a condition names; it counts them all.
const NAMED: usize = 10;

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// Version of this shape.
    pub format: u32,
    /// Whose plan it is.
    pub application: ApplicationName,
    /// How many steps there are by action, and how many objects are blocked.
    pub summary: BTreeMap<String, usize>,
    /// What a sync would do first.
    pub next: NextReport,
    /// The steps in order; those that run only on failure are the last.
    pub steps: Vec<StepReport>,
    /// Objects that the plan leaves alone although they differ.
    pub blocked: Vec<BlockedReport>,
    /// Objects that git no longer has and that are kept on purpose.
    pub kept: Vec<ObjectName>,
    /// Hooks that run when the Application is deleted.
    pub deletion_hooks: Vec<DeletionHookReport>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What a sync would do first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextReport {
    /// `run`, `wait`, `fail` or `done`.
    pub action: &'static str,
    /// Numbers of the steps that would run.
    pub steps: Vec<usize>,
    /// What would be waited for.
    pub waiting: Vec<HoldingReport>,
    /// Why it would fail; absent when it would not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: usize,
    /// Number of the group, from 1: a group begins when the one before it is finished.
    #[serde(rename = "stepGroup")]
    pub group: usize,
    /// `PreSync`, `Sync`, `PostSync` or `SyncFail`.
    pub phase: &'static str,
    /// The wave it is in, which may be earlier than the one stated.
    pub wave: i32,
    /// Place of the kind inside the wave; `None` for kinds that come after all that have one.
    pub kind_rank: Option<u16>,
    /// `create`, `configure`, `keep`, `await-gone`, `prune` or `hook`.
    pub action: &'static str,
    /// The object. A name that a sync generates ends in `*` here.
    #[serde(flatten)]
    pub object: ObjectName,
    /// Where it comes from, as `file:line`; empty for prunes.
    pub origin: String,
    /// What must be so first.
    pub waits_for: Vec<WaitReport>,
}

/// What must be so before a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitReport {
    /// `finished` or `gone` (of a group), `failure` (of any group), or `present`, `ready` or `completed` (of an object).
    pub condition: &'static str,
    /// Of which group.
    #[serde(rename = "stepGroup", skip_serializing_if = "Option::is_none")]
    pub group: Option<usize>,
    /// Of which object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<ObjectName>,
    /// Why: `definition`, `namespace`, `account`, `configuration`, `webhook` or `depends-on`; for groups the order of phases
    /// and waves.
    pub cause: &'static str,
    /// Whether it is so already.
    pub met: bool,
    /// How many objects keep it from being so.
    pub count: usize,
    /// The first ten of them.
    pub objects: Vec<HoldingReport>,
}

/// An object that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldingReport {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectName,
    /// What is missing.
    pub message: String,
}

/// An object without a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedReport {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectName,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, and what can be done.
    pub message: String,
}

/// A hook of a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionHookReport {
    /// `PreDelete` or `PostDelete`.
    pub phase: &'static str,
    /// Its wave.
    pub wave: i32,
    /// Its object.
    #[serde(flatten)]
    pub object: ObjectName,
}

impl PlanReport {
    /// What is said of a plan.
    pub fn of(survey: &Survey, plan: &Plan) -> Self {
        let waits = waits(plan, &survey.live);
        let groups: Vec<&Group> = plan.groups.iter().chain(&plan.on_failure).collect();
        let mut steps = Vec::new();
        for (index, (group, waits)) in groups.iter().zip(&waits).enumerate() {
            for (step, own) in group.steps.iter().zip(&waits.steps) {
                let waits_for = waits.group.iter().chain(own).map(|need| wait(survey, plan, need)).collect();
                steps.push(step_report(survey, steps.len() + 1, index + 1, group, step, waits_for));
            }
        }
        let mut summary = BTreeMap::from([("blocked".to_owned(), plan.blocked.len())]);
        for action in ["create", "configure", "keep", "await-gone", "prune", "hook"] {
            summary.insert(action.to_owned(), steps.iter().filter(|step| step.action == action).count());
        }
        let blocked = plan.blocked.iter().map(|blocked| BlockedReport {
            object: ObjectName::of(&blocked.key),
            reason: blocked.reason.as_str(),
            message: blocked.message.clone(),
        });
        Self {
            format: FORMAT,
            application: ApplicationName::of(&survey.owner),
            summary,
            next: first_move(survey, plan),
            steps,
            blocked: blocked.collect(),
            kept: kept(survey, plan),
            deletion_hooks: deletion_hooks(survey),
            warnings: survey.warnings.clone(),
        }
    }
}

/// What a sync that starts now would do first, by the very code that decides it.
fn first_move(survey: &Survey, plan: &Plan) -> NextReport {
    let none = |action| NextReport { action, steps: Vec::new(), waiting: Vec::new(), message: String::new() };
    match &survey.next {
        None | Some(Next::Done) => none("done"),
        Some(Next::Run(moves)) => {
            let steps = plan.groups.iter().chain(&plan.on_failure).flat_map(|group| &group.steps).zip(1..);
            let run = steps.filter(|(step, _)| moves.iter().any(|one| one.id == step.id));
            NextReport { steps: run.map(|(_, number)| number).collect(), ..none("run") }
        }
        Some(Next::Wait { waiting, until: _ }) => {
            let holding = waiting
                .iter()
                .map(|one| HoldingReport { object: ObjectName::of(&one.key), message: one.message.clone() });
            NextReport { waiting: holding.collect(), ..none("wait") }
        }
        Some(Next::Failed { reason, message }) => {
            NextReport { message: format!("{reason}: {message}"), ..none("fail") }
        }
    }
}

fn step_report(
    survey: &Survey,
    step: usize,
    group_number: usize,
    group: &Group,
    planned: &Step,
    waits_for: Vec<WaitReport>,
) -> StepReport {
    let action = match planned.action {
        Action::Create => "create",
        Action::Configure => "configure",
        Action::Keep => "keep",
        Action::AwaitGone => "await-gone",
        Action::Prune { .. } => "prune",
        Action::Hook { .. } => "hook",
    };
    StepReport {
        step,
        group: group_number,
        phase: group.phase.as_str(),
        wave: group.wave,
        kind_rank: (planned.rank != u16::MAX).then_some(planned.rank),
        action,
        object: object_name(survey, planned),
        origin: origin(survey, planned),
        waits_for,
    }
}

/// The name of a step's object; what a sync would generate can't be known here.
fn object_name(survey: &Survey, step: &Step) -> ObjectName {
    let mut object = ObjectName::of(&step.id.key);
    if let Action::Hook { index } = step.action
        && let Some(prefix) = survey.desired.hooks.get(index).and_then(|hook| hook.generate_name.as_ref())
    {
        object.name = format!("{prefix}*");
    }
    object
}

fn origin(survey: &Survey, step: &Step) -> String {
    let object = match step.action {
        Action::Hook { index } => survey.desired.hooks.get(index).map(|hook| &hook.object),
        Action::Prune { .. } => None,
        Action::Create | Action::Configure | Action::Keep | Action::AwaitGone => {
            survey.desired.objects.get(&step.id.key)
        }
    };
    object.map(|object| object.origin.to_string()).unwrap_or_default()
}

fn wait(survey: &Survey, plan: &Plan, need: &Prerequisite) -> WaitReport {
    let (condition, group, on, cause) = match &need.condition {
        Condition::Finished { group } => ("finished", Some(group + 1), None, "order"),
        Condition::Gone { group } => ("gone", Some(group + 1), None, "order"),
        Condition::Failure => ("failure", None, None, "order"),
        Condition::Need(need) => {
            let cause = match need.cause {
                NeedCause::Definition => "definition",
                NeedCause::Namespace => "namespace",
                NeedCause::Account => "account",
                NeedCause::Configuration => "configuration",
                NeedCause::Webhook => "webhook",
                NeedCause::Explicit => "depends-on",
            };
            (need.state.as_str(), None, Some(ObjectName::of(&need.on)), cause)
        }
    };
    let named = |one: &Holding| {
        let steps = plan.groups.iter().flat_map(|group| &group.steps);
        let mut generated = steps.filter(|step| matches!(step.action, Action::Hook { .. }) && step.id.key == one.key);
        let object = generated.next().map_or_else(|| ObjectName::of(&one.key), |step| object_name(survey, step));
        HoldingReport { object, message: one.message.clone() }
    };
    WaitReport {
        condition,
        group,
        on,
        cause,
        met: need.holding.is_empty() && need.condition != Condition::Failure,
        count: need.holding.len(),
        objects: need.holding.iter().take(NAMED).map(named).collect(),
    }
}

fn kept(survey: &Survey, plan: &Plan) -> Vec<ObjectName> {
    let pruned = plan.groups.iter().flat_map(|group| &group.steps).map(|step| &step.id.key);
    let told: BTreeSet<&ObjectKey> = pruned.chain(plan.blocked.iter().map(|blocked| &blocked.key)).collect();
    let hooks: BTreeSet<&ObjectKey> = survey.desired.hooks.iter().map(|hook| &hook.object.key).collect();
    let extras = survey.differences.extras.iter();
    extras
        .filter(|(key, extra)| **extra != Extra::Terminating && !told.contains(key) && !hooks.contains(key))
        .map(|(key, _)| ObjectName::of(key))
        .collect()
}

fn deletion_hooks(survey: &Survey) -> Vec<DeletionHookReport> {
    let mut found = Vec::new();
    for wanted in [Phase::PreDelete, Phase::PostDelete] {
        for hook in survey.desired.hooks.iter().filter(|hook| hook.phases.contains(&wanted)) {
            let mut object = ObjectName::of(&hook.object.key);
            if let Some(prefix) = &hook.generate_name {
                object.name = format!("{prefix}*");
            }
            found.push(DeletionHookReport { phase: wanted.as_str(), wave: hook.object.wave, object });
        }
    }
    found
}

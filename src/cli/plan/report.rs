//! The plan as a value of plain words: what `-o json` prints, and what the text is made from.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::offline::{ApplicationName, ObjectName, Survey};
use crate::model::ObjectKey;
use crate::plan::{
    Action, Condition, GateInput, Next, Outcomes, Prerequisite, Stage, Step, Waiting, next, prerequisites,
};

/// Version of the shape of this report; it grows with changes that readers must know of.
const FORMAT: u32 = 1;
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
    /// The steps in order.
    pub steps: Vec<StepReport>,
    /// Objects that the plan leaves alone although they differ.
    pub blocked: Vec<BlockedReport>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// What a sync would do first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextReport {
    /// `run`, `wait` or `done`.
    pub action: &'static str,
    /// Numbers of the steps that would run.
    pub steps: Vec<usize>,
    /// What would be waited for.
    pub waiting: Vec<HoldingReport>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: usize,
    /// Number of the stage, from 1: steps of one stage are done together.
    pub stage: usize,
    /// `Sync`: hooks, which have other phases, are left out.
    pub phase: &'static str,
    /// The wave it is in, which may be earlier than the one stated.
    pub wave: i32,
    /// Place of the kind inside the wave; `None` for kinds that come after all that have one.
    pub kind_rank: Option<u16>,
    /// `create`, `configure`, `keep`, `await-gone` or `prune`.
    pub action: &'static str,
    /// The object.
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
    /// `applied`, `established`, `gone` or `healthy`.
    pub condition: &'static str,
    /// Of which stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<usize>,
    /// Of which wave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<i32>,
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

impl PlanReport {
    /// The plan of a survey.
    pub fn of(survey: &Survey) -> Self {
        let plan = &survey.plan;
        let needs = prerequisites(plan, &survey.live, survey.gate_last_wave);
        let stages: Vec<&Stage> = plan.stages.iter().chain(&plan.prunes).collect();
        let mut steps = Vec::new();
        for (index, (stage, needs)) in stages.iter().zip(&needs).enumerate() {
            let waits_for: Vec<WaitReport> = needs.iter().map(wait).collect();
            for step in &stage.steps {
                let number = steps.len() + 1;
                steps.push(step_report(survey, number, index + 1, stage, step, waits_for.clone()));
            }
        }
        let mut summary = BTreeMap::from([("blocked".to_owned(), plan.blocked.len())]);
        for action in ["create", "configure", "keep", "await-gone", "prune"] {
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
            next: first_move(survey, &steps),
            blocked: blocked.collect(),
            steps,
            warnings: survey.warnings.clone(),
        }
    }
}

fn first_move(survey: &Survey, steps: &[StepReport]) -> NextReport {
    let outcomes = Outcomes::new();
    let input = GateInput {
        plan: &survey.plan,
        outcomes: &outcomes,
        live: &survey.live,
        gate_last_wave: survey.gate_last_wave,
    };
    let none = |action| NextReport { action, steps: Vec::new(), waiting: Vec::new() };
    match next(input) {
        Next::Run(now) => {
            let keys: Vec<ObjectName> = now.iter().map(|step| ObjectName::of(&step.key)).collect();
            let numbers = steps.iter().filter(|step| keys.contains(&step.object)).map(|step| step.step);
            NextReport { steps: numbers.collect(), ..none("run") }
        }
        Next::Wait(waiting) => NextReport { waiting: waiting.iter().map(holding).collect(), ..none("wait") },
        // Nothing was tried, so nothing has failed.
        Next::Done | Next::Failed => none("done"),
    }
}

fn step_report(
    survey: &Survey,
    step: usize,
    stage_number: usize,
    stage: &Stage,
    planned: &Step,
    waits_for: Vec<WaitReport>,
) -> StepReport {
    let action = match planned.action {
        Action::Create => "create",
        Action::Configure => "configure",
        Action::Keep => "keep",
        Action::AwaitGone => "await-gone",
        Action::Prune { .. } => "prune",
    };
    StepReport {
        step,
        stage: stage_number,
        phase: "Sync",
        wave: stage.wave,
        kind_rank: (stage.rank != u16::MAX).then_some(stage.rank),
        action,
        object: ObjectName::of(&planned.key),
        origin: origin(survey, &planned.key),
        waits_for,
    }
}

fn origin(survey: &Survey, key: &ObjectKey) -> String {
    survey.desired.objects.get(key).map(|object| object.origin.to_string()).unwrap_or_default()
}

fn wait(need: &Prerequisite) -> WaitReport {
    let (condition, stage, wave) = match need.condition {
        Condition::Applied { stage } => ("applied", Some(stage + 1), None),
        Condition::Established { stage } => ("established", Some(stage + 1), None),
        Condition::Gone { stage } => ("gone", Some(stage + 1), None),
        Condition::Healthy { wave } => ("healthy", None, Some(wave)),
    };
    WaitReport {
        condition,
        stage,
        wave,
        met: need.holding.is_empty(),
        count: need.holding.len(),
        objects: need.holding.iter().take(NAMED).map(holding).collect(),
    }
}

fn holding(waiting: &Waiting) -> HoldingReport {
    HoldingReport { object: ObjectName::of(&waiting.key), message: waiting.message.clone() }
}

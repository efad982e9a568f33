//! Decides everything: which steps, in which order, behind which gates. Pure; the clock is passed in.

mod compile;
mod cycle;
mod decide;
mod deletion;
mod edges;
mod explain;
mod gate;
pub mod graph;
mod inferred;
mod order;
pub mod progress;
mod prune;
mod references;
mod steps;
mod waits;
mod waves;

pub use compile::{CompileInput, Consents, HookNaming, PlanError, compile};
pub use decide::{DecideInput, Decision, LastAttempt, Policy, Request, backoff, decide};
pub use deletion::{DeletionInput, compile_deletion};
pub use explain::prerequisites;
pub use gate::{GateInput, Next, Outcome, Outcomes, Waiting, next};
pub use order::kind_rank;
pub use steps::{Action, Blocked, Plan, PlanInput, Stage, Step, plan, plan_deletion};
pub use waits::{Condition, GroupWaits, Holding, Prerequisite, waits};

#[cfg(test)]
mod tests;

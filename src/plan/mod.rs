//! Decides everything: which steps, in which order, behind which gates. Pure; the clock is passed in.

mod decide;
mod explain;
mod gate;
pub mod graph;
mod order;
pub mod progress;
pub mod request;
mod steps;

pub use decide::{DecideInput, Decision, LastAttempt, Policy, Request, backoff, decide};
pub use explain::{Condition, Prerequisite, prerequisites};
pub use gate::{GateInput, Next, Outcome, Outcomes, Waiting, next};
pub use order::kind_rank;
pub use steps::{Action, Blocked, Plan, PlanInput, Stage, Step, plan, plan_deletion};

#[cfg(test)]
mod tests;

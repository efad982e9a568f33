//! Decides everything: which steps, in which order, behind which gates. Pure; the clock is passed in.

mod compile;
mod cycle;
mod decide;
mod deletion;
mod edges;
mod explain;
mod gate;
pub mod graph;
mod heal;
mod hook_life;
mod inferred;
mod moves;
mod observe;
mod order;
mod outcome;
pub mod progress;
mod prune;
mod references;
mod retry;
mod standing;
pub mod request;
mod steps;
mod supersede;
mod survey;
mod timers;
mod waiting;
mod waits;
mod waves;

pub use compile::{CompileInput, Consents, HookNaming, PlanError, compile};
pub use decide::{DecideInput, Decision, Hold, LastAttempt, Policy, Request, backoff, decide};
pub use deletion::{DeletionInput, compile_deletion};
pub use explain::prerequisites;
pub use gate::{GateInput, Next, Waiting, next};
pub use heal::{DriftFight, Heals, HeldBack, runs_hooks};
pub use hook_life::hook_mark;
pub use moves::next_moves;
pub use observe::observe;
pub use order::kind_rank;
pub use outcome::{Outcome, Outcomes};
pub use retry::{automated_pause, is_within_limit, requested_pause};
pub use standing::{MovesInput, OutsideState};
pub use steps::{Action, Blocked, Plan, PlanInput, Stage, Step, plan, plan_deletion};
pub use supersede::{Running, Takeover, supersede};
pub use waits::{Condition, GroupWaits, Holding, Prerequisite, waits};

#[cfg(test)]
mod tests;

//! Decides everything: which steps, in which order, behind which gates. Pure; the clock is passed in.

mod compile;
mod cycle;
mod decide;
mod deletion;
mod edges;
mod graph;
mod heal;
mod hook_life;
mod inferred;
mod moves;
mod observe;
mod order;
mod outcome;
mod progress;
mod prune;
mod references;
pub mod request;
mod retry;
mod standing;
mod supersede;
mod survey;
mod timers;
mod waiting;
mod waits;
mod waves;

pub use compile::{CompileInput, Consents, HookNaming, PlanError, compile};
pub use decide::{DecideInput, Decision, Hold, LastAttempt, Policy, Request, decide};
pub use deletion::{DeletionInput, compile_deletion};
pub use graph::{Action, Blocked, Cycle, Group, Need, NeedCause, Plan, Step, StepId, Work};
pub use heal::{DriftFight, Heals, HeldBack, runs_hooks};
pub use hook_life::hook_mark;
pub use moves::next_moves;
pub use observe::observe;
pub use order::kind_rank;
pub use outcome::Outcome;
pub use progress::{Act, GatePolicy, HookState, Move, Next, Progress, Waiting};
pub use retry::{automated_pause, is_within_limit, requested_pause};
pub use standing::{MovesInput, OutsideState};
pub use supersede::{Running, Takeover, supersede};
pub use waits::{Condition, GroupWaits, Holding, Prerequisite, waits};

#[cfg(test)]
mod tests;

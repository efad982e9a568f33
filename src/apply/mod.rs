//! Writes to an API server: server-side apply, and deletes that need proof. Decides nothing about what to write.
//!
//! Every write passes the fence (may this operator write at all?), a limit of requests in flight that adapts to the
//! server's answers, and the one place that retries.

mod applier;
mod call;
mod delete;
mod error;
mod limiter;
mod predict;

pub use applier::{Applied, Applier, Mode, Outcome, SurfaceSource, WantsWhole};
pub use call::{Counters, Fence, Limits};
pub use delete::{DeleteProof, Deleted, Propagation};
pub use error::ApplyError;
pub use predict::Prediction;

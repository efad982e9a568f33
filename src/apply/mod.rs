//! Writes to an API server: server-side apply, and deletes that need proof. Decides nothing about what to write.
//!
//! Every write passes the fence (may this operator write at all?), a limit of requests in flight that adapts to the
//! server's answers, and the one place that retries.

mod applier;
mod call;
mod delete;
mod error;
mod hook;
mod limiter;
mod managed_fields;
mod namespace;
mod options;
mod pods;
mod predict;
mod recreate;
mod remove_fields;
mod replace;
mod take_over;
mod trial;
mod undeclared;

pub use applier::{Applied, Applier, Mode, Outcome, SurfaceSource, WantsWhole};
pub use call::{Counters, Fence, Limits};
pub use delete::{DeleteProof, Deleted, Propagation};
pub use error::ApplyError;
pub use hook::{HookStart, Released, StartedHook};
pub use managed_fields::{TAKE_OVER_ANNOTATIONS, needs_migration, predecessors};
pub use namespace::NamespaceMetadata;
pub use options::{ApplyOptions, Force, Validation};
pub use predict::Prediction;
pub use remove_fields::FieldsRemoved;
pub use trial::Trial;

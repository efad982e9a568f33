//! The only module that sees all phases: what happens when, and to which Application.
//!
//! ```text
//! watch of our kinds ─┐
//! git polls ──────────┼─► queue ─► workers ─► driver: observe → compare → decide → carry out → report
//! live changes ───────┘
//! ```

mod access;
mod attempt;
mod attempts;
mod begin;
mod carry_out;
mod chart_dependencies;
mod clear;
mod compare;
mod connections;
mod controller;
mod credentials;
mod dependencies;
mod destinations;
mod drift;
mod driver;
mod egress_policy;
mod events;
mod examine;
mod explain;
mod finalize;
mod fleet;
mod freshness;
mod hint;
mod hint_door;
mod holds;
mod host_limit;
mod integrity;
mod inventory;
pub mod lease;
mod lfs;
mod location;
mod memory;
mod objects;
mod observe;
mod outward;
mod overriding;
mod pace;
mod perform;
mod poll;
mod poll_artifacts;
mod produce;
mod projects;
mod queue;
mod reading;
mod report;
mod requests;
mod resume;
mod secrets;
mod signatures;
mod sources;
mod standby;
mod store_key;
mod submodules;
mod survey;
mod sync;
mod takeover;
mod tracker;
mod tree_options;
mod trees;
mod trust;
mod verified;
mod vouchers;
mod ways_out;
mod windows;

pub use access::{Access, AccessBuilder};
pub use controller::{Process, RunError, run};
pub use hint::Hints;
pub use hint_door::HintDoor;
pub use location::{SourceLocation, SourceTarget};
pub use objects::Objects;
pub use outward::OutwardHandle;
pub use secrets::SecretValues;
pub use survey::{Outward, Survey, SurveyError};

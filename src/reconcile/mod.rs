//! The only module that sees all phases: what happens when, and to which Application.
//!
//! ```text
//! watch of our kinds ─┐
//! git polls ──────────┼─► queue ─► workers ─► driver: observe → compare → decide → carry out → report
//! live changes ───────┘
//! ```

mod access;
mod attempts;
mod carry_out;
mod connections;
mod controller;
mod driver;
mod events;
mod finalize;
mod fleet;
mod inventory;
pub mod lease;
mod memory;
mod objects;
mod observe;
mod projects;
mod queue;
mod report;
mod requests;
mod secrets;
mod sources;

pub use controller::{Process, RunError, run};

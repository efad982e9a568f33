//! Tidelock: GitOps for clusters that have no internet gateway.
//!
//! Data flows one way, and the module list below is that way. A function that decides is sync, pure and total; a
//! function that acts is async and decides nothing. `tests/layering.rs` keeps the direction honest.
//!
//! ```text
//! triggers ─► reconcile::driver
//!               │ git::resolve(repository, ref)     → Revision      (I/O: egress → proxy → git)
//!               │ git::snapshot(revision)           → Files         (I/O: bare object store, no checkout)
//!               │ render(files, spec)               → Manifests     (pure, or a jailed tool)
//!               │ desired::assemble(manifests, …)   → DesiredSet    (pure)
//!               │ live::cache                       → LiveView      (from the index)
//!               │ diff::compare(desired, live, …)   → Differences   (pure)
//!               │ windows, dependencies             → Hold          (pure)
//!               │ plan::compile(differences, …)     → Plan          (pure)
//!               │ plan::decide(policy, request, …)  → Decision      (pure, clock passed in)
//!               │ preflight(answers to a trial)     → report        (pure)
//!               │ ┌ plan::observe(live)             → Progress      (pure)
//!               │ │ plan::next_moves(progress)      → Next          (pure)
//!               │ └ apply(step)                     → Outcome       (I/O, decides nothing)
//!               ▼ status::derive(all of the above)  → status, events, metrics
//! ```

pub mod clock;
pub mod model;

pub mod api;

pub mod metrics;
pub mod seal;
pub mod settings;
pub mod spans;
pub mod telemetry;

pub mod customizations;
pub mod expression;

pub mod health;

pub mod egress;
pub mod git;

pub mod artifacts;
pub mod render;

pub mod apply;
pub mod live;

pub mod desired;

pub mod diff;

pub mod windows;

pub mod plan;
pub mod preflight;

pub mod dependencies;

pub mod verify;

pub mod status;

pub mod reconcile;

pub mod doctor;

pub mod cli;
pub mod server;

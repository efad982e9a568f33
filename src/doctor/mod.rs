//! Why a destination can't be reached, hop by hop, and what to change.
//!
//! ```text
//! destinations::wanted(objects, arguments) → destinations    (pure)
//! examine::all(destinations)               → Report          (route, dns, tcp, CONNECT, TLS, auth, refs)
//! advice::advice(reason)                   → a sentence      (pure)
//! Report::text(), or the report as JSON                      (pure)
//! ```
//!
//! What is asked, and how, is what the controller would do: the same rules, the same Secrets, the same clients. Nothing
//! is changed anywhere, and no credential is part of a report.

mod advice;
mod cluster;
mod destinations;
mod examine;
mod report;
mod text;

pub use cluster::{DoctorError, Request, diagnose};
pub use destinations::{Argument, ArgumentError};
pub use report::{Certificate, Examined, Kind, Outcome, Report, Step, StepName};

//! What a trial of a change on the server means, before the first write: which objects the server would take, which it
//! refuses, and which it can't judge yet because their kind or namespace comes with the same change. Pure.

mod change;
mod definitions;
mod needed;
mod report;
mod schema;
mod verdict;

pub use change::Change;
pub use definitions::{Definition, Definitions};
pub use needed::needed;
pub use report::{PreflightReport, Refused, Unverified};
pub use schema::{Violation, violations};
pub use verdict::{Refusal, Verdict, verdict};

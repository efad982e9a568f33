//! Dependencies between Applications (`spec.dependsOn`): what a sync waits for, which circles are refused, and which
//! deletions wait. Pure: the other Applications are passed in as they were last seen.

mod circle;
mod deletion;
mod evaluate;
mod identity;

pub use circle::{Edges, circle};
pub use deletion::deletion_waits;
pub use evaluate::{Dependencies, Hold, Sight};
pub use identity::{ALLOW_DEPENDENTS_ANNOTATION, ApplicationId, grants};

#[cfg(test)]
mod tests;

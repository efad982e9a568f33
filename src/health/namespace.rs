//! Namespace.

use super::object::Object;
use super::{AssessContext, progressing};
use crate::model::{Health, HealthStatus};

/// An active namespace is healthy; a terminating one names what holds it.
pub fn namespace(object: Object<'_>, _context: &AssessContext) -> Health {
    match object.text("/status/phase") {
        "Active" => Health::healthy(),
        "" => progressing("has no phase yet"),
        "Terminating" => {
            let held = object.conditions().into_iter().find(super::conditions::Condition::is_true);
            progressing(held.map_or_else(|| "is being deleted".to_owned(), |condition| condition.explain()))
        }
        phase => Health::new(HealthStatus::Unknown, format!("phase is {phase}")),
    }
}

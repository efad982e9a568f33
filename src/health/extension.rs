//! CustomResourceDefinition, APIService.

use super::conditions::find;
use super::object::Object;
use super::{AssessContext, degraded, progressing};
use crate::model::Health;

/// Healthy once the API server serves the kind under the names that were asked for.
pub fn custom_resource_definition(object: Object<'_>, _context: &AssessContext) -> Health {
    let conditions = object.conditions();
    if let Some(condition) = find(&conditions, "Terminating").filter(|condition| condition.is_true()) {
        return progressing(condition.explain());
    }
    if let Some(condition) = find(&conditions, "NamesAccepted").filter(|condition| condition.is_false()) {
        return degraded(condition.explain());
    }
    if let Some(condition) = find(&conditions, "NonStructuralSchema").filter(|condition| condition.is_true()) {
        return degraded(condition.explain());
    }
    match find(&conditions, "Established") {
        Some(condition) if condition.is_true() => match find(&conditions, "NamesAccepted") {
            Some(names) if !names.is_true() => progressing(names.explain()),
            Some(_) => Health::healthy(),
            None => progressing("condition NamesAccepted is not reported yet"),
        },
        Some(condition) if condition.is_false() && condition.reason != "Installing" => {
            progressing(format!("is not established: {}", condition.explain()))
        }
        Some(condition) => progressing(condition.explain()),
        None => progressing("condition Established is not reported yet"),
    }
}

/// Healthy once the aggregator reaches the service behind it.
pub fn api_service(object: Object<'_>, _context: &AssessContext) -> Health {
    match find(&object.conditions(), "Available") {
        Some(condition) if condition.is_true() => Health::healthy(),
        Some(condition) => progressing(condition.explain()),
        None => progressing("condition Available is not reported yet"),
    }
}

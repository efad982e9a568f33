//! Deletion in reverse: what others need goes after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::circle::{Edges, circle};
use super::identity::{ApplicationId, grants};
use crate::api::Application;
use crate::model::Reason;
use crate::plan::Waiting;

/// Which Applications must be gone before what `deleted` brought may be taken away: those that depend on it. Not those
/// without its grant, which have no right to hold it, and not those in a circle with it, which would wait for ever.
pub fn deletion_waits(
    id: &ApplicationId,
    deleted: &Application,
    dependents: &BTreeMap<ApplicationId, Arc<Application>>,
    edges: &Edges,
) -> Vec<Waiting> {
    let together = circle(id, edges).unwrap_or_default();
    dependents
        .iter()
        .filter(|(dependent, _)| *dependent != id && !together.contains(dependent))
        .filter(|(dependent, _)| grants(deleted, &id.namespace, &dependent.namespace))
        .map(|(dependent, application)| {
            let goes = application.metadata.deletion_timestamp.is_some();
            Waiting {
                key: dependent.key(),
                condition: "gone",
                reason: Reason::DeletionBlocked,
                message: if goes {
                    format!("Application `{dependent}` depends on this one and is being deleted")
                } else {
                    format!("Application `{dependent}` depends on this one and is not being deleted")
                },
                release: if goes {
                    "the end of its deletion".to_owned()
                } else {
                    format!("delete `{dependent}`, or take `{}` out of its spec.dependsOn", id.name)
                },
            }
        })
        .collect()
}

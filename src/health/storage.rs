//! PersistentVolumeClaim, PersistentVolume.

use serde_json::Value;

use super::object::Object;
use super::{AssessContext, degraded, progressing};
use crate::model::{Health, HealthStatus};

/// Set by the scheduler on a claim whose class binds on first use, once a pod that uses it has a node.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// Only a bound claim is healthy. Whether a pending one can bind by itself depends on its class's binding mode, which
/// the claim doesn't tell, so it is Progressing; who knows the class can ask [`waits_for_consumer`] besides.
pub fn claim(object: Object<'_>, _context: &AssessContext) -> Health {
    let class = match object.text("/spec/storageClassName") {
        "" => "the default class".to_owned(),
        class => format!("class `{class}`"),
    };
    match object.text("/status/phase") {
        "Bound" => {
            let resizing = object.conditions().into_iter().find(|condition| {
                condition.is_true() && matches!(condition.kind, "ControllerResizeError" | "NodeResizeError")
            });
            resizing.map_or_else(Health::healthy, |condition| degraded(condition.explain()))
        }
        "Lost" => degraded(format!("its volume `{}` is lost and the data with it", object.text("/spec/volumeName"))),
        "" | "Pending" if unused(object) => progressing(format!(
            "is not bound to a volume of {class} yet; a class that binds on first use waits for a pod that uses the claim"
        )),
        "" | "Pending" => progressing(format!("is not bound to a volume of {class} yet")),
        phase => Health::new(HealthStatus::Unknown, format!("phase is {phase}")),
    }
}

/// Whether an unbound claim would wait for ever if no pod used it, provided that its class binds on first use
/// (`WaitForFirstConsumer`): a gate must not wait for such a claim before it starts the pods.
pub fn waits_for_consumer(claim: &Value) -> bool {
    let object = Object::new(claim);
    object.group().is_empty()
        && object.kind() == "PersistentVolumeClaim"
        && matches!(object.text("/status/phase"), "" | "Pending")
        && unused(object)
}

fn unused(object: Object<'_>) -> bool {
    object.annotation(SELECTED_NODE).is_none() && object.text("/spec/volumeName").is_empty()
}

/// A volume is well when it can be claimed, is claimed, or has been given back.
pub fn volume(object: Object<'_>, _context: &AssessContext) -> Health {
    match object.text("/status/phase") {
        "Available" | "Bound" => Health::healthy(),
        "Released" => Health::new(HealthStatus::Healthy, "its claim is gone; it is not reused before it is reclaimed"),
        "Failed" => degraded(match object.text("/status/message") {
            "" => "reclaiming the volume failed".to_owned(),
            message => message.to_owned(),
        }),
        "" | "Pending" => progressing("is not available yet"),
        phase => Health::new(HealthStatus::Unknown, format!("phase is {phase}")),
    }
}

//! Service, Ingress.

use super::object::Object;
use super::observed::stale_status;
use super::{AssessContext, progressing};
use crate::model::Health;

/// A Service that asks for a load balancer needs its address.
pub fn service(object: Object<'_>, _context: &AssessContext) -> Health {
    if object.text("/spec/type") == "LoadBalancer" && !has_address(object) {
        return progressing("waits for the address of its load balancer (status.loadBalancer.ingress is empty)");
    }
    Health::healthy()
}

/// An Ingress needs the address that its controller publishes.
pub fn ingress(object: Object<'_>, _context: &AssessContext) -> Health {
    if let Some(health) = stale_status(object) {
        return health;
    }
    if has_address(object) {
        return Health::healthy();
    }
    let class = [object.text("/spec/ingressClassName"), object.annotation("kubernetes.io/ingress.class").unwrap_or("")]
        .into_iter()
        .find(|class| !class.is_empty());
    progressing(match class {
        Some(class) => format!(
            "waits for the controller of class `{class}` to publish an address (status.loadBalancer.ingress is empty)"
        ),
        None => "waits for an ingress controller to publish an address (status.loadBalancer.ingress is empty)".into(),
    })
}

fn has_address(object: Object<'_>) -> bool {
    !object.list("/status/loadBalancer/ingress").is_empty()
}

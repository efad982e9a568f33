//! The way to the collector of traces: the ways out that the work knows.

use futures::future::BoxFuture;

use crate::reconcile::OutwardHandle;
use crate::telemetry::traces::{NoWayOut, Way, WayOut};

/// By the rules that count for every destination.
#[derive(Debug)]
pub(super) struct ByRules(pub(super) OutwardHandle);

impl WayOut for ByRules {
    fn way(&self) -> BoxFuture<'_, Result<Way, NoWayOut>> {
        Box::pin(async move {
            let outward = self.0.outward().await.ok_or(NoWayOut::Unknown)?;
            let outward = outward.map_err(|failure| NoWayOut::Refused(failure.message))?;
            Ok(Way { egress: outward.egress, fingerprint: outward.fingerprint })
        })
    }

    fn credentials_refused(&self) {
        self.0.forget_secrets();
    }
}

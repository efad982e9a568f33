//! Who may write: one process an installation, by a Lease.
//!
//! `evaluate` decides, `keeper` acts, and the `Fence` tells every writer whether it may still write. A holder stops
//! writing well before its lease runs out, and a rival starts only when the lease has run out by the rival's own
//! watch; so clocks that disagree never let two write at once.

mod fence;
mod holder;
mod keeper;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

pub use fence::Fence;
pub use holder::{Holder, HolderError};
pub use keeper::{Acquired, LeaseError, LeaseKeeper, Pace};

/// Name of the Lease in the controller's namespace.
pub const LEASE_NAME: &str = "tidelock-controller";
/// How long a lease lasts after a renewal.
pub const LEASE_DURATION: Duration = Duration::from_secs(30);
/// How often it is renewed: two renewals may fail without harm.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(10);
/// How long before the lease runs out its holder stops writing. A write that is on its way then has this long to
/// arrive or to be given up.
pub const FENCE_MARGIN: Duration = Duration::from_secs(8);
/// How often a failed renewal is tried again, and how often a rival looks.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// There is no Lease: create this one.
    Create(Box<Lease>),
    /// The lease is free, ran out, or is ours: put this in its place. It carries the version that was decided about,
    /// so that of two rivals one fails.
    Take(Box<Lease>),
    /// Another process holds it: look again.
    Wait {
        /// Who.
        holder: String,
        /// When it runs out if it is not renewed.
        expires_in: Duration,
    },
}

/// Decides about a Lease as read just now. `unchanged_for` is how long the reader has seen it in this very version, by
/// its own monotonic clock: a lease of another process counts as run out only when it was seen unchanged for its
/// whole duration, so that the clock of the other machine plays no part.
pub fn evaluate(lease: Option<&Lease>, me: &Holder, unchanged_for: Duration, now: Timestamp) -> Decision {
    let Some(lease) = lease else {
        return Decision::Create(Box::new(Lease {
            metadata: ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() },
            spec: Some(held_by(me, now, now, 0)),
        }));
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    let take = |acquired, transitions| {
        // Fields of newer API versions that this one does not name (`strategy`, …) are of no use to us.
        Decision::Take(Box::new(Lease {
            metadata: lease.metadata.clone(),
            spec: Some(held_by(me, acquired, now, transitions)),
        }))
    };
    match spec.holder_identity.filter(|holder| !holder.is_empty()) {
        Some(holder) if holder == me.as_str() => {
            take(spec.acquire_time.map_or(now, |MicroTime(acquired)| acquired), transitions)
        }
        Some(holder) => {
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = seconds.map_or(LEASE_DURATION, Duration::from_secs);
            let expires_in = duration.saturating_sub(unchanged_for);
            if expires_in.is_zero() {
                take(now, transitions.saturating_add(1))
            } else {
                Decision::Wait { holder, expires_in }
            }
        }
        None => take(now, transitions.saturating_add(1)),
    }
}

fn held_by(me: &Holder, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        acquire_time: Some(MicroTime(acquired)),
        holder_identity: Some(me.as_str().to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        lease_transitions: Some(transitions),
        renew_time: Some(MicroTime(renewed)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests;

//! Who may write: one process an installation, by a Lease.
//!
//! `evaluate` decides, `keeper` acts, and the `Fence` tells every writer whether it may still write. A holder stops
//! writing well before its lease runs out, and a rival starts only when the lease has run out by the rival's own
//! watch; so clocks that disagree never let two write at once.

mod fence;
mod holder;
mod keeper;
mod terms;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};

pub use fence::Fence;
pub use holder::{Holder, HolderError};
pub use keeper::{Acquired, LeaseError, LeaseKeeper, Look};
pub use terms::Terms;

/// Name of the Lease in the controller's namespace.
pub const LEASE_NAME: &str = "tidelock-controller";

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
/// whole duration, so that the clock of the other machine plays no part. `on_lease` is the duration that a lease of ours
/// has, and one that names none.
pub fn evaluate(
    lease: Option<&Lease>,
    me: &Holder,
    on_lease: Duration,
    unchanged_for: Duration,
    now: Timestamp,
) -> Decision {
    let Some(lease) = lease else {
        return Decision::Create(Box::new(Lease {
            metadata: ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() },
            spec: Some(held_by(me, on_lease, now, now, 0)),
        }));
    };
    let spec = lease.spec.clone().unwrap_or_default();
    let transitions = spec.lease_transitions.unwrap_or(0);
    let take = |acquired, transitions| {
        // Fields of newer API versions that this one does not name (`strategy`, …) are of no use to us.
        Decision::Take(Box::new(Lease {
            metadata: lease.metadata.clone(),
            spec: Some(held_by(me, on_lease, acquired, now, transitions)),
        }))
    };
    match spec.holder_identity.filter(|holder| !holder.is_empty()) {
        Some(holder) if holder == me.as_str() => {
            take(spec.acquire_time.map_or(now, |MicroTime(acquired)| acquired), transitions)
        }
        Some(holder) => {
            let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
            let duration = seconds.map_or(on_lease, Duration::from_secs);
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

fn held_by(me: &Holder, on_lease: Duration, acquired: Timestamp, renewed: Timestamp, transitions: i32) -> LeaseSpec {
    LeaseSpec {
        acquire_time: Some(MicroTime(acquired)),
        holder_identity: Some(me.as_str().to_owned()),
        lease_duration_seconds: i32::try_from(on_lease.as_secs()).ok(),
        lease_transitions: Some(transitions),
        renew_time: Some(MicroTime(renewed)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests;

//! Derives what is reported from what was observed. Pure, and bounded: never more than 64 KiB.

mod conditions;
mod derive;
mod freshness;
mod limits;
mod observed;
mod operation;
mod resources;
mod verdict;

pub use conditions::{DRIFT_FIGHT, READY, RECONCILING, STALE, STALLED, UNSUPPORTED_FIELD, WARNING, rfc3339};
pub use derive::{FRESH, derive};
pub use freshness::{Freshness, Tip, freshness};
pub use limits::INLINE_INVENTORY_BYTES;
pub use observed::{Assessment, Attempt, Comparison, Failure, Observed};
pub use operation::{HOOK_FAILED, HOOK_RUNNING, HOOK_SUCCEEDED};

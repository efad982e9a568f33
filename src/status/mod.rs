//! Derives what is reported from what was observed. Pure, and bounded: never more than 64 KiB.

mod conditions;
mod derive;
mod limits;

pub use conditions::{READY, RECONCILING, STALLED, UNSUPPORTED_FIELD, WARNING, rfc3339};
pub use derive::{Assessment, Attempt, Comparison, Failure, Observed, derive};
pub use limits::INLINE_INVENTORY_BYTES;

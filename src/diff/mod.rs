//! Desired set against live view. Pure.

mod compare;
mod examine;
mod exclude;
mod fields;
mod ignore;
mod inferred;
mod location;
mod path;
mod quantity;
mod secret;
mod verdict;

pub use compare::{Cause, Difference, Differences, Examined, Extra, compare, compare_examined, to_examine};
pub use examine::{Examination, ExtraField, FieldCause, FieldDifference, FieldOwner, examine};
pub use exclude::leave_out;
pub use fields::{Change, FieldChange, ObjectChanges, Record, field_changes, field_changes_that_count};
pub use ignore::IgnoreRules;
pub use inferred::infer_inventory;
pub use verdict::Verdict;

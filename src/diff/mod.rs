//! Desired set against live view. Pure.

mod compare;
mod examine;
mod fields;
mod ignore;
mod inferred;
mod location;
mod path;
mod quantity;
mod secret;

pub use compare::{Cause, Difference, Differences, Extra, compare};
pub use examine::{Examination, ExtraField, FieldCause, FieldDifference, FieldOwner, examine};
pub use fields::{Change, FieldChange, ObjectChanges, Record, field_changes};
pub use ignore::IgnoreRules;
pub use inferred::infer_inventory;

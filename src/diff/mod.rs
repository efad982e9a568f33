//! Desired set against live view. Pure.

mod compare;

pub use compare::{Cause, Difference, Differences, Extra, compare};

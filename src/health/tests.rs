//! Cases by kind.

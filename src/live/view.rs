//! The part of the live state that one Application is concerned with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::LiveRecord;
use crate::model::ObjectKey;

/// Live records of the objects that an Application wants, had applied, or that carry its label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveView {
    /// Records by identity.
    pub objects: BTreeMap<ObjectKey, Arc<LiveRecord>>,
}

//! The conditions of an Application.

use jiff::Timestamp;

use super::limits::MESSAGE_BYTES;
use crate::api::{Condition, ConditionStatus, set_condition};
use crate::model::{Reason, shorten};

/// Everything is as git wants it and healthy.
pub const READY: &str = "Ready";
/// Work is under way. kstatus reads it as "in progress".
pub const RECONCILING: &str = "Reconciling";
/// Only a person can help. kstatus reads it as "failed".
pub const STALLED: &str = "Stalled";
/// The newest commit or artifact of a source is older than its Repository's `maxAge`.
pub const STALE: &str = "Stale";
/// A field is set that this version does not act on.
pub const UNSUPPORTED_FIELD: &str = "UnsupportedField";
/// Something a person should know although it stops nothing.
pub const WARNING: &str = "Warning";
/// Another controller keeps changing fields that git sets.
pub const DRIFT_FIGHT: &str = "DriftFight";

/// Collects conditions for one generation at one moment.
pub(super) struct Conditions {
    list: Vec<Condition>,
    generation: Option<i64>,
    now: String,
}

impl Conditions {
    pub(super) fn new(previous: &[Condition], generation: Option<i64>, now: Timestamp) -> Self {
        let mut list = previous.to_vec();
        list.sort_by(|left, right| left.type_.cmp(&right.type_));
        Self { list, generation, now: rfc3339(now) }
    }

    pub(super) fn set(&mut self, type_: &str, status: ConditionStatus, reason: Reason, message: &str) {
        let condition = Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.to_string(),
            message: shorten(message, MESSAGE_BYTES),
            last_transition_time: self.now.clone(),
            observed_generation: self.generation,
        };
        set_condition(&mut self.list, condition);
    }

    pub(super) fn remove(&mut self, type_: &str) {
        self.list.retain(|condition| condition.type_ != type_);
    }

    pub(super) fn into_list(self) -> Vec<Condition> {
        self.list
    }
}

/// A time as status fields carry it: RFC 3339 in UTC, to the second.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

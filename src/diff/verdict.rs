//! What an examination came to, for as long as the object stays as it was.

use super::{Examination, IgnoreRules};
use crate::api::ExtraFields;
use crate::desired::DesiredObject;
use crate::live::LiveRecord;
use crate::model::Hash64;

/// What an examination came to. It is remembered, so that an object that does not change is examined once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub(super) uid: String,
    pub(super) owned: Option<Hash64>,
    pub(super) by_hand: Option<Hash64>,
    pub(super) desired: Hash64,
    pub(super) rules: Hash64,
    /// Whether fields that people added were looked for.
    pub(super) looked_for_extras: bool,
    /// Whether nothing that counts differs of the fields that git states.
    pub only_ignored: bool,
    /// Whether people added fields that count.
    pub has_extras: bool,
}

impl Verdict {
    /// What an examination of an object came to. `record` must be of the object as it was examined, or as it was
    /// before: a verdict about an older state is never taken for one about a newer.
    pub fn of(
        object: &DesiredObject,
        record: &LiveRecord,
        rules: &IgnoreRules,
        extra_fields: ExtraFields,
        examination: &Examination,
    ) -> Self {
        Self {
            uid: record.uid.clone(),
            owned: record.owned,
            by_hand: record.by_hand,
            desired: object.hash,
            rules: rules.fingerprint(),
            looked_for_extras: extra_fields != ExtraFields::Ignore,
            only_ignored: examination.only_ignored(),
            has_extras: !examination.extras.is_empty(),
        }
    }

    /// Whether it is about the state that the object is in, and about what is asked.
    pub fn holds(
        &self,
        object: &DesiredObject,
        record: &LiveRecord,
        rules: &IgnoreRules,
        extra_fields: ExtraFields,
    ) -> bool {
        self.uid == record.uid
            && self.owned == record.owned
            && self.by_hand == record.by_hand
            && self.desired == object.hash
            && self.rules == rules.fingerprint()
            && (self.looked_for_extras || extra_fields == ExtraFields::Ignore || record.by_hand.is_none())
    }
}

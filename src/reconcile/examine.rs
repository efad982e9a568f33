//! A close look at the objects that hashes alone do not settle: one read and one dry run each, and only of objects
//! that rules are about. What it comes to is decided in [`crate::diff`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;

use super::driver::Driver;
use crate::api::ExtraFields;
use crate::apply::{ApplyError, Prediction};
use crate::desired::{DesiredObject, DesiredSet, Problem};
use crate::diff::{Examination, IgnoreRules, Verdict, examine};
use crate::live::LiveView;
use crate::model::ObjectKey;

/// Objects looked at at once; the limit of requests in flight is shared by all.
const IN_FLIGHT: usize = 16;

/// What came of examining objects.
#[derive(Debug, Default)]
pub(super) struct Examinations {
    /// What was found, of objects that are there.
    pub(super) found: BTreeMap<ObjectKey, Examination>,
    /// What it comes to, to be remembered for as long as the objects stay as they are.
    pub(super) verdicts: BTreeMap<ObjectKey, Verdict>,
    /// Objects that could not be examined; their differences count.
    pub(super) failed: BTreeMap<ObjectKey, ApplyError>,
}

impl Driver {
    /// Examines objects of a desired set, as [`crate::diff::to_examine`] lists them.
    pub(super) async fn examine(
        &self,
        keys: &[ObjectKey],
        desired: &DesiredSet,
        live: &LiveView,
        rules: &IgnoreRules,
        extra_fields: ExtraFields,
    ) -> Examinations {
        let objects: Vec<Arc<DesiredObject>> =
            keys.iter().filter_map(|key| desired.objects.get(key)).map(Arc::clone).collect();
        let read: Vec<_> = futures::stream::iter(objects)
            .map(|object| async move {
                let read = self.destination.applier.predict(&object.key, &object.gvk, &object.body).await;
                (object, read)
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let mut examinations = Examinations::default();
        for (object, read) in read {
            let key = object.key.clone();
            match read {
                // It is gone; the watch will tell.
                Ok(None) => {}
                Ok(Some(Prediction { live: now, predicted })) => {
                    let found = examine(&key, &now, &predicted, rules, extra_fields);
                    if let Some(record) = live.objects.get(&key) {
                        let verdict = Verdict::of(&object, record, rules, extra_fields, &found);
                        examinations.verdicts.insert(key.clone(), verdict);
                    }
                    examinations.found.insert(key, found);
                }
                Err(error) => {
                    examinations.failed.insert(key, error);
                }
            }
        }
        examinations
    }

    /// What is sent to the server for an object whose ignored fields are to stay as they are (sync option
    /// `RespectIgnoreDifferences`): one read, and none for an object that no rule is about.
    pub(super) async fn respectful_body(
        &self,
        object: &DesiredObject,
        rules: &IgnoreRules,
    ) -> Result<(Bytes, Vec<Problem>), ApplyError> {
        if !rules.matches(&object.key) {
            return Ok((object.body.clone(), Vec::new()));
        }
        let Some(live) = self.destination.applier.read_as(&object.key, &object.gvk).await? else {
            return Ok((object.body.clone(), Vec::new()));
        };
        Ok(rules.respectful_body(&object.key, &object.body, &live))
    }
}

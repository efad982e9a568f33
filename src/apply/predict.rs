//! What an apply would make of an object, next to the object as it is.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde_json::Value;

use super::applier::{Applier, is_secret, object_is_absent, parse, text};
use super::call::Access;
use super::error::ApplyError;
use crate::live::client::{ACCEPT_JSON, ACCEPT_METADATA, request};
use crate::model::{FIELD_MANAGER, GroupVersionKind, ObjectKey};

/// How often both sides are read when the object changes in between.
const TRIES: usize = 3;

/// An object as it is and as an apply would make it, in the version of the kind that the apply states.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The object as it is.
    pub live: Value,
    /// The object as the apply would make it.
    pub predicted: Value,
}

impl Applier {
    /// Reads an object and lets the server carry out an apply of `body` without storing it: one GET and one dry run,
    /// more only when the object changes in between. `None` when the object is not there. Of Secrets only metadata is
    /// read. Fields that the kind does not declare are no error here.
    pub async fn predict(
        &self,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: &Bytes,
    ) -> Result<Option<Prediction>, ApplyError> {
        let target = self.target_of(key, gvk)?;
        let accept = if is_secret(&target.kind) { ACCEPT_METADATA } else { ACCEPT_JSON };
        let query =
            [("fieldManager", FIELD_MANAGER), ("force", "true"), ("fieldValidation", "Ignore"), ("dryRun", "All")];
        let try_out = || {
            let mut patch = request(Method::PATCH, &target.path, &query, accept, body.clone())?;
            let content_type = HeaderValue::from_static("application/apply-patch+yaml");
            patch.headers_mut().insert(header::CONTENT_TYPE, content_type);
            Ok(patch)
        };
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(live) = self.read_as(key, gvk).await? else { return Ok(None) };
            let answer = self.caller.send(&target.kind, Access::Try, try_out, |_| false).await?;
            let predicted = parse(&target.kind, &answer.body)?;
            // A dry run answers with the version that is stored, so that both sides are known to be of one state.
            let same = text(&live, "resourceVersion") == text(&predicted, "resourceVersion")
                && text(&live, "uid") == text(&predicted, "uid");
            if same || tries == TRIES {
                return Ok(Some(Prediction { live, predicted }));
            }
        }
    }

    /// Reads an object in a version of its kind; only the metadata of a Secret. `None` when it is not there.
    pub async fn read_as(&self, key: &ObjectKey, gvk: &GroupVersionKind) -> Result<Option<Value>, ApplyError> {
        let target = self.target_of(key, gvk)?;
        let accept = if is_secret(&target.kind) { ACCEPT_METADATA } else { ACCEPT_JSON };
        let read = || request(Method::GET, &target.path, &[], accept, Bytes::new());
        let answer = self.caller.send(&target.kind, Access::Read, read, |answer| object_is_absent(answer, key)).await?;
        if answer.status == 404 { Ok(None) } else { parse(&target.kind, &answer.body).map(Some) }
    }
}

#[cfg(test)]
mod tests;

//! Reading the pods of a workload, to tell why it is not well.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::applier::{Applier, parse};
use super::call::Access;
use super::error::ApplyError;
use crate::live::client::{ACCEPT_JSON, path, request};
use crate::model::{GroupKind, ObjectKey};

/// Pods read at most: what is wrong with a workload is wrong with any of its pods.
const PODS: &str = "20";

impl Applier {
    /// Pods beside the workload of `key` that a label selector selects, twenty at most: one request.
    pub async fn pods_of(&self, key: &ObjectKey, selector: &str) -> Result<Vec<Value>, ApplyError> {
        let kind = GroupKind::new("", "Pod");
        let path = path("", "v1", "pods", &key.namespace, "");
        let query = [("labelSelector", selector), ("limit", PODS), ("resourceVersion", "0")];
        let list = || request(Method::GET, &path, &query, ACCEPT_JSON, Bytes::new());
        let answer = self.caller.send(&kind, Access::Read, list, |_| false).await?;
        let mut list = parse(&kind, &answer.body)?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(pods)) => Ok(pods),
            _ => Ok(Vec::new()),
        }
    }
}

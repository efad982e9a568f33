//! `.argocd-source.yaml` and `.argocd-source-<application>.yaml`: parameters that tools write into the repository, such as
//! the image tags of an image updater. They are merged over the Application's source.

use serde_json::{Map, Value};

use super::tree::{join, locate};
use super::yaml;
use super::{RenderError, RenderRequest};
use crate::api::ApplicationSource;
use crate::model::{EntryKind, Files, Origin, Reason};

/// Where the files come from can't be overridden by the files.
const FIXED: [&str; 6] = ["repoURL", "targetRevision", "tagPrefix", "path", "chart", "ref"];

/// The source with the overrides at `path` merged in, or `None` when there are none.
pub(super) fn merge(
    files: &dyn Files,
    path: &str,
    request: &RenderRequest<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<ApplicationSource>, RenderError> {
    let mut merged: Option<Value> = None;
    for name in [".argocd-source.yaml".to_owned(), format!(".argocd-source-{}.yaml", request.application_name)] {
        let Some(at) = locate(files, path, &name)?.filter(|at| at.entry.kind == EntryKind::File) else { continue };
        let file = join(path, &name);
        let content = files.read(&at.path)?;
        let decoded = yaml::decode(&content.unwrap_or_default(), &request.limits.yaml, request.limits.duplicate_keys)
            .map_err(|error| RenderError::yaml(&file, error))?;
        for document in decoded.documents {
            let Value::Object(mut patch) = document.value else {
                let origin = Origin { file, line: document.line };
                return Err(RenderError::at(Reason::InvalidSpec, &origin, "overrides of a source are a mapping"));
            };
            for field in FIXED {
                if patch.remove(field).is_some() {
                    warnings.push(format!("{file}: `{field}` can't be overridden and is ignored"));
                }
            }
            let base = match merged.take() {
                Some(base) => base,
                None => serde_json::to_value(request.source).map_err(|error| invalid(&file, &error))?,
            };
            merged = Some(merge_patch(base, Value::Object(patch)));
        }
        if let Some(value) = &merged {
            serde_json::from_value::<ApplicationSource>(value.clone()).map_err(|error| invalid(&file, &error))?;
        }
    }
    merged.map(|value| serde_json::from_value(value).map_err(|error| invalid(path, &error))).transpose()
}

fn invalid(file: &str, error: &serde_json::Error) -> RenderError {
    // The text of the error would quote the value.
    let _ = error;
    let message = "the overrides do not fit the fields of an Application's source: check names and types";
    RenderError::in_file(Reason::InvalidSpec, file, message)
}

/// RFC 7386.
fn merge_patch(target: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut target = match target {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(&key);
        } else {
            let old = target.remove(&key).unwrap_or(Value::Null);
            target.insert(key, merge_patch(old, value));
        }
    }
    Value::Object(target)
}

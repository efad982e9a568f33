//! Server-side apply of one object, and the reads that go with it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use kube::Client;
use serde_json::Value;

use super::call::{Access, Caller, Counters, Fence, Limits};
use super::error::ApplyError;
use super::options::{ApplyOptions, Validation};
use crate::live::client::{ACCEPT_JSON, ACCEPT_METADATA, Answer, path, request};
use crate::model::{ApiSurface, FIELD_MANAGER, GroupKind, GroupVersionKind, Identity, KindInfo, ObjectKey, Reason};

/// Gives the newest snapshot of the kinds that the API server serves.
pub type SurfaceSource = Arc<dyn Fn() -> Arc<ApiSurface> + Send + Sync>;
/// Whether the answer to a write of this kind is wanted whole (because its health is read from it) or only its metadata.
/// Never asked for Secrets, of which only metadata is ever read.
pub type WantsWhole = Arc<dyn Fn(&GroupKind) -> bool + Send + Sync>;

/// Whether an apply is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Store the result.
    Write,
    /// Let the server do all but store the result: validation, admission, defaulting.
    DryRun,
}

impl Mode {
    pub(super) const fn access(self) -> Access {
        match self {
            Self::Write => Access::Write,
            Self::DryRun => Access::Try,
        }
    }
}

/// What an apply did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object did not exist.
    Created,
    /// The object existed and was changed; also when it is not known whether it changed, as always in a dry run.
    Configured,
    /// The object was as wanted.
    Unchanged,
}

/// An object after an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What the apply did.
    pub outcome: Outcome,
    /// Whether the object was deleted and made again, since it could not be changed (`Force=true`); in a dry run, whether it
    /// would be. The outcome is then [`Outcome::Configured`].
    pub recreated: bool,
    /// `metadata.uid`; made up by the server when a dry run would have created the object.
    pub uid: String,
    /// `metadata.resourceVersion`; 0 when a dry run would have created the object.
    pub resource_version: u64,
    /// `metadata.generation`; 0 for kinds that have none.
    pub generation: i64,
    /// The object as the server returned it: `PartialObjectMetadata` unless it is wanted whole.
    pub response: Value,
}

/// Writes objects to one API server. Cheap to share behind an `Arc`; all callers share its limits.
pub struct Applier {
    pub(super) caller: Caller,
    surface: SurfaceSource,
    wants_whole: WantsWhole,
}

/// Where a kind, or one object, is reached.
pub(super) struct Target {
    pub(super) kind: GroupKind,
    pub(super) path: String,
    pub(super) has_status: bool,
}

impl Applier {
    /// An applier that writes only while `fence` allows it.
    pub fn new(client: Client, surface: SurfaceSource, wants_whole: WantsWhole, fence: Fence, limits: Limits) -> Self {
        Self { caller: Caller::new(client, fence, limits), surface, wants_whole }
    }

    /// An applier that does the same with other rights: `client` acts as `identity`. Both share one fence, and one limit, since
    /// to the API server they are one client.
    #[must_use]
    pub fn acting_as(&self, client: Client, identity: Identity) -> Self {
        Self {
            caller: self.caller.acting_as(client, identity),
            surface: Arc::clone(&self.surface),
            wants_whole: Arc::clone(&self.wants_whole),
        }
    }

    /// Applies an object by server-side apply with the ordinary options; see [`Applier::apply_with`].
    pub async fn apply(
        &self,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: Bytes,
        mode: Mode,
        known_resource_version: Option<u64>,
    ) -> Result<Applied, ApplyError> {
        self.apply_with(key, gvk, body, &ApplyOptions { mode, known_resource_version, ..ApplyOptions::default() }).await
    }

    /// Applies an object as `options` say: by server-side apply, taking over fields that others own, unless it is to be
    /// replaced.
    ///
    /// `body` is the object in JSON, without metadata that is the server's. It is sent as it is. Sent again after failures of
    /// the server or the network: an apply that was carried out twice is the same as once, except that a creation whose answer
    /// was lost is reported as configured or unchanged.
    pub async fn apply_with(
        &self,
        key: &ObjectKey,
        gvk: &GroupVersionKind,
        body: Bytes,
        options: &ApplyOptions,
    ) -> Result<Applied, ApplyError> {
        let target = self.target_of(key, gvk)?;
        let tried = if options.replace {
            self.replace(&target, key, gvk, &body, options).await
        } else {
            self.apply_and_take_over(&target, key, gvk, &body, options).await
        };
        match (tried, &options.force) {
            (Err(refusal), Some(force)) if refusal.may_be_unchangeable() => {
                self.recreate(&target, key, &body, options, force, refusal).await
            }
            (tried, Some(_) | None) => tried,
        }
    }

    /// One server-side apply by our field manager.
    pub(super) async fn server_side_apply(
        &self,
        target: &Target,
        body: &Bytes,
        options: &ApplyOptions,
    ) -> Result<Applied, ApplyError> {
        let accept = if self.wants_whole(&target.kind) { ACCEPT_JSON } else { ACCEPT_METADATA };
        let mut body = body.clone();
        loop {
            let tried = self
                .patch_apply(target, FIELD_MANAGER, &body, options.validation, options.mode, accept)
                .await
                .and_then(|answer| applied(&target.kind, &answer, options));
            match tried {
                // Server-side apply refuses undeclared fields of built-in kinds whatever `fieldValidation` says.
                Err(refusal) if options.validation == Validation::Ignore => {
                    match super::undeclared::without_undeclared(&body, &refusal.message) {
                        Some(smaller) => body = smaller,
                        None => return Err(refusal),
                    }
                }
                tried => return tried,
            }
        }
    }

    /// Sends a server-side apply of some field manager.
    pub(super) async fn patch_apply(
        &self,
        target: &Target,
        manager: &str,
        body: &Bytes,
        validation: Validation,
        mode: Mode,
        accept: &'static str,
    ) -> Result<Answer, ApplyError> {
        let mut query = vec![("fieldManager", manager), ("force", "true"), ("fieldValidation", validation.as_str())];
        if mode == Mode::DryRun {
            query.push(("dryRun", "All"));
        }
        let make = || {
            let mut patch = request(Method::PATCH, &target.path, &query, accept, body.clone())?;
            let content_type = HeaderValue::from_static("application/apply-patch+yaml");
            patch.headers_mut().insert(header::CONTENT_TYPE, content_type);
            Ok(patch)
        };
        self.caller.send(&target.kind, mode.access(), make, |_| false).await
    }

    /// Sends a JSON patch, which should state the version that it is about. `None` when the object changed meanwhile
    /// (409), or a test of the patch does not hold or a place in it is not there (422 without a cause); an absent
    /// object is an answer of 404.
    pub(super) async fn patch_json(
        &self,
        target: &Target,
        key: &ObjectKey,
        operations: &Value,
        accept: &'static str,
    ) -> Result<Option<Answer>, ApplyError> {
        let body = Bytes::from(operations.to_string());
        let query = [("fieldManager", FIELD_MANAGER)];
        let make = || {
            let mut patch = request(Method::PATCH, &target.path, &query, accept, body.clone())?;
            patch.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json-patch+json"));
            Ok(patch)
        };
        let accept = |answer: &Answer| {
            answer.status == 409 || object_is_absent(answer, key) || (answer.status == 422 && is_failed_test(answer))
        };
        let answer = self.caller.send(&target.kind, Access::Write, make, accept).await?;
        Ok((!matches!(answer.status, 409 | 422)).then_some(answer))
    }

    /// Reads an object's metadata from the API server itself. `None` when the object, or the namespace it would be in,
    /// does not exist; an error when the kind is not served, because that says nothing about the object.
    pub async fn get_metadata(&self, key: &ObjectKey) -> Result<Option<Value>, ApplyError> {
        self.read(key, ACCEPT_METADATA).await
    }

    /// Reads a whole object from the API server itself, for a comparison that is shown to a human. Must not be called for
    /// Secrets; they are answered with their metadata only.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Value>, ApplyError> {
        self.read(key, if is_secret(&key.group_kind()) { ACCEPT_METADATA } else { ACCEPT_JSON }).await
    }

    async fn read(&self, key: &ObjectKey, accept: &'static str) -> Result<Option<Value>, ApplyError> {
        self.read_at(&self.target(key)?, key, accept).await
    }

    pub(super) async fn read_at(
        &self,
        target: &Target,
        key: &ObjectKey,
        accept: &'static str,
    ) -> Result<Option<Value>, ApplyError> {
        let make = || request(Method::GET, &target.path, &[], accept, Bytes::new());
        let answer = self.caller.send(&target.kind, Access::Read, make, |answer| object_is_absent(answer, key)).await?;
        if answer.status == 404 { Ok(None) } else { parse(&target.kind, &answer.body).map(Some) }
    }

    /// What was asked of the API server so far.
    pub fn counters(&self) -> &Counters {
        self.caller.counters()
    }

    /// How many requests may be in flight now.
    pub fn in_flight_limit(&self) -> usize {
        self.caller.in_flight_limit()
    }

    pub(super) fn wants_whole(&self, kind: &GroupKind) -> bool {
        !is_secret(kind) && (self.wants_whole)(kind)
    }

    /// Where the object of a key is reached, in the preferred version of its kind.
    pub(super) fn target(&self, key: &ObjectKey) -> Result<Target, ApplyError> {
        let surface = (self.surface)();
        let kind = key.group_kind();
        let Some((gvk, info)) = surface.preferred(&kind) else {
            return Err(unknown_kind(&surface, &kind.group, &kind.to_string()));
        };
        object_path(&gvk, info, &key.namespace, &key.name).map(|path| Target {
            kind,
            path,
            has_status: info.has_status,
        })
    }

    /// Where an object is reached, in the version that it states.
    pub(super) fn target_of(&self, key: &ObjectKey, gvk: &GroupVersionKind) -> Result<Target, ApplyError> {
        let surface = (self.surface)();
        let Some(info) = surface.resolve(gvk) else {
            return Err(unknown_kind(&surface, &gvk.group, &gvk.to_string()));
        };
        let path = object_path(gvk, info, &key.namespace, &key.name)?;
        Ok(Target { kind: gvk.group_kind(), path, has_status: info.has_status })
    }
}

/// What an answered apply did.
pub(super) fn applied(kind: &GroupKind, answer: &Answer, options: &ApplyOptions) -> Result<Applied, ApplyError> {
    let response = parse(kind, &answer.body)?;
    let resource_version = text(&response, "resourceVersion").parse().unwrap_or_default();
    let outcome = match (answer.status, options.mode) {
        (201, _) => Outcome::Created,
        (_, Mode::Write) if options.known_resource_version.is_some_and(|known| known == resource_version) => {
            Outcome::Unchanged
        }
        // A dry run answers with the stored version whether or not something would change.
        (_, Mode::Write | Mode::DryRun) => Outcome::Configured,
    };
    Ok(Applied {
        outcome,
        recreated: false,
        uid: text(&response, "uid").to_owned(),
        resource_version,
        generation: response.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default(),
        response,
    })
}

/// Whether a 422 is about the JSON patch itself (a test that does not hold, a place that is not there) and not about the
/// object that would come of it, whose refusals name causes.
fn is_failed_test(answer: &Answer) -> bool {
    let Ok(status) = serde_json::from_slice::<kube::core::Status>(&answer.body) else { return false };
    status.details.is_none_or(|details| details.causes.is_empty())
}

pub(super) fn is_secret(kind: &GroupKind) -> bool {
    kind.group.is_empty() && kind.kind == "Secret"
}

fn unknown_kind(surface: &ApiSurface, group: &str, shown: &str) -> ApplyError {
    if surface.unavailable_groups.contains(group) {
        let message = format!("the server of API group {group} does not answer, so {shown} is unknown for now");
        ApplyError { reason: Reason::ClusterUnreachable, message, retry_after: None, retryable: true }
    } else {
        let message = format!(
            "the API server has no kind {shown}; install its CustomResourceDefinition or correct apiVersion and kind"
        );
        ApplyError { reason: Reason::KindNotFound, message, retry_after: None, retryable: false }
    }
}

fn object_path(gvk: &GroupVersionKind, info: &KindInfo, namespace: &str, name: &str) -> Result<String, ApplyError> {
    let namespace = match (info.namespaced, namespace) {
        (true, "") => return Err(ApplyError::invalid(format!("{gvk} {name:?} needs a namespace"))),
        (true, namespace) => namespace,
        (false, _) => "",
    };
    for (part, value) in [("namespace", namespace), ("name", name)] {
        // Such names would reach another path than the object's; the API server knows no object of such a name.
        if matches!(value, "." | "..") || value.contains(['/', '%']) {
            return Err(ApplyError::invalid(format!("{value:?} can't be the {part} of an object")));
        }
    }
    if name.is_empty() {
        return Err(ApplyError::invalid(format!("{gvk} needs a name; generateName can't be applied")));
    }
    Ok(path(&gvk.group, &gvk.version, &info.plural, namespace, name))
}

/// Whether a 404 is about the object itself: one about the path (the kind is not served) says nothing about the object.
pub(super) fn object_is_absent(answer: &crate::live::client::Answer, key: &ObjectKey) -> bool {
    if answer.status != 404 {
        return false;
    }
    let Ok(status) = serde_json::from_slice::<kube::core::Status>(&answer.body) else { return false };
    status.reason == "NotFound"
        && status.details.is_some_and(|details| {
            details.name == key.name || (details.kind == "namespaces" && details.name == key.namespace)
        })
}

pub(super) fn parse(kind: &GroupKind, body: &[u8]) -> Result<Value, ApplyError> {
    match serde_json::from_slice::<Value>(body) {
        Ok(object) if object.get("metadata").is_some() => Ok(object),
        // The text of the error could repeat what was read.
        Ok(_) | Err(_) => Err(ApplyError {
            reason: Reason::ApplyFailed,
            message: format!("the API server answered with something that is no {kind}"),
            retry_after: None,
            retryable: true,
        }),
    }
}

/// A text field of the metadata.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|metadata| metadata.get(field)?.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::client::Answer;

    fn info(namespaced: bool) -> KindInfo {
        KindInfo {
            versions: vec!["v1".to_owned()],
            plural: "widgets".to_owned(),
            namespaced,
            has_status: false,
            watchable: true,
        }
    }

    #[test]
    fn names_that_would_leave_the_objects_path_are_refused() {
        let gvk = GroupVersionKind::from_api_version("example.org/v1", "Widget");
        assert_eq!(
            object_path(&gvk, &info(true), "shop", "a").unwrap(),
            "/apis/example.org/v1/namespaces/shop/widgets/a"
        );
        assert_eq!(object_path(&gvk, &info(false), "ignored", "a").unwrap(), "/apis/example.org/v1/widgets/a");
        for (namespace, name) in
            [("shop", ".."), ("..", "a"), ("shop", "a/b"), ("shop", ""), ("", "a"), ("shop", "a%2Fb")]
        {
            let error = object_path(&gvk, &info(true), namespace, name).unwrap_err();
            assert_eq!((error.reason, error.retryable), (Reason::InvalidObject, false), "{namespace} {name}");
        }
    }

    #[test]
    fn only_a_404_about_the_object_says_that_it_is_absent() {
        let key = ObjectKey::new("example.org", "Widget", "shop", "a");
        let absent = |body: &str| {
            object_is_absent(&Answer { status: 404, retry_after: None, body: body.to_owned().into() }, &key)
        };
        assert!(absent(
            r#"{"kind":"Status","metadata":{},"status":"Failure","message":"widgets.example.org \"a\" not found","reason":"NotFound","details":{"name":"a","group":"example.org","kind":"widgets"},"code":404}"#
        ));
        assert!(absent(
            r#"{"kind":"Status","metadata":{},"status":"Failure","message":"namespaces \"shop\" not found","reason":"NotFound","details":{"name":"shop","kind":"namespaces"},"code":404}"#
        ));
        assert!(!absent(
            r#"{"kind":"Status","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#
        ));
        assert!(!absent("404 page not found\n"));
    }
}

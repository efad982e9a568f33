//! What a person asks for: `operation`, read and checked. What can't be done as it was asked is refused; doing something
//! else would be worse than doing nothing.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use super::decide::Request;
use crate::api::{
    Application, InitiatedBy, Operation, OperationPhase, Retry, SyncOperation, SyncOperationResource, SyncStrategy,
};
use crate::desired::SyncOptions;
use crate::model::{ObjectKey, Reason};

/// Annotation of an Application that ends the operation under way; any new value ends the one that then runs.
pub const TERMINATE_ANNOTATION: &str = "tidelock.dev/terminate";
/// Most objects that a message lists.
const MOST_LISTED: usize = 10;

/// One object of a selective sync.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// API group; empty is core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty is any.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Selector {
    /// Whether it names an object.
    pub fn selects(&self, key: &ObjectKey) -> bool {
        let Self { group, kind, namespace, name } = self;
        key.group == *group
            && key.kind == *kind
            && key.name == *name
            && (namespace.is_empty() || key.namespace == *namespace)
    }
}

impl fmt::Display for Selector {
    /// `<group>/<kind>/<namespace>/<name>`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}/{}", self.group, self.kind, self.namespace, self.name)
    }
}

/// A sync that a person asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncRequest {
    /// Whether to prune.
    pub prune: bool,
    /// Whether only to try on the server.
    pub dry_run: bool,
    /// Whether hooks run. Not with the strategy `apply`, and not in a selective sync.
    pub hooks: bool,
    /// Whether what can't be changed is deleted and made again.
    pub force: bool,
    /// Only these objects; `None` is all.
    pub only: Option<BTreeSet<Selector>>,
    /// The options in force: the spec's, and those of the operation, which win.
    pub options: SyncOptions,
    /// How a failure is tried again; `None` is as the spec says.
    pub retry: Option<Retry>,
    /// A revision instead of the spec's.
    pub revision: Option<String>,
    /// Who asked.
    pub initiated_by: InitiatedBy,
}

/// Why an operation is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RequestRefused {
    /// It asks for nothing.
    #[error(
        "the requested operation was refused: operation.sync is missing; write `operation: {{sync: {{}}}}` for a sync as the spec has it"
    )]
    Nothing,
    /// It contradicts itself, or has a value that can't be read.
    #[error("the requested operation was refused: {0}")]
    Invalid(String),
    /// It selects objects that there are not.
    #[error("the requested operation was refused: operation.sync.resources names what is neither in the source nor left over from it: {}", listed(.0))]
    NoSuchObjects(Vec<String>),
    /// Another one is under way.
    #[error(
        "the requested operation was refused: another operation is in progress; wait for its end, or end it by the annotation `tidelock.dev/terminate`"
    )]
    InProgress,
}

impl RequestRefused {
    /// The reason that conditions carry.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Nothing | Self::Invalid(_) | Self::NoSuchObjects(_) => Reason::InvalidSpec,
            Self::InProgress => Reason::Progressing,
        }
    }
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl SyncRequest {
    /// Reads an operation. `spec_options` are those of `syncPolicy.syncOptions`. What it brings instead of the spec's
    /// sources (`source`, `sources`, `revisions`, `manifests`) is not read here.
    pub fn read(operation: &Operation, spec_options: &[String]) -> Result<Self, RequestRefused> {
        let Operation { sync, initiated_by, info: _, retry } = operation;
        let SyncOperation {
            revision,
            revisions: _,
            source: _,
            sources: _,
            prune,
            dry_run,
            sync_strategy,
            resources,
            manifests: _,
            sync_options,
            auto_heal_attempts_count: _,
        } = sync.as_ref().ok_or(RequestRefused::Nothing)?;
        let of_operation = SyncOptions::parse(sync_options.iter().map(String::as_str));
        if let Some(warning) = of_operation.warnings.first() {
            return Err(RequestRefused::Invalid(format!("operation.sync.syncOptions: {warning}")));
        }
        let options = SyncOptions::parse(spec_options.iter().chain(sync_options).map(String::as_str));
        let (hooks, forced) = strategy(sync_strategy.as_ref())?;
        let only: BTreeSet<Selector> =
            resources.iter().enumerate().map(|(index, one)| selector(index, one)).collect::<Result<_, _>>()?;
        let only = (!only.is_empty()).then_some(only);
        Ok(Self {
            prune: *prune,
            dry_run: *dry_run,
            hooks: hooks && only.is_none(),
            force: forced || options.force,
            only,
            options,
            retry: retry.clone(),
            revision: (!revision.is_empty()).then(|| revision.clone()),
            initiated_by: initiated_by.clone().unwrap_or_default(),
        })
    }

    /// A sync as the spec has it, asked for by annotation.
    pub fn plain(prune: bool, spec_options: &[String]) -> Self {
        let options = SyncOptions::parse(spec_options.iter().map(String::as_str));
        Self {
            prune,
            dry_run: false,
            hooks: true,
            force: options.force,
            only: None,
            options,
            retry: None,
            revision: None,
            initiated_by: InitiatedBy::default(),
        }
    }

    /// Whether it concerns an object.
    pub fn includes(&self, key: &ObjectKey) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|selector| selector.selects(key)))
    }

    /// The objects that it concerns, of all that the source has and that are left over from it. A name that selects
    /// nothing refuses the whole operation: it is a slip, or meant for another Application.
    pub fn select<'a>(
        &self,
        known: impl IntoIterator<Item = &'a ObjectKey>,
    ) -> Result<Option<BTreeSet<ObjectKey>>, RequestRefused> {
        let Some(only) = &self.only else { return Ok(None) };
        let mut unmatched: BTreeSet<&Selector> = only.iter().collect();
        let mut selected = BTreeSet::new();
        for key in known {
            if self.includes(key) {
                unmatched.retain(|selector| !selector.selects(key));
                selected.insert(key.clone());
            }
        }
        if unmatched.is_empty() {
            Ok(Some(selected))
        } else {
            Err(RequestRefused::NoSuchObjects(unmatched.into_iter().map(ToString::to_string).collect()))
        }
    }
}

impl From<&SyncRequest> for Request {
    fn from(request: &SyncRequest) -> Self {
        Self { prune: request.prune, dry_run: request.dry_run }
    }
}

/// Whether hooks run, and whether to force.
fn strategy(strategy: Option<&SyncStrategy>) -> Result<(bool, bool), RequestRefused> {
    match strategy {
        Some(SyncStrategy { apply: Some(_), hook: Some(_) }) => Err(RequestRefused::Invalid(
            "operation.sync.syncStrategy has `apply` and `hook`: write one of them".to_owned(),
        )),
        Some(SyncStrategy { apply: Some(apply), hook: None }) => Ok((false, apply.force)),
        Some(SyncStrategy { apply: None, hook }) => Ok((true, hook.as_ref().is_some_and(|hook| hook.force))),
        None => Ok((true, false)),
    }
}

fn selector(index: usize, resource: &SyncOperationResource) -> Result<Selector, RequestRefused> {
    let SyncOperationResource { group, kind, name, namespace } = resource;
    if kind.is_empty() || name.is_empty() {
        return Err(RequestRefused::Invalid(format!(
            "operation.sync.resources[{index}] needs a kind and a name, and has `{kind}` and `{name}`"
        )));
    }
    Ok(Selector { group: group.clone(), kind: kind.clone(), namespace: namespace.clone(), name: name.clone() })
}

/// A person's wish to end the operation under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Termination {
    /// By a new value of the annotation `tidelock.dev/terminate`, which is remembered as acted on whether anything ran or
    /// not: an old wish must not end a later operation.
    Annotation(String),
    /// By `status.operationState.phase: Terminating`, as Argo CD's clients write it. It is about the operation of that
    /// status and no other: what is seen of a status may be older than the operation that runs now.
    Status {
        /// `startedAt` of the operation that is to end.
        started_at: String,
    },
}

/// Whether a person wants the operation under way to end. `handled` is the annotation's value that was last acted on.
pub fn termination(application: &Application, handled: &str) -> Option<Termination> {
    let annotations = application.metadata.annotations.as_ref();
    if let Some(token) = annotations.and_then(|all| all.get(TERMINATE_ANNOTATION)).filter(|token| *token != handled) {
        return Some(Termination::Annotation(token.clone()));
    }
    let state = application.status.as_ref().and_then(|status| status.operation_state.as_ref());
    let state = state.filter(|state| state.phase == OperationPhase::Terminating)?;
    Some(Termination::Status { started_at: state.started_at.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(operation: Value) -> Result<SyncRequest, RequestRefused> {
        SyncRequest::read(&serde_json::from_value(operation).unwrap(), &["Replace=true".to_owned()])
    }

    #[test]
    fn every_field_of_an_operation_is_read() {
        let request = read(json!({
            "initiatedBy": { "username": "ada" },
            "retry": { "limit": 2 },
            "sync": {
                "revision": "v1.2.3", "prune": true, "dryRun": true,
                "syncStrategy": { "apply": { "force": true } },
                "syncOptions": ["Validate=false", "Replace=false"],
                "resources": [
                    { "group": "apps", "kind": "Deployment", "name": "cart", "namespace": "shop" },
                    { "kind": "ConfigMap", "name": "cart" }
                ]
            }
        }))
        .unwrap();
        let selector = |group: &str, kind: &str, namespace: &str| Selector {
            group: group.into(),
            kind: kind.into(),
            namespace: namespace.into(),
            name: "cart".into(),
        };
        assert_eq!(
            request,
            SyncRequest {
                prune: true,
                dry_run: true,
                hooks: false,
                force: true,
                only: Some(BTreeSet::from([selector("apps", "Deployment", "shop"), selector("", "ConfigMap", "")])),
                options: SyncOptions { validate: false, ..SyncOptions::default() },
                retry: Some(Retry { limit: Some(2), ..Retry::default() }),
                revision: Some("v1.2.3".into()),
                initiated_by: InitiatedBy { username: "ada".into(), automated: false },
            }
        );
        let plain = read(json!({ "sync": {} })).unwrap();
        assert_eq!(plain, SyncRequest::plain(false, &["Replace=true".to_owned()]));
        assert!(plain.hooks && plain.options.replace && !plain.force);
    }

    #[test]
    fn hooks_and_force_follow_from_the_strategy() {
        for (sync, hooks, force) in [
            (json!({}), true, false),
            (json!({ "syncStrategy": { "hook": {} } }), true, false),
            (json!({ "syncStrategy": { "hook": { "force": true } } }), true, true),
            (json!({ "syncStrategy": { "apply": {} } }), false, false),
            (json!({ "syncOptions": ["Force=true"] }), true, true),
            (json!({ "resources": [{ "kind": "ConfigMap", "name": "a" }] }), false, false),
        ] {
            let request = read(json!({ "sync": sync })).unwrap();
            assert_eq!((request.hooks, request.force), (hooks, force), "{sync}");
        }
    }

    #[test]
    fn what_cannot_be_done_as_asked_is_refused_with_the_field() {
        for (operation, reason, message) in [
            (json!({}), Reason::InvalidSpec, "operation.sync is missing"),
            (
                json!({ "sync": { "syncStrategy": { "apply": {}, "hook": {} } } }),
                Reason::InvalidSpec,
                "operation.sync.syncStrategy has `apply` and `hook`",
            ),
            (
                json!({ "sync": { "syncOptions": ["Replica=true"] } }),
                Reason::InvalidSpec,
                "operation.sync.syncOptions: sync option `Replica=true` is not known",
            ),
            (
                json!({ "sync": { "resources": [{ "kind": "ConfigMap", "name": "" }] } }),
                Reason::InvalidSpec,
                "operation.sync.resources[0] needs a kind and a name",
            ),
        ] {
            let refused = read(operation).unwrap_err();
            assert_eq!(refused.reason(), reason);
            assert!(refused.to_string().contains(message), "{refused} should contain {message}");
        }
    }

    #[test]
    fn selective_sync_takes_just_what_it_names_and_refuses_names_of_nothing() {
        let known = [
            ObjectKey::new("apps", "Deployment", "shop", "cart"),
            ObjectKey::new("", "ConfigMap", "shop", "cart"),
            ObjectKey::new("", "ConfigMap", "shop-2", "cart"),
            ObjectKey::new("", "ConfigMap", "shop", "other"),
        ];
        let request = read(json!({ "sync": { "resources": [{ "kind": "ConfigMap", "name": "cart" }] } })).unwrap();
        assert_eq!(request.select(&known), Ok(Some(known[1..3].iter().cloned().collect())));
        assert_eq!(read(json!({ "sync": {} })).unwrap().select(&known), Ok(None));
        let slip = read(json!({ "sync": { "resources": [
            { "kind": "ConfigMap", "name": "cart" }, { "kind": "Deployment", "name": "cart", "namespace": "shop" }
        ] } }))
        .unwrap();
        let refused = slip.select(&known).unwrap_err();
        assert_eq!(refused, RequestRefused::NoSuchObjects(vec!["/Deployment/shop/cart".into()]));
    }

    #[test]
    fn termination_is_asked_for_by_a_new_annotation_or_by_the_phase() {
        let application = |annotation: Value, phase: &str| -> Application {
            serde_json::from_value(json!({
                "metadata": { "annotations": annotation },
                "spec": { "destination": {} },
                "status": { "operationState": { "phase": phase, "startedAt": "2026-03-02T12:00:00Z" } }
            }))
            .unwrap()
        };
        let token = || json!({ TERMINATE_ANNOTATION: "1" });
        assert_eq!(termination(&application(Value::Null, "Running"), ""), None);
        assert_eq!(termination(&application(token(), "Running"), ""), Some(Termination::Annotation("1".into())));
        assert_eq!(termination(&application(token(), "Running"), "1"), None);
        let of_status = Termination::Status { started_at: "2026-03-02T12:00:00Z".to_owned() };
        assert_eq!(termination(&application(token(), "Terminating"), "1"), Some(of_status));
        assert_eq!(termination(&Application::default(), ""), None);
    }
}

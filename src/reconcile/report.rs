//! What leaves a reconcile: status writes, events, and the two edits of an Application that are ours to make.

use std::sync::Arc;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::{info, warn};

use super::events::{EventOutbox, events};
use crate::api::{Application, ApplicationStatus};
use crate::metrics::Metrics;
use crate::model::Reason;
use crate::status::Failure;

/// Writes what a reconcile reports.
pub(super) struct Reporter {
    applications: Api<Application>,
    /// The same as they are stored: what is left out of a typed object when it is written, such as a `false`, is in them.
    stored: Api<DynamicObject>,
    outbox: EventOutbox,
    metrics: Arc<Metrics>,
    namespace: String,
    fence: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Reporter {
    /// Reports on the Applications of a namespace.
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        outbox: EventOutbox,
        metrics: Arc<Metrics>,
        fence: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        Self {
            applications: Api::namespaced(client.clone(), namespace),
            stored: Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<Application>(&())),
            outbox,
            metrics,
            namespace: namespace.to_owned(),
            fence,
        }
    }

    /// Writes a status when its meaning has changed, and the events that go with the change.
    pub(super) async fn write(
        &self,
        application: &Application,
        current: &mut ApplicationStatus,
        new: ApplicationStatus,
    ) {
        self.metrics.application_is(&self.namespace, &application.name_any(), new.sync.status, new.health.status);
        if *current == new {
            return;
        }
        let before = current.clone();
        if let Err(failure) = self.write_strict(application, current, new).await {
            warn!(reason = %failure.reason, message = %failure.message, "the status could not be written");
            return;
        }
        if before.health.status != current.health.status {
            self.metrics.health_changed(current.health.status);
        }
        for event in events(&before, current) {
            info!(reason = %event.reason, note = event.note.as_deref().unwrap_or_default(), "event");
            self.outbox.put(event, application.object_ref(&()));
        }
    }

    /// Writes a status or says why it could not be written.
    pub(super) async fn write_strict(
        &self,
        application: &Application,
        current: &mut ApplicationStatus,
        new: ApplicationStatus,
    ) -> Result<(), Failure> {
        if *current == new {
            return Ok(());
        }
        let body = json!([
            // Never written onto another Application of the same name.
            { "op": "test", "path": "/metadata/uid", "value": application.uid() },
            { "op": "add", "path": "/status", "value": new },
        ]);
        self.patch(application, body, true).await?;
        *current = new;
        Ok(())
    }

    /// Removes an operation that is being taken.
    pub(super) async fn remove_operation(&self, application: &Application) -> Result<(), Failure> {
        let failure = |reason, message: &str| Failure { reason, message: message.to_owned() };
        let name = application.name_any();
        let read = self.stored.get(&name);
        let stored = match tokio::time::timeout(crate::live::client::DEFAULT_DEADLINE, read).await {
            Ok(Ok(stored)) => stored.data.get("operation").cloned().unwrap_or_default(),
            Ok(Err(error)) => return Err(failure(Reason::ClusterUnreachable, &error.to_string())),
            Err(_) => return Err(failure(Reason::ClusterUnreachable, "the API server did not answer in time")),
        };
        // The test compares letter by letter, and the same operation can be written in several ways.
        if serde_json::from_value(stored.clone()).ok() != Some(application.operation.clone()) {
            return Err(failure(Reason::ApplyFailed, "the operation was changed while it was being taken"));
        }
        let body = json!([
            { "op": "test", "path": "/metadata/uid", "value": application.uid() },
            { "op": "test", "path": "/operation", "value": stored },
            { "op": "remove", "path": "/operation" },
        ]);
        self.patch(application, body, false).await
    }

    /// Replaces the finalizers; refused by the API server when somebody changed them meanwhile.
    pub(super) async fn set_finalizers(&self, application: &Application, remaining: &[String]) -> Result<(), Failure> {
        let body = json!([
            { "op": "test", "path": "/metadata/uid", "value": application.uid() },
            { "op": "test", "path": "/metadata/finalizers", "value": application.finalizers() },
            { "op": "replace", "path": "/metadata/finalizers", "value": remaining },
        ]);
        self.patch(application, body, false).await
    }

    async fn patch(&self, application: &Application, body: serde_json::Value, status: bool) -> Result<(), Failure> {
        let failure = |reason, message: String| Failure { reason, message };
        if !(self.fence)() {
            return Err(failure(
                Reason::LeaseLost,
                "another controller may hold the lease: nothing is written".to_owned(),
            ));
        }
        let patch: json_patch::Patch = serde_json::from_value(body)
            .map_err(|error| failure(Reason::InternalError, format!("a patch of our own is not valid: {error}")))?;
        let (name, parameters, patch) = (application.name_any(), PatchParams::default(), Patch::Json::<()>(patch));
        let call = async {
            if status {
                self.applications.patch_status(&name, &parameters, &patch).await
            } else {
                self.applications.patch(&name, &parameters, &patch).await
            }
        };
        match tokio::time::timeout(crate::live::client::DEFAULT_DEADLINE, call).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(kube::Error::Api(answer))) => {
                Err(failure(Reason::ApplyFailed, format!("the API server refused: {}", answer.message)))
            }
            Ok(Err(error)) => Err(failure(Reason::ClusterUnreachable, error.to_string())),
            Err(_) => Err(failure(Reason::ClusterUnreachable, "the API server did not answer in time".to_owned())),
        }
    }
}

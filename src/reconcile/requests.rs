//! Syncs that a person asks for, by `operation` or by annotation.

use super::driver::Driver;
use super::memory::Memory;
use crate::api::{Application, Operation};
use crate::desired::unsupported_operation;
use crate::model::Reason;
use crate::plan::{Policy, Request};
use crate::status::Failure;

/// Annotation that asks for a sync now; any new value asks again.
const SYNC_ANNOTATION: &str = "tidelock.dev/sync";

impl Driver {
    /// A sync that a person asked for, by `operation` or by annotation. An operation is removed when it is taken.
    pub(super) async fn take_request(
        &self,
        application: &Application,
        memory: &mut Memory,
        policy: Policy,
    ) -> Result<(Option<Request>, Option<Operation>), Failure> {
        if let Some(operation) = &application.operation {
            self.reporter.remove_operation(application).await?;
            let unsupported = unsupported_operation(operation);
            let revision = operation.sync.as_ref().map(|sync| sync.revision.as_str()).unwrap_or_default();
            let target = application.spec.source.as_ref().and_then(|source| source.target_revision.as_deref());
            let current = memory.held.as_ref().map(|held| held.revision.to_string()).unwrap_or_default();
            let other = !(revision.is_empty() || target == Some(revision) || revision == current);
            if !unsupported.is_empty() || other {
                let what = if other { "operation.sync.revision other than spec.source.targetRevision" } else { "" };
                return Err(Failure {
                    reason: Reason::UnsupportedField,
                    message: format!(
                        "the requested operation was refused, since this version does not act on: {}",
                        unsupported
                            .into_iter()
                            .chain((!what.is_empty()).then_some(what))
                            .collect::<Vec<_>>()
                            .join(", ")
                    ),
                });
            }
            let sync = operation.sync.clone().unwrap_or_default();
            return Ok((Some(Request { prune: sync.prune, dry_run: sync.dry_run }), Some(operation.clone())));
        }
        let token = application.metadata.annotations.as_ref().and_then(|all| all.get(SYNC_ANNOTATION));
        if let Some(token) = token.filter(|token| **token != memory.handled_sync) {
            memory.handled_sync.clone_from(token);
            return Ok((Some(Request { prune: policy.prune, dry_run: false }), None));
        }
        Ok((None, None))
    }
}

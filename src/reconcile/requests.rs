//! Syncs that a person asks for, by `operation` or by annotation, and the end of one that is under way.

use super::driver::Driver;
use super::memory::Memory;
use crate::api::{Application, Operation};
use crate::desired::unsupported_operation;
use crate::model::Reason;
use crate::plan::request::{RequestRefused, SyncRequest, Termination, termination};
use crate::plan::{Policy, Request};
use crate::status::Failure;

/// Annotation that asks for a sync now; any new value asks again.
const SYNC_ANNOTATION: &str = "tidelock.dev/sync";

/// Whether a person has asked for a sync that was not taken yet.
pub(super) fn asks_for_sync(application: &Application, memory: &Memory) -> bool {
    let token = application.metadata.annotations.as_ref().and_then(|all| all.get(SYNC_ANNOTATION));
    application.operation.is_some() || token.is_some_and(|token| *token != memory.handled_sync)
}

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
            let options = application.spec.sync_policy.as_ref().map(|policy| policy.sync_options.as_slice());
            let request = SyncRequest::read(operation, options.unwrap_or_default()).map_err(refused)?;
            let target = application.spec.source.as_ref().and_then(|source| source.target_revision.as_deref());
            let current = memory.held.as_ref().map(|held| held.revision.to_string()).unwrap_or_default();
            let revision = request.revision.as_deref();
            let other = !(revision.is_none() || target == revision || revision == Some(current.as_str()));
            let other = other.then_some("operation.sync.revision other than spec.source.targetRevision");
            // What is read and not acted on is refused: a selective sync must never become a whole one.
            let unsupported: Vec<String> =
                unsupported_operation(operation).into_iter().chain(other).map(str::to_owned).collect();
            if !unsupported.is_empty() {
                return Err(refused(RequestRefused::Unsupported(unsupported)));
            }
            return Ok((Some(Request::from(&request)), Some(operation.clone())));
        }
        let token = application.metadata.annotations.as_ref().and_then(|all| all.get(SYNC_ANNOTATION));
        if let Some(token) = token.filter(|token| **token != memory.handled_sync) {
            memory.handled_sync.clone_from(token);
            return Ok((Some(Request { prune: policy.prune, dry_run: false }), None));
        }
        Ok((None, None))
    }
}

/// Whether a person wants the operation under way to end, said once for each wish: why it ended.
pub(super) fn take_termination(application: &Application, memory: &mut Memory) -> Option<Failure> {
    let by = match termination(application, &memory.handled_terminate)? {
        Termination::Annotation(token) => {
            memory.handled_terminate = token;
            "the annotation `tidelock.dev/terminate`"
        }
        Termination::Status => "status.operationState.phase",
    };
    memory.attempt.as_ref().is_some_and(super::memory::AttemptMemory::is_running).then(|| Failure {
        reason: Reason::Terminated,
        message: format!("a person ended the operation by {by}; what was written stays as it is"),
    })
}

fn refused(refused: RequestRefused) -> Failure {
    Failure { reason: refused.reason(), message: refused.to_string() }
}

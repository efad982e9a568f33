//! All that comes before the first write of an attempt: the trial on the server, the namespace, the write-ahead record.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;

use super::driver::Driver;
use super::memory::Memory;
use super::perform::{Work, apply_options, refusal};
use crate::api::{Application, OperationPhase, Preflight};
use crate::apply::{ApplyError, Mode, Propagation, TAKE_OVER_ANNOTATIONS, predecessors};
use crate::desired::DesiredSet;
use crate::live::LiveView;
use crate::model::{GroupVersionKind, Inventory, ObjectKey, Owner, Reason};
use crate::plan::graph::{Action, Plan, Step};
use crate::plan::{Outcome, StepId};
use crate::status::Failure;

/// Trials in flight.
const TRIALS_IN_FLIGHT: usize = 32;

/// The field managers whose fields are taken over for an Application.
pub(super) fn take_over(application: &Application) -> Vec<String> {
    let annotations = application.metadata.annotations.as_ref();
    predecessors(TAKE_OVER_ANNOTATIONS.iter().filter_map(|name| annotations?.get(*name)).map(String::as_str))
}

/// The steps that apply something.
fn applies(plan: &Plan) -> impl Iterator<Item = &Step> {
    super::carry_out::steps(plan).filter(|step| matches!(step.action, Action::Create | Action::Configure))
}

impl Driver {
    /// Makes an attempt ready for its first write, or says why nothing may be written. Returns the bodies to apply
    /// instead of the desired ones.
    pub(super) async fn clear(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        live: &LiveView,
        plan: &Plan,
    ) -> Result<BTreeMap<ObjectKey, Bytes>, Failure> {
        let writes: Vec<&Step> = applies(plan).collect();
        let Some(attempt) = &memory.attempt else { return Ok(BTreeMap::new()) };
        let runs_already = memory.inventory.as_ref().is_some_and(Inventory::has_applied);
        let wanted = match application.spec.preflight.unwrap_or_default() {
            Preflight::Never => false,
            Preflight::Always => !writes.is_empty(),
            // A single write is its own trial: there is nothing else that a refusal would leave half done.
            Preflight::Auto => runs_already && !attempt.choices.heal && writes.len() > 1,
        };
        if wanted {
            let outcomes = self.trial(application, owner, memory, live, &writes).await;
            for (id, outcome) in outcomes {
                if let Outcome::Failed { reason, message } = outcome {
                    return Err(Failure {
                        reason,
                        message: format!("{id} was refused in a trial on the server, so nothing was written: {message}"),
                    });
                }
            }
        }
        if !writes.is_empty() {
            let desired = memory.attempt.as_ref().map(|attempt| std::sync::Arc::clone(&attempt.desired));
            self.ensure_namespace(application, desired.as_deref().unwrap_or(&DesiredSet::default())).await?;
        }
        let grew = memory.inventory.get_or_insert_default().intend(writes.iter().map(|step| &step.id.key));
        if grew {
            self.write_ahead(application, memory).await?;
        }
        if let Some(attempt) = &mut memory.attempt {
            attempt.cleared = true;
        }
        Ok(BTreeMap::new())
    }

    /// Stores the inventory with the objects that are about to be applied, before the first of them is.
    async fn write_ahead(&self, application: &Application, memory: &mut Memory) -> Result<(), Failure> {
        let Some(inventory) = &memory.inventory else { return Ok(()) };
        let mut status = memory.status.clone();
        self.inventories.store(application, inventory, &mut status, &mut memory.inventory_chunks).await?;
        self.reporter.write_strict(application, &mut memory.status, status).await
    }

    /// Makes the destination's namespace when `CreateNamespace=true` asks for it and nothing else brings it.
    async fn ensure_namespace(&self, application: &Application, desired: &DesiredSet) -> Result<(), Failure> {
        let policy = application.spec.sync_policy.as_ref();
        let wanted = super::observe::creates_namespace(application);
        let Some(namespace) =
            application.spec.destination.namespace.as_deref().filter(|name| wanted && !name.is_empty())
        else {
            return Ok(());
        };
        let key = ObjectKey::new("", "Namespace", "", namespace);
        if desired.objects.contains_key(&key) {
            return Ok(());
        }
        let managed = policy.and_then(|policy| policy.managed_namespace_metadata.as_ref());
        let failure = |error: ApplyError| Failure {
            reason: error.reason,
            message: format!("the namespace `{namespace}` could not be made (CreateNamespace=true): {}", error.message),
        };
        if managed.is_none() && self.applier.get_metadata(&key).await.map_err(failure)?.is_some() {
            return Ok(());
        }
        let body = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": managed.map(|managed| managed.labels.clone()).unwrap_or_default(),
                "annotations": managed.map(|managed| managed.annotations.clone()).unwrap_or_default(),
            },
        });
        let gvk = GroupVersionKind::from_api_version("v1", "Namespace");
        self.applier.apply(&key, &gvk, body.to_string().into(), Mode::Write, None).await.map(|_| ()).map_err(failure)
    }

    /// Tries every apply on the server without writing. Objects that can't be tried yet (their kind or namespace comes
    /// with the same change) are left out; so are those whose webhook knows no trial.
    async fn trial(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &Memory,
        live: &LiveView,
        steps: &[&Step],
    ) -> BTreeMap<StepId, Outcome> {
        let Some(attempt) = &memory.attempt else { return BTreeMap::new() };
        let take_over = take_over(application);
        let work = Work {
            owner,
            desired: &attempt.desired,
            live,
            inventory: memory.inventory.as_ref(),
            options: &attempt.choices.options,
            propagation: Propagation::Foreground,
            attempt: &attempt.id,
            take_over: &take_over,
            bodies: &BTreeMap::new(),
        };
        let objects: Vec<_> = steps
            .iter()
            .filter_map(|step| Some((step.id.clone(), attempt.desired.objects.get(&step.id.key)?)))
            .filter(|(_, object)| !object.kind_is_new)
            .collect();
        futures::stream::iter(objects)
            .map(|(id, object)| async move {
                let options = apply_options(work, object, Mode::DryRun);
                let tried = self.applier.apply_with(&id.key, &object.gvk, object.body.clone(), &options).await;
                let outcome = match tried {
                    Ok(_) => Outcome::Unchanged,
                    Err(error) if error.reason == Reason::NamespaceNotFound => {
                        Outcome::Skipped { message: "its namespace does not exist yet".to_owned() }
                    }
                    Err(error) if error.message.contains("does not support dry run") => {
                        Outcome::Skipped { message: error.message }
                    }
                    Err(error) => Outcome::Failed { reason: error.reason, message: refusal(object, &error) },
                };
                (id, outcome)
            })
            .buffer_unordered(TRIALS_IN_FLIGHT)
            .collect()
            .await
    }

    /// A dry run that a person asked for.
    pub(super) async fn try_out(&self, application: &Application, owner: &Owner, memory: &mut Memory, plan: &Plan) {
        let writes: Vec<&Step> = applies(plan).collect();
        let Some(attempt) = &memory.attempt else { return };
        let live = self.view_of(owner, memory, &attempt.desired, plan);
        let outcomes = self.trial(application, owner, memory, &live, &writes).await;
        let refused = outcomes.iter().find_map(|(id, outcome)| match outcome {
            Outcome::Failed { reason, message } => {
                Some(Failure { reason: *reason, message: format!("{id} would be refused: {message}") })
            }
            _ => None,
        });
        let now = self.clock.now();
        if let Some(attempt) = &mut memory.attempt {
            attempt.progress.outcomes = outcomes;
            let phase = if refused.is_some() { OperationPhase::Failed } else { OperationPhase::Succeeded };
            attempt.end(phase, refused, now);
        }
    }
}

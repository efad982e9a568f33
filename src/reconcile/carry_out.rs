//! The second half of a reconcile: carrying out a plan, step by step, as far as its gates are open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use tracing::{info, warn};

use super::driver::Driver;
use super::memory::Memory;
use crate::api::{Application, OperationPhase};
use crate::apply::{self, ApplyError, DeleteProof, Deleted, Mode, Propagation};
use crate::desired::{DesiredObject, DesiredSet};
use crate::metrics::{WriteOutcome, WriteVerb};
use crate::model::{GroupVersionKind, Hash64, InventoryEntry, ObjectKey, Owner, Reason};
use crate::plan::{Action, GateInput, Next, Outcome, Plan, Step, next};
use crate::status::Failure;

/// Writes of one Application in flight; the applier's own limit is shared by all.
const STEPS_IN_FLIGHT: usize = 32;
/// How long discovery may lag behind a CustomResourceDefinition that is established.
const DISCOVERY_LAG: Duration = Duration::from_secs(15);
/// Pause between looks at discovery while it lags.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(200);

/// What a step did, and what is to be remembered of it.
struct Done {
    key: ObjectKey,
    outcome: Outcome,
    entry: Entry,
}

enum Entry {
    Same,
    Set(InventoryEntry),
    Gone,
}

impl Driver {
    /// Does what the plan's gates allow, and takes note of how the attempt stands.
    pub(super) async fn carry_out(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        desired: &Arc<DesiredSet>,
        plan: &Plan,
    ) {
        let gate_last_wave = application.spec.gate.as_ref().and_then(|gate| gate.last_wave).unwrap_or(true);
        loop {
            let live = {
                let recorded = memory.inventory.get_or_insert_default();
                self.cache.view(&owner.instance, desired.objects.keys().chain(recorded.entries.keys()))
            };
            let Some(attempt) = &mut memory.attempt else { return };
            if attempt.dry_run {
                self.try_out(memory, desired, plan).await;
                return;
            }
            let move_on = next(GateInput { plan, outcomes: &attempt.outcomes, live: &live, gate_last_wave });
            match move_on {
                Next::Run(steps) => {
                    attempt.waiting.clear();
                    attempt.waiting_since = None;
                    if !attempt.cleared
                        && let Err(failure) = self.clear(application, memory, desired, plan).await
                    {
                        self.end(memory, OperationPhase::Failed, Some(failure));
                        return;
                    }
                    let done = self.run(steps, desired, owner, memory, &live).await;
                    let mut lost = false;
                    for Done { key, outcome, entry } in done {
                        lost |= matches!(&outcome, Outcome::Failed { reason: Reason::LeaseLost, .. });
                        let inventory = memory.inventory.get_or_insert_default();
                        match entry {
                            Entry::Same => {}
                            Entry::Set(entry) => {
                                inventory.entries.insert(key.clone(), entry);
                            }
                            Entry::Gone => {
                                inventory.entries.remove(&key);
                            }
                        }
                        if let Some(attempt) = &mut memory.attempt {
                            attempt.outcomes.insert(key, outcome);
                        }
                    }
                    if lost {
                        self.end(memory, OperationPhase::Failed, None);
                        return;
                    }
                }
                Next::Wait(waiting) => {
                    let same_gate = attempt.waiting.first().map(|first| first.condition)
                        == waiting.first().map(|first| first.condition)
                        && !attempt.waiting.is_empty();
                    if !same_gate {
                        attempt.waiting_since = None;
                    }
                    attempt.waiting = waiting;
                    return;
                }
                Next::Failed => {
                    self.end(memory, OperationPhase::Failed, None);
                    return;
                }
                Next::Done => {
                    self.confirm_pruned(owner, memory).await;
                    self.end(memory, OperationPhase::Succeeded, None);
                    return;
                }
            }
        }
    }

    fn end(&self, memory: &mut Memory, phase: OperationPhase, failure: Option<Failure>) {
        let Some(attempt) = &mut memory.attempt else { return };
        attempt.phase = phase;
        attempt.waiting.clear();
        attempt.waiting_since = None;
        attempt.failure = failure;
        attempt.ended = Some(self.clock.now());
        info!(?phase, revision = %attempt.revision, "sync ends");
    }

    /// All that comes before the first write: the namespace, a trial on the server when the Application already runs,
    /// and the write-ahead record.
    async fn clear(
        &self,
        application: &Application,
        memory: &mut Memory,
        desired: &Arc<DesiredSet>,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let applies: Vec<Step> = plan.applies().cloned().collect();
        let heal = memory.attempt.as_ref().is_some_and(|attempt| attempt.heal);
        let runs_already = memory.inventory.as_ref().is_some_and(crate::model::Inventory::has_applied);
        // A single write is its own trial: there is nothing else that a refusal would leave half done.
        if runs_already && !heal && applies.len() > 1 {
            for (key, outcome) in self.trial(&applies, desired).await {
                if let Outcome::Failed { reason, message } = outcome {
                    return Err(Failure {
                        reason,
                        message: format!(
                            "{key} was refused in a trial on the server, so nothing was written: {message}"
                        ),
                    });
                }
            }
        }
        if !applies.is_empty() {
            self.ensure_namespace(application, desired).await?;
        }
        let grew = memory.inventory.get_or_insert_default().intend(applies.iter().map(|step| &step.key));
        if grew {
            self.write_ahead(application, memory).await?;
        }
        if let Some(attempt) = &mut memory.attempt {
            attempt.cleared = true;
        }
        Ok(())
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
    async fn trial(&self, steps: &[Step], desired: &DesiredSet) -> BTreeMap<ObjectKey, Outcome> {
        let objects =
            steps.iter().filter_map(|step| desired.objects.get(&step.key)).filter(|object| !object.kind_is_new);
        futures::stream::iter(objects.cloned().collect::<Vec<_>>())
            .map(|object| async move {
                let tried = self.applier.apply(&object.key, &object.gvk, object.body.clone(), Mode::DryRun, None).await;
                let outcome = match tried {
                    Ok(_) => Outcome::Unchanged,
                    Err(error) if error.reason == Reason::NamespaceNotFound => {
                        Outcome::Skipped { message: "its namespace does not exist yet".to_owned() }
                    }
                    Err(error) if error.message.contains("does not support dry run") => {
                        Outcome::Skipped { message: error.message }
                    }
                    Err(error) => failed(&object, &error),
                };
                (object.key.clone(), outcome)
            })
            .buffer_unordered(STEPS_IN_FLIGHT)
            .collect()
            .await
    }

    async fn try_out(&self, memory: &mut Memory, desired: &Arc<DesiredSet>, plan: &Plan) {
        let steps: Vec<Step> = plan.applies().cloned().collect();
        let outcomes = self.trial(&steps, desired).await;
        let refused = outcomes.values().any(|outcome| matches!(outcome, Outcome::Failed { .. }));
        if let Some(attempt) = &mut memory.attempt {
            attempt.outcomes = outcomes;
        }
        self.end(memory, if refused { OperationPhase::Failed } else { OperationPhase::Succeeded }, None);
    }

    async fn run(
        &self,
        steps: Vec<Step>,
        desired: &Arc<DesiredSet>,
        owner: &Owner,
        memory: &Memory,
        live: &crate::live::LiveView,
    ) -> Vec<Done> {
        let inventory = memory.inventory.as_ref();
        futures::stream::iter(steps)
            .map(|step| async move {
                let Step { key, action } = step;
                match action {
                    Action::Create | Action::Configure => match desired.objects.get(&key) {
                        Some(object) => {
                            let known = live.objects.get(&key).map(|record| record.resource_version);
                            self.apply_one(object, known).await
                        }
                        None => Done { key, outcome: Outcome::Unchanged, entry: Entry::Same },
                    },
                    Action::Prune { uid } => {
                        let recorded = inventory.and_then(|inventory| match inventory.entries.get(&key) {
                            Some(InventoryEntry::Applied { uid, .. }) => Some(uid.clone()),
                            Some(InventoryEntry::Intended) | None => None,
                        });
                        self.prune_one(key, owner, recorded.or(uid), Propagation::Foreground).await
                    }
                    Action::Keep | Action::AwaitGone => Done { key, outcome: Outcome::Unchanged, entry: Entry::Same },
                }
            })
            .buffer_unordered(STEPS_IN_FLIGHT)
            .collect()
            .await
    }

    async fn apply_one(&self, object: &Arc<DesiredObject>, known: Option<u64>) -> Done {
        let key = object.key.clone();
        if let Err(outcome) = self.await_kind(object).await {
            return Done { key, outcome, entry: Entry::Same };
        }
        let applied = self.applier.apply(&key, &object.gvk, object.body.clone(), Mode::Write, known).await;
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => {
                self.metrics.wrote(WriteVerb::Apply, WriteOutcome::Failed);
                let outcome = failed(object, &error);
                warn!(object = %key, outcome = outcome.as_str(), "step");
                return Done { key, outcome, entry: Entry::Same };
            }
        };
        let outcome = match applied.outcome {
            apply::Outcome::Created => Outcome::Created,
            apply::Outcome::Configured => Outcome::Configured,
            apply::Outcome::Unchanged => Outcome::Unchanged,
        };
        self.metrics.wrote(
            WriteVerb::Apply,
            match outcome {
                Outcome::Created => WriteOutcome::Created,
                Outcome::Unchanged => WriteOutcome::Unchanged,
                _ => WriteOutcome::Configured,
            },
        );
        info!(object = %key, outcome = outcome.as_str(), "step");
        let reduced = self.cache.reduce(&key.group_kind(), &applied.response);
        let owned = reduced.as_ref().and_then(|(_, record)| record.owned).unwrap_or(Hash64(0));
        if let Some((seen, record)) = reduced {
            self.cache.observe(seen, record);
        }
        let entry = InventoryEntry::Applied { uid: applied.uid, desired: object.hash, owned };
        Done { key, outcome, entry: Entry::Set(entry) }
    }

    /// Waits until the kind of an object that came with its definition is served and watched.
    async fn await_kind(&self, object: &DesiredObject) -> Result<(), Outcome> {
        if !object.kind_is_new {
            return Ok(());
        }
        let end = tokio::time::Instant::now() + DISCOVERY_LAG;
        while self.surface.current().resolve(&object.gvk).is_none() {
            if tokio::time::Instant::now() >= end {
                return Err(Outcome::Failed {
                    reason: Reason::KindNotFound,
                    message: format!(
                        "{}: the definition of {} is established and the API server still does not serve the kind",
                        object.origin, object.gvk
                    ),
                });
            }
            if self.surface.refresh(DISCOVERY_PAUSE).await.is_err()
                || self.surface.current().resolve(&object.gvk).is_none()
            {
                tokio::time::sleep(DISCOVERY_PAUSE).await;
            }
        }
        let kinds = std::iter::once(object.key.group_kind()).collect();
        self.cache
            .ensure(&kinds, DISCOVERY_LAG)
            .await
            .map_err(|error| Outcome::Failed { reason: error.reason, message: format!("{}: {error}", object.origin) })
    }

    async fn prune_one(&self, key: ObjectKey, owner: &Owner, uid: Option<String>, propagation: Propagation) -> Done {
        let uid = match uid {
            Some(uid) => uid,
            // It was about to be applied when the record was written: whether it exists only a live read can tell, and
            // the uid found there is what the delete is bound to.
            None => match self.applier.get_metadata(&key).await {
                Ok(None) => return Done { key, outcome: Outcome::Pruned { gone: true }, entry: Entry::Gone },
                Ok(Some(found)) => {
                    found.pointer("/metadata/uid").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
                }
                Err(error) => return prune_failed(key, &error),
            },
        };
        let proof = DeleteProof { owner: owner.clone(), uid: uid.clone() };
        match self.applier.delete(&key, &proof, propagation).await {
            Ok(Deleted::Requested) => {
                self.metrics.wrote(WriteVerb::Delete, WriteOutcome::Pruned);
                info!(object = %key, outcome = "pruned", "step");
                Done { key, outcome: Outcome::Pruned { gone: false }, entry: Entry::Same }
            }
            Ok(Deleted::AlreadyGone) => {
                self.cache.forget(&key, &uid);
                Done { key, outcome: Outcome::Pruned { gone: true }, entry: Entry::Gone }
            }
            Ok(Deleted::NotOurs(why)) => {
                warn!(object = %key, outcome = "skipped", %why, "step");
                let message = format!("it was left alone and is no longer recorded: {why}");
                Done { key, outcome: Outcome::Skipped { message }, entry: Entry::Gone }
            }
            Err(error) => {
                self.metrics.wrote(WriteVerb::Delete, WriteOutcome::Failed);
                prune_failed(key, &error)
            }
        }
    }

    /// Strikes pruned objects off the record once a live read finds them gone.
    pub(super) async fn confirm_pruned(&self, owner: &Owner, memory: &mut Memory) {
        let Some(attempt) = &memory.attempt else { return };
        let requested: Vec<ObjectKey> = attempt
            .outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Pruned { gone: false }))
            .map(|(key, _)| key.clone())
            .collect();
        if requested.is_empty() {
            return;
        }
        for key in requested {
            let gone = matches!(self.applier.get_metadata(&key).await, Ok(None));
            if gone {
                memory.inventory.get_or_insert_default().entries.remove(&key);
                if let Some(attempt) = &mut memory.attempt {
                    attempt.outcomes.insert(key, Outcome::Pruned { gone: true });
                }
            }
        }
        tracing::debug!(application = %owner.name, "pruned objects are confirmed gone");
    }

    /// Deletes objects of an Application that is being deleted. Returns what came of each.
    pub(super) async fn delete_all(
        &self,
        steps: Vec<Step>,
        owner: &Owner,
        memory: &mut Memory,
        propagation: Propagation,
    ) -> Vec<(ObjectKey, Outcome)> {
        let recorded =
            |key: &ObjectKey| match memory.inventory.as_ref().and_then(|inventory| inventory.entries.get(key)) {
                Some(InventoryEntry::Applied { uid, .. }) => Some(uid.clone()),
                Some(InventoryEntry::Intended) | None => None,
            };
        let steps: Vec<(ObjectKey, Option<String>)> = steps
            .into_iter()
            .map(|step| {
                let seen = match step.action {
                    Action::Prune { uid } => uid,
                    Action::Create | Action::Configure | Action::Keep | Action::AwaitGone => None,
                };
                let uid = recorded(&step.key).or(seen);
                (step.key, uid)
            })
            .collect();
        let done: Vec<Done> = futures::stream::iter(steps)
            .map(|(key, uid)| self.prune_one(key, owner, uid, propagation))
            .buffer_unordered(STEPS_IN_FLIGHT)
            .collect()
            .await;
        let inventory = memory.inventory.get_or_insert_default();
        done.into_iter()
            .map(|Done { key, outcome, entry }| {
                if matches!(entry, Entry::Gone) {
                    inventory.entries.remove(&key);
                }
                (key, outcome)
            })
            .collect()
    }
}

fn failed(object: &DesiredObject, error: &ApplyError) -> Outcome {
    Outcome::Failed {
        reason: error.reason,
        message: format!("{} `{}` ({}): {}", object.gvk.kind, object.key.name, object.origin, error.message),
    }
}

fn prune_failed(key: ObjectKey, error: &ApplyError) -> Done {
    let reason = if error.reason == Reason::ApplyFailed { Reason::PruneFailed } else { error.reason };
    let message = format!("{key} could not be deleted: {}", error.message);
    warn!(object = %key, outcome = "failed", %message, "step");
    Done { key, outcome: Outcome::Failed { reason, message }, entry: Entry::Same }
}

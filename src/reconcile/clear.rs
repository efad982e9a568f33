//! All that comes before the first write of an attempt: the trial on the server, the namespace, the write-ahead record.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::driver::Driver;
use super::memory::Memory;
use super::perform::{Work, apply_options};
use crate::api::{Application, OperationPhase};
use crate::apply::{ApplyError, Mode, NamespaceMetadata, TAKE_OVER_ANNOTATIONS, Trial, predecessors};
use crate::desired::DesiredObject;
use crate::live::LiveView;
use crate::model::{Inventory, ObjectKey, Owner, Phase};
use crate::plan::Outcome;
use crate::plan::{Action, Plan, Step, StepId};
use crate::preflight::{Change, PreflightReport, Refused, needed};
use crate::status::Failure;

/// How many refusals of a trial a message names.
const REFUSALS_SHOWN: usize = 3;

/// The field managers whose fields are taken over for an Application.
pub(super) fn take_over(application: &Application) -> Vec<String> {
    let annotations = application.metadata.annotations.as_ref();
    predecessors(
        TAKE_OVER_ANNOTATIONS.iter().filter_map(|name| annotations.and_then(|all| all.get(*name))).map(String::as_str),
    )
}

/// The steps that apply something.
fn applies(plan: &Plan) -> impl Iterator<Item = &Step> {
    super::carry_out::steps(plan).filter(|step| matches!(step.action, Action::Create | Action::Configure))
}

impl Driver {
    /// Makes an attempt ready for its first write, or says why nothing may be written.
    pub(super) async fn clear(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        live: &LiveView,
        plan: &Plan,
    ) -> Result<(), Failure> {
        let Some(attempt) = &memory.attempt else { return Ok(()) };
        let runs_already = memory.inventory.as_ref().is_some_and(Inventory::has_applied);
        let heal = attempt.choices.heal;
        let mode = application.spec.preflight.unwrap_or_default();
        if needed(mode, runs_already, heal, applies(plan).count()) {
            let report = self.trial(application, owner, memory, live, plan).await;
            let unverified = report
                .unverified
                .iter()
                .map(|found| (found.key.clone(), format!("not verified by admission: {}", found.why)));
            let unverified = unverified.collect();
            let refused = refusal_of(&report.refused, "so nothing was written");
            if let Some(attempt) = &mut memory.attempt {
                attempt.unverified = unverified;
            }
            if let Some(failure) = refused {
                return Err(failure);
            }
        }
        let writes: Vec<&Step> = applies(plan).collect();
        if !writes.is_empty() || super::carry_out::steps(plan).any(|step| matches!(step.action, Action::Hook { .. })) {
            self.make_namespace(application, owner, memory).await?;
        }
        // What waits for an old object to go is applied later, without another look at the record.
        let made = super::carry_out::steps(plan)
            .filter(|step| matches!(step.action, Action::Create | Action::Configure | Action::AwaitGone));
        let grew = memory.inventory.get_or_insert_default().intend(made.map(|step| &step.id.key));
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
    async fn make_namespace(&self, application: &Application, owner: &Owner, memory: &Memory) -> Result<(), Failure> {
        let Some(attempt) = &memory.attempt else { return Ok(()) };
        let Some(namespace) = created_namespace(application, attempt.choices.options.create_namespace) else {
            return Ok(());
        };
        if attempt.desired.objects.contains_key(&ObjectKey::new("", "Namespace", "", namespace)) {
            return Ok(());
        }
        let managed =
            application.spec.sync_policy.as_ref().and_then(|policy| policy.managed_namespace_metadata.as_ref());
        let wanted = managed.map_or_else(NamespaceMetadata::default, |managed| NamespaceMetadata {
            labels: managed.labels.clone(),
            annotations: managed.annotations.clone(),
        });
        self.destination.applier.ensure_namespace(namespace, owner, &wanted).await.map(|_| ()).map_err(
            |error: ApplyError| Failure {
                reason: error.reason,
                message: format!(
                    "the namespace `{namespace}` could not be made (CreateNamespace=true): {}",
                    error.message
                ),
            },
        )
    }

    /// Tries every apply on the server without writing.
    async fn trial(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &Memory,
        live: &LiveView,
        plan: &Plan,
    ) -> PreflightReport {
        let Some(attempt) = &memory.attempt else { return PreflightReport::default() };
        let options = &attempt.choices.options;
        let take_over = take_over(application);
        let work = Work {
            owner,
            desired: &attempt.desired,
            live,
            inventory: memory.inventory.as_ref(),
            options,
            propagation: options.prune_propagation.into(),
            deletes: false,
            attempt: &attempt.id,
            take_over: &take_over,
            respected: None,
            removed: None,
        };
        let written: Vec<&Arc<DesiredObject>> =
            applies(plan).filter_map(|step| attempt.desired.objects.get(&step.id.key)).collect();
        let hooks = super::carry_out::steps(plan).filter_map(|step| match step.action {
            Action::Hook { index } => attempt.desired.hooks.get(index).map(|hook| &hook.object),
            Action::Create | Action::Configure | Action::Keep | Action::AwaitGone | Action::Prune { .. } => None,
        });
        let trial = |object: &Arc<DesiredObject>, is_made_anew: bool| Trial {
            object: Arc::clone(object),
            options: apply_options(work, object, Mode::DryRun),
            skips_missing: object
                .options
                .skip_dry_run_on_missing_resource
                .unwrap_or(options.skip_dry_run_on_missing_resource),
            is_made_anew,
        };
        let trials =
            written.iter().map(|object| trial(object, false)).chain(hooks.map(|object| trial(object, true))).collect();
        let keys: std::collections::BTreeSet<&ObjectKey> = written.iter().map(|object| &object.key).collect();
        let change = Change::of(
            attempt.desired.objects.values().map(AsRef::as_ref),
            |key| keys.contains(key),
            created_namespace(application, options.create_namespace),
        );
        self.destination.applier.preflight(trials, &change).await
    }

    /// A dry run that a person asked for.
    pub(super) async fn try_out(&self, application: &Application, owner: &Owner, memory: &mut Memory, plan: &Plan) {
        let Some(attempt) = &memory.attempt else { return };
        let live = self.view_of(owner, memory, &attempt.desired, plan);
        let report = self.trial(application, owner, memory, &live, plan).await;
        let id = |key: &ObjectKey| StepId { phase: Phase::Sync, key: key.clone() };
        let mut outcomes: BTreeMap<StepId, Outcome> =
            applies(plan).map(|step| (step.id.clone(), Outcome::Unchanged)).collect();
        for found in &report.unverified {
            let message = format!("not verified by admission: {}", found.why);
            outcomes.insert(id(&found.key), Outcome::Skipped { message });
        }
        for Refused { key, reason, message } in &report.refused {
            outcomes.insert(id(key), Outcome::Failed { reason: *reason, message: message.clone() });
        }
        let refused = refusal_of(&report.refused, "in a dry run");
        let now = self.clock.now();
        if let Some(attempt) = &mut memory.attempt {
            attempt.progress.outcomes = outcomes;
            let phase = if refused.is_some() { OperationPhase::Failed } else { OperationPhase::Succeeded };
            attempt.end(phase, refused, now);
        }
    }
}

fn created_namespace(application: &Application, wanted: bool) -> Option<&str> {
    application.spec.destination.namespace.as_deref().filter(|name| wanted && !name.is_empty())
}

fn refusal_of(refused: &[Refused], what: &str) -> Option<Failure> {
    let first = refused.first()?;
    let shown: Vec<String> =
        refused.iter().take(REFUSALS_SHOWN).map(|found| format!("{}: {}", found.key, found.message)).collect();
    let more = refused.len().saturating_sub(REFUSALS_SHOWN);
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    Some(Failure {
        reason: first.reason,
        message: format!("refused in a trial on the server, {what}: {}{more}", shown.join("; ")),
    })
}

//! Doing what a plan's gates allow: each move is one act on one object, and its outcome.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use tracing::{info, warn};

use super::driver::Driver;
use crate::api::ExtraFields;
use crate::apply::{
    self, ApplyError, ApplyOptions, DeleteProof, Deleted, FieldsRemoved, Force, HookStart, Mode, Prediction,
    Propagation, Validation,
};
use crate::desired::{DesiredObject, DesiredSet, SyncOptions};
use crate::diff::{IgnoreRules, examine};
use crate::live::LiveView;
use crate::metrics::{WriteOutcome, WriteVerb};
use crate::model::{Hash64, Inventory, InventoryEntry, Marks, Owner, Reason};
use crate::plan::StepId;
use crate::plan::{Act, Move, Progress};
use crate::plan::{Outcome, hook_mark};
use crate::status::Failure;

/// Writes of one Application in flight; the applier's own limit is shared by all.
const STEPS_IN_FLIGHT: usize = 32;
/// How long discovery may lag behind a CustomResourceDefinition that is established.
const DISCOVERY_LAG: Duration = Duration::from_secs(15);
/// Pause between looks at discovery while it lags.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(200);
/// How long an object that is made again may take to go.
const RECREATE_LIMIT: Duration = Duration::from_mins(1);

/// What moves work with.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    /// Whose objects they are.
    pub(super) owner: &'a Owner,
    /// What is brought.
    pub(super) desired: &'a DesiredSet,
    /// What the cluster holds.
    pub(super) live: &'a LiveView,
    /// What was applied.
    pub(super) inventory: Option<&'a Inventory>,
    /// The options in force.
    pub(super) options: &'a SyncOptions,
    /// How deletes spread.
    pub(super) propagation: Propagation,
    /// Whether the Application is being deleted, so that all it owns goes.
    pub(super) deletes: bool,
    /// The attempt that hooks are marked with.
    pub(super) attempt: &'a str,
    /// Field managers whose fields are taken over.
    pub(super) take_over: &'a [String],
    /// Rules of differences that don't count, when a sync leaves such fields as they are.
    pub(super) respected: Option<&'a IgnoreRules>,
    /// Fields that people added are removed, but for those that these rules are about.
    pub(super) removed: Option<&'a IgnoreRules>,
}

/// What a move did, and what is to be remembered of it.
pub(super) struct Done {
    pub(super) id: StepId,
    pub(super) came: Came,
    pub(super) entry: Entry,
}

/// What came of a move.
pub(super) enum Came {
    /// An apply or a prune, with the generation that the API server answered.
    Outcome(Outcome, Option<i64>),
    /// A hook's object was made.
    HookStarted { uid: String },
    /// A hook's object of an earlier attempt stands in the way; what is seen of it decides what is done next.
    HookInTheWay,
    /// A hook's object is going, or gone.
    HookDeleted { uid: String },
    /// A hook's object is no longer held by us.
    HookReleased,
}

/// What is to be noted in the inventory.
pub(super) enum Entry {
    Same,
    Set(InventoryEntry),
    Gone,
}

impl Done {
    fn new(id: StepId, came: Came) -> Self {
        Self { id, came, entry: Entry::Same }
    }

    fn failed(id: StepId, reason: Reason, message: String) -> Self {
        Self::new(id, Came::Outcome(Outcome::Failed { reason, message }, None))
    }

    /// Whether it changed nothing, since what is seen of the cluster is older than what the API server has.
    pub(super) const fn is_ahead_of_the_view(&self) -> bool {
        matches!(self.came, Came::HookInTheWay)
    }

    /// Whether the lease was lost over it.
    pub(super) fn lost_lease(&self) -> bool {
        matches!(&self.came, Came::Outcome(Outcome::Failed { reason: Reason::LeaseLost, .. }, _))
    }

    /// Takes note of it.
    pub(super) fn note(self, progress: &mut Progress, inventory: &mut Inventory, now: Timestamp) {
        let Self { id, came, entry } = self;
        match entry {
            Entry::Same => {}
            Entry::Set(entry) => {
                inventory.entries.insert(id.key.clone(), entry);
            }
            Entry::Gone => {
                inventory.entries.remove(&id.key);
            }
        }
        match came {
            Came::Outcome(outcome, generation) => progress.note_outcome(&id, outcome, generation),
            Came::HookStarted { uid } => progress.note_hook_started(&id, uid, now),
            Came::HookInTheWay => {}
            Came::HookDeleted { uid } => progress.note_hook_deleted(&id, uid),
            Came::HookReleased => progress.note_hook_released(&id),
        }
    }
}

impl Driver {
    /// Makes moves, many at a time.
    pub(super) async fn perform(&self, work: Work<'_>, moves: Vec<Move>) -> Vec<Done> {
        futures::stream::iter(moves)
            .map(|Move { id, act }| async move {
                match act {
                    Act::Apply => self.apply_step(work, id).await,
                    Act::Prune { uid } => self.prune_step(work, id, uid).await,
                    Act::StartHook { index } => self.start_hook(work, id, index).await,
                    Act::DeleteHook { uid } => self.delete_hook(work, id, uid).await,
                    Act::ReleaseHook { uid } => self.release_hook(id, &uid).await,
                }
            })
            .buffer_unordered(STEPS_IN_FLIGHT)
            .collect()
            .await
    }

    async fn apply_step(&self, work: Work<'_>, id: StepId) -> Done {
        let Some(object) = work.desired.objects.get(&id.key) else {
            return Done::new(id, Came::Outcome(Outcome::Unchanged, None));
        };
        if let Err(outcome) = self.await_kind(object).await {
            return Done::new(id, Came::Outcome(outcome, None));
        }
        let body = match work.respected {
            None => object.body.clone(),
            Some(rules) => match self.respectful_body(object, rules).await {
                Ok((body, problems)) => {
                    for problem in problems {
                        warn!(object = %id.key, reason = %problem.reason, message = %problem.message, "a rule can't be carried out");
                    }
                    body
                }
                Err(error) => return Done::failed(id, error.reason, refusal(object, &error)),
            },
        };
        let options = apply_options(work, object, Mode::Write);
        let applied = match self.destination.applier.apply_with(&id.key, &object.gvk, body, &options).await {
            Ok(applied) => applied,
            Err(error) => {
                self.metrics.wrote(WriteVerb::Apply, WriteOutcome::Failed);
                warn!(object = %id.key, outcome = "failed", "step");
                return Done::failed(id, error.reason, refusal(object, &error));
            }
        };
        let applied = match self.without_extras(work, object, applied).await {
            Ok(applied) => applied,
            Err(error) => return Done::failed(id, error.reason, refusal(object, &error)),
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
        info!(object = %id.key, outcome = outcome.as_str(), "step");
        let reduced = self.destination.cache.reduce(&id.key.group_kind(), &applied.response);
        let owned = reduced.as_ref().and_then(|(_, record)| record.owned).unwrap_or(Hash64(0));
        if let Some((seen, record)) = reduced {
            self.destination.cache.observe(seen, record);
        }
        let entry = InventoryEntry::Applied { uid: applied.uid, desired: object.hash, owned };
        let generation = (applied.generation > 0).then_some(applied.generation);
        Done { id, came: Came::Outcome(outcome, generation), entry: Entry::Set(entry) }
    }

    /// Removes fields that people added, when that is wanted. They are looked for in what the apply has left: it may have
    /// moved the items of lists, and a place that was found before would be another's now.
    async fn without_extras(
        &self,
        work: Work<'_>,
        object: &DesiredObject,
        applied: apply::Applied,
    ) -> Result<apply::Applied, ApplyError> {
        let Some(rules) = work.removed else { return Ok(applied) };
        let reduced = self.destination.cache.reduce(&object.key.group_kind(), &applied.response);
        if reduced.is_none_or(|(_, record)| record.by_hand.is_none()) {
            return Ok(applied);
        }
        let predicted = self.destination.applier.predict(&object.key, &object.gvk, &object.body).await?;
        let Some(Prediction { live, predicted }) = predicted else { return Ok(applied) };
        let extras = examine(&object.key, &live, &predicted, rules, ExtraFields::Remove).extras;
        let fields: Vec<String> = extras.into_iter().map(|extra| extra.pointer).collect();
        let version = live.pointer("/metadata/resourceVersion").and_then(serde_json::Value::as_str);
        let Some(version) = version.and_then(|version| version.parse().ok()).filter(|_| !fields.is_empty()) else {
            return Ok(applied);
        };
        Ok(
            match self
                .destination
                .applier
                .remove_fields(&object.key, &object.gvk, &applied.uid, version, &fields)
                .await?
            {
                FieldsRemoved::Removed(after) => {
                    info!(object = %object.key, fields = fields.len(), "fields that people added are removed");
                    apply::Applied { outcome: apply::Outcome::Configured, ..*after }
                }
                // It changed meanwhile: it is looked at anew.
                FieldsRemoved::Changed | FieldsRemoved::Gone => applied,
            },
        )
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
        let is_namespaced = self.surface.current().resolve(&object.gvk).is_none_or(|info| info.namespaced);
        if is_namespaced == object.key.namespace.is_empty() {
            let scope = if is_namespaced { "namespaced" } else { "cluster-wide" };
            return Err(Outcome::Failed {
                reason: Reason::KindNotFound,
                message: format!(
                    "{}: the kind {} is {scope}, which was not known when the sync began; the next one goes by it",
                    object.origin, object.gvk
                ),
            });
        }
        let scope = BTreeSet::from([self.destination.scope_of(&object.key)]);
        self.ensure(&scope, DISCOVERY_LAG).await.map_err(|Failure { reason, message }| Outcome::Failed {
            reason,
            message: format!("{}: {message}", object.origin),
        })
    }

    async fn prune_step(&self, work: Work<'_>, id: StepId, seen: Option<String>) -> Done {
        let recorded = work.inventory.and_then(|inventory| match inventory.entries.get(&id.key) {
            Some(InventoryEntry::Applied { uid, .. }) => Some(uid.clone()),
            Some(InventoryEntry::Intended) | None => None,
        });
        if seen.is_none() && !work.deletes {
            return self.confirm_absent(work, id).await;
        }
        let uid = match recorded.or(seen) {
            Some(uid) => uid,
            // It was about to be applied when the record was written: whether it exists only a live read can tell, and
            // the uid found there is what the delete is bound to.
            None => match self.destination.applier.get_metadata(&id.key).await {
                Ok(None) => return gone(id),
                Ok(Some(found)) => {
                    found.pointer("/metadata/uid").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
                }
                Err(error) => return prune_failed(id, &error),
            },
        };
        // What an earlier sync left of a hook may still be held by the finalizer of hooks, which nobody else takes off.
        let is_hook = work.live.objects.get(&id.key).is_some_and(|record| record.hook_attempt.is_some());
        let deleted = if is_hook {
            self.destination.applier.delete_hook(&id.key, work.owner, &uid).await
        } else {
            let proof = DeleteProof { owner: work.owner.clone(), uid: uid.clone() };
            self.destination.applier.delete(&id.key, &proof, work.propagation).await
        };
        match deleted {
            Ok(Deleted::Requested) => {
                self.metrics.wrote(WriteVerb::Delete, WriteOutcome::Pruned);
                info!(object = %id.key, outcome = "pruned", "step");
                Done::new(id, Came::Outcome(Outcome::Pruned { gone: false }, None))
            }
            Ok(Deleted::AlreadyGone) => {
                self.destination.cache.forget(&id.key, &uid);
                gone(id)
            }
            Ok(Deleted::NotOurs(why)) => {
                warn!(object = %id.key, outcome = "skipped", %why, "step");
                let message = format!("it was left alone and is no longer recorded: {why}");
                Done { id, came: Came::Outcome(Outcome::Skipped { message }, None), entry: Entry::Gone }
            }
            Err(error) => {
                self.metrics.wrote(WriteVerb::Delete, WriteOutcome::Failed);
                prune_failed(id, &error)
            }
        }
    }

    /// Looks whether an object that is recorded and not seen is gone. Nothing is deleted: no switch and no consent was
    /// asked for an object that was not known to be there.
    async fn confirm_absent(&self, work: Work<'_>, id: StepId) -> Done {
        let found = match self.destination.applier.get_metadata(&id.key).await {
            Ok(None) => return gone(id),
            Ok(Some(found)) => found,
            Err(error) => return prune_failed(id, &error),
        };
        if !Marks::of(&found).prove(work.owner, &id.key) {
            let message =
                "it carries no marks of this Application any more; it was left alone and is no longer recorded";
            warn!(object = %id.key, outcome = "skipped", message, "step");
            let outcome = Outcome::Skipped { message: message.to_owned() };
            return Done { id, came: Came::Outcome(outcome, None), entry: Entry::Gone };
        }
        if found.pointer("/metadata/deletionTimestamp").is_some() {
            return Done::new(id, Came::Outcome(Outcome::Pruned { gone: false }, None));
        }
        let message = format!("{} is there although no watch shows it; the next sync decides about it anew", id.key);
        Done::failed(id, Reason::PruneFailed, message)
    }

    async fn start_hook(&self, work: Work<'_>, id: StepId, index: usize) -> Done {
        let Some(hook) = work.desired.hooks.get(index) else {
            return Done::failed(id, Reason::InternalError, "the hook is not part of the plan's set".to_owned());
        };
        if let Err(outcome) = self.await_kind(&hook.object).await {
            return Done::new(id, Came::Outcome(outcome, None));
        }
        let mark = hook_mark(work.attempt, id.phase);
        let body = hook.body_for(&id.key.name, &mark, work.owner);
        let validation = apply_options(work, &hook.object, Mode::Write).validation;
        match self.destination.applier.start_hook(&id.key, &hook.object.gvk, body, work.owner, validation).await {
            Ok(HookStart::Started(started) | HookStart::AlreadyStarted(started)) => {
                self.metrics.wrote(WriteVerb::Apply, WriteOutcome::Created);
                info!(object = %id.key, phase = %id.phase, "hook starts");
                if let Some((seen, record)) = self.destination.cache.reduce(&id.key.group_kind(), &started.response) {
                    self.destination.cache.observe(seen, record);
                }
                Done::new(id, Came::HookStarted { uid: started.uid })
            }
            Ok(HookStart::EarlierAttempt { .. }) => Done::new(id, Came::HookInTheWay),
            Ok(HookStart::NotOurs(why)) => {
                let message = format!("{} `{}` ({}): {why}", hook.object.gvk.kind, id.key.name, hook.object.origin);
                Done::failed(id, Reason::OwnedByOther, message)
            }
            Err(error) => {
                self.metrics.wrote(WriteVerb::Apply, WriteOutcome::Failed);
                Done::failed(id, error.reason, refusal(&hook.object, &error))
            }
        }
    }

    async fn delete_hook(&self, work: Work<'_>, id: StepId, uid: String) -> Done {
        match self.destination.applier.delete_hook(&id.key, work.owner, &uid).await {
            Ok(Deleted::Requested | Deleted::AlreadyGone) => {
                self.metrics.wrote(WriteVerb::Delete, WriteOutcome::Pruned);
                info!(object = %id.key, phase = %id.phase, "hook deleted");
                Done::new(id, Came::HookDeleted { uid })
            }
            Ok(Deleted::NotOurs(why)) => {
                Done::failed(id, Reason::OwnedByOther, format!("the hook was left alone: {why}"))
            }
            Err(error) => Done::failed(id, error.reason, format!("the hook could not be deleted: {}", error.message)),
        }
    }

    async fn release_hook(&self, id: StepId, uid: &str) -> Done {
        match self.destination.applier.release_hook(&id.key, uid).await {
            Ok(_) => Done::new(id, Came::HookReleased),
            Err(error) => Done::failed(id, error.reason, format!("the hook could not be released: {}", error.message)),
        }
    }
}

/// How an object is applied: its own options, else the Application's.
pub(super) fn apply_options(work: Work<'_>, object: &DesiredObject, mode: Mode) -> ApplyOptions {
    let (own, all) = (&object.options, work.options);
    let force = own.force.unwrap_or(all.force).then(|| Force {
        owner: work.owner.clone(),
        propagation: work.propagation,
        gone_within: RECREATE_LIMIT,
    });
    let validate = own.validate.unwrap_or(all.validate);
    let migrates = own.client_side_apply_migration.unwrap_or(all.client_side_apply_migration);
    ApplyOptions {
        mode,
        known_resource_version: work.live.objects.get(&object.key).map(|record| record.resource_version),
        validation: if validate { Validation::Strict } else { Validation::Ignore },
        replace: own.replace.unwrap_or(all.replace),
        force,
        take_over: if migrates { work.take_over.to_vec() } else { Vec::new() },
        // Whether an object that we have not seen is there, only the apply tells; a read before each creation would cost
        // more than the rare second change.
        look_first: false,
    }
}

/// A refusal as people read it: the kind, the name, the file, and what the API server said.
pub(super) fn refusal(object: &DesiredObject, error: &ApplyError) -> String {
    format!("{} `{}` ({}): {}", object.gvk.kind, object.key.name, object.origin, error.message)
}

fn gone(id: StepId) -> Done {
    Done { id, came: Came::Outcome(Outcome::Pruned { gone: true }, None), entry: Entry::Gone }
}

fn prune_failed(id: StepId, error: &ApplyError) -> Done {
    let reason = if error.reason == Reason::ApplyFailed { Reason::PruneFailed } else { error.reason };
    let message = format!("{} could not be deleted: {}", id.key, error.message);
    warn!(object = %id.key, outcome = "failed", %message, "step");
    Done::failed(id, reason, message)
}

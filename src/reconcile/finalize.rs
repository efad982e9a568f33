//! Deletion of an Application: what it owns goes in reverse order, each object after its own proof; then the finalizer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::driver::Driver;
use super::memory::Memory;
use crate::api::Application;
use crate::apply::Propagation;
use crate::live::LiveView;
use crate::model::{Consent, InventoryEntry, ObjectKey, Owner};
use crate::plan::{GateInput, Next, Outcome, Outcomes, Waiting, next, plan_deletion};
use crate::status::{Assessment, Failure};

/// Finalizers that ask for everything the Application owns to be deleted with it. Argo CD's are honoured too, so that a
/// manifest works after a change of its `apiVersion`; nobody else would ever remove them from our kind.
const FINALIZERS: [&str; 2] = ["tidelock.dev/resources-finalizer", "resources-finalizer.argocd.argoproj.io"];
const LIST_DEADLINE: Duration = Duration::from_mins(1);
/// Pause before a deletion that can't go on is tried again.
const RETRY: Duration = Duration::from_secs(15);

fn is_ours(finalizer: &str) -> bool {
    FINALIZERS
        .iter()
        .any(|ours| finalizer == *ours || finalizer.strip_prefix(ours).is_some_and(|rest| rest.starts_with('/')))
}

fn propagation(finalizers: &[String]) -> Propagation {
    let background = finalizers.iter().any(|finalizer| is_ours(finalizer) && finalizer.ends_with("/background"));
    if background { Propagation::Background } else { Propagation::Foreground }
}

impl Driver {
    /// Goes on with the deletion of an Application. Without a finalizer of ours nothing it owns is touched.
    pub(super) async fn finalize(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
    ) -> Option<Duration> {
        let finalizers = application.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| is_ours(finalizer)) {
            return None;
        }
        // Losing interest opens nothing, so it can't fail.
        let _ = self.sources.set_interest(&owner.name, None).await;
        memory.attempt = None;
        let dependents = self.dependencies.deletion_waits(&owner.name, application);
        if !dependents.is_empty() {
            let waiting: Vec<Waiting> = dependents
                .into_iter()
                .map(|waiting| Waiting {
                    key: waiting.key,
                    condition: waiting.condition,
                    message: format!("{}: {}", waiting.message, waiting.release),
                    reason: waiting.reason,
                })
                .collect();
            self.report(application, memory, Assessment::Deleting { waiting: &waiting, failure: None }).await;
            // The end of a dependent, or of its dependency, wakes it.
            return None;
        }
        match self.delete_owned(application, owner, memory, propagation(&finalizers)).await {
            Ok(true) => {
                let remaining: Vec<String> = finalizers.into_iter().filter(|finalizer| !is_ours(finalizer)).collect();
                match self.reporter.set_finalizers(application, &remaining).await {
                    Ok(()) => None,
                    Err(_) => Some(RETRY),
                }
            }
            // A live change wakes it; the pause is for what no watch shows.
            Ok(false) => Some(RETRY),
            Err(failure) => {
                self.report(application, memory, Assessment::Deleting { waiting: &[], failure: Some(&failure) }).await;
                Some(RETRY)
            }
        }
    }

    /// True when nothing is left that has to go.
    async fn delete_owned(
        &self,
        application: &Application,
        owner: &Owner,
        memory: &mut Memory,
        propagation: Propagation,
    ) -> Result<bool, Failure> {
        let kinds = self.served_kinds_of(memory.inventory.as_ref());
        self.use_kinds(&owner.name, &kinds);
        self.cache
            .ensure(&kinds, LIST_DEADLINE)
            .await
            .map_err(|error| Failure { reason: error.reason, message: error.to_string() })?;
        let view = |memory: &Memory| -> LiveView {
            let keys = memory.inventory.iter().flat_map(|inventory| inventory.entries.keys());
            self.cache.view(&owner.instance, keys)
        };
        let live = view(memory);
        let doomed =
            doomed(memory, &live, owner, |key| kinds.contains(&key.group_kind()) || live.objects.contains_key(key));
        let plan = plan_deletion(doomed, &live);
        let mut outcomes = Outcomes::new();
        loop {
            let live = view(memory);
            match next(GateInput { plan: &plan, outcomes: &outcomes, live: &live, gate_last_wave: false }) {
                Next::Run(steps) => {
                    outcomes.extend(self.delete_all(steps, owner, memory, propagation).await);
                }
                Next::Wait(waiting) => {
                    self.report(application, memory, Assessment::Deleting { waiting: &waiting, failure: None }).await;
                    return Ok(false);
                }
                Next::Failed => {
                    let failed = outcomes.values().find_map(|outcome| match outcome {
                        Outcome::Failed { reason, message } => {
                            Some(Failure { reason: *reason, message: message.clone() })
                        }
                        _ => None,
                    });
                    return Err(failed.unwrap_or(Failure {
                        reason: crate::model::Reason::DeletionBlocked,
                        message: "a delete failed".to_owned(),
                    }));
                }
                Next::Done => return Ok(true),
            }
        }
    }
}

/// Everything that goes with the Application, with the uid it was last seen with: what is recorded, and what carries
/// our proven marks; but not what its own annotations keep.
fn doomed(
    memory: &Memory,
    live: &LiveView,
    owner: &Owner,
    exists: impl Fn(&ObjectKey) -> bool,
) -> BTreeMap<ObjectKey, Option<String>> {
    let mut doomed: BTreeMap<ObjectKey, Option<String>> = BTreeMap::new();
    for (key, entry) in memory.inventory.iter().flat_map(|inventory| &inventory.entries) {
        let uid = match entry {
            InventoryEntry::Applied { uid, .. } => Some(uid.clone()),
            InventoryEntry::Intended => None,
        };
        doomed.insert(key.clone(), uid);
    }
    for (key, record) in &live.objects {
        if record.marks.prove(owner, key) {
            doomed.entry(key.clone()).or_insert_with(|| Some(record.uid.clone()));
        }
    }
    doomed.retain(|key, _| {
        exists(key) && !live.objects.get(key).is_some_and(|record| record.delete == Some(Consent::Refused))
    });
    doomed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_argo_cds_finalizers_are_known_with_their_propagation() {
        assert!(is_ours("tidelock.dev/resources-finalizer"));
        assert!(is_ours("resources-finalizer.argocd.argoproj.io/background"));
        assert!(!is_ours("example.com/tidelock.dev/resources-finalizer"));
        assert!(!is_ours("tidelock.dev/resources-finalizer-of-another"));
        assert_eq!(propagation(&["tidelock.dev/resources-finalizer".into()]), Propagation::Foreground);
        assert_eq!(propagation(&["tidelock.dev/resources-finalizer/background".into()]), Propagation::Background);
    }
}

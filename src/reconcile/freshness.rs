//! What was known of a source before it stopped answering, and how old its tips are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::location::SourceTarget;
use super::sources::Sources;
use super::tracker::{TargetState, Tracker, lock};
use crate::model::{Reason, Revision};
use crate::seal::Verified;
use crate::status::{Failure, Freshness, Tip, freshness};

impl Sources {
    /// The source has answered: records what it said, and dates it. A target that fails by itself keeps what was
    /// verified of it.
    pub(super) async fn remember(
        &self,
        tracker: &Tracker,
        mut found: BTreeMap<SourceTarget, TargetState>,
    ) -> BTreeMap<SourceTarget, TargetState> {
        let now = self.connections.now();
        {
            let mut state = lock(&tracker.state);
            state.reached = Some(now);
            state.answers = true;
        }
        let known = match self.recall_index(tracker).await {
            Ok(known) => known,
            Err(failure) => {
                warn!(reason = %failure.reason, message = %failure.message, "the source answers and is recorded anew");
                BTreeMap::new()
            }
        };
        let mut learnt = BTreeMap::new();
        for (target, state) in &mut found {
            let name = target.to_string();
            let before = known.get(&name);
            let Some(revision) = state.revision.clone() else {
                if let Some(before) = before {
                    self.take_from(tracker, state, before).await;
                }
                continue;
            };
            let same = before.filter(|before| before.revision == revision.as_str());
            let (tree, made) = match same {
                Some(before) => (before.tree.clone(), before.made),
                None => match facts(tracker, &revision).await {
                    Some(facts) => facts,
                    None => continue,
                },
            };
            state.made = made;
            let verified =
                Verified { revision: revision.to_string(), tree, reference: state.reference.clone(), seen: now, made };
            learnt.insert(name, verified);
        }
        let wanted: Vec<String> = lock(&tracker.state).wanted.keys().map(ToString::to_string).collect();
        tracker.verified.record(&self.store_key, learnt, |target| wanted.iter().any(|one| one == target), now).await;
        found
    }

    /// The source does not answer: what was verified of it stays in force. Returns also what to report of the source,
    /// which is the broken seal when there is one and nothing else is known.
    pub(super) async fn recall(
        &self,
        tracker: &Tracker,
        targets: &[SourceTarget],
        failure: &Failure,
    ) -> (BTreeMap<SourceTarget, TargetState>, Failure) {
        let recalled = self.recall_index(tracker).await;
        let in_memory = {
            let mut state = lock(&tracker.state);
            state.answers = false;
            let sealed = recalled.as_ref().ok().and_then(|known| known.values().map(|verified| verified.seen).max());
            state.reached = state.reached.max(sealed);
            state.targets.values().any(|target| target.revision.is_some())
        };
        let (known, failure) = match recalled {
            Ok(known) => (known, failure.clone()),
            // What this process has seen itself needs no seal.
            Err(_) if in_memory => (BTreeMap::new(), failure.clone()),
            Err(broken) => {
                let message = format!("{}. The source: {}", broken.message, failure.message);
                (BTreeMap::new(), Failure { reason: broken.reason, message })
            }
        };
        let mut found = BTreeMap::new();
        for target in targets {
            let mut state = TargetState { failure: Some(failure.clone()), ..TargetState::default() };
            if let Some(verified) = known.get(&target.to_string()) {
                self.take_from(tracker, &mut state, verified).await;
            }
            found.insert(target.clone(), state);
        }
        (found, failure)
    }

    async fn recall_index(&self, tracker: &Tracker) -> Result<BTreeMap<String, Verified>, Failure> {
        let store = Arc::clone(&tracker.store);
        let holds_content = move || store.tips().is_ok_and(|tips| !tips.is_empty());
        tracker.verified.recall(&self.store_key, holds_content).await
    }

    /// Takes a verified revision, if the store still holds it as it was.
    async fn take_from(&self, tracker: &Tracker, state: &mut TargetState, verified: &Verified) {
        let Ok(revision) = Revision::parse(&verified.revision) else { return };
        match facts(tracker, &revision).await {
            Some((tree, _)) if tree == verified.tree => {
                state.revision = Some(revision);
                state.reference.clone_from(&verified.reference);
                state.made = verified.made;
            }
            Some(_) | None => {
                warn!(%revision, "a verified revision is not in the store any more; it is fetched when the source answers");
            }
        }
    }

    /// Reports how old the tips of a source are: on its Repository, and as metrics.
    pub(super) async fn report_freshness(&self, tracker: &Tracker) {
        let (repository, stale, tips, reached) = {
            let state = lock(&tracker.state);
            let stale: Option<Vec<String>> =
                state.max_age.map(|_| state.targets.values().filter_map(|target| target.stale.clone()).collect());
            let tips: BTreeMap<String, Timestamp> =
                state.targets.iter().filter_map(|(target, known)| Some((target.to_string(), known.made?))).collect();
            (state.repository.clone(), stale, tips, state.reached)
        };
        let source = tracker.url.as_str();
        self.metrics.repository_is(source, reached, &tips);
        self.connections.report_freshness(source, repository.as_deref(), stale).await;
    }

    /// Nobody is interested in a source any more.
    pub(super) async fn forget_freshness(&self, tracker: &Tracker) {
        self.metrics.repository_gone(tracker.url.as_str());
        self.connections.report_freshness(tracker.url.as_str(), None, None).await;
    }

    /// The tips of an Application's sources that are older than they may be; `None` when none of its sources has a
    /// `maxAge`.
    pub(super) fn stale_of(&self, application: &str) -> Option<Vec<String>> {
        let states = self.states(application)?;
        let mut aged = states.iter().filter(|state| state.max_age.is_some()).peekable();
        aged.peek()?;
        let mut stale: Vec<String> = aged.filter_map(|state| state.stale.clone()).collect();
        stale.dedup();
        Some(stale)
    }
}

/// That the tip of a target is older than it may be.
pub(super) fn staleness(
    tracker: &Tracker,
    target: &SourceTarget,
    known: &TargetState,
    max_age: Option<Duration>,
    contact: (Option<Timestamp>, bool),
    now: Timestamp,
) -> Option<String> {
    let (revision, made) = (known.revision.as_ref()?, known.made?);
    let (target, (reached, answers)) = (target.to_string(), contact);
    let tip = Tip { source: tracker.url.as_str(), target: &target, revision: revision.short(), made, reached, answers };
    match freshness(tip, max_age?, now) {
        Freshness::Fresh => None,
        Freshness::Stale(sentence) => Some(sentence),
    }
}

/// The files and the time of a commit that is held.
async fn facts(tracker: &Tracker, revision: &Revision) -> Option<(String, Option<Timestamp>)> {
    let (store, revision) = (Arc::clone(&tracker.store), revision.clone());
    let looked = tokio::task::spawn_blocking(move || store.facts(&revision)).await;
    match looked {
        // Charts and artifacts that don't say when they were made are dated 1970.
        Ok(Ok(facts)) => facts.map(|facts| (facts.tree, facts.committed.filter(|made| made.as_second() != 0))),
        Ok(Err(error)) => {
            warn!(%error, "a commit can't be looked at");
            None
        }
        Err(_) => {
            warn!(reason = %Reason::InternalError, "looking at a commit panicked");
            None
        }
    }
}

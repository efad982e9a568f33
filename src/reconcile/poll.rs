//! One poll of a repository: asks where its targets are, fetches what is new, and tells the Applications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use super::access::Access;
use super::freshness::staleness;
use super::location::{SourceLocation, SourceTarget};
use super::sources::{Sources, failure_of};
use super::tracker::{TargetState, Tracker, lock};
use crate::git::{FetchLimits, GitError, Remote, RepositoryUrl, Target, ref_prefixes, resolve};
use crate::metrics::GitOperation;
use crate::model::{Hash64, Reason, Revision};
use crate::status::Failure;

impl Sources {
    /// Takes note of what a poll found and wakes whom it concerns.
    pub(super) fn publish(&self, tracker: &Tracker, number: u64, found: BTreeMap<SourceTarget, TargetState>) {
        let (mut asking, mut due) = (BTreeMap::new(), BTreeSet::new());
        let now = self.connections.now();
        {
            let mut state = lock(&tracker.state);
            if number < state.since {
                return;
            }
            let (max_age, contact) = (state.max_age, (state.reached, state.answers));
            let first = state.ended == 0;
            state.ended = number;
            for (target, mut new) in found {
                let Some(applications) = state.wanted.get(&target) else { continue };
                let old = state.targets.get(&target).cloned().unwrap_or_default();
                if new.revision.is_none() {
                    // A failure never takes the last good revision away.
                    new.revision.clone_from(&old.revision);
                }
                if new.made.is_none() && new.revision == old.revision {
                    new.made = old.made;
                }
                if new.reference.is_none() && new.revision == old.revision {
                    new.reference.clone_from(&old.reference);
                }
                new.max_age = max_age;
                new.stale = staleness(tracker, &target, &new, max_age, contact, now);
                if first || new != old {
                    due.extend(applications.keys().cloned());
                }
                state.targets.insert(target, new);
            }
            let asked = std::mem::take(&mut state.asked);
            let (answered, open) = asked.into_iter().partition(|(_, wanted)| *wanted <= number);
            state.asked = open;
            let answered: BTreeMap<String, u64> = answered;
            asking.extend(answered);
        }
        // Who asked comes before those that only have to find that nothing of theirs has changed.
        due.retain(|application| !asking.contains_key(application));
        for application in asking.keys().chain(&due) {
            self.queue.now(application);
        }
    }

    /// Asks a repository where these targets are.
    pub(super) async fn poll_once(
        &self,
        tracker: &Tracker,
        targets: &[SourceTarget],
    ) -> (BTreeMap<SourceTarget, TargetState>, Option<Duration>) {
        let _place = self.hosts.enter(&tracker.url.host()).await;
        self.metrics.polled();
        if tracker.asked.swap(false, Ordering::AcqRel) {
            self.access.forget_all_secrets();
            self.beside.forget_refusals();
        }
        let access = self.access.access(&tracker.url).await;
        let mut result = match access {
            Ok(access) => self.ask(tracker, access, targets).await,
            Err(failure) => Err((failure, None, None)),
        };
        // What was refused may have been rotated since it was read: one more attempt, if it was.
        if let Err((failure, _, Some(stale))) = &result
            && may_be_rotated(failure.reason)
        {
            self.access.forget_secrets(&stale.secrets).await;
            if let Ok(access) = self.access.access(&tracker.url).await
                && access.fingerprint != stale.fingerprint
            {
                result = self.ask(tracker, access, targets).await;
            }
        }
        match result {
            Ok((access, found)) => {
                self.connections.report(access.repository.as_deref(), access.proxy.as_deref(), None).await;
                (self.remember(tracker, found).await, None)
            }
            Err((failure, retry_after, access)) => {
                warn!(reason = %failure.reason, message = %failure.message, "the source can't be asked");
                let (repository, proxy) = access.map(|access| (access.repository, access.proxy)).unwrap_or_default();
                let repository = repository.or_else(|| self.access.repository_of(&tracker.url));
                let (found, failure_of_source) = self.recall(tracker, targets, &failure).await;
                self.connections.report(repository.as_deref(), None, Some(&failure_of_source)).await;
                self.connections.report(None, proxy.as_deref(), Some(&failure)).await;
                (found, retry_after)
            }
        }
    }

    async fn ask(&self, tracker: &Tracker, access: Access, targets: &[SourceTarget]) -> Result<Answer, Refusal> {
        {
            let mut state = lock(&tracker.state);
            state.repository.clone_from(&access.repository);
            state.max_age = access.max_age;
        }
        let url = match &tracker.url {
            SourceLocation::Git(url) => url,
            SourceLocation::Helm { .. } | SourceLocation::Registry { .. } => {
                return self.ask_for_artifacts(tracker, access, targets).await;
            }
        };
        let remote = {
            let mut state = lock(&tracker.state);
            match &state.remote {
                Some((fingerprint, remote)) if *fingerprint == access.fingerprint => Arc::clone(remote),
                _ => {
                    let remote = Arc::new(Remote::new(access.remote(url)));
                    state.remote = Some((access.fingerprint, Arc::clone(&remote)));
                    remote
                }
            }
        };
        tracker.store.set_limits(access.store_limits);
        let asked = self.resolve_and_fetch(tracker, url, &remote, targets, access.limits).await;
        self.connections.report_pieced(access.repository.as_deref(), url.as_str(), remote.pieced()).await;
        match asked {
            Ok(found) => Ok((access, found)),
            Err(error) => Err((failure_of(&error), error.retry_after, Some(access))),
        }
    }

    async fn resolve_and_fetch(
        &self,
        tracker: &Tracker,
        url: &RepositoryUrl,
        remote: &Remote,
        targets: &[SourceTarget],
        limits: FetchLimits,
    ) -> Result<BTreeMap<SourceTarget, TargetState>, GitError> {
        let host = &tracker.url.host();
        let targets = targets.iter().filter_map(|target| match target {
            SourceTarget::Git(target) => Some(target),
            // Of a git repository nothing else is ever wanted.
            SourceTarget::Chart { .. } | SourceTarget::Artifact { .. } => None,
        });
        let prefixes = ref_prefixes(targets.clone());
        let references = if prefixes.is_empty() {
            Vec::new()
        } else {
            let listed = remote.ls_refs(&prefixes).await;
            self.metrics.git_requested(host, GitOperation::ListRefs, listed.as_ref().err().map(|error| error.reason));
            listed?
        };
        let mut found = BTreeMap::new();
        let (mut seen, mut tags) = (BTreeSet::new(), BTreeSet::new());
        for target in targets {
            let state = match resolve(target, &references, url) {
                Ok(resolved) => {
                    // A commit is somebody's word: the server may not have it, and nobody else may suffer from that.
                    if !matches!(target, Target::Commit(_)) {
                        seen.insert(resolved.revision.clone());
                    }
                    tags.extend(resolved.tag);
                    TargetState {
                        revision: Some(resolved.revision),
                        reference: resolved.reference,
                        ..TargetState::default()
                    }
                }
                Err(error) => TargetState { failure: Some(failure_of(&error)), ..TargetState::default() },
            };
            found.insert(SourceTarget::Git(target.clone()), state);
        }
        self.fetch(tracker, remote, seen, tags, limits).await?;
        for (target, state) in &mut found {
            let SourceTarget::Git(Target::Commit(commit)) = target else { continue };
            match self.fetch(tracker, remote, BTreeSet::from([commit.clone()]), BTreeSet::new(), limits).await {
                Ok(()) => {}
                Err(error) if matches!(error.reason, Reason::RefNotFound | Reason::ServerError) => {
                    *state = TargetState { failure: Some(failure_of(&error)), ..TargetState::default() };
                }
                Err(error) => return Err(error),
            }
        }
        self.record_tips(tracker, &found).await?;
        Ok(found)
    }

    /// Fetches what of these commits and annotated tags is not in the store.
    async fn fetch(
        &self,
        tracker: &Tracker,
        remote: &Remote,
        commits: BTreeSet<Revision>,
        tags: BTreeSet<Revision>,
        limits: FetchLimits,
    ) -> Result<(), GitError> {
        let store = Arc::clone(&tracker.store);
        let (wants, tags): (Vec<Revision>, Vec<Revision>) = tokio::task::spawn_blocking(move || {
            let wants = commits.into_iter().filter(|revision| !store.has(revision).unwrap_or(false)).collect();
            (wants, tags.into_iter().filter(|tag| !store.has_tag(tag)).collect())
        })
        .await
        .unwrap_or_default();
        if wants.is_empty() && tags.is_empty() {
            return Ok(());
        }
        let host = &tracker.url.host();
        let fetched = remote.fetch_with_tags(&tracker.store, &wants, &tags, limits).await;
        self.metrics.git_requested(host, GitOperation::Fetch, fetched.as_ref().err().map(|error| error.reason));
        let statistics = fetched?;
        self.metrics.git_received(host, statistics.bytes);
        info!(bytes = statistics.bytes, objects = statistics.objects, "fetched");
        Ok(())
    }

    pub(super) async fn record_tips(
        &self,
        tracker: &Tracker,
        found: &BTreeMap<SourceTarget, TargetState>,
    ) -> Result<(), GitError> {
        let store = Arc::clone(&tracker.store);
        let tips: Vec<(String, Revision)> =
            found.iter().filter_map(|(target, state)| Some((tip_name(target), state.revision.clone()?))).collect();
        tokio::task::spawn_blocking(move || {
            for (name, revision) in &tips {
                store.record_tip(name, revision)?;
            }
            store.compact().map(|_| ())
        })
        .await
        .unwrap_or(Ok(()))
    }
}

/// Refusals that end when a password, an authority or a host key is replaced.
pub(super) fn may_be_rotated(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::AuthFailed
            | Reason::ProxyAuthRequired
            | Reason::TlsUntrusted
            | Reason::ProxyTlsUntrusted
            | Reason::HostKeyUntrusted
    )
}

pub(super) type Answer = (Access, BTreeMap<SourceTarget, TargetState>);
pub(super) type Refusal = (Failure, Option<Duration>, Option<Access>);

/// A target as a reference name of our own: a target may hold any character.
pub(super) fn tip_name(target: &SourceTarget) -> String {
    Hash64::of_bytes(target.to_string().as_bytes()).to_string()
}

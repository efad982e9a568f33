//! Whether the sources of an Application are signed as its project demands: checked between the pin of their revisions and
//! everything that is made of them. What is not signed never becomes what is wanted; the last revision that was stays in
//! force.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::driver::Driver;
use super::location::SourceLocation;
use super::produce::{Pinned, project_name};
use super::signatures::{digest_of, kept};
use super::trust::TrustedKeys;
use crate::api::{AppProjectSpec, Application, ApplicationSource};
use crate::desired::{about_source, source_label};
use crate::model::{Hash64, Reason, Revision};
use crate::status::Failure;
use crate::verify::{
    CommitInput, CosignKey, CosignLayer, CosignRequirement, GitRequirement, Moment, PolicyError, SignatureError,
    Verified, check_commit, cosign_requirement, git_requirement, verify_cosign,
};

/// Verdicts that are remembered. One takes about 200 bytes, and making one anew about a millisecond.
const MOST_VERDICTS: usize = 10_000;

/// What is known of signatures, for all Applications.
#[derive(Default)]
pub(super) struct Integrity {
    /// Good verdicts. A bad one is made anew each time: a tag may have come, and clocks go on.
    verdicts: Mutex<BTreeMap<Question, Verified>>,
    /// By store and name of the record: the last revision that was verified.
    recorded: Mutex<BTreeMap<(String, String), Revision>>,
}

/// What a verdict is about. Keys count by their generation.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    repository: String,
    revision: Revision,
    demand: Demand,
    keys: u64,
}

/// What a project demands of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Demand {
    /// A signed commit or tag.
    Commit(GitRequirement),
    /// A signed artifact.
    Artifact(CosignRequirement),
}

/// The sources at the revisions that may be used.
pub(super) struct Checked {
    /// As they were pinned, but for those that had to stay at the last revision that was verified.
    pub(super) pinned: Vec<Pinned>,
    /// Why one of them had to stay.
    pub(super) failure: Option<Failure>,
}

impl Driver {
    /// Verifies the sources. One that fails stays at the last revision that was verified, if `may_stay` and there is one
    /// that the keys of now still vouch for.
    ///
    /// # Errors
    /// `SignatureInvalid` when a source can't be used at all.
    pub(super) async fn verified(
        &self,
        application: &Application,
        sources: &[ApplicationSource],
        several: bool,
        mut pinned: Vec<Pinned>,
        may_stay: bool,
    ) -> Result<Checked, Failure> {
        let name = project_name(application);
        let Some(Ok(project)) = self.projects.get(name) else { return Err(no_project(name)) };
        let mut failure = None;
        for (index, (source, pinned)) in sources.iter().zip(&mut pinned).enumerate() {
            let labelled = |found: Failure| Failure {
                message: about_source(&source_label(sources, several, index), &found.message),
                ..found
            };
            let Some(demand) = demand(&project.spec, source, pinned).map_err(&labelled)? else { continue };
            let record = record_name(name, source);
            let last = self.last_verified(pinned, &record).await;
            let moment =
                if last.as_ref() == Some(&pinned.revision) { Moment::Known } else { Moment::New(self.clock.now()) };
            let judged = self.judge(pinned, &demand, moment).await.map_err(&labelled)?;
            if let Demand::Artifact(_) = demand
                && self.sources.demanded.note(&pinned.url, judged.is_ok())
                && judged.is_err()
            {
                // Nobody has asked for its signatures before.
                self.sources.poll(application.metadata.name.as_deref().unwrap_or_default());
            }
            let refused = match judged {
                Ok(_) => {
                    if last.as_ref() != Some(&pinned.revision) && may_stay {
                        self.record_verified(pinned, record).await;
                    }
                    continue;
                }
                Err(error) => labelled(failure_of(&error)),
            };
            warn!(url = %pinned.url, revision = %pinned.revision, message = %refused.message, "a revision is not used");
            let Some(last) = last.filter(|last| may_stay && *last != pinned.revision) else { return Err(refused) };
            let before = Pinned { revision: last, tag: None, ..pinned.clone() };
            match self.judge(&before, &demand, Moment::Known).await.map_err(&labelled)? {
                Ok(_) => *pinned = before,
                Err(error) => {
                    return Err(Failure {
                        message: format!(
                            "{}. The last revision that was verified is none any more: {error}",
                            refused.message
                        ),
                        ..refused
                    });
                }
            }
            failure = failure.or(Some(refused));
        }
        Ok(Checked { pinned, failure })
    }

    /// Whether the project demands signatures of any of an Application's sources.
    pub(super) fn demands_signatures(&self, application: &Application) -> Result<bool, Failure> {
        let name = project_name(application);
        let Some(Ok(project)) = self.projects.get(name) else { return Err(no_project(name)) };
        for source in application.spec.all_sources() {
            let located =
                self.sources.locate(source).map(|(location, _)| [location.as_str().to_owned(), location.to_string()]);
            let mut urls = vec![source.repo_url.as_str()];
            urls.extend(located.iter().flatten().map(String::as_str));
            let of_git = git_requirement(&project.spec, &urls).map_err(|error| failure_of_policy(&error))?;
            let of_artifacts = cosign_requirement(&project.spec, &urls).map_err(|error| failure_of_policy(&error))?;
            if of_git.is_some() || of_artifacts.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a source is signed as demanded.
    async fn judge(
        &self,
        pinned: &Pinned,
        demand: &Demand,
        moment: Moment,
    ) -> Result<Result<Verified, SignatureError>, Failure> {
        let trusted = self.trust.current();
        let question = Question {
            repository: pinned.url.as_str().to_owned(),
            revision: pinned.revision.clone(),
            demand: demand.clone(),
            keys: trusted.generation,
        };
        if let Some(known) = lock(&self.integrity.verdicts).get(&question) {
            return Ok(Ok(known.clone()));
        }
        let (pinned, demand) = (pinned.clone(), demand.clone());
        let looked = tokio::task::spawn_blocking(move || match &demand {
            Demand::Commit(requirement) => look_at_commit(&pinned, requirement, &trusted, moment),
            Demand::Artifact(requirement) => look_at_artifact(&pinned, requirement, &trusted),
        })
        .await;
        let verdict = looked.unwrap_or_else(|_| {
            Err(Failure { reason: Reason::InternalError, message: "verifying a signature panicked".to_owned() })
        })?;
        if let Ok(verified) = &verdict {
            info!(url = %question.repository, object = %verified.object, signer = %verified.signer, "the signature is good");
            let mut verdicts = lock(&self.integrity.verdicts);
            // Those of other keys answer no question any more.
            verdicts.retain(|known, _| known.keys == question.keys);
            if verdicts.len() >= MOST_VERDICTS {
                verdicts.clear();
            }
            verdicts.insert(question, verified.clone());
        }
        Ok(verdict)
    }

    /// The last revision that was verified, from the store when this process has not seen one.
    async fn last_verified(&self, pinned: &Pinned, record: &str) -> Option<Revision> {
        let place = (pinned.url.as_str().to_owned(), record.to_owned());
        if let Some(known) = lock(&self.integrity.recorded).get(&place) {
            return Some(known.clone());
        }
        let (store, name) = (Arc::clone(&pinned.store), record.to_owned());
        let found = tokio::task::spawn_blocking(move || store.tips().ok()?.remove(&name)).await.ok().flatten()?;
        lock(&self.integrity.recorded).insert(place, found.clone());
        Some(found)
    }

    async fn record_verified(&self, pinned: &Pinned, record: String) {
        let (store, revision, name) = (Arc::clone(&pinned.store), pinned.revision.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || store.record_tip(&name, &revision)).await;
        if let Ok(Err(error)) = written {
            warn!(%error, "which revision was verified can't be recorded; after a restart none is known");
        }
        lock(&self.integrity.recorded).insert((pinned.url.as_str().to_owned(), record), pinned.revision.clone());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the project demands of a source, by the text of the Application and by the canonical form of it.
fn demand(project: &AppProjectSpec, source: &ApplicationSource, pinned: &Pinned) -> Result<Option<Demand>, Failure> {
    let urls = [source.repo_url.as_str(), pinned.url.as_str()];
    let found = match &pinned.url {
        SourceLocation::Git(_) => git_requirement(project, &urls).map(|found| found.map(Demand::Commit)),
        SourceLocation::Registry { .. } => cosign_requirement(project, &urls).map(|found| found.map(Demand::Artifact)),
        // Nothing signs a chart of a Helm repository in a way that is supported, and no policy can name one.
        SourceLocation::Helm { .. } => Ok(None),
    };
    found.map_err(|error| failure_of_policy(&error))
}

/// Judges an artifact by the signatures that are kept of it.
fn look_at_artifact(
    pinned: &Pinned,
    requirement: &CosignRequirement,
    trusted: &TrustedKeys,
) -> Result<Result<Verified, SignatureError>, Failure> {
    let failed = |message: String| Failure { reason: Reason::StoreFailed, message };
    let Some(digest) = digest_of(&pinned.store, &pinned.revision) else {
        return Err(failed(format!(
            "which artifact {} was made from is not known; it has to be fetched",
            pinned.revision
        )));
    };
    let signatures = kept(&pinned.store, &digest)
        .map_err(|why| failed(format!("the signatures that are kept of {digest} can't be read: {why}")))?
        .unwrap_or_default();
    let layers: Vec<CosignLayer<'_>> = signatures
        .iter()
        .map(|(payload, signature)| CosignLayer { payload, signature, has_certificate: false })
        .collect();
    let keys: Vec<CosignKey> = requirement.keys.iter().filter_map(|name| trusted.cosign.get(name).cloned()).collect();
    Ok(verify_cosign(&digest, &layers, &keys))
}

/// Reads a commit with its tags, and judges it.
fn look_at_commit(
    pinned: &Pinned,
    requirement: &GitRequirement,
    trusted: &TrustedKeys,
    moment: Moment,
) -> Result<Result<Verified, SignatureError>, Failure> {
    let failed = |error: crate::git::GitError| Failure { reason: error.reason, message: error.to_string() };
    let revision = &pinned.revision;
    let Some(commit) = pinned.store.raw_commit(revision).map_err(failed)? else {
        return Err(Failure {
            reason: Reason::StoreFailed,
            message: format!("commit {revision} is not in the object store; it has to be fetched"),
        });
    };
    let tags = pinned.store.raw_tags(revision).map_err(failed)?;
    let input = CommitInput { revision: revision.as_str(), commit: &commit, tags: &tags };
    Ok(check_commit(input, requirement, &trusted.git, moment))
}

/// Projects don't share what was verified: what one accepts, another may not.
fn record_name(project: &str, source: &ApplicationSource) -> String {
    let wanted = format!(
        "{project}\n{}\n{}\n{}",
        source.target_revision.as_deref().unwrap_or_default(),
        source.tag_prefix.as_deref().unwrap_or_default(),
        source.chart.as_deref().unwrap_or_default()
    );
    format!("verified-{}", Hash64::of_bytes(wanted.as_bytes()))
}

fn failure_of(error: &SignatureError) -> Failure {
    Failure { reason: Reason::SignatureInvalid, message: error.to_string() }
}

fn failure_of_policy(error: &PolicyError) -> Failure {
    let reason = if error.is_unsupported() { Reason::UnsupportedField } else { Reason::SignatureInvalid };
    Failure { reason, message: error.to_string() }
}

fn no_project(name: &str) -> Failure {
    Failure {
        reason: Reason::ReferenceNotFound,
        message: format!("the AppProject `{name}` is not there, so what it demands of its sources is not known"),
    }
}

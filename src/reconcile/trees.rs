//! What the trees of sources are made of besides their commits: submodules and LFS contents, brought when a render asks
//! for them.
//!
//! ```text
//! render ─► Lacking ─► Sources::bring ─► submodules, lfs ─► Trees ─► render again
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::sources::Sources;
use super::tree_options::{SubmoduleChoice, TreeOptions};
use crate::desired::ProjectRules;
use crate::git::{GitError, Lacking, LfsMode, Mount, Mounted, RepositoryUrl, Snapshot, SnapshotLimits, Store};
use crate::model::{Hash64, Reason, Revision};
use crate::status::Failure;

/// How often a render may ask for more. Each time everything is brought that was asked for; a kustomization that names
/// another, in a submodule of a submodule, takes one more each.
pub(super) const MOST_ROUNDS: usize = 16;

/// How long credentials that were refused are not tried again, when nobody has changed them. Shorter than the pause
/// between polls.
const REFUSAL_HOLDS: Duration = Duration::from_secs(50);

/// How long any other failure is told again instead of being tried again: whoever waits for a host that does not answer
/// holds a worker, and must not pass it on to the next Application with the same wish.
const FAILURE_HOLDS: Duration = Duration::from_secs(20);

/// The trees of an Application's sources. Sources at one commit share theirs.
#[derive(Clone, Default)]
pub(super) struct Trees {
    trees: BTreeMap<(RepositoryUrl, Revision), Tree>,
}

/// One commit with what is mounted in it.
#[derive(Clone)]
pub(super) struct Tree {
    pub(super) options: TreeOptions,
    pub(super) store: Arc<Store>,
    pub(super) mounts: BTreeMap<String, Mounting>,
}

/// A submodule that is there.
#[derive(Clone)]
pub(super) struct Mounting {
    pub(super) url: RepositoryUrl,
    pub(super) store: Arc<Store>,
    pub(super) options: TreeOptions,
    /// Submodules around it.
    pub(super) depth: usize,
    pub(super) snapshot: Arc<Snapshot>,
}

/// What a source's tree lacks.
pub(super) type Wants = BTreeMap<(RepositoryUrl, Revision), BTreeSet<Lacking>>;

fn lfs_mode(options: &TreeOptions, store: &Store) -> LfsMode {
    if options.lfs { LfsMode::On(store.lfs()) } else { LfsMode::Off }
}

impl Trees {
    /// Takes a source in.
    pub(super) fn add(&mut self, url: &RepositoryUrl, revision: &Revision, store: &Arc<Store>, options: TreeOptions) {
        let tree = || Tree { options, store: Arc::clone(store), mounts: BTreeMap::new() };
        self.trees.entry((url.clone(), revision.clone())).or_insert_with(tree);
    }

    pub(super) fn tree_mut(&mut self, url: &RepositoryUrl, revision: &Revision) -> Option<&mut Tree> {
        self.trees.get_mut(&(url.clone(), revision.clone()))
    }

    /// The files of a source as its render sees them. Blocking.
    pub(super) fn open(&self, url: &RepositoryUrl, revision: &Revision, store: &Store) -> Result<Mounted, GitError> {
        let snapshot = Arc::new(store.snapshot(revision, SnapshotLimits::default())?);
        let Some(tree) = self.trees.get(&(url.clone(), revision.clone())) else {
            return Ok(Mounted::plain(Mount { snapshot, lfs: LfsMode::Off }));
        };
        let root = Mount { snapshot, lfs: lfs_mode(&tree.options, store) };
        if tree.options.submodules == SubmoduleChoice::LeftOut {
            return Ok(Mounted::plain(root));
        }
        let mounts = tree.mounts.iter().map(|(path, mounting)| {
            let snapshot = Arc::clone(&mounting.snapshot);
            (path.clone(), Mount { snapshot, lfs: lfs_mode(&mounting.options, &mounting.store) })
        });
        Ok(Mounted::with_submodules(root, mounts.collect()))
    }
}

/// What several reconciles share when they bring what lies beside commits.
#[derive(Default)]
pub(super) struct Beside {
    /// One at a time for each repository: who comes second finds what the first brought.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Credentials that were refused, by repository and fingerprint of its access.
    refused: Mutex<BTreeMap<String, (Hash64, Instant, Failure)>>,
}

impl Beside {
    /// Waits for the turn to ask a repository.
    pub(super) async fn turn(&self, url: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(url.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// The refusal that still holds for a repository that is reached like this.
    pub(super) fn refusal(&self, url: &str, access: Hash64) -> Option<Failure> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (fingerprint, at, failure) = refused.get(url)?;
        let holds = if super::poll::may_be_rotated(failure.reason) { REFUSAL_HOLDS } else { FAILURE_HOLDS };
        (*fingerprint == access && at.elapsed() < holds).then(|| failure.clone())
    }

    /// Takes note of an answer.
    pub(super) fn answered(&self, url: &str, access: Hash64, failure: Option<&Failure>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match failure.filter(|failure| is_of_the_way(failure.reason)) {
            Some(failure) => refused.insert(url.to_owned(), (access, Instant::now(), failure.clone())),
            None => refused.remove(url),
        };
    }

    /// Tries again what was refused: somebody has asked for it.
    pub(super) fn forget_refusals(&self) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Whether a failure says something about the way to a repository, not about what was asked for there.
fn is_of_the_way(reason: Reason) -> bool {
    super::poll::may_be_rotated(reason)
        || matches!(
            reason,
            Reason::EgressDenied
                | Reason::DnsFailed
                | Reason::ConnectTimeout
                | Reason::ConnectFailed
                | Reason::ProxyUnreachable
                | Reason::ProxyForbidden
                | Reason::ProxyUpstreamFailed
                | Reason::ProxyUnavailable
                | Reason::ProxyFailed
                | Reason::TlsFailed
                | Reason::BlockedByProxy
                | Reason::ServerError
                | Reason::ServerSilent
                | Reason::Stalled
                | Reason::ConnectionCut
        )
}

impl Sources {
    /// Brings what trees lack.
    pub(super) async fn bring(&self, trees: &mut Trees, wants: Wants, project: &ProjectRules) -> Result<(), Failure> {
        for ((url, revision), lacking) in wants {
            let tree = trees.tree_mut(&url, &revision).ok_or_else(|| Failure {
                reason: Reason::InternalError,
                message: format!("{url}: something is lacking of a tree that nobody has opened"),
            })?;
            let (mut submodules, mut contents) = (Vec::new(), BTreeMap::new());
            for lacking in lacking {
                match lacking {
                    Lacking::Submodule { path, within, revision } => submodules.push((path, within, revision)),
                    Lacking::Content { path, within, pointer } => {
                        contents.entry(within).or_insert_with(Vec::new).push((path, pointer));
                    }
                }
            }
            for (path, within, commit) in submodules {
                self.mount(&url, &revision, tree, (&path, &within, &commit), project).await?;
            }
            for (within, files) in contents {
                let (of, store) = match tree.mounts.get(&within) {
                    Some(mounting) => (&mounting.url, &mounting.store),
                    None => (&url, &tree.store),
                };
                self.fetch_contents(of, store, &files).await?;
            }
        }
        Ok(())
    }
}

/// Runs what blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Failure { reason: Reason::InternalError, message: format!("reading a tree ended early: {error}") })
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn failure(reason: Reason) -> Failure {
        Failure { reason, message: "no".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_credentials_are_not_shown_again_until_they_change_or_somebody_asks() {
        let (beside, url) = (Beside::default(), "https://h/x");
        let (access, changed) = (Hash64(1), Hash64(2));
        let holds = |access| beside.refusal(url, access).map(|failure| failure.reason);
        beside.answered(url, access, Some(&failure(Reason::AuthFailed)));
        assert_eq!((holds(access), holds(changed)), (Some(Reason::AuthFailed), None));
        tokio::time::advance(REFUSAL_HOLDS.saturating_sub(Duration::from_secs(1))).await;
        assert_eq!(holds(access), Some(Reason::AuthFailed));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(holds(access), None);
        beside.answered(url, access, Some(&failure(Reason::AuthFailed)));
        beside.forget_refusals();
        assert_eq!(holds(access), None);
        beside.answered(url, access, Some(&failure(Reason::AuthFailed)));
        beside.answered(url, access, None);
        assert_eq!(holds(access), None);
        // A host that does not answer is left alone for a while; what it does not have says nothing about what it has.
        beside.answered(url, access, Some(&failure(Reason::ConnectTimeout)));
        assert_eq!(holds(access), Some(Reason::ConnectTimeout));
        tokio::time::advance(FAILURE_HOLDS).await;
        assert_eq!(holds(access), None);
        beside.answered(url, access, Some(&failure(Reason::RefNotFound)));
        assert_eq!(holds(access), None);
    }

    #[tokio::test]
    async fn one_at_a_time_asks_a_repository_and_others_are_not_held_up() {
        let beside = Beside::default();
        let turn = beside.turn("https://h/x").await;
        let _other = beside.turn("https://h/y").await;
        let second = beside.turn("https://h/x");
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none());
        drop(turn);
        second.await;
    }
}

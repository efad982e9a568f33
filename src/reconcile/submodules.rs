//! Fetches a submodule's commit and mounts it: by the access of its own URL, at exactly the commit that the tree names.

use std::sync::Arc;

use tracing::info;

use super::access::Access;
use super::sources::{Sources, failure_of};
use super::tree_options::SubmoduleChoice;
use super::trees::{Mounting, Tree, blocking};
use crate::desired::ProjectRules;
use crate::git::{GITMODULES, Remote, RepositoryUrl, SnapshotLimits, Store, Submodules};
use crate::metrics::GitOperation;
use crate::model::{Files as _, Reason, Revision};
use crate::status::Failure;

/// Submodules in submodules.
const DEEPEST: usize = 4;

/// Submodules of one source.
const MOST_SUBMODULES: usize = 32;

impl Sources {
    /// Brings the submodule at a path (`path`, the path of the repository around it, its commit) of the tree of a source.
    pub(super) async fn mount(
        &self,
        root: &RepositoryUrl,
        revision: &Revision,
        tree: &mut Tree,
        (path, within, commit): (&str, &str, &Revision),
        project: &ProjectRules,
    ) -> Result<(), Failure> {
        let around = tree.mounts.get(within).cloned();
        let failed = |message: String| Failure {
            reason: Reason::SubmoduleFailed,
            message: format!("{root}: submodule `{path}`: {message}"),
        };
        if tree.options.submodules == SubmoduleChoice::Unsaid {
            return Err(Failure {
                reason: Reason::SubmoduleFailed,
                message: format!(
                    "{root}: `{path}` is a submodule, and the files that are rendered lead there; say in the Repository that covers \
                     {root} what becomes of submodules: `submodules.enabled: true` fetches them, `false` leaves them empty"
                ),
            });
        }
        let depth = around.as_ref().map_or(0, |around| around.depth + 1);
        if depth >= DEEPEST {
            return Err(failed(format!("it lies in {DEEPEST} other submodules; no deeper one is followed")));
        }
        if tree.mounts.len() >= MOST_SUBMODULES {
            return Err(failed(format!(
                "more than {MOST_SUBMODULES} submodules are needed; name their repositories as sources"
            )));
        }
        let (parent, store, at) = match around {
            Some(around) => (around.url, around.store, around.snapshot.revision().clone()),
            None => (root.clone(), Arc::clone(&tree.store), revision.clone()),
        };
        let listed = blocking(move || {
            let snapshot = store.snapshot(&at, SnapshotLimits::default()).map_err(|error| failure_of(&error))?;
            snapshot.read(GITMODULES).map_err(|error| Failure {
                reason: Reason::SubmoduleFailed,
                message: format!("`{GITMODULES}` can't be read: {}", error.problem),
            })
        });
        let listed = listed.await.map_err(|failure| about(failure, root, path))?;
        let inner = path.strip_prefix(within).unwrap_or(path).trim_start_matches('/');
        let submodules =
            Submodules::parse(listed.as_deref().unwrap_or_default()).map_err(|error| failed(error.to_string()))?;
        let url = submodules.url(inner, &parent).map_err(|error| failed(error.to_string()))?;
        if !tree.options.allows(&url, root) {
            return Err(failed(format!(
                "its repository {url} lies on the host {}, which is not allowed; add it to submodules.allowedHosts of the \
                 Repository that covers {root}",
                url.host()
            )));
        }
        project.permits_source(url.as_str(), &url.spellings()).map_err(|denied| Failure {
            reason: Reason::NotPermitted,
            message: format!("{root}: submodule `{path}`: {denied}"),
        })?;
        let options = self.access.tree_options(&url)?;
        let store = self.fetch_commit(&url, commit).await.map_err(|failure| about(failure, root, path))?;
        let (opened, commit) = (Arc::clone(&store), commit.clone());
        let snapshot =
            blocking(move || opened.snapshot(&commit, SnapshotLimits::default()).map_err(|error| failure_of(&error)));
        let snapshot = Arc::new(snapshot.await.map_err(|failure| about(failure, root, path))?);
        tree.mounts.insert(path.to_owned(), Mounting { url, store, options, depth, snapshot });
        Ok(())
    }

    /// A repository's store with a commit in it.
    async fn fetch_commit(&self, url: &RepositoryUrl, commit: &Revision) -> Result<Arc<Store>, Failure> {
        let _turn = self.beside.turn(url.as_str()).await;
        let store = self.open(&url.into()).await?;
        let (held, wanted) = (Arc::clone(&store), commit.clone());
        if blocking(move || held.has(&wanted).map_err(|error| failure_of(&error))).await? {
            return Ok(store);
        }
        let access = self.access.access(url).await?;
        if let Some(refusal) = self.beside.refusal(url.as_str(), access.fingerprint) {
            return Err(refusal);
        }
        let remote = Remote::new(access.remote(url));
        let fetched = remote.fetch(&store, std::slice::from_ref(commit), access.limits).await;
        self.metrics.git_requested(&url.host(), GitOperation::Fetch, fetched.as_ref().err().map(|error| error.reason));
        let failure = fetched.as_ref().err().map(failure_of);
        self.after(url, &access, failure.as_ref()).await;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if let Ok(statistics) = fetched {
            self.metrics.git_received(&url.host(), statistics.bytes);
            info!(repository = %url, %commit, bytes = statistics.bytes, "fetched a submodule");
        }
        let kept = Arc::clone(&store);
        blocking(move || kept.compact().map(|_| ()).map_err(|error| failure_of(&error))).await?;
        Ok(store)
    }

    /// Takes note of how a repository answered, and reports on it where no poll does.
    pub(super) async fn after(&self, url: &RepositoryUrl, access: &Access, failure: Option<&Failure>) {
        self.beside.answered(url.as_str(), access.fingerprint, failure);
        if failure.is_some_and(|failure| super::poll::may_be_rotated(failure.reason)) {
            // The next attempt reads them anew.
            self.access.forget_secrets(&access.secrets).await;
        }
        if let Some(repository) = access.repository.as_deref()
            && !self.is_polled(repository)
        {
            self.connections.report(Some(repository), None, failure).await;
        }
    }
}

fn about(mut failure: Failure, root: &RepositoryUrl, path: &str) -> Failure {
    failure.message = format!("{root}: submodule `{path}`: {}", failure.message);
    failure
}

//! Fetches the contents of LFS files that a render asked for.

use std::sync::Arc;

use tracing::info;

use super::sources::{Sources, failure_of};
use crate::git::{LfsClient, LfsConfig, LfsLimits, LfsPointer, RepositoryUrl, Store};
use crate::metrics::GitOperation;
use crate::status::Failure;

impl Sources {
    /// Brings the contents of files (path and pointer) of a repository into the directory beside its store.
    pub(super) async fn fetch_contents(
        &self,
        url: &RepositoryUrl,
        store: &Arc<Store>,
        files: &[(String, LfsPointer)],
    ) -> Result<(), Failure> {
        let _turn = self.beside.turn(url.as_str()).await;
        let about = |failure: Failure| {
            let more = files.len().saturating_sub(1);
            let first = files.first().map(|(path, _)| path.as_str()).unwrap_or_default();
            let named = if more == 0 { format!("`{first}`") } else { format!("`{first}` and {more} more LFS files") };
            Failure { message: format!("{named}: {}", failure.message), ..failure }
        };
        let access = self.access.access(url).await.map_err(about)?;
        if let Some(refusal) = self.beside.refusal(url.as_str(), access.fingerprint) {
            return Err(about(refusal));
        }
        let client = LfsClient::new(LfsConfig {
            url: url.clone(),
            egress: access.egress.clone(),
            route: access.route.clone(),
            authorization: access.authorization.clone(),
            identity: access.identity.clone(),
            ca: access.ca.clone(),
            timeouts: access.timeouts.clone(),
        });
        let pointers: Vec<LfsPointer> = files.iter().map(|(_, pointer)| pointer.clone()).collect();
        let fetched = client.fetch(&pointers, &store.lfs(), LfsLimits { bytes: access.limits.bytes }).await;
        let failure = fetched.as_ref().err().map(failure_of);
        self.metrics.git_requested(&url.host(), GitOperation::Fetch, failure.as_ref().map(|failure| failure.reason));
        self.after(url, &access, failure.as_ref()).await;
        if let Some(failure) = failure {
            return Err(about(failure));
        }
        if let Ok(bytes) = fetched {
            self.metrics.git_received(&url.host(), bytes);
            info!(repository = %url, files = files.len(), bytes, "fetched LFS files");
        }
        Ok(())
    }
}

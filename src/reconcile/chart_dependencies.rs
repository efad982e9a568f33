//! Charts that other charts depend on: brought when a render asks for them, each by the rules of its own repository, and
//! kept in that repository's store, so that a restart needs none of them again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::info;

use super::access::Access;
use super::location::SourceLocation;
use super::poll::may_be_rotated;
use super::poll_artifacts::{failure_of_artifact, fetch_artifact, helm_repository, registry, resolve};
use super::sources::Sources;
use super::vouchers::Vouchers;
use crate::artifacts::{
    ARCHIVE, ArtifactError, Digest, HelmRepositoryUrl, RegistryReference, UnpackLimits, choose_chart, is_range,
    keep_archive, version_of_tag,
};
use crate::desired::ProjectRules;
use crate::git::{ImportNote, SnapshotLimits, Store};
use crate::model::{Files as _, Hash64, Reason, Revision};
use crate::render::{ChartArchive, ChartArchives, ChartDependency};
use crate::status::Failure;

/// What sources lack, by the place of the source.
pub(super) type ChartWants = BTreeMap<usize, BTreeSet<ChartDependency>>;

/// A fetched archive.
struct Fetched {
    version: String,
    bytes: Vec<u8>,
}

impl Sources {
    /// Brings the archives that a source at a revision lacks.
    pub(super) async fn bring_charts(
        &self,
        archives: &mut ChartArchives,
        lacking: BTreeSet<ChartDependency>,
        of: &Revision,
        pass_credentials: bool,
        project: &ProjectRules,
    ) -> Result<(), Failure> {
        for dependency in lacking {
            let brought = self.bring_chart(&dependency, of, pass_credentials, project).await;
            let archive = brought.map_err(|failure| Failure {
                reason: failure.reason,
                message: format!(
                    "{}: the chart `{}` {} that it depends on can't be had: {}",
                    dependency.file, dependency.name, dependency.version, failure.message
                ),
            })?;
            archives.insert(dependency, archive);
        }
        Ok(())
    }

    async fn bring_chart(
        &self,
        dependency: &ChartDependency,
        of: &Revision,
        pass_credentials: bool,
        project: &ProjectRules,
    ) -> Result<ChartArchive, Failure> {
        let ChartDependency { repository, name, version, file: _ } = dependency;
        let location = locate(repository, name).map_err(|error| Failure {
            reason: Reason::InvalidSpec,
            message: format!("its repository `{}`: {error}", without_login(repository)),
        })?;
        // Whoever may commit to a chart must not read other repositories with the operator's credentials.
        project.permits_source(&without_login(repository), &[location.to_string()]).map_err(|denied| Failure {
            reason: Reason::NotPermitted,
            message: format!("{denied}, or vendor the chart in `charts/`"),
        })?;
        let store = self.open(&location).await?;
        // A range is looked up again for each commit of the chart that states it, a version is one for ever.
        let range = if is_exact(version) { String::new() } else { format!(" of {of}") };
        let tip = Hash64::of_bytes(format!("dependency {location} {name} {version}{range}").as_bytes()).to_string();
        let vouchers = self.vouchers(&location).await;
        if let Some(archive) = held(&store, &tip, vouchers.clone()).await? {
            return Ok(archive);
        }
        let _turn = self.beside.turn(location.as_str()).await;
        // Who had the turn before may have brought it.
        if let Some(archive) = held(&store, &tip, vouchers.clone()).await? {
            return Ok(archive);
        }
        let access = self.access.access(&location).await?;
        if let Some(refusal) = self.beside.refusal(location.as_str(), access.fingerprint) {
            return Err(refusal);
        }
        let fetched = self.fetch_chart(&location, &access, dependency, pass_credentials).await;
        let Fetched { version, bytes } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                let failure = failure_of_artifact(&error);
                self.beside.answered(location.as_str(), access.fingerprint, Some(&failure));
                if may_be_rotated(failure.reason) {
                    self.access.forget_secrets(&access.secrets).await;
                }
                self.connections.report(access.repository.as_deref(), access.proxy.as_deref(), Some(&failure)).await;
                return Err(failure);
            }
        };
        self.beside.answered(location.as_str(), access.fingerprint, None);
        self.connections.report(access.repository.as_deref(), access.proxy.as_deref(), None).await;
        info!(%location, name, version, bytes = bytes.len(), "fetched a chart that another one depends on");
        let kept = keep(&store, &tip, name, version.clone(), bytes, vouchers).await;
        kept.map(|bytes| ChartArchive { version, bytes })
            .map_err(|error| failure_of_artifact(&error.about(&location.to_string())))
    }

    async fn fetch_chart(
        &self,
        location: &SourceLocation,
        access: &Access,
        dependency: &ChartDependency,
        pass_credentials: bool,
    ) -> Result<Fetched, ArtifactError> {
        let ChartDependency { name, version, .. } = dependency;
        match location {
            SourceLocation::Helm { url, .. } => {
                let repository = helm_repository(url, access);
                let index = repository.index(&BTreeSet::from([name.clone()])).await?;
                let entry = choose_chart(&index, url, name, version)?;
                let bytes = self.download_chart(&repository, url, name, entry, pass_credentials).await?;
                Ok(Fetched { version: entry.version.clone(), bytes })
            }
            SourceLocation::Registry { reference, .. } => {
                let registry = registry(reference, access)?;
                let (digest, tag) = resolve(&registry, version, true).await?;
                let bytes = fetch_artifact(&registry, &digest, true).await?.bytes;
                Ok(Fetched { version: tag.map_or_else(|| version.clone(), |tag| version_of_tag(&tag)), bytes })
            }
            SourceLocation::Git(_) => Err(ArtifactError::new(
                Reason::InvalidSpec,
                format!("{location}: a chart can't come from a git repository"),
            )),
        }
    }
}

fn locate(repository: &str, name: &str) -> Result<SourceLocation, crate::artifacts::LocationError> {
    if repository.starts_with("oci://") {
        return RegistryReference::parse(repository, Some(name)).map(SourceLocation::registry);
    }
    HelmRepositoryUrl::parse(repository).map(SourceLocation::helm)
}

/// A URL that may hold a password, as messages show it.
fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)),
        None => url.to_owned(),
    }
}

/// Whether a text names one version for ever.
fn is_exact(version: &str) -> bool {
    let numbers = version.strip_prefix('v').unwrap_or(version).split(['-', '+']).next().unwrap_or_default();
    !is_range(version) && numbers.split('.').count() == 3
}

async fn held(store: &Arc<Store>, tip: &str, vouchers: Vouchers) -> Result<Option<ChartArchive>, Failure> {
    let (store, tip) = (Arc::clone(store), tip.to_owned());
    super::trees::blocking(move || {
        let failed = |error: crate::git::GitError| Failure { reason: error.reason, message: error.to_string() };
        let Some(revision) = store.tips().map_err(failed)?.remove(&tip) else { return Ok(None) };
        if !vouchers.has(&store, &tip, &revision) {
            return Ok(None);
        }
        let Some(note) = store.imported(&revision) else { return Ok(None) };
        let files = store.snapshot(&revision, SnapshotLimits::default()).map_err(failed)?;
        let read =
            files.read(ARCHIVE).map_err(|error| Failure { reason: Reason::StoreFailed, message: error.to_string() })?;
        Ok(read.map(|bytes| ChartArchive { version: note.name, bytes }))
    })
    .await
}

async fn keep(
    store: &Arc<Store>,
    tip: &str,
    name: &str,
    version: String,
    bytes: Vec<u8>,
    vouchers: Vouchers,
) -> Result<Arc<[u8]>, ArtifactError> {
    let (store, tip) = (Arc::clone(store), tip.to_owned());
    let origin = format!("archive {name} {version} {}", Digest::of(&bytes));
    let done = tokio::task::spawn_blocking(move || {
        let note = ImportNote { name: version, origin, made: 0 };
        let revision = keep_archive(&store, &bytes, UnpackLimits::default(), &note)?;
        store.record_tip(&tip, &revision)?;
        vouchers.add(&store, &tip, &revision);
        store.compact()?;
        Ok(Arc::from(bytes))
    });
    done.await.unwrap_or_else(|_| {
        Err(ArtifactError::new(Reason::InternalError, "keeping a chart's archive panicked; see the log"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_versions_are_looked_up_once_and_ranges_for_each_commit() {
        for (version, exact) in
            [("1.2.3", true), ("v1.2.3-rc.1+b", true), ("1.2", false), ("^1.2.3", false), ("", false), ("1.x.x", false)]
        {
            assert_eq!(is_exact(version), exact, "{version}");
        }
        assert_eq!(without_login("https://u:p@h/x"), "https://h/x");
        assert_eq!(without_login("https://h/x"), "https://h/x");
    }

    #[tokio::test]
    async fn a_kept_archive_is_found_again_by_who_opens_the_store_anew() {
        let directory = tempfile::tempdir().unwrap();
        let open =
            || Arc::new(Store::open(&directory.path().join("store"), crate::git::StoreLimits::default()).unwrap());
        let chart = crate::artifacts::testing::chart("lib", "1.2.0");
        let store = open();
        let vouchers = Vouchers::for_test(1);
        keep(&store, "tip", "lib", "1.2.0".to_owned(), chart.clone(), vouchers.clone()).await.unwrap();
        let error = keep(&store, "other", "lib", "1.2.0".to_owned(), b"no chart".to_vec(), vouchers.clone()).await;
        let error = error.unwrap_err();
        assert_eq!(error.reason, Reason::ArtifactInvalid);
        drop(store);
        let expected = ChartArchive { version: "1.2.0".to_owned(), bytes: chart.into() };
        assert_eq!(held(&open(), "tip", vouchers.clone()).await, Ok(Some(expected)));
        assert_eq!(held(&open(), "other", vouchers).await, Ok(None));
        assert_eq!(held(&open(), "tip", Vouchers::for_test(2)).await, Ok(None), "planted by who has no key");
    }
}

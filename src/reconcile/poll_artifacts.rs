//! One poll of a Helm repository or a registry: which version each target means now, and its content when it is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::info;

use super::access::Access;
use super::location::{SourceLocation, SourceTarget};
use super::poll::{Answer, Refusal};
use super::sources::Sources;
use super::tracker::{TargetState, Tracker, lock};
use super::vouchers::Vouchers;
use crate::artifacts::{
    ArtifactError, ChartEntry, DEFAULT_LIMIT, Digest, HelmRepository, HelmRepositoryConfig, HelmRepositoryUrl, Index,
    Layout, Registry, RegistryConfig, RegistryReference, UnpackLimits, archive, choose_chart, choose_version, import,
    is_range, newest_of, tag_of_version, version_of_tag,
};
use crate::egress::{HttpClient, HttpConfig};
use crate::git::{ImportNote, Store};
use crate::model::{Reason, Revision};
use crate::status::Failure;

/// The other side of a source that is no git repository.
#[derive(Clone)]
pub(super) enum ArtifactSide {
    /// A Helm repository.
    Helm(Arc<HelmRepository>),
    /// A repository of a registry.
    Registry(Arc<Registry>),
}

impl ArtifactSide {
    /// The other side of a location. Makes no connection yet; `None` for a git repository.
    pub(super) fn new(location: &SourceLocation, access: &Access) -> Result<Option<Self>, ArtifactError> {
        match location {
            SourceLocation::Git(_) => Ok(None),
            SourceLocation::Helm { url, .. } => Ok(Some(Self::Helm(Arc::new(helm_repository(url, access))))),
            SourceLocation::Registry { reference, .. } => {
                Ok(Some(Self::Registry(Arc::new(registry(reference, access)?))))
            }
        }
    }
}

/// A Helm repository by an access.
pub(super) fn helm_repository(url: &HelmRepositoryUrl, access: &Access) -> HelmRepository {
    HelmRepository::new(HelmRepositoryConfig {
        url: url.clone(),
        egress: access.egress.clone(),
        route: access.route.clone(),
        authorization: access.authorization.clone(),
        identity: access.identity.clone(),
        ca: access.ca.clone(),
        timeouts: access.timeouts.clone(),
        limit: limit_of(access),
    })
}

/// A repository of a registry by an access.
pub(super) fn registry(reference: &RegistryReference, access: &Access) -> Result<Registry, ArtifactError> {
    Registry::new(RegistryConfig {
        reference: reference.clone(),
        plain_http: access.plain_http,
        egress: access.egress.clone(),
        route: access.route.clone(),
        authorization: access.authorization.clone(),
        identity: access.identity.clone(),
        ca: access.ca.clone(),
        timeouts: access.timeouts.clone(),
        limit: limit_of(access),
    })
}

fn limit_of(access: &Access) -> usize {
    access.transfer_limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT)
}

/// One poll of a Helm repository.
struct HelmPoll<'a> {
    url: &'a HelmRepositoryUrl,
    repository: &'a HelmRepository,
    index: &'a Index,
    held: Held<'a>,
    /// Hosts besides the repository's own that failed in this poll: they are not asked again in it.
    others: BTreeMap<String, ArtifactError>,
}

impl Sources {
    /// Asks a Helm repository or a registry where these targets are, and takes in what is new.
    pub(super) async fn ask_for_artifacts(
        &self,
        tracker: &Tracker,
        access: Access,
        targets: &[SourceTarget],
    ) -> Result<Answer, Refusal> {
        match self.try_artifacts(tracker, &access, targets).await {
            Ok(found) => Ok((access, found)),
            Err(error) => Err((failure_of_artifact(&error), error.retry_after, Some(access))),
        }
    }

    async fn try_artifacts(
        &self,
        tracker: &Tracker,
        access: &Access,
        targets: &[SourceTarget],
    ) -> Result<BTreeMap<SourceTarget, TargetState>, ArtifactError> {
        let known = {
            let state = lock(&tracker.state);
            state
                .artifacts
                .as_ref()
                .filter(|(fingerprint, _)| *fingerprint == access.fingerprint)
                .map(|(_, side)| side.clone())
        };
        let side = if let Some(side) = known {
            side
        } else {
            let Some(side) = ArtifactSide::new(&tracker.url, access)? else { return Ok(BTreeMap::new()) };
            lock(&tracker.state).artifacts = Some((access.fingerprint, side.clone()));
            side
        };
        let vouchers = self.vouchers(&tracker.url).await;
        let held = held(&tracker.store, vouchers.clone()).await?;
        let held = Held { imports: &held, vouchers: &vouchers };
        let mut found = BTreeMap::new();
        match side {
            ArtifactSide::Helm(repository) => {
                let SourceLocation::Helm { url, .. } = &tracker.url else { return Ok(found) };
                let chart_of = |target: &SourceTarget| match target {
                    SourceTarget::Chart { chart, .. } => Some(chart.clone()),
                    SourceTarget::Git(_) | SourceTarget::Artifact { .. } => None,
                };
                let charts: BTreeSet<String> = targets.iter().filter_map(chart_of).collect();
                let index = repository.index(&charts).await?;
                let mut poll = HelmPoll { url, repository: &repository, index: &index, held, others: BTreeMap::new() };
                for target in targets {
                    let done = self.chart(tracker, &mut poll, target).await;
                    found.insert(target.clone(), one_target(done)?);
                }
            }
            ArtifactSide::Registry(registry) => {
                for target in targets {
                    let done = self.artifact(tracker, &registry, held, target).await;
                    found.insert(target.clone(), one_target(done)?);
                }
            }
        }
        self.record_tips(tracker, &found).await?;
        Ok(found)
    }

    async fn chart(
        &self,
        tracker: &Tracker,
        poll: &mut HelmPoll<'_>,
        target: &SourceTarget,
    ) -> Result<TargetState, ArtifactError> {
        let HelmPoll { url, repository, index, held, others } = poll;
        let SourceTarget::Chart { chart, version, pass_credentials } = target else {
            return Ok(TargetState::default());
        };
        let entry = choose_chart(index, url, chart, version)?;
        let note = note_of_chart(chart, entry);
        if let Some(revision) = held.imports.get(&note.origin) {
            return Ok(TargetState { revision: Some(revision.clone()), ..TargetState::default() });
        }
        let place = repository.place(chart, entry)?;
        let other = (!place.own).then(|| place.url.origin().ascii_serialization());
        if let Some(error) = other.as_ref().and_then(|other| others.get(other)) {
            return Ok(failed(error));
        }
        let downloaded = self.download_chart(repository, url, chart, entry, *pass_credentials).await;
        let bytes = match (downloaded, other) {
            (Ok(bytes), _) => bytes,
            (Err(error), Some(other)) => return Ok(failed_elsewhere(&error, url, other, others)),
            (Err(error), None) => return Err(error),
        };
        info!(chart, version = entry.version, bytes = bytes.len(), "fetched");
        let about = format!("{url}: chart `{chart}` version {}", entry.version);
        let revision = take_in(&tracker.store, bytes, Layout::Chart, note, held.vouchers)
            .await
            .map_err(|error| error.about(&about))?;
        Ok(TargetState { revision: Some(revision), ..TargetState::default() })
    }

    /// Downloads a chart's archive: from the repository's own host with its access, from another host by that host's rules and
    /// without a login: an index must not be able to use one that was given for another repository.
    pub(super) async fn download_chart(
        &self,
        repository: &HelmRepository,
        url: &HelmRepositoryUrl,
        chart: &str,
        entry: &ChartEntry,
        pass_credentials: bool,
    ) -> Result<Vec<u8>, ArtifactError> {
        let place = repository.place(chart, entry)?;
        if place.own || pass_credentials {
            return repository.download(&place, entry).await;
        }
        let about = format!("{url}: chart `{chart}` version {}", entry.version);
        let elsewhere = HelmRepositoryUrl::parse(place.url.as_str())
            .or_else(|_| HelmRepositoryUrl::parse(&place.url.origin().ascii_serialization()))
            .map_err(|error| ArtifactError::new(Reason::ArtifactInvalid, format!("{about}: its URL: {error}")))?;
        let access = self.access.access(&SourceLocation::helm(elsewhere)).await.map_err(of_failure)?;
        let limit = limit_of(&access);
        let client = without_login(access);
        Box::pin(archive(&client, &place.url, entry.digest.as_ref(), limit)).await.map_err(|error| error.about(&about))
    }

    async fn artifact(
        &self,
        tracker: &Tracker,
        registry: &Registry,
        held: Held<'_>,
        target: &SourceTarget,
    ) -> Result<TargetState, ArtifactError> {
        let SourceTarget::Artifact { version, is_chart } = target else { return Ok(TargetState::default()) };
        let (digest, tag) = resolve(registry, version, *is_chart).await?;
        let signed = self.bring_signatures(tracker, registry, &digest).await?;
        let name = match &tag {
            Some(tag) if *is_chart => version_of_tag(tag),
            _ => digest.to_string(),
        };
        let kind = if *is_chart { "chart" } else { "artifact" };
        let origin = format!("{kind} {name} {digest}");
        let reference = tag.map(|tag| format!("refs/tags/{tag}"));
        if let Some(revision) = held.imports.get(&origin) {
            return Ok(TargetState { revision: Some(revision.clone()), reference, signed, ..TargetState::default() });
        }
        let fetched = fetch_artifact(registry, &digest, *is_chart).await?;
        info!(%digest, bytes = fetched.bytes.len(), "fetched");
        let note = ImportNote { name, origin, made: seconds_of(fetched.created.as_deref()) };
        let about = format!("{}: {digest}", registry.reference());
        let taken = take_in(&tracker.store, fetched.bytes, fetched.layout, note, held.vouchers).await;
        let revision = taken.map_err(|error| error.about(&about))?;
        Ok(TargetState { revision: Some(revision), reference, signed, ..TargetState::default() })
    }
}

/// The digest that a version, range, tag or digest means now, and the tag that gave it.
pub(super) async fn resolve(
    registry: &Registry,
    version: &str,
    is_chart: bool,
) -> Result<(Digest, Option<String>), ArtifactError> {
    if let Some(digest) = Digest::parse(version).filter(|_| version.starts_with("sha256:")) {
        return Ok((digest, None));
    }
    let tag = match version {
        "" | "HEAD" if !is_chart => "latest".to_owned(),
        // A tag may be called like a version that leaves its end open, and then it is that tag.
        _ if !(is_range(version) || is_chart && is_open(version)) => tag_of_version(version),
        _ => listed(registry, version, is_chart).await?,
    };
    match registry.digest_of(&tag).await {
        // The tag of a chart may be spelled otherwise than its version (`v1.2.3`).
        Err(error) if is_chart && error.reason == Reason::ArtifactNotFound => {
            let other = match listed(registry, version, is_chart).await {
                Ok(other) => other,
                Err(missing) if missing.reason == Reason::ChartNotFound => return Err(missing),
                // Not every registry lists its tags to everybody: what it said first is said then.
                Err(_) => return Err(error),
            };
            registry.digest_of(&other).await.map(|digest| (digest, Some(other)))
        }
        found => found.map(|digest| (digest, Some(tag))),
    }
}

/// The tag, of all that there are, that a version or range means.
async fn listed(registry: &Registry, version: &str, is_chart: bool) -> Result<String, ArtifactError> {
    let tags = registry.tags().await?;
    let versions: Vec<String> = tags.iter().map(|tag| version_of_tag(tag)).collect();
    let names: Vec<&str> = versions.iter().map(String::as_str).collect();
    let found = choose_version(version, &names).map(tag_of_version);
    found.ok_or_else(|| {
        let greatest = newest_of(&names).map_or_else(
            || "none of them is a version".to_owned(),
            |newest| format!("the greatest version is `{newest}`"),
        );
        let what = if is_range(version) || is_open(version) { "lies in the range" } else { "is the version" };
        ArtifactError::new(
            if is_chart { Reason::ChartNotFound } else { Reason::ArtifactNotFound },
            format!(
                "{}: none of its {} tags {what} `{}`; {greatest} (pre-releases count only where they are named)",
                registry.reference(),
                tags.len(),
                if version.is_empty() { "*" } else { version }
            ),
        )
    })
}

/// `1` and `1.2`, which mean the greatest version that begins so.
fn is_open(version: &str) -> bool {
    let numbers = version.strip_prefix('v').unwrap_or(version);
    numbers.split('.').count() < 3
        && numbers.split('.').all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The bytes of an artifact, and how they lie.
pub(super) struct FetchedArtifact {
    pub(super) bytes: Vec<u8>,
    pub(super) layout: Layout,
    pub(super) created: Option<String>,
}

/// Fetches an artifact by its digest.
pub(super) async fn fetch_artifact(
    registry: &Registry,
    digest: &Digest,
    is_chart: bool,
) -> Result<FetchedArtifact, ArtifactError> {
    let artifact = registry.artifact(digest.as_str()).await?;
    if is_chart && !artifact.content.is_chart {
        let message = format!(
            "{}: {digest} is no Helm chart (its layer is `{}`); for plain manifests leave chart out, and name the whole \
             repository in repoURL",
            registry.reference(),
            artifact.content.layer.media_type
        );
        return Err(ArtifactError::new(Reason::ArtifactInvalid, message));
    }
    let bytes = registry.blob(&artifact.content.layer).await?;
    let layout = if artifact.content.is_chart { Layout::Chart } else { Layout::Plain };
    Ok(FetchedArtifact { bytes, layout, created: artifact.created })
}

/// What is imported of a version of a chart.
fn note_of_chart(chart: &str, entry: &ChartEntry) -> ImportNote {
    let content = match &entry.digest {
        Some(digest) => digest.to_string(),
        // Without a digest a changed date or place is all that tells a chart that was published again.
        None => format!("{} {}", entry.created.as_deref().unwrap_or_default(), entry.urls.join(" ")),
    };
    ImportNote {
        name: entry.version.clone(),
        origin: format!("chart {chart} {} {content}", entry.version),
        made: seconds_of(entry.created.as_deref()),
    }
}

fn seconds_of(created: Option<&str>) -> i64 {
    created.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, |time| time.as_second().max(0))
}

/// What a source's store holds already, and who says so.
#[derive(Clone, Copy)]
struct Held<'a> {
    imports: &'a BTreeMap<String, Revision>,
    vouchers: &'a Vouchers,
}

async fn held(store: &Arc<Store>, vouchers: Vouchers) -> Result<BTreeMap<String, Revision>, ArtifactError> {
    let store = Arc::clone(store);
    let found = tokio::task::spawn_blocking(move || vouchers.imports(&store)).await;
    Ok(found.map_err(|_| panicked())??)
}

/// Unpacks an archive into a store, and vouches for it.
pub(super) async fn take_in(
    store: &Arc<Store>,
    bytes: Vec<u8>,
    layout: Layout,
    note: ImportNote,
    vouchers: &Vouchers,
) -> Result<Revision, ArtifactError> {
    let (store, vouchers) = (Arc::clone(store), vouchers.clone());
    let done = tokio::task::spawn_blocking(move || {
        let revision = import(&store, &bytes, layout, UnpackLimits::default(), &note)?;
        vouchers.add(&store, &note.origin, &revision);
        Ok(revision)
    });
    done.await.map_err(|_| panicked())?
}

fn panicked() -> ArtifactError {
    ArtifactError::new(Reason::InternalError, "unpacking panicked; see the log")
}

/// A client by the way out, authorities and timers of an access, and by nothing that tells who asks.
fn without_login(access: Access) -> HttpClient {
    let Access { egress, route, ca, timeouts, .. } = access;
    HttpClient::new(egress, HttpConfig { route, ca, authorization: None, identity: None, timeouts, user_agent: None })
}

/// What is wrong with one target is nobody else's trouble; anything else ends the poll, so that what fails for all is tried
/// once, waited for as the server asks, and shown at the repository.
fn one_target(done: Result<TargetState, ArtifactError>) -> Result<TargetState, ArtifactError> {
    match done {
        Err(error) if is_about_one_target(error.reason) => Ok(failed(&error)),
        done => done,
    }
}

/// What is wrong with another host is not the trouble of the repository's own. Where it is no single chart's either, it is
/// remembered among `others`.
fn failed_elsewhere(
    error: &ArtifactError,
    url: &HelmRepositoryUrl,
    other: String,
    others: &mut BTreeMap<String, ArtifactError>,
) -> TargetState {
    let state = failed(error);
    if !is_about_one_target(error.reason) {
        let message = format!("{url}: the chart is on {other}, which failed before in this poll: {}", error.message);
        others.insert(other, ArtifactError { message, ..error.clone() });
    }
    state
}

fn failed(error: &ArtifactError) -> TargetState {
    TargetState { failure: Some(failure_of_artifact(error)), ..TargetState::default() }
}

/// Whether a repository or registry that fails so may still answer for another target.
fn is_about_one_target(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ChartNotFound
            | Reason::ArtifactNotFound
            | Reason::ArtifactInvalid
            | Reason::PackTooLarge
            | Reason::InvalidSpec
            | Reason::SignatureInvalid
    )
}

pub(super) fn failure_of_artifact(error: &ArtifactError) -> Failure {
    Failure { reason: error.reason, message: error.message.clone() }
}

fn of_failure(failure: Failure) -> ArtifactError {
    ArtifactError::new(failure.reason, failure.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::testing::Depot;
    use crate::egress::testing::Authority;
    use crate::egress::{BasicCredentials, Egress, Override, SystemRoots, Timeouts};
    use crate::git::{FetchLimits, StoreLimits};
    use crate::model::Hash64;

    fn registry_of(depot: &Depot) -> Registry {
        Registry::new(RegistryConfig {
            reference: RegistryReference::parse(&format!("oci://{}/team/shop", depot.address), None).unwrap(),
            plain_http: true,
            egress: Egress::direct(SystemRoots::none()),
            route: Override::None,
            authorization: None,
            identity: None,
            ca: None,
            timeouts: Timeouts::default(),
            limit: DEFAULT_LIMIT,
        })
        .unwrap()
    }

    #[tokio::test]
    async fn versions_ranges_tags_and_digests_lead_to_one_tag_or_digest() {
        let depot = Depot::start(None).await;
        for version in ["1.0.0", "1.2.0", "v1.3.0", "1.2.1+b", "2.0.0-rc.1", "latest"] {
            depot.push_chart("shop", version);
        }
        let digest = depot.push_chart("shop", "1.0.0");
        let registry = registry_of(&depot);
        for (version, is_chart, expected) in [
            ("1.0.0", true, Ok(Some("1.0.0"))),
            ("1.3.0", true, Ok(Some("v1.3.0"))),
            ("1.2", true, Ok(Some("1.2.1_b"))),
            ("", true, Ok(Some("v1.3.0"))),
            ("", false, Ok(Some("latest"))),
            ("1.x", false, Ok(Some("v1.3.0"))),
            ("1.2.1+b", true, Ok(Some("1.2.1_b"))),
            (">=2.0.0-0", true, Ok(Some("2.0.0-rc.1"))),
            (digest.as_str(), true, Ok(None)),
            ("9.9.9", true, Err(Reason::ChartNotFound)),
            ("^9", true, Err(Reason::ChartNotFound)),
            ("^9", false, Err(Reason::ArtifactNotFound)),
            ("9.9.9", false, Err(Reason::ArtifactNotFound)),
        ] {
            let found = resolve(&registry, version, is_chart).await.map(|(_, tag)| tag).map_err(|error| error.reason);
            assert_eq!(found, expected.map(|tag| tag.map(str::to_owned)), "{version} {is_chart}");
        }
        depot.take_log();
        resolve(&registry, digest.as_str(), false).await.unwrap();
        assert_eq!(depot.take_log(), Vec::<String>::new(), "a digest needs no question");
        let error = resolve(&registry, "9.9.9", true).await.unwrap_err();
        assert!(
            error.message.contains("none of its 7 tags is the version `9.9.9`; the greatest version is `2.0.0-rc.1`"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_archive_on_another_host_is_fetched_without_the_login_of_the_repository_that_covers_it() {
        let (authority, clients) = (Authority::new("Test CA"), Authority::new("Clients"));
        let plain = Depot::start(Some(authority.acceptor("localhost"))).await;
        let strict = Depot::start(Some(authority.acceptor_wanting("localhost", &clients))).await;
        let access = || Access {
            egress: Egress::direct(SystemRoots::none()),
            route: Override::None,
            authorization: Some(BasicCredentials::new("team-b".into(), "canary".into()).unwrap().into()),
            identity: Some(clients.identity("team-b")),
            ssh: None,
            ca: Some(authority.bundle()),
            timeouts: Timeouts::default(),
            limits: FetchLimits::default(),
            store_limits: StoreLimits::default(),
            plain_http: false,
            transfer_limit: None,
            max_age: None,
            repository: Some("team-b".to_owned()),
            proxy: None,
            secrets: Vec::new(),
            fingerprint: Hash64::of_bytes(b""),
        };
        plain.put_file("/shop.tgz", b"chart");
        strict.put_file("/shop.tgz", b"chart");
        let at = |depot: &Depot| format!("https://localhost:{}/shop.tgz", depot.address.port()).parse().unwrap();
        assert_eq!(archive(&without_login(access()), &at(&plain), None, 99).await.unwrap(), b"chart");
        assert_eq!(plain.take_log(), ["GET localhost/shop.tgz -"]);
        assert!(archive(&without_login(access()), &at(&strict), None, 99).await.is_err());
        assert_eq!(strict.take_log(), Vec::<String>::new(), "nobody was let in");
    }

    #[test]
    fn what_fails_for_all_ends_the_poll_and_keeps_the_wish_of_the_server() {
        let missing = ArtifactError::new(Reason::ChartNotFound, "no such chart");
        let failure = Failure { reason: Reason::ChartNotFound, message: "no such chart".to_owned() };
        assert_eq!(one_target(Err(missing)).unwrap().failure, Some(failure));
        for reason in [Reason::AuthFailed, Reason::ProxyAuthRequired, Reason::TlsUntrusted, Reason::ServerError] {
            let wait = Some(std::time::Duration::from_secs(17));
            let error = ArtifactError { retry_after: wait, ..ArtifactError::new(reason, "no") };
            assert_eq!(one_target(Err(error.clone())).map(|_| ()), Err(error));
        }
    }

    #[test]
    fn another_host_that_fails_for_all_is_remembered_and_one_that_lacks_a_chart_is_not() {
        let url = HelmRepositoryUrl::parse("https://charts.corp.test").unwrap();
        let mut others = BTreeMap::new();
        let far = || "https://files.corp.test".to_owned();
        let missing = ArtifactError::new(Reason::ChartNotFound, "gone");
        failed_elsewhere(&missing, &url, far(), &mut others);
        assert_eq!(others, BTreeMap::new());
        let refused = ArtifactError::new(Reason::AuthFailed, "refused");
        let state = failed_elsewhere(&refused, &url, far(), &mut others);
        assert_eq!(state.failure.unwrap().message, "refused");
        let remembered = "https://charts.corp.test: the chart is on https://files.corp.test, which failed before in this \
            poll: refused";
        assert_eq!(others, BTreeMap::from([(far(), ArtifactError::new(Reason::AuthFailed, remembered))]));
    }

    #[tokio::test]
    async fn a_plain_artifact_is_no_chart() {
        let depot = Depot::start(None).await;
        let digest = depot.push("v1", "application/x", "application/vnd.cncf.flux.content.v1.tar+gzip", b"x");
        let registry = registry_of(&depot);
        assert!(fetch_artifact(&registry, &digest, false).await.is_ok_and(|found| found.layout == Layout::Plain));
        let error = fetch_artifact(&registry, &digest, true).await.map(|_| ()).unwrap_err();
        assert_eq!(error.reason, Reason::ArtifactInvalid);
        assert!(error.message.contains("leave chart out"), "{error}");
    }
}

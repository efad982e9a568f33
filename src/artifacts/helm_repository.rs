//! A Helm repository over HTTP: its index, kept as long as the server says that it is unchanged, and its charts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{AUTHORIZATION, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::egress::{
    Authorization, CaBundle, ClientIdentity, Destination, Egress, HttpClient, HttpConfig, Override, Timeouts,
};
use crate::model::Reason;

use super::download::{self, judge, read, within};
use super::error::ArtifactError;
use super::index::{self, ChartEntry, Index};
use super::location::HelmRepositoryUrl;
use super::version;

/// Bytes of an index.
const INDEX_LIMIT: usize = 64 << 20;

/// How to reach a Helm repository.
#[derive(Clone)]
pub struct HelmRepositoryConfig {
    /// Which repository.
    pub url: HelmRepositoryUrl,
    /// The rules for all connections.
    pub egress: Egress,
    /// What this repository says about the route to its own host and port.
    pub route: Override,
    /// Sent at once with every request to the repository's own host and port.
    pub authorization: Option<Authorization>,
    /// Shown to the repository's own host and port when it asks for a client certificate.
    pub identity: Option<ClientIdentity>,
    /// Authorities to trust for this repository besides the system's.
    pub ca: Option<CaBundle>,
    /// Timers. `total` limits each operation as a whole.
    pub timeouts: Timeouts,
    /// Bytes of one chart.
    pub limit: usize,
}

/// A Helm repository. Keeps connections and the last index, so that a poll of one that is unchanged is one short answer.
pub struct HelmRepository {
    url: HelmRepositoryUrl,
    client: HttpClient,
    /// For an archive on another host that the login is to be passed to.
    authorization: Option<Authorization>,
    limit: usize,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    /// What the server wants to be asked with: `If-None-Match`, `If-Modified-Since`.
    conditions: HeaderMap,
    wanted: BTreeSet<String>,
    index: Arc<Index>,
}

/// Where a chart's archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartPlace {
    /// The URL.
    pub url: Url,
    /// Whether it is on the repository's own host and port, where the repository's credentials are meant for.
    pub own: bool,
}

impl HelmRepository {
    /// Makes no connection yet.
    pub fn new(config: HelmRepositoryConfig) -> Self {
        let HelmRepositoryConfig { url, egress, route, authorization, identity, ca, timeouts, limit } = config;
        let config =
            HttpConfig { route, ca, authorization: authorization.clone(), identity, timeouts, user_agent: None };
        let client = HttpClient::new(egress, config);
        let client = match Destination::of_url(url.base()) {
            Ok(home) => client.of(home),
            // Not http: every request says so.
            Err(_) => client,
        };
        Self { url, client, authorization, limit, kept: Mutex::default() }
    }

    /// What the index says now about these charts.
    pub async fn index(&self, charts: &BTreeSet<String>) -> Result<Arc<Index>, ArtifactError> {
        let done = Box::pin(within(self.client.timeouts().total, "the index", self.try_index(charts))).await;
        done.map_err(|error| error.about(self.url.as_str()))
    }

    async fn try_index(&self, charts: &BTreeSet<String>) -> Result<Arc<Index>, ArtifactError> {
        let mut headers = HeaderMap::new();
        let known = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.as_ref().filter(|kept| charts.is_subset(&kept.wanted)).map(|kept| {
                headers.clone_from(&kept.conditions);
                Arc::clone(&kept.index)
            })
        };
        let url = self.url.base().join("index.yaml").map_err(|error| {
            ArtifactError::new(Reason::InvalidSpec, format!("the URL of the index can't be made: {error}"))
        })?;
        let mut answer = self.client.get(&url, &headers).await?;
        if answer.status.as_u16() == 304
            && let Some(index) = known
        {
            while answer.next_chunk().await?.is_some() {}
            return Ok(index);
        }
        judge(&mut answer, Reason::RepositoryNotFound).await?;
        let text = read(&mut answer, INDEX_LIMIT).await.map_err(|error| match error.reason {
            Reason::PackTooLarge => ArtifactError::new(
                error.reason,
                format!("its index.yaml has more than the {INDEX_LIMIT} bytes of the limit"),
            ),
            _ => error,
        })?;
        let wanted = charts.clone();
        let parsed = tokio::task::spawn_blocking(move || {
            let parsed = index::parse(&text, &wanted);
            (parsed, wanted)
        });
        let (parsed, wanted) = parsed
            .await
            .map_err(|_| ArtifactError::new(Reason::InternalError, "reading the index panicked; see the log"))?;
        let index = Arc::new(parsed.map_err(|error| answer.error(Reason::ArtifactInvalid, error.to_string()))?);
        let mut conditions = HeaderMap::new();
        let mut keep = |from, to| {
            if let Some(value) = answer.headers.get::<http::HeaderName>(from) {
                let value: HeaderValue = value.clone();
                conditions.insert::<http::HeaderName>(to, value);
            }
        };
        keep(ETAG, IF_NONE_MATCH);
        keep(LAST_MODIFIED, IF_MODIFIED_SINCE);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(Kept { conditions, wanted, index: Arc::clone(&index) });
        Ok(index)
    }

    /// Where a version of a chart lies.
    pub fn place(&self, chart: &str, entry: &ChartEntry) -> Result<ChartPlace, ArtifactError> {
        let about = format!("{}: chart `{chart}` version {}", self.url, entry.version);
        let wrong = |message: String| ArtifactError::new(Reason::ArtifactInvalid, format!("{about}: {message}"));
        if entry.digest_unusable {
            let message = "the index states a digest for it that is no SHA-256, so the archive can't be verified; have the \
                           index made anew (`helm repo index`)";
            return Err(wrong(message.to_owned()));
        }
        let text = entry.urls.first().ok_or_else(|| wrong("the index gives no URL for it".to_owned()))?;
        let mut url = self
            .url
            .base()
            .join(text)
            .map_err(|error| wrong(format!("the URL that the index gives for it can't be read ({error})")))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(wrong(format!(
                "the index gives it a URL of the scheme `{}`; name that repository itself in repoURL",
                url.scheme()
            )));
        }
        if self.url.base().scheme() == "https" && url.scheme() == "http" {
            return Err(wrong("the index leads from https to plain http, which is not followed".to_owned()));
        }
        // An index can't hand out credentials. Both setters fail only on URLs without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        let own = url.origin() == self.url.base().origin();
        Ok(ChartPlace { url, own })
    }

    /// Downloads a chart's archive with the repository's login. On another host that goes along over https only, and to
    /// no host that one redirects to; the rules alone say how that host is reached, and the client certificate stays here.
    pub async fn download(&self, place: &ChartPlace, entry: &ChartEntry) -> Result<Vec<u8>, ArtifactError> {
        let mut headers = HeaderMap::new();
        if !place.own
            && place.url.scheme() == "https"
            && let Some(authorization) = &self.authorization
        {
            headers.insert(AUTHORIZATION, authorization.header());
        }
        let archive = download::archive_with(&self.client, &place.url, &headers, entry.digest.as_ref(), self.limit);
        Box::pin(archive).await.map_err(|error| error.about(self.url.as_str()))
    }
}

/// The version of a chart that a `targetRevision` means.
pub fn choose<'a>(
    index: &'a Index,
    repository: &HelmRepositoryUrl,
    chart: &str,
    wanted: &str,
) -> Result<&'a ChartEntry, ArtifactError> {
    let missing = |message: String| ArtifactError::new(Reason::ChartNotFound, format!("{repository}: {message}"));
    let Some(entries) = index.charts.get(chart).filter(|entries| !entries.is_empty()) else {
        let near = version::near(chart, index.names.iter().map(String::as_str).filter(|name| *name != chart));
        let hint = if near.is_empty() {
            format!("; its index has {} charts", index.names.len())
        } else {
            format!("; similar: {}", near.join(", "))
        };
        return Err(missing(format!("there is no chart `{chart}`{hint}")));
    };
    let names: Vec<&str> = entries.iter().map(|entry| entry.version.as_str()).collect();
    let found = version::choose(wanted, &names);
    let entry = found.and_then(|name| entries.iter().find(|entry| entry.version == name));
    entry.ok_or_else(|| {
        let newest = version::newest_of(&names).unwrap_or("none");
        let prerelease = if newest.contains('-') {
            " (pre-releases count only where the range names one, as in `>=1.0.0-0`)"
        } else {
            ""
        };
        let what = if version::is_range(wanted) {
            format!(
                "none of the {} versions of the chart `{chart}` lies in the range `{}`",
                names.len(),
                or_any(wanted)
            )
        } else {
            format!("the chart `{chart}` has no version `{wanted}` among its {}", names.len())
        };
        missing(format!("{what}; the greatest is `{newest}`{prerelease}"))
    })
}

fn or_any(wanted: &str) -> &str {
    if wanted.trim().is_empty() { "*" } else { wanted }
}

#[cfg(test)]
#[path = "helm_repository_tests.rs"]
mod tests;

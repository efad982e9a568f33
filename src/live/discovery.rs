//! Asks an API server which kinds it serves.
//!
//! Two requests on servers with aggregated discovery (all supported ones), else one per group and version. A group whose
//! own server does not answer is unknown, not absent: the kinds it had before are kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::StreamExt;
use http::Method;
use kube::Client;
use serde_json::Value;
use tokio::sync::Mutex;

use super::client::{ACCEPT_JSON, Answer, DEFAULT_DEADLINE, request, request_with_deadline};
use super::error::{LiveError, said};
use super::surface::{GroupParts, assemble, parse_aggregated, parse_groups, parse_resources};
use crate::model::{ApiSurface, Reason};

const ACCEPT_AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// How many groups are asked at once where discovery is not aggregated.
const LEGACY_CONCURRENCY: usize = 8;

/// Asks for everything that the server serves. `last` is the last good answer: kinds of groups that do not answer now are
/// taken from it.
pub async fn discover(client: &Client, last: &ApiSurface) -> Result<ApiSurface, LiveError> {
    let (core, named, version) =
        futures::join!(fetch(client, "/api", ACCEPT_AGGREGATED), fetch(client, "/apis", ACCEPT_AGGREGATED), async {
            let answer = fetch(client, "/version", ACCEPT_JSON).await.ok()?;
            Some(answer.get("gitVersion")?.as_str()?.to_owned())
        });
    let mut parts = Vec::new();
    for (root, document) in [("/api", core?), ("/apis", named?)] {
        match parse_aggregated(&document) {
            Some(groups) => parts.extend(groups),
            None => parts.extend(discover_legacy(client, root, &document).await),
        }
    }
    let mut surface = assemble(parts, last);
    surface.server_version = version.unwrap_or_else(|| last.server_version.clone());
    Ok(surface)
}

/// Discovery of one root group by group: for servers that do not aggregate.
async fn discover_legacy(client: &Client, root: &str, document: &Value) -> Vec<GroupParts> {
    let versions = parse_groups(document);
    futures::stream::iter(versions)
        .map(|(group, version)| async move {
            let path = if group.is_empty() { format!("{root}/{version}") } else { format!("{root}/{group}/{version}") };
            match fetch(client, &path, ACCEPT_JSON).await {
                Ok(resources) => parse_resources(&group, &version, &resources),
                Err(error) => {
                    tracing::warn!(group, version, error = %error, "an API group does not answer");
                    GroupParts::unavailable(&group)
                }
            }
        })
        .buffered(LEGACY_CONCURRENCY)
        .collect()
        .await
}

async fn fetch(client: &Client, path: &str, accept: &'static str) -> Result<Value, LiveError> {
    let unreachable =
        |message: String| LiveError::of_server(Reason::ClusterUnreachable, format!("can't discover kinds: {message}"));
    let get = request(Method::GET, path, &[], accept, Bytes::new()).map_err(|error| unreachable(error.message))?;
    let answer: Answer =
        request_with_deadline(client, get, DEFAULT_DEADLINE).await.map_err(|error| unreachable(error.message))?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|error| unreachable(format!("{path} is not JSON ({error}); is this an API server?"))),
        401 => Err(LiveError::of_server(
            Reason::Forbidden,
            "can't discover kinds: the API server does not accept this operator's credentials",
        )),
        403 => Err(LiveError::of_server(
            Reason::Forbidden,
            format!(
                "can't discover kinds: {}; bind the ClusterRole system:discovery to this operator",
                said(&answer.body)
            ),
        )),
        429 => Err(LiveError::of_server(Reason::Throttled, "can't discover kinds: the API server asks to slow down")),
        code => Err(unreachable(format!("{path} answered with HTTP {code}: {}", said(&answer.body)))),
    }
}

/// The last good snapshot of an API server's kinds, refreshed by one request at a time.
pub struct SurfaceCache {
    client: Client,
    current: ArcSwap<ApiSurface>,
    last: Mutex<Option<LastRefresh>>,
}

struct LastRefresh {
    started: Instant,
    ended: Instant,
    result: Result<(), LiveError>,
}

impl SurfaceCache {
    /// Discovers once and keeps the result.
    pub async fn start(client: Client) -> Result<Self, LiveError> {
        let cache = Self::empty(client);
        cache.refresh(Duration::ZERO).await?;
        Ok(cache)
    }

    /// A cache that knows nothing until the first [`refresh`](Self::refresh).
    pub fn empty(client: Client) -> Self {
        Self { client, current: ArcSwap::from_pointee(ApiSurface::default()), last: Mutex::new(None) }
    }

    /// The last good snapshot.
    pub fn current(&self) -> Arc<ApiSurface> {
        self.current.load_full()
    }

    /// Discovers again, unless the last discovery ended less than `min_interval` ago. Callers that come while a discovery
    /// is under way share the next one. After an error the snapshot stays what it was.
    pub async fn refresh(&self, min_interval: Duration) -> Result<Arc<ApiSurface>, LiveError> {
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref()
            && (last.started >= asked || last.ended.elapsed() < min_interval)
        {
            return last.result.clone().map(|()| self.current());
        }
        let started = Instant::now();
        let previous = self.current();
        let result = discover(&self.client, &previous).await.map(|surface| {
            if surface != *previous {
                self.current.store(Arc::new(surface));
            }
        });
        *last = Some(LastRefresh { started, ended: Instant::now(), result: result.clone() });
        result.map(|()| self.current())
    }
}

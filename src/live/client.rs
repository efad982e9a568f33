//! The one way to an API server: a client without hidden retries, and a deadline on every request.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::TryFutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioExecutor;
use kube::Client;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use thiserror::Error;
use tower_http::decompression::DecompressionLayer;
use tower_service::Service;

use super::fence::{Fenced, WriteFence};
use crate::egress::{Egress, EgressRules, Incoming, Limited, Override, SystemRoots, Timeouts, UriConnector, Withheld};

/// How long a request may take when the caller has no better idea. Admission webhooks may take 30 s by themselves;
/// that is rare enough to be answered by a retry.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// How long the dial may take, and as long again the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The `Accept` value for objects without their body.
pub const ACCEPT_METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// The `Accept` value for lists of objects without their bodies.
pub const ACCEPT_METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// The `Accept` value for whole objects.
pub const ACCEPT_JSON: &str = "application/json";

/// Why no client could be made.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The kubeconfig can't be read or used.
    #[error("kubeconfig {path}: {}", chain(source))]
    ReadKubeconfig {
        /// Its path.
        path: String,
        /// What was wrong.
        source: kube::config::KubeconfigError,
    },
    /// The kubeconfig wants a proxy for the API server, which is always reached directly.
    #[error(
        "kubeconfig {path}: the cluster has a `proxy-url`, but the API server is always reached directly; \
         remove it and give the API server a direct route"
    )]
    ProxyNotSupported {
        /// Its path.
        path: String,
    },
    /// No kubeconfig was given and this is no pod.
    #[error("not in a cluster ({}); give a kubeconfig with --kubeconfig", chain(source))]
    NotInCluster {
        /// What was missing.
        source: kube::config::InClusterError,
    },
    /// TLS or credentials can't be set up.
    #[error("can't set up a client for {url}: {}", chain(source))]
    BuildClient {
        /// The API server's address.
        url: String,
        /// What was wrong.
        source: Box<kube::Error>,
    },
}

/// A client for the API server that a kubeconfig names (its current context), or, without one, for the API server of
/// the cluster that this process runs in.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    build(configuration(kubeconfig).await?)
}

/// The configuration that [`connect`] uses.
pub async fn configuration(kubeconfig: Option<&Path>) -> Result<Config, ClientError> {
    let Some(path) = kubeconfig else {
        return Config::incluster_env().map_err(|source| ClientError::NotInCluster { source });
    };
    let shown = path.display().to_string();
    let unreadable = |source| ClientError::ReadKubeconfig { path: shown.clone(), source };
    let file = Kubeconfig::read_from(path).map_err(unreadable)?;
    if names_a_proxy(&file) {
        return Err(ClientError::ProxyNotSupported { path: shown });
    }
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unreadable)
}

/// Whether the cluster of the current context has a `proxy-url`.
fn names_a_proxy(file: &Kubeconfig) -> bool {
    let cluster = file
        .current_context
        .as_ref()
        .and_then(|current| file.contexts.iter().find(|context| &context.name == current))
        .and_then(|context| context.context.as_ref())
        .map(|context| context.cluster.as_str());
    file.clusters
        .iter()
        .filter(|candidate| Some(candidate.name.as_str()) == cluster)
        .filter_map(|candidate| candidate.cluster.as_ref())
        .any(|candidate| candidate.proxy_url.as_deref().is_some_and(|url| !url.is_empty()))
}

/// Who asks through a client, and what it may.
#[derive(Clone, Default)]
pub struct Speaker {
    /// What tells this process from others of the same program in the API server's audit log.
    pub identity: Option<String>,
    /// What keeps requests that write back; without it all are sent.
    pub fence: Option<WriteFence>,
}

impl Speaker {
    /// `tidelock/VERSION (IDENTITY)`.
    fn user_agent(&self) -> HeaderValue {
        const PROGRAM: &str = concat!("tidelock/", env!("CARGO_PKG_VERSION"));
        let named = self.identity.as_ref().and_then(|identity| format!("{PROGRAM} ({identity})").parse().ok());
        named.unwrap_or_else(|| HeaderValue::from_static(PROGRAM))
    }
}

/// A client for the cluster that this program works on: reached directly, whatever proxies there are. Anything may be
/// written through it: for a process that works under a lease there is [`build_as`].
pub fn build(config: Config) -> Result<Client, ClientError> {
    build_as(config, &Speaker::default())
}

/// As [`build`], for a process with an identity and a fence.
pub fn build_as(config: Config, speaker: &Speaker) -> Result<Client, ClientError> {
    let own = config.cluster_url.host().map(str::to_owned);
    let rules = EgressRules { cluster_api_hosts: own.into_iter().collect(), ..EgressRules::default() };
    // The client's own TLS judges the server's certificate, by the configuration's authorities.
    let egress = Egress::new(rules, BTreeMap::new(), SystemRoots::none());
    build_through_as(config, egress, Override::Direct, speaker)
}

/// A client with this program's rules on top of a configuration: connections of the egress layer, no retries of its own (one
/// place retries, and knows its deadline), no read timeout (a watch may be silent for minutes; requests have their own
/// deadline). A proxy in the configuration is passed over: `egress` and `chosen` say which way is taken.
pub fn build_through(config: Config, egress: Egress, chosen: Override) -> Result<Client, ClientError> {
    build_through_as(config, egress, chosen, &Speaker::default())
}

fn build_through_as(
    config: Config,
    egress: Egress,
    chosen: Override,
    speaker: &Speaker,
) -> Result<Client, ClientError> {
    let url = config.cluster_url.to_string();
    assemble(config, egress, chosen, speaker)
        .map_err(|source| ClientError::BuildClient { url, source: Box::new(source) })
}

fn assemble(mut config: Config, egress: Egress, chosen: Override, speaker: &Speaker) -> Result<Client, kube::Error> {
    config.headers.push((header::USER_AGENT, speaker.user_agent()));
    let timeouts = Timeouts { dial: CONNECT_TIMEOUT, tls: CONNECT_TIMEOUT, ..Timeouts::default() };
    let connector = UriConnector::new(egress.clone(), chosen.clone(), timeouts.clone());
    let all = pool(&config, connector, &timeouts)?;
    let Some(fence) = speaker.fence.clone() else {
        return layered(&config, all);
    };
    // Writes have connections of their own: what is not let out any more ends the connection that it lies in.
    let timeouts = Timeouts { unacknowledged: fence.delivery(), ..timeouts };
    let permit = {
        let fence = fence.clone();
        Arc::new(move || fence.check().map_err(|closed| Withheld(closed.to_string())))
    };
    let connector = UriConnector::new(egress, chosen, timeouts.clone()).permitted_by(permit);
    let writes = pool(&config, connector, &timeouts)?;
    layered(&config, Fenced { reads: all, writes, fence })
}

/// Sends requests over connections that are used again.
fn pool(
    config: &Config,
    connector: UriConnector,
    timeouts: &Timeouts,
) -> Result<
    impl Service<Request<Body>, Response = Response<Incoming>, Error = BoxedError, Future: Send> + Clone + Send + use<>,
    kube::Error,
> {
    let connector = Limited::new(config.rustls_https_connector_with_connector(connector)?, timeouts);
    let pooled: hyper_util::client::legacy::Client<_, Body> =
        hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    Ok(Uniform(pooled))
}

/// What the configuration says goes around every request.
fn layered<S>(config: &Config, wire: S) -> Result<Client, kube::Error>
where
    S: Service<Request<Body>, Response = Response<Incoming>, Error = BoxedError> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    // What is put on first is next to the wire.
    let plain = ClientBuilder::new(wire, config.default_namespace.clone()).with_layer(&config.extra_headers_layer()?);
    let unpacked = DecompressionLayer::new().gzip(!config.disable_compression);
    Ok(match config.auth_layer()? {
        Some(authentication) => {
            plain.with_layer(&authentication).with_layer(&unpacked).with_layer(&config.base_uri_layer()).build()
        }
        None => plain.with_layer(&unpacked).with_layer(&config.base_uri_layer()).build(),
    })
}

/// A service with errors of the one type that the layers above agree on.
#[derive(Clone)]
struct Uniform<S>(S);

impl<S> Service<Request<Body>> for Uniform<S>
where
    S: Service<Request<Body>>,
    S::Error: Into<BoxedError>,
{
    type Response = S::Response;
    type Error = BoxedError;
    type Future = futures::future::MapErr<S::Future, fn(S::Error) -> BoxedError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxedError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request).map_err(Into::into)
    }
}

type BoxedError = Box<dyn StdError + Send + Sync>;

/// A complete answer of the API server, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the request was carried out.
    pub const fn is_success(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct NoAnswer {
    /// Why, as a sentence.
    pub message: String,
    /// Whether the deadline ended it; the request may have been carried out.
    pub timed_out: bool,
}

/// Sends a request and reads the whole answer before `deadline` is over.
pub async fn request_with_deadline(
    client: &Client,
    request: Request<Body>,
    deadline: Duration,
) -> Result<Answer, NoAnswer> {
    let exchange = async {
        let response = client.send(request).await.map_err(|error| no_answer(&error))?;
        complete(response).await
    };
    match tokio::time::timeout(deadline, exchange).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(deadline)),
    }
}

/// Sends a request whose answer is a stream and waits for its head. An answer that is not a success is read whole and
/// handed back as the second case.
pub async fn open_stream(
    client: &Client,
    mut request: Request<Body>,
    deadline: Duration,
) -> Result<Result<Body, Answer>, NoAnswer> {
    // Newer servers compress each event of a watch on its own, which the client's decoder can't follow.
    request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let opening = async {
        let response = client.send(request).await.map_err(|error| no_answer(&error))?;
        if response.status().is_success() { Ok(Ok(response.into_body())) } else { Ok(Err(complete(response).await?)) }
    };
    match tokio::time::timeout(deadline, opening).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(deadline)),
    }
}

/// A request for a path (made by [`path`]) with query parameters.
pub fn request(
    method: Method,
    path: &str,
    query: &[(&str, &str)],
    accept: &'static str,
    body: Bytes,
) -> Result<Request<Body>, NoAnswer> {
    let mut target = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        encode_into(&mut target, value);
    }
    let uri: Uri = target.parse().map_err(|error| NoAnswer {
        message: format!("the path {path} can't be asked for: {error}"),
        timed_out: false,
    })?;
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(request)
}

/// The path of a kind's collection, or of one object of it: `/apis/<group>/<version>/namespaces/<ns>/<plural>/<name>`.
/// An empty namespace means all namespaces (or a cluster-scoped kind), an empty name the collection.
pub fn path(group: &str, version: &str, plural: &str, namespace: &str, name: &str) -> String {
    let mut path = String::from(if group.is_empty() { "/api" } else { "/apis" });
    let namespaces = if namespace.is_empty() { "" } else { "namespaces" };
    for part in [group, version, namespaces, namespace, plural, name] {
        if !part.is_empty() {
            path.push('/');
            encode_into(&mut path, part);
        }
    }
    path
}

/// Percent-encodes what may not stand in a path segment or a query value: names of RBAC objects may hold anything.
fn encode_into(target: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':') {
            target.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(target, "%{byte:02X}");
        }
    }
}

async fn complete(response: Response<Body>) -> Result<Answer, NoAnswer> {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let body = response.into_body().collect().await.map_err(|error| no_answer(&error))?.to_bytes();
    Ok(Answer { status, retry_after, body })
}

/// `Retry-After` in seconds; the API server never sends a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let name: HeaderName = header::RETRY_AFTER;
    headers.get(name)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn timed_out(deadline: Duration) -> NoAnswer {
    NoAnswer { message: format!("the API server did not answer within {} s", deadline.as_secs()), timed_out: true }
}

fn no_answer(error: &kube::Error) -> NoAnswer {
    NoAnswer { message: format!("the API server can't be reached: {}", explain(error)), timed_out: false }
}

/// What went wrong on the wire, without the client's own wrapping and without the manual of the TLS library.
pub(super) fn explain(error: &kube::Error) -> String {
    let text = match error {
        kube::Error::Service(cause) => chain(cause.as_ref()),
        other => chain(other),
    };
    text.split(": https://docs.rs/").next().unwrap_or_default().to_owned()
}

/// An error with its causes, without repeating what a level already says.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_names_collections_and_objects_of_core_and_other_groups() {
        assert_eq!(path("", "v1", "pods", "", ""), "/api/v1/pods");
        assert_eq!(path("apps", "v1", "deployments", "shop", "cart"), "/apis/apps/v1/namespaces/shop/deployments/cart");
        assert_eq!(path("", "v1", "namespaces", "", "shop"), "/api/v1/namespaces/shop");
    }

    #[test]
    fn path_keeps_a_name_within_its_segment() {
        let group = "rbac.authorization.k8s.io";
        assert_eq!(
            path(group, "v1", "clusterroles", "", "system:a/../b?c"),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%2F..%2Fb%3Fc"
        );
    }

    #[test]
    fn retry_after_reads_seconds_and_ignores_nonsense() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("3"));
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(3)));
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("soon"));
        assert_eq!(retry_after(&headers), None);
    }
}

#[cfg(test)]
#[path = "client_route_tests.rs"]
mod route_tests;

#[cfg(test)]
#[path = "client_fence_tests.rs"]
mod fence_tests;

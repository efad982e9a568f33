//! A small HTTP/1.1 client on the egress layer: reuse of idle connections, a timer per phase, streaming answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, COOKIE, HOST, HeaderName, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::timeout;
use url::Url;

use crate::model::Reason;

use super::connect::{AGENT, Connector, seconds};
use super::error::{EgressError, Phase, Place};
use super::pool::{Key, Pool, Sender};
use super::response::{HttpResponse, root_cause};
use super::route::Route;
use super::rules::Override;
use super::stream::Arrivals;
use super::tls::Rejected;
use super::trust::CaBundle;
use super::tunnel::{SQUID_ERROR, distinct, proxy_auth_message, proxy_failure, schemes};
use super::{Authorization, BasicCredentials, ClientIdentity, Destination, Egress};

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 5;

/// How long each phase of a request may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolving a name.
    pub dns: Duration,
    /// Opening the TCP connection.
    pub dial: Duration,
    /// The proxy's answer to CONNECT. Squid takes 35 s to report a name that it can't resolve.
    pub connect: Duration,
    /// TLS handshake.
    pub tls: Duration,
    /// From the request to the head of the answer. Servers are silent while they pack.
    pub first_byte: Duration,
    /// Between two pieces of the answer's body. There is no minimum rate: scanning proxies trickle.
    pub idle: Duration,
    /// A whole operation (such as one fetch), when it is to be limited. Whoever runs the operation applies it.
    pub total: Option<Duration>,
    /// How long sent bytes may stay unacknowledged; the kernel ends the connection then, and does not go on to deliver
    /// them. A reused connection that a firewall has forgotten is noticed by it long before the first-byte timer, and the
    /// request goes out again on a new one.
    pub unacknowledged: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            dns: Duration::from_secs(5),
            dial: Duration::from_secs(10),
            connect: Duration::from_secs(45),
            tls: Duration::from_secs(10),
            first_byte: Duration::from_mins(1),
            idle: Duration::from_mins(1),
            total: None,
            unacknowledged: Duration::from_secs(20),
        }
    }
}

/// What one client needs to know.
#[derive(Clone, Default)]
pub struct HttpConfig {
    /// What the object that connects says about its route to the client's own origin. The rules alone decide about other
    /// hosts.
    pub route: Override,
    /// Authorities to trust for the destination besides the system's.
    pub ca: Option<CaBundle>,
    /// Sent at once with every request to the client's own origin, never to another host.
    pub authorization: Option<Authorization>,
    /// Shown to the client's own origin when it asks for a client certificate. Never to another host or a proxy.
    pub identity: Option<ClientIdentity>,
    /// Timers.
    pub timeouts: Timeouts,
    /// `User-Agent`; the program's name when `None`.
    pub user_agent: Option<String>,
}

/// An HTTP/1.1 client for one object (a repository, say). Cheap to make; keeps idle connections for reuse.
pub struct HttpClient {
    egress: Egress,
    connector: Connector,
    config: HttpConfig,
    /// The client's own origin. `None`: whatever each operation begins with.
    home: Option<Destination>,
    pool: Arc<Pool>,
}

impl HttpClient {
    /// A client that has made no connection yet.
    pub fn new(egress: Egress, config: HttpConfig) -> Self {
        let connector =
            Connector::new(egress.clone(), config.ca.clone(), config.identity.clone(), config.timeouts.clone());
        Self { egress, connector, config, home: None, pool: Arc::default() }
    }

    /// The same, for requests that begin at other origins than the client's own too: route, credentials and certificate of
    /// the configuration count for `home` only. Without this they count for the origin that an operation begins with.
    #[must_use]
    pub fn of(mut self, home: Destination) -> Self {
        self.home = Some(home);
        self
    }

    /// Whether a URL that an operation begins with is at the client's own origin.
    fn is_home(&self, url: &Url) -> bool {
        self.home.as_ref().is_none_or(|home| Destination::of_url(url).is_ok_and(|target| target == *home))
    }

    /// Whether a hop of an operation that began at `first` is at the client's own origin.
    fn owns(&self, first: &Url, at: &Url) -> bool {
        if self.home.is_some() { self.is_home(at) } else { same_origin(first, at) }
    }

    fn chosen(&self, own: bool) -> &Override {
        if own { &self.config.route } else { &Override::None }
    }

    /// The timers.
    pub fn timeouts(&self) -> &Timeouts {
        &self.config.timeouts
    }

    /// Whether credentials are configured.
    pub fn has_credentials(&self) -> bool {
        self.config.authorization.is_some()
    }

    /// The route to a URL in words (`direct`, `proxy corporate (10.0.0.1:3128)`), for status and metrics.
    pub fn route(&self, url: &Url) -> String {
        match self.egress.rules().decide(url, self.chosen(self.is_home(url))) {
            Ok(decision) => decision.route.to_string(),
            Err(error) => error.to_string(),
        }
    }

    /// GET that follows redirects: at most five, never from https to http. The rules are asked again at each hop. The
    /// configuration's route, credentials and certificate are for the client's own origin, and the `Authorization`, `Cookie`
    /// and other sensitive ones among the headers for that of `url`. [`HttpResponse::url`] tells where it ended.
    pub async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<HttpResponse, EgressError> {
        self.follow(Method::GET, url, headers).await
    }

    /// HEAD that follows redirects as [`HttpClient::get`] does.
    pub async fn head(&self, url: &Url, headers: &HeaderMap) -> Result<HttpResponse, EgressError> {
        self.follow(Method::HEAD, url, headers).await
    }

    async fn follow(&self, method: Method, url: &Url, headers: &HeaderMap) -> Result<HttpResponse, EgressError> {
        let mut at = url.clone();
        // What the caller logs in with is for its own host, as the client's credentials are.
        let elsewhere = for_others(headers);
        for _ in 0..=MOST_REDIRECTS {
            let first = same_origin(url, &at);
            let headers = if first { headers } else { &elsewhere };
            let answer = self.send(method.clone(), &at, headers, Bytes::new(), self.owns(url, &at)).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let refused = |message: &str| Err(answer.place.error(Reason::RedirectRefused, Phase::FirstByte, message));
            let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(mut next) = location.and_then(|text| at.join(text).ok()) else {
                return refused("the server redirects without saying where to");
            };
            let named = next.host_str().map_or_else(|| next.scheme().to_owned(), str::to_owned);
            if at.scheme() == "https" && next.scheme() == "http" {
                return refused(&format!(
                    "the server redirects from https to plain http (host {named}), which is not followed"
                ));
            }
            if !matches!(next.scheme(), "http" | "https") {
                return refused("the server redirects to a URL that is not http or https");
            }
            // A redirect can't hand out credentials. Both setters fail only on URLs without a host.
            let _ = next.set_username("");
            let _ = next.set_password(None);
            next.set_fragment(None);
            at = next;
        }
        let place = self.place(&at, self.owns(url, &at))?;
        Err(place.error(Reason::RedirectRefused, Phase::FirstByte, format!("more than {MOST_REDIRECTS} redirects")))
    }

    /// POST to a URL. Redirects are not followed. `own` says whether the URL is one that the configuration's route,
    /// credentials and certificate are meant for; where the client has an origin ([`HttpClient::of`]) it must be that too.
    pub async fn post(
        &self,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
        own: bool,
    ) -> Result<HttpResponse, EgressError> {
        self.send(Method::POST, url, headers, body, own && self.is_home(url)).await
    }

    pub(super) fn place(&self, url: &Url, own: bool) -> Result<Place, EgressError> {
        let target = Destination::of_url(url).map_err(|error| EgressError::no_route(authority(url), &error))?;
        self.egress.place(&target, self.chosen(own))
    }

    /// One request, and a second try on a new connection when a reused one turns out to be dead. Only for requests
    /// that may be repeated. `own` says whether the URL is at the client's own origin.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
        own: bool,
    ) -> Result<HttpResponse, EgressError> {
        let place = self.place(url, own)?;
        let origin = format!("{}://{}", url.scheme(), place.host);
        let key = Key { origin, route: place.decision.route.to_string(), own };
        if let Some(mut sender) = self.pool.take(&key) {
            let request = self.request(&method, url, headers, body.clone(), own, &place)?;
            let ready = timeout(Duration::from_secs(1), sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                match timeout(self.config.timeouts.first_byte, sender.send(request)).await {
                    Ok(Ok(answer)) => return self.judge(url, answer, place, key, sender).await,
                    Ok(Err(error)) => tracing::debug!(%error, host = place.host, "an idle connection was dead"),
                    Err(_) => return Err(self.silent(&place)),
                }
            }
        }
        let target = Destination::of_url(url).map_err(|error| EgressError::no_route(place.host.clone(), &error))?;
        let arrivals = Arrivals::default();
        // Connecting is by far the largest future of a request, and most requests reuse a connection.
        let stream = Box::pin(self.connector.open(&target, &place, own, &arrivals)).await?;
        let broken = |error: &hyper::Error| broken_head(error, &place);
        let mut sender = Sender::on(stream, arrivals).await.map_err(|error| broken(&error))?;
        let request = self.request(&method, url, headers, body, own, &place)?;
        match timeout(self.config.timeouts.first_byte, sender.send(request)).await {
            Ok(Ok(answer)) => self.judge(url, answer, place, key, sender).await,
            Ok(Err(error)) => Err(broken(&error)),
            Err(_) => Err(self.silent(&place)),
        }
    }

    fn silent(&self, place: &Place) -> EgressError {
        let message =
            format!("the request was sent, but no answer began within {}", seconds(self.config.timeouts.first_byte));
        place.error(Reason::ServerSilent, Phase::FirstByte, message)
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
        own: bool,
        place: &Place,
    ) -> Result<Request<Full<Bytes>>, EgressError> {
        let impossible = |error: String| place.error(Reason::InternalError, Phase::FirstByte, error);
        let mut target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        let mut proxy_authorization = None;
        if let Route::HttpForward { name, .. } = &place.decision.route {
            target = format!("http://{host}{target}");
            let access = self.connector.proxy_access(name);
            proxy_authorization = access.and_then(|access| access.credentials.as_ref()).map(BasicCredentials::header);
        }
        let mut request = Request::builder()
            .method(method.clone())
            .uri(target)
            .body(Full::new(body))
            .map_err(|error| impossible(error.to_string()))?;
        let all = request.headers_mut();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|error| impossible(error.to_string()));
        all.insert(HOST, value(&host)?);
        all.insert(USER_AGENT, value(self.config.user_agent.as_deref().unwrap_or(AGENT))?);
        for (name, value) in headers {
            all.insert(name.clone(), value.clone());
        }
        if own && let Some(authorization) = &self.config.authorization {
            all.insert(http::header::AUTHORIZATION, authorization.header());
        }
        if let Some(header) = proxy_authorization {
            all.insert(PROXY_AUTHORIZATION, header);
        }
        Ok(request)
    }

    /// Takes an answer that a proxy gave in place of the server for what it is.
    async fn judge(
        &self,
        url: &Url,
        answer: Response<Incoming>,
        place: Place,
        key: Key,
        sender: Sender,
    ) -> Result<HttpResponse, EgressError> {
        let (head, body) = answer.into_parts();
        let mut response = HttpResponse {
            url: url.clone(),
            status: head.status,
            headers: head.headers,
            received: 0,
            body,
            idle: self.config.timeouts.idle,
            place,
            home: Some((Arc::clone(&self.pool), key, sender)),
        };
        let status = response.status.as_u16();
        let forwarded = matches!(response.place.decision.route, Route::HttpForward { .. });
        let by_squid = response.headers.contains_key(SQUID_ERROR);
        if status == 407 {
            let offered: Vec<String> = response
                .headers
                .get_all(PROXY_AUTHENTICATE)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(schemes)
                .collect();
            let proxy = response.place.decision.route.proxy().unwrap_or_default();
            let access = self.connector.proxy_access(proxy);
            let sent = forwarded && access.is_some_and(|access| access.credentials.is_some());
            let message = proxy_auth_message(&distinct(offered), sent, proxy);
            let after = response.retry_after();
            return Err(response.place.error(Reason::ProxyAuthRequired, Phase::FirstByte, message).after(after));
        }
        let own_page = by_squid || (forwarded && response.is_html());
        let reason = match status {
            500 | 502..=504 if own_page => {
                proxy_failure(status, response.headers.get(SQUID_ERROR).and_then(|value| value.to_str().ok()))
            }
            403 if own_page && forwarded => Reason::ProxyForbidden,
            400..500 if by_squid && forwarded => Reason::ProxyForbidden,
            400.. if by_squid && !forwarded => Reason::BlockedByProxy,
            _ => return Ok(response),
        };
        let after = response.retry_after();
        let quote = response.quote().await;
        let message = format!("a proxy answered {} in place of the server: \"{quote}\"", response.status);
        Err(response.place.error(reason, Phase::FirstByte, message).after(after))
    }
}

fn broken_head(error: &hyper::Error, place: &Place) -> EgressError {
    if let Some(rejected) = Rejected::among(error) {
        return rejected.at(place);
    }
    if error.is_parse() {
        let message = format!("the answer is not HTTP/1.1 ({})", root_cause(error));
        return place.error(Reason::ProtocolError, Phase::FirstByte, message);
    }
    let (reason, who) = match place.decision.route {
        Route::HttpForward { .. } => (Reason::ProxyUnreachable, "the proxy"),
        Route::Direct | Route::Connect { .. } | Route::Socks5 { .. } => (Reason::ConnectionCut, "the other side"),
    };
    let message = format!("{who} closed the connection before it answered ({})", root_cause(error));
    place.error(reason, Phase::FirstByte, message)
}

/// `host:port`.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The headers that may go to another host than the one that they were made for.
fn for_others(headers: &HeaderMap) -> HeaderMap {
    let secret = |name: &HeaderName, value: &HeaderValue| {
        *name == AUTHORIZATION || *name == COOKIE || *name == PROXY_AUTHORIZATION || value.is_sensitive()
    };
    let plain = headers.iter().filter(|(name, value)| !secret(name, value));
    // One by one: a name may have several values.
    plain.fold(HeaderMap::new(), |mut kept, (name, value)| {
        kept.append(name.clone(), value.clone());
        kept
    })
}

fn same_origin(left: &Url, right: &Url) -> bool {
    left.scheme() == right.scheme() && authority(left).eq_ignore_ascii_case(&authority(right))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "misbehaviour_tests.rs"]
mod misbehaviour_tests;

//! Webhooks: somebody says that a repository has changed, so it is polled sooner. Nothing else follows from one.
//!
//! ```text
//! connection ─► limits ─► claim by the headers ─► body, bounded, into the MAC ─► proved? ─► repositories ─► poll sooner
//! ```
//!
//! A listener that strangers reach: nothing of a body is parsed before it is proved, nothing that is answered tells which
//! repositories there are, and what it may cost in time, memory and connections is bounded. A webhook that is lost costs
//! the wait for the next poll.

mod limits;
mod payload;
mod proof;
mod reading;
mod vendor;

#[cfg(fuzzing)]
pub mod fuzzing;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::metrics::{Metrics, WebhookOutcome};
use crate::model::Reason;
use crate::reconcile::{HintDoor, Hints};
use limits::{Deliveries, Limits};
use proof::{Claim, Keys, Refused, Same, claim};
use reading::{NotRead, drain, read_body};
use vendor::{Headers, Vendor};

/// Where webhooks are taken: Argo CD's path, so that senders need not be told another.
pub const PATH: &str = "/api/webhook";
/// Longest body. A push of thousands of commits has a few hundred KiB.
const LONGEST_BODY: usize = 1024 * 1024;
/// Bodies that are read at the same time, each of which may take that much memory.
const BODIES: usize = 16;
/// Connections at the same time; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long the headers of a request may take to come.
const HEADER_WAIT: Duration = Duration::from_secs(5);
/// How long a body may take to come, and to find room.
const BODY_WAIT: Duration = Duration::from_secs(10);
/// How long the rest of a body is taken that is answered already.
const DRAIN_WAIT: Duration = Duration::from_secs(1);
/// How long a connection may last. It carries one request.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);
/// Largest head of a request.
const LARGEST_HEAD: usize = 32 * 1024;
/// Most headers of a request.
const MOST_HEADERS: usize = 64;
/// How often it is told that webhooks are refused.
const SAID_EVERY: Duration = Duration::from_mins(1);
/// What a sender is asked to wait.
const LATER: HeaderValue = HeaderValue::from_static("10");

/// Why webhooks are not taken.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The address can't be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --webhook-listen ADDR")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// The system gives no random numbers, which comparing secrets needs.
    #[error("the system gives no random numbers, so webhooks can't be checked")]
    NoRandomness,
}

/// What is behind the listener.
pub trait Door: Send + Sync {
    /// Whether this process is the one that works.
    fn is_open(&self) -> bool;
    /// The keys that prove webhooks.
    fn keys(&self) -> BoxFuture<'_, Result<Keys, KeysUnavailable>>;
    /// Something did not fit the keys. True when they are read anew next time.
    fn forget_keys(&self) -> bool;
    /// Polls sooner what hints are about. Returns how many sources that are.
    fn take(&self, hints: &Hints) -> usize;
}

/// The keys can't be read, as this says.
#[derive(Debug)]
pub struct KeysUnavailable(pub String);

/// The work of this process, with the name of the Secret that holds the keys.
#[derive(Debug)]
pub struct WorkDoor {
    /// The work.
    pub door: HintDoor,
    /// The Secret.
    pub secret: String,
}

impl Door for WorkDoor {
    fn is_open(&self) -> bool {
        self.door.is_open()
    }

    fn keys(&self) -> BoxFuture<'_, Result<Keys, KeysUnavailable>> {
        Box::pin(async move {
            match self.door.keys(&self.secret).await {
                None => Err(KeysUnavailable("this process does not do the work".to_owned())),
                // Nothing is set up: that is not the same as not knowing.
                Some(Err(failure)) if failure.reason == Reason::SecretNotFound => Ok(Keys::default()),
                Some(Err(failure)) => Err(KeysUnavailable(failure.message)),
                Some(Ok(values)) => Ok(Keys::read(|key| values.text(key))),
            }
        })
    }

    fn forget_keys(&self) -> bool {
        self.door.forget_keys(&self.secret)
    }

    fn take(&self, hints: &Hints) -> usize {
        self.door.take(hints)
    }
}

/// A listener that does not answer yet.
#[derive(Debug)]
pub struct Webhooks {
    listener: TcpListener,
    address: SocketAddr,
}

impl Webhooks {
    /// Takes the address.
    pub async fn listen(address: SocketAddr) -> Result<Self, WebhookError> {
        let failed = |source| WebhookError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address in fact; its port differs from the one asked for when that was 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes webhooks until told to stop.
    pub async fn serve(
        self,
        door: Arc<dyn Door>,
        metrics: Arc<Metrics>,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Result<(), WebhookError> {
        let same = Same::new().ok_or(WebhookError::NoRandomness)?;
        let now = clock.monotonic();
        let desk = Arc::new(Desk {
            door,
            metrics,
            clock,
            same,
            bodies: Semaphore::new(BODIES),
            limits: Mutex::new(Limits::new(now)),
            deliveries: Mutex::default(),
            said: Mutex::default(),
        });
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let next = async {
                let place = Arc::clone(&connections).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                next = next => next,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Of one connection, or of all when there are no more file descriptors: those come back.
                    debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(move |request| {
                    let desk = Arc::clone(&desk);
                    async move { Ok::<_, Infallible>(desk.answer(peer.ip(), request).await) }
                });
                let serving = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_WAIT)
                    .keep_alive(false)
                    .max_buf_size(LARGEST_HEAD)
                    .max_headers(MOST_HEADERS)
                    .serve_connection(TokioIo::new(stream), service);
                match timeout(CONNECTION_WAIT, serving).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(%error, %peer, "a connection for webhooks broke"),
                    Err(_) => debug!(%peer, "a connection for webhooks took too long"),
                }
            });
        }
    }
}

/// Who answers.
struct Desk {
    door: Arc<dyn Door>,
    metrics: Arc<Metrics>,
    clock: Clock,
    same: Same,
    bodies: Semaphore,
    limits: Mutex<Limits>,
    deliveries: Mutex<Deliveries>,
    said: Mutex<Option<Instant>>,
}

/// What is answered, and what is counted.
struct Answer {
    status: StatusCode,
    text: &'static str,
    vendor: Option<Vendor>,
    outcome: WebhookOutcome,
}

impl Answer {
    const fn new(status: StatusCode, outcome: WebhookOutcome, text: &'static str) -> Self {
        Self { status, text, vendor: None, outcome }
    }

    const fn of(mut self, vendor: Option<Vendor>) -> Self {
        self.vendor = vendor;
        self
    }

    fn accepted(vendor: Vendor, outcome: WebhookOutcome) -> Self {
        // The same whatever came of it: who may send for one repository need not know of others.
        Self::new(StatusCode::ACCEPTED, outcome, "accepted\n").of(Some(vendor))
    }
}

impl Desk {
    async fn answer(&self, from: IpAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, mut body) = request.into_parts();
        let answer = Box::pin(self.judge(from, &head, &mut body)).await;
        if answer.status != StatusCode::TOO_MANY_REQUESTS {
            let _ = timeout(DRAIN_WAIT, drain(&mut body, LONGEST_BODY)).await;
        }
        self.metrics.webhook(answer.vendor.map_or("unknown", Vendor::as_str), answer.outcome);
        let mut response = Response::new(Full::new(Bytes::from_static(answer.text.as_bytes())));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        match answer.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, LATER);
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        response
    }

    async fn judge(&self, from: IpAddr, head: &Parts, body: &mut Incoming) -> Answer {
        const BUSY: Answer = Answer::new(
            StatusCode::TOO_MANY_REQUESTS,
            WebhookOutcome::RateLimited,
            "too many webhooks; the repositories are polled anyway\n",
        );
        if !self.limits().admit(from, self.clock.monotonic()) {
            return BUSY;
        }
        if head.uri.path() != PATH {
            let text = "webhooks are taken by POST at /api/webhook\n";
            return Answer::new(StatusCode::NOT_FOUND, WebhookOutcome::NotFound, text);
        }
        if head.method != Method::POST {
            let text = "webhooks are taken by POST\n";
            return Answer::new(StatusCode::METHOD_NOT_ALLOWED, WebhookOutcome::NotFound, text);
        }
        if !self.door.is_open() {
            let text = "this replica stands by; the repositories are polled anyway\n";
            return Answer::new(StatusCode::SERVICE_UNAVAILABLE, WebhookOutcome::Unavailable, text);
        }
        let headers = OneByOne(&head.headers);
        let said = headers.get(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        if said.is_some_and(|length| length > LONGEST_BODY as u64) {
            return too_large(None);
        }
        let keys = match self.keys().await {
            Ok(keys) => keys,
            Err(answer) => return answer,
        };
        let mut claimed = claim(&headers, &keys, &self.same);
        if let Claim::Refused(_) = claimed
            && let Some(keys) = self.newer_keys().await
        {
            claimed = claim(&headers, &keys, &self.same);
        }
        if let Claim::Refused(refused) = claimed {
            return self.refuse(from, refused);
        }
        let room = timeout(BODY_WAIT, self.bodies.acquire());
        let Ok(Ok(_room)) = room.await else { return BUSY };
        let read = timeout(BODY_WAIT, read_body(body, &mut claimed, LONGEST_BODY));
        let body = match read.await {
            Ok(Ok(body)) => body,
            Ok(Err(NotRead::TooLarge)) => {
                self.limits().refused(from, self.clock.monotonic());
                return too_large(None);
            }
            Ok(Err(NotRead::Cut)) | Err(_) => {
                // Room for a body was taken and not used, which must cost the sender something.
                self.limits().refused(from, self.clock.monotonic());
                let text = "the body did not come in time\n";
                return Answer::new(StatusCode::REQUEST_TIMEOUT, WebhookOutcome::TimedOut, text);
            }
        };
        let mut proved = prove(claimed);
        if proved.is_err()
            && let Some(keys) = self.newer_keys().await
        {
            let mut again = claim(&headers, &keys, &self.same);
            if let Claim::Signed(signed) = &mut again {
                signed.update(&body);
            }
            proved = prove(again);
        }
        match proved {
            Ok(vendor) => self.heed(vendor, &headers, &body),
            Err(refused) => self.refuse(from, refused),
        }
    }

    async fn keys(&self) -> Result<Keys, Answer> {
        self.door.keys().await.map_err(|KeysUnavailable(why)| {
            if self.may_say() {
                warn!(%why, "webhooks can't be checked, so none is taken");
            }
            let text = "no secrets for webhooks can be read; the controller's log says why\n";
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, WebhookOutcome::Unavailable, text)
        })
    }

    /// The keys as they are now, where those in memory may be old.
    async fn newer_keys(&self) -> Option<Keys> {
        if !self.door.forget_keys() {
            return None;
        }
        self.door.keys().await.ok()
    }

    /// Of what is proved: what it is about is polled sooner.
    fn heed(&self, vendor: Vendor, headers: &impl Headers, body: &[u8]) -> Answer {
        if let Some(id) = vendor.delivery(headers) {
            let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
            if !deliveries.is_new(vendor, &id, self.clock.monotonic()) {
                return Answer::accepted(vendor, WebhookOutcome::Replayed);
            }
        }
        let content_type = headers.get(CONTENT_TYPE.as_str()).unwrap_or_default();
        let named = match payload::repositories(vendor, content_type, body) {
            Ok(named) => named,
            Err(error) => {
                if self.may_say() {
                    warn!(vendor = vendor.as_str(), %error, "a webhook can't be read");
                }
                let text = "the body is not what this sender is known to send\n";
                return Answer::new(StatusCode::BAD_REQUEST, WebhookOutcome::Malformed, text).of(Some(vendor));
            }
        };
        let sources = self.door.take(&Hints::of(named.iter().map(String::as_str)));
        debug!(vendor = vendor.as_str(), sources, "a webhook");
        Answer::accepted(vendor, if sources > 0 { WebhookOutcome::Accepted } else { WebhookOutcome::Ignored })
    }

    fn refuse(&self, from: IpAddr, refused: Refused) -> Answer {
        self.limits().refused(from, self.clock.monotonic());
        let vendor = refused.vendor();
        let (why, text) = match refused {
            Refused::Unknown => ("no header tells who sends it", "no header of a known sender of webhooks is there\n"),
            Refused::NotSetUp(_) => ("no secret is set up for this sender", "no secret is set up for this sender\n"),
            Refused::Missing(_) => ("no signature or token is there", "the signature or token is missing\n"),
            Refused::Wrong(_) => ("the signature or token does not fit", "the signature or token does not fit\n"),
        };
        if self.may_say() {
            warn!(%from, vendor = vendor.map_or("unknown", Vendor::as_str), why, "a webhook is refused; others may be, without a line for each");
        }
        Answer::new(StatusCode::UNAUTHORIZED, WebhookOutcome::Unauthorized, text).of(vendor)
    }

    fn limits(&self) -> std::sync::MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_say(&self) -> bool {
        let now = self.clock.monotonic();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_none_or(|said| now.saturating_duration_since(said) >= SAID_EVERY);
        if due {
            *said = Some(now);
        }
        due
    }
}

fn prove(claimed: Claim) -> Result<Vendor, Refused> {
    match claimed {
        Claim::Proved(vendor) => Ok(vendor),
        Claim::Signed(body) => body.finish(),
        Claim::Refused(refused) => Err(refused),
    }
}

fn too_large(vendor: Option<Vendor>) -> Answer {
    let text = "the body has more than 1 MiB\n";
    Answer::new(StatusCode::PAYLOAD_TOO_LARGE, WebhookOutcome::TooLarge, text).of(vendor)
}

/// Headers of which each counts only when it is there once.
struct OneByOne<'a>(&'a HeaderMap);

impl Headers for OneByOne<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.get_all(name).iter();
        let first = all.next()?;
        if all.next().is_some() { None } else { first.to_str().ok() }
    }
}

#[cfg(test)]
mod tests;

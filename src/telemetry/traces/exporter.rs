//! Sends what has ended to the collector, in batches, by the egress layer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prometheus_client::metrics::counter::Counter;
use secrecy::ExposeSecret as _;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::encode;
use super::report::Report;
use crate::egress::{CaBundle, CaBundleError, Egress, HttpClient, HttpConfig, HttpResponse, Timeouts};
use crate::model::{Hash64, Reason};
use crate::settings::TraceSettings;

/// Spans of one request, as the SDK's own processors have it.
const LARGEST_BATCH: usize = 512;
/// How long what waits may take to be sent when the program ends.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Longest pause where the receiver asks for none.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Longest pause that a receiver may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// How often a batch is sent. Newer spans tell more than those of minutes ago.
const MOST_TRIES: u32 = 3;
/// Longest answer that is read; it holds a number and a sentence.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The way to the collector, asked for with each batch since the rules may have changed.
pub trait WayOut: std::fmt::Debug + Send + Sync {
    /// The egress layer as it is now.
    fn way(&self) -> BoxFuture<'_, Result<Way, NoWayOut>>;

    /// A proxy has refused its credentials: they are to be read again.
    fn credentials_refused(&self);
}

/// The egress layer as it is now.
pub struct Way {
    /// The rules.
    pub egress: Egress,
    /// Changes when they do, and when a credential does.
    pub fingerprint: Hash64,
}

/// Why there is no way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWayOut {
    /// Nobody in this process knows the rules, yet or any more: nothing is wrong.
    Unknown,
    /// The rules can't be used, as this says.
    Refused(String),
}

/// Why nothing can be exported.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// The file can't be read.
    #[error("no traces are exported: cannot read {path}, which OTEL_EXPORTER_OTLP_CERTIFICATE names: {source}")]
    ReadCertificate {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It holds no certificates.
    #[error("no traces are exported: {path}, which OTEL_EXPORTER_OTLP_CERTIFICATE names: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CaBundleError,
    },
}

/// Whether a batch that was not taken may be taken later.
#[derive(Clone, Copy)]
enum Again {
    Never,
    Soon,
    /// Not before this time has passed.
    After(Duration),
}

/// Why a batch was not taken.
struct Refusal {
    message: String,
    again: Again,
}

impl Refusal {
    fn for_good(message: String) -> Self {
        Self { message, again: Again::Never }
    }

    fn for_now(message: String, after: Option<Duration>) -> Self {
        Self { message, again: after.map_or(Again::Soon, Again::After) }
    }
}

/// A batch that was not sent.
struct Unsent {
    spans: usize,
    body: Bytes,
}

/// How long is waited for what.
pub(super) struct Pace {
    /// How long the first span of a batch waits for more.
    pub(super) batch: Duration,
    /// Pause before a batch is sent again; doubles with each failure.
    pub(super) first_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { batch: Duration::from_secs(5), first_pause: Duration::from_secs(5) }
    }
}

/// What exports spans.
pub struct Exporter {
    settings: TraceSettings,
    certificate: Option<CaBundle>,
    resource: ResourceAttributesWithSchema,
    ended: mpsc::Receiver<SpanData>,
    dropped: Counter,
    way_out: Arc<dyn WayOut>,
    client: Option<(Hash64, HttpClient)>,
    report: Report,
    pub(super) pace: Pace,
}

impl Exporter {
    pub(super) fn new(
        settings: TraceSettings,
        resource: &Resource,
        ended: mpsc::Receiver<SpanData>,
        dropped: Counter,
        way_out: Arc<dyn WayOut>,
    ) -> Result<Self, ExporterError> {
        let certificate = match &settings.certificate {
            None => None,
            Some(path) => {
                let pem = std::fs::read(path)
                    .map_err(|source| ExporterError::ReadCertificate { path: path.clone(), source })?;
                let bundle = CaBundle::parse(&pem)
                    .map_err(|source| ExporterError::Certificate { path: path.clone(), source })?;
                Some(bundle)
            }
        };
        let resource = ResourceAttributesWithSchema::from(resource);
        Ok(Self {
            settings,
            certificate,
            resource,
            ended,
            dropped,
            way_out,
            client: None,
            report: Report::default(),
            pace: Pace::default(),
        })
    }

    /// Exports until `stop`; then what waits is sent once, within [`FLUSH_LIMIT`].
    pub async fn run(mut self, stop: CancellationToken) {
        let mut left = None;
        while let Some(batch) = self.next_batch(&stop).await {
            left = Box::pin(self.send(batch, &stop)).await;
            if left.is_some() {
                break;
            }
        }
        let end = Instant::now() + FLUSH_LIMIT;
        let mut lost = 0;
        while let Some(Unsent { spans, body }) = left.take().or_else(|| self.rest()) {
            if !matches!(timeout_at(end, self.post(body)).await, Ok(Ok(()))) {
                lost += spans;
            }
        }
        if lost > 0 {
            self.lose(lost);
            info!(spans = lost, "spans that could not be exported before the end are lost");
        }
    }

    /// Spans that wait now, `None` when there are none.
    fn rest(&mut self) -> Option<Unsent> {
        let mut batch = Vec::new();
        while batch.len() < LARGEST_BATCH
            && let Ok(span) = self.ended.try_recv()
        {
            batch.push(span);
        }
        (!batch.is_empty()).then(|| Unsent { spans: batch.len(), body: self.body(batch) })
    }

    /// The next spans; `None` when no more are wanted.
    async fn next_batch(&mut self, stop: &CancellationToken) -> Option<Vec<SpanData>> {
        let mut batch = Vec::new();
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            first = self.ended.recv() => first?,
        };
        batch.push(first);
        let end = Instant::now() + self.pace.batch;
        while batch.len() < LARGEST_BATCH {
            tokio::select! {
                biased;
                // What has been taken is sent before the rest.
                () = stop.cancelled() => break,
                () = sleep_until(end) => break,
                next = self.ended.recv() => match next {
                    Some(span) => batch.push(span),
                    None => break,
                },
            }
        }
        Some(batch)
    }

    /// Sends a batch, again and again where that may help. Returns it when the end came before.
    async fn send(&mut self, batch: Vec<SpanData>, stop: &CancellationToken) -> Option<Unsent> {
        let count = batch.len();
        let body = self.body(batch);
        let (mut tries, mut pause) = (0, self.pace.first_pause);
        loop {
            if stop.is_cancelled() {
                return Some(Unsent { spans: count, body });
            }
            let posted = tokio::select! {
                biased;
                posted = self.post(body.clone()) => posted,
                () = stop.cancelled() => continue,
            };
            let refusal = match posted {
                Ok(()) => {
                    if self.report.succeeded() {
                        info!(endpoint = self.endpoint(), "traces are exported again");
                    }
                    return None;
                }
                Err(None) => Refusal::for_now(String::new(), None),
                Err(Some(refusal)) => {
                    tries += 1;
                    refusal
                }
            };
            if !refusal.message.is_empty() && self.report.failed(Instant::now().into_std()) {
                warn!(endpoint = self.endpoint(), why = %refusal.message, "traces can't be exported; spans that find no room are dropped");
            }
            let rest = match refusal.again {
                Again::Soon if tries < MOST_TRIES => pause,
                Again::After(time) if tries < MOST_TRIES => time.min(LONGEST_WAIT).max(pause),
                Again::Never | Again::Soon | Again::After(_) => {
                    self.lose(count);
                    return None;
                }
            };
            // Many controllers lose one collector at the same time.
            let rest = rest.mul_f64(1.0 + fastrand::f64() / 2.0);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// The receiver as it may be shown: without a query, which may hold a key.
    fn endpoint(&self) -> String {
        let endpoint = &self.settings.endpoint;
        format!("{}{}", endpoint.origin().ascii_serialization(), endpoint.path())
    }

    fn lose(&self, spans: usize) {
        self.dropped.inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }

    fn body(&self, batch: Vec<SpanData>) -> Bytes {
        Bytes::from(encode::request(batch, &self.resource, self.settings.gzip))
    }

    /// One request. `None` as failure: the way out is not known yet.
    async fn post(&mut self, body: Bytes) -> Result<(), Option<Refusal>> {
        // Each phase has a timer of its own, whose error tells more; this one is for those that add up.
        let limit = self.settings.timeout.saturating_mul(2);
        if let Ok(result) = timeout(limit, self.post_untimed(body)).await {
            return result;
        }
        let route = self.client.as_ref().map(|(_, client)| client.route(&self.settings.endpoint)).unwrap_or_default();
        let message = format!("no whole answer came within {} ms, route {route}", limit.as_millis());
        // A connection on which an answer is still owed must not carry the next request.
        self.client = None;
        Err(Some(Refusal::for_now(message, None)))
    }

    async fn post_untimed(&mut self, body: Bytes) -> Result<(), Option<Refusal>> {
        let way_out = Arc::clone(&self.way_out);
        match way_out.way().await {
            Ok(way) => self.take(way),
            Err(NoWayOut::Unknown) => {}
            Err(NoWayOut::Refused(message)) => return Err(Some(Refusal::for_now(message, None))),
        }
        let (endpoint, headers) = (&self.settings.endpoint, self.headers());
        // After the work has ended, the way is the one that was known last.
        let Some((_, client)) = &self.client else { return Err(None) };
        let answer = client.post(endpoint, &headers, body, true).await;
        let mut answer = answer.map_err(|error| {
            if error.reason == Reason::ProxyAuthRequired {
                way_out.credentials_refused();
            }
            Some(Refusal::for_now(error.to_string(), error.retry_after))
        })?;
        judge(&mut answer).await.map(|refused| self.note(refused)).map_err(Some)
    }

    /// What an answer that accepts a request says of spans that it does not.
    fn note(&mut self, refused: Option<(u64, String)>) {
        let Some((count, why)) = refused else { return };
        self.dropped.inc_by(count);
        if self.report.failed(Instant::now().into_std()) {
            warn!(endpoint = self.endpoint(), spans = count, %why, "the receiver of traces refuses some spans");
        }
    }

    /// Takes this way from now on. While it stays the same, so do the connections.
    fn take(&mut self, way: Way) {
        let Way { egress, fingerprint } = way;
        if self.client.as_ref().is_some_and(|(known, _)| *known == fingerprint) {
            return;
        }
        let (limit, default) = (self.settings.timeout, Timeouts::default());
        let timeouts = Timeouts {
            dns: default.dns.min(limit),
            dial: default.dial.min(limit),
            connect: default.connect.min(limit),
            tls: default.tls.min(limit),
            first_byte: default.first_byte.min(limit),
            idle: default.idle.min(limit),
            total: Some(limit),
            unacknowledged: default.unacknowledged.min(limit),
        };
        let config = HttpConfig { ca: self.certificate.clone(), timeouts, ..HttpConfig::default() };
        self.client = Some((fingerprint, HttpClient::new(egress, config)));
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.settings.headers {
            // Both were checked when they were read.
            let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
            let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) else { continue };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers
    }
}

/// Whether a receiver took a batch: then, what of it it refused. By the specification of OTLP these and no other statuses may be
/// tried again.
async fn judge(answer: &mut HttpResponse) -> Result<Option<(u64, String)>, Refusal> {
    if answer.status.is_success() {
        let body = answer.read_all(LONGEST_ANSWER).await.ok().flatten();
        return Ok(body.and_then(|body| encode::refused(&body)));
    }
    let after = answer.retry_after();
    let quote = answer.quote().await;
    let message = format!("the receiver answered {}: \"{quote}\"", answer.status);
    let error = answer.error(Reason::ServerError, message).to_string();
    Err(match answer.status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Refusal::for_now(error, after),
        _ => Refusal::for_good(error),
    })
}

//! Traces as a real collector gets them, by real proxies.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use futures::future::BoxFuture;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tracing::subscriber::{DefaultGuard, set_default};

use super::exporter::Pace;
use super::*;
use crate::clock::Clock;
use crate::egress::testing::{Authority, ProxyBehaviour, TestProxy, read_head, serve};
use crate::egress::{Egress, Stream, SystemRoots};
use crate::model::{Hash64, HealthStatus, ObjectKey, Reason};
use crate::settings::TraceEnvironment;
use crate::spans::{self, Act, SyncTrigger};
use crate::telemetry::{LogFormat, queue, subscriber};

/// Path, headers and spans of a request.
type Seen = (String, BTreeMap<String, String>, ExportTraceServiceRequest);

/// Message, Application, trace and span of a line.
type Line = (String, Option<String>, Option<(String, String)>);

/// What a collector was sent, and what it answers.
#[derive(Clone, Default)]
struct Collector {
    /// The requests.
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Answers in their order; the last for ever.
    answers: Arc<Vec<&'static str>>,
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";
const BAD: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\nno tenant";

impl Collector {
    fn answering(answers: &[&'static str]) -> Self {
        Self { seen: Arc::default(), answers: Arc::new(answers.to_vec()) }
    }

    async fn start(&self, tls: Option<tokio_rustls::TlsAcceptor>) -> SocketAddr {
        let collector = self.clone();
        serve(tls, move |stream| collector.clone().take(stream)).await
    }

    async fn take(self, mut stream: Stream) {
        while let Some(head) = read_head(&mut stream).await {
            let mut body = vec![0; head.header("content-length").parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            if head.header("content-encoding") == "gzip" {
                let mut plain = Vec::new();
                GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                body = plain;
            }
            let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
            let answer = {
                let mut seen = self.seen.lock().unwrap();
                seen.push((head.target, head.headers, request));
                self.answers.get(seen.len() - 1).or(self.answers.last()).copied().unwrap_or(OK)
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    fn spans(&self) -> Vec<Span> {
        let seen = self.seen.lock().unwrap();
        let resources = seen.iter().flat_map(|(_, _, request)| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// A way out that never changes.
#[derive(Clone)]
struct Fixed(Option<Egress>);

impl std::fmt::Debug for Fixed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fixed")
    }
}

impl WayOut for Fixed {
    fn way(&self) -> BoxFuture<'_, Result<Way, NoWayOut>> {
        let way = self.0.clone().map(|egress| Way { egress, fingerprint: Hash64(1) });
        Box::pin(async move { way.ok_or(NoWayOut::Unknown) })
    }

    fn credentials_refused(&self) {}
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs and traces of one test.
struct Bench {
    traces: Option<Traces>,
    dropped: Counter,
    lines: Sink,
    writer: Option<queue::Writer>,
    guard: Option<DefaultGuard>,
}

impl Bench {
    fn new(endpoint: &str, variables: &[(&str, &str)], level: &str, room: usize) -> Self {
        let environment = TraceEnvironment::pick(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        });
        let settings = TraceSettings::gather(Some(endpoint), &environment).unwrap().settings.unwrap();
        let (lines, dropped) = (Sink::default(), Counter::default());
        let (clock, _hands) = Clock::manual(Timestamp::from_second(1_700_000_000).unwrap());
        let (queue, writer) = queue::start(lines.clone(), Counter::default()).unwrap();
        let (tracer, traces) = start_with_room(settings, dropped.clone(), room);
        let subscriber = subscriber(LogFormat::Json, level, clock, queue, Some(tracer)).unwrap();
        let guard = set_default(subscriber);
        Self { traces: Some(traces), dropped, lines, writer: Some(writer), guard: Some(guard) }
    }

    fn exporter(&mut self, egress: Option<Egress>) -> Exporter {
        let mut exporter = self.traces.take().unwrap().exporter(Arc::new(Fixed(egress))).unwrap();
        exporter.pace = Pace { batch: Duration::from_millis(1), first_pause: Duration::from_millis(1) };
        exporter
    }

    /// Exports what has ended, and ends.
    async fn flush(&mut self, egress: Egress) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.exporter(Some(egress)).run(stop).await;
    }

    fn log(mut self) -> Vec<serde_json::Value> {
        drop(self.guard.take());
        drop(self.writer.take());
        let bytes = self.lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn text(value: &KeyValue) -> (String, String) {
    let shown = match value.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    (value.key.clone(), shown)
}

/// Name, attributes, and the names of what it is part of.
fn described(spans: &[Span]) -> Vec<String> {
    let parent = |span: &Span| spans.iter().find(|other| other.span_id == span.parent_span_id);
    let mut all: Vec<String> = spans
        .iter()
        .map(|span| {
            let attributes: BTreeMap<String, String> = span.attributes.iter().map(text).collect();
            let attributes: Vec<String> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let within = parent(span).map_or_else(String::new, |parent| format!("{} > ", parent.name));
            let status = span.status.clone().unwrap_or_default();
            let status = match status.code {
                2 => format!(" ERROR `{}`", status.message),
                _ => String::new(),
            };
            format!("{within}{} [{}]{status}", span.name, attributes.join(" "))
        })
        .collect();
    all.sort();
    all
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "it did not come to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A reconcile with a render in another thread, and a sync with one write that fails.
async fn work() {
    let reconcile = spans::reconcile("team", "shop");
    let log_span = tracing::info_span!("reconcile", application = "shop");
    async {
        tracing::info!("begins");
        let here = spans::here();
        let render = move || {
            here.run(|| {
                let span = spans::render(0, Some("deploy"), None, "abc");
                span.in_scope(|| tracing::info!("renders"));
                spans::rendered(&span, "helm", 2);
            });
        };
        render();
        let sync = spans::sync("team", "shop", "abc", SyncTrigger::Policy, 0);
        let carry_out = async {
            let write = spans::write(Act::Apply, &ObjectKey::new("apps", "Deployment", "shop", "web"));
            async { tracing::warn!("step") }.instrument(write.clone()).await;
            spans::wrote(&write, "failed");
            spans::failed(&write, Reason::ApplyFailed, "the API server said no");
        };
        async { carry_out.instrument(spans::group("Sync", Some(-1), 1)).await }
            .instrument(tracing::info_span!(parent: None, "sync", application = "shop"))
            .instrument(sync.clone())
            .await;
        spans::synced(&sync, "Failed", false);
    }
    .instrument(log_span)
    .instrument(reconcile.clone())
    .await;
    spans::reconciled(&reconcile, "abc", "OutOfSync", HealthStatus::Degraded);
    spans::ended(&reconcile, "waiting");
}

#[tokio::test]
async fn a_collector_behind_a_proxy_gets_whole_traces_at_every_level_of_the_log() {
    let collector = Collector::default();
    let proxy = TestProxy::start(collector.start(None).await, ProxyBehaviour::default()).await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20canary"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=prod"),
    ];
    let mut bench = Bench::new("http://otel.corp.test:4318", &variables, "error", 100);
    work().await;
    bench.flush(proxy.egress(None, None)).await;
    assert_eq!(proxy.seen(), ["POST http://otel.corp.test:4318/v1/traces"]);
    assert_eq!(
        described(&collector.spans()),
        [
            "group > apply [error.type=ApplyFailed tidelock.object.group=apps tidelock.object.kind=Deployment \
             tidelock.object.name=web tidelock.object.namespace=shop tidelock.write.outcome=failed] ERROR `the API server said no`",
            "reconcile > render [tidelock.render.objects=2 tidelock.render.tool=helm tidelock.source.index=0 \
             tidelock.source.path=deploy vcs.ref.head.revision=abc]",
            "reconcile [tidelock.application.health=Degraded tidelock.application.name=shop tidelock.application.namespace=team \
             tidelock.application.sync=OutOfSync tidelock.reconcile.result=waiting vcs.ref.head.revision=abc]",
            "sync > group [tidelock.sync.phase=Sync tidelock.sync.steps=1 tidelock.sync.wave=-1]",
            "sync [tidelock.application.name=shop tidelock.application.namespace=team tidelock.sync.result=Failed \
             tidelock.sync.retries=0 tidelock.sync.trigger=policy vcs.ref.head.revision=abc] ERROR ``",
        ]
    );
    let spans = collector.spans();
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    let (sync, reconcile) = (named("sync"), named("reconcile"));
    assert_ne!(sync.trace_id, reconcile.trace_id);
    assert_eq!(sync.links.iter().map(|link| &link.span_id).collect::<Vec<_>>(), [&reconcile.span_id]);
    assert!(spans.iter().all(|span| span.events.is_empty()), "what is logged goes to the log");
    let seen = collector.seen.lock().unwrap();
    let (path, headers, request) = &seen[0];
    assert_eq!(path, "http://otel.corp.test:4318/v1/traces");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["authorization"], "Bearer canary");
    let ResourceSpans { resource, .. } = &request.resource_spans[0];
    let resource: BTreeMap<String, String> = resource.as_ref().unwrap().attributes.iter().map(text).collect();
    assert_eq!(
        resource.into_iter().collect::<Vec<_>>(),
        [
            ("deployment.environment.name".to_owned(), "prod".to_owned()),
            ("service.name".to_owned(), "tidelock".to_owned()),
            ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ]
    );
    drop(seen);
    assert_eq!(bench.log(), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_collector_that_speaks_tls_is_tunnelled_to_and_bodies_may_be_compressed() {
    let (collector, authority) = (Collector::default(), Authority::new("inside"));
    let destination = collector.start(Some(authority.acceptor("otel.corp.test"))).await;
    let proxy = TestProxy::start(destination, ProxyBehaviour::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let certificate = directory.path().join("ca.pem");
    std::fs::write(&certificate, &authority.pem).unwrap();
    let variables =
        [("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate.to_str().unwrap()), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")];
    let mut bench = Bench::new("https://otel.corp.test/otlp", &variables, "info", 100);
    drop(spans::poll("https://git.corp.test/shop.git", 1));
    bench.flush(proxy.egress(None, None)).await;
    assert_eq!(proxy.seen(), ["CONNECT otel.corp.test:443"]);
    assert_eq!(collector.seen.lock().unwrap()[0].0, "/otlp/v1/traces");
    assert_eq!(
        described(&collector.spans()),
        ["poll [tidelock.poll.targets=1 vcs.repository.url.full=https://git.corp.test/shop.git]"]
    );
}

#[tokio::test]
async fn a_line_of_the_log_names_the_span_that_it_belongs_to() {
    let collector = Collector::default();
    let proxy = TestProxy::start(collector.start(None).await, ProxyBehaviour::default()).await;
    let mut bench = Bench::new("http://otel.corp.test:4318", &[], "info", 100);
    work().await;
    tracing::info!("outside");
    bench.flush(proxy.egress(None, None)).await;
    let ids: BTreeMap<String, (String, String)> = collector
        .spans()
        .iter()
        .map(|span| {
            let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            (span.name.clone(), (hexadecimal(&span.trace_id), hexadecimal(&span.span_id)))
        })
        .collect();
    let lines: Vec<Line> = bench
        .log()
        .into_iter()
        .map(|line| {
            let text = |name: &str| line.get(name).and_then(|value| value.as_str()).map(str::to_owned);
            (text("message").unwrap(), text("application"), text("trace_id").zip(text("span_id")))
        })
        .collect();
    let expected = |message: &str, span: &str| (message.to_owned(), Some("shop".to_owned()), Some(ids[span].clone()));
    assert_eq!(
        lines,
        [
            expected("begins", "reconcile"),
            expected("renders", "render"),
            expected("step", "apply"),
            ("outside".to_owned(), None, None),
        ]
    );
}

#[tokio::test]
async fn a_collector_that_is_dead_holds_nothing_up_and_what_is_lost_is_counted() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut bench = Bench::new(&format!("http://{closed}"), &[], "warn", 4);
    for _ in 0..10 {
        drop(spans::poll("https://git.corp.test/shop.git", 1));
    }
    assert_eq!(bench.dropped.get(), 6, "more than there is room for");
    bench.flush(Egress::direct(SystemRoots::none())).await;
    assert_eq!(bench.dropped.get(), 10);
}

#[tokio::test]
async fn a_batch_is_sent_again_where_that_may_help_and_failures_are_told_once() {
    let collector = Collector::answering(&[BUSY, BUSY, OK, BAD, BUSY, BUSY, BUSY, OK]);
    let address = collector.start(None).await;
    let mut bench = Bench::new(&format!("http://{address}"), &[], "info", 100);
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.exporter(Some(Egress::direct(SystemRoots::none()))).run(stop.clone()));
    // Requests that each batch takes, and how many spans are lost after it.
    for (requests, lost) in [(3, 0), (4, 1), (7, 2), (8, 2)] {
        drop(spans::poll("https://git.corp.test/shop.git", 1));
        eventually(|| collector.requests() == requests && bench.dropped.get() == lost).await;
    }
    stop.cancel();
    running.await.unwrap();
    let said: Vec<(String, String, String)> = bench
        .log()
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            (text("level"), text("message"), text("why"))
        })
        .collect();
    let failure = format!(
        "request to {address} failed in phase transfer, route direct: the receiver answered 503 Service Unavailable: \"busy\" \
         [rule: "
    );
    assert!(said[0].2.starts_with(&failure), "{said:?}");
    let levels: Vec<&str> = said.iter().map(|(level, ..)| level.as_str()).collect();
    assert_eq!(levels, ["WARN", "INFO"], "told once, and once that it is over: {said:?}");
}

#[tokio::test]
async fn nothing_is_sent_before_the_ways_out_are_known() {
    let collector = Collector::default();
    let address = collector.start(None).await;
    let mut bench = Bench::new(&format!("http://{address}"), &[], "info", 100);
    drop(spans::poll("https://git.corp.test/shop.git", 1));
    let stop = CancellationToken::new();
    let running = tokio::spawn(bench.exporter(None).run(stop.clone()));
    tokio::task::yield_now().await;
    stop.cancel();
    running.await.unwrap();
    assert_eq!((collector.requests(), bench.dropped.get()), (0, 1));
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_neither_exported_nor_named() {
    let collector = Collector::default();
    let address = collector.start(None).await;
    let variables = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let mut bench = Bench::new(&format!("http://{address}"), &variables, "info", 100);
    work().await;
    bench.flush(Egress::direct(SystemRoots::none())).await;
    assert_eq!((collector.requests(), bench.dropped.get()), (0, 0));
    assert!(bench.log().iter().all(|line| line.get("trace_id").is_none()));
}

#[test]
fn a_certificate_that_can_not_be_read_says_which_variable_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let tried = || {
        let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", path.to_str().unwrap())];
        let mut bench = Bench::new("https://otel.corp.test", &variables, "info", 1);
        bench.traces.take().unwrap().exporter(Arc::new(Fixed(None))).err().unwrap().to_string()
    };
    let missing = tried();
    assert!(missing.starts_with("no traces are exported: cannot read "), "{missing}");
    std::fs::write(&path, "nothing").unwrap();
    let empty = tried();
    assert!(
        empty.contains("which OTEL_EXPORTER_OTLP_CERTIFICATE names: the CA bundle holds no certificate"),
        "{empty}"
    );
}

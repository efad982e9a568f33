//! Logs and traces: what is written, how it looks, and that writing never holds anything up.
//!
//! Lines go through a bounded queue to a thread of their own; when the reader of stderr is slow, lines are dropped and
//! counted, and the program goes on. Some libraries log what must not be seen, so their levels are capped whatever
//! the user asks for.

mod json;
mod panic;
mod queue;
pub mod traces;

use std::io;
use std::str::FromStr;

use clap::ValueEnum;
use opentelemetry_sdk::trace::SdkTracer;
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::clock::Clock;
use crate::settings::TraceSettings;
use crate::spans;
use json::JsonLines;
use queue::{LineQueue, Writer};
use traces::Traces;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, the fields of its spans beside its own.
    Json,
    /// For people.
    Text,
}

/// Why logging could not be started.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The level is not understood.
    #[error(
        "--log-level `{level}` is not understood: {problem}; write a level such as `info`, or `info,tidelock::git=debug`"
    )]
    ParseLevel {
        /// What was given.
        level: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The writing thread could not be started.
    #[error("cannot start the thread that writes the log: {0}")]
    StartWriter(#[source] io::Error),
    /// There is a subscriber already.
    #[error("logging was started twice")]
    AlreadyStarted,
}

/// Running logs. Dropping it writes out what is queued.
#[derive(Debug)]
#[must_use = "logs stop when this is dropped"]
pub struct Telemetry {
    dropped: Dropped,
    traces: Option<Traces>,
    _writer: Writer,
}

/// What was lost, for the metrics.
#[derive(Clone, Debug, Default)]
pub struct Dropped {
    /// Log lines.
    pub lines: Counter,
    /// Spans of traces.
    pub spans: Counter,
}

impl Telemetry {
    /// Starts logging to stderr at a level given as `tracing` directives, makes panics log their place only, and begins to
    /// make traces where they are wanted.
    pub fn start(
        format: LogFormat,
        level: &str,
        traces: Option<TraceSettings>,
        clock: Clock,
    ) -> Result<Self, TelemetryError> {
        let dropped = Dropped::default();
        let (queue, writer) = queue::start(io::stderr(), dropped.lines.clone()).map_err(TelemetryError::StartWriter)?;
        let (tracer, traces) = traces.map(|settings| traces::start(settings, dropped.spans.clone())).unzip();
        subscriber(format, level, clock, queue, tracer)?.try_init().map_err(|_| TelemetryError::AlreadyStarted)?;
        panic::log_panics();
        Ok(Self { dropped, traces, _writer: writer })
    }

    /// Counts what was dropped; for the metrics.
    pub fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }

    /// The traces, for whoever exports them; once.
    pub const fn take_traces(&mut self) -> Option<Traces> {
        self.traces.take()
    }
}

/// Levels that no setting can raise, by target. `kube_client` logs bodies of answers, which may be Secrets, at every level;
/// the HTTP and TLS libraries log headers, which may be credentials.
const CAPS: [(&str, LevelFilter); 7] = [
    ("kube_client", LevelFilter::OFF),
    ("hyper", LevelFilter::WARN),
    ("hyper_util", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
    ("tokio_rustls", LevelFilter::WARN),
    ("tower", LevelFilter::WARN),
];

fn caps() -> Targets {
    Targets::new().with_default(LevelFilter::TRACE).with_targets(CAPS)
}

fn subscriber(
    format: LogFormat,
    level: &str,
    clock: Clock,
    queue: LineQueue,
    tracer: Option<SdkTracer>,
) -> Result<impl SubscriberInitExt + tracing::Subscriber, TelemetryError> {
    let problem = |problem: String| TelemetryError::ParseLevel { level: level.to_owned(), problem };
    // A lone word that is no level would be read as the name of a module and silence everything.
    if !level.contains(['=', ',']) && LevelFilter::from_str(level).is_err() {
        return Err(problem("it is neither off, error, warn, info, debug nor trace".to_owned()));
    }
    let wanted = EnvFilter::builder().parse(level).map_err(|error| problem(error.to_string()))?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => JsonLines::new(clock, queue, tracer.is_some()).boxed(),
        LogFormat::Text => fmt::layer().with_ansi(false).with_writer(queue).boxed(),
    };
    let caps = caps();
    let capped = FilterFn::new(move |metadata| {
        // Spans of traces are no lines, whatever the level is.
        metadata.target() != spans::TARGET && caps.would_enable(metadata.target(), metadata.level())
    });
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        vec![lines.with_filter(wanted).with_filter(capped).boxed()];
    layers.extend(tracer.map(traces::layer));
    Ok(tracing_subscriber::registry().with(layers))
}

#[cfg(test)]
mod tests;

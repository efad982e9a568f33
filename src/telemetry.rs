//! Logs: what is written, how it looks, and that writing never holds anything up.
//!
//! Lines go through a bounded queue to a thread of their own; when the reader of stderr is slow, lines are dropped and
//! counted, and the program goes on. Some libraries log what must not be seen, so their levels are capped whatever
//! the user asks for.

mod json;
mod panic;
mod queue;

use std::io;
use std::str::FromStr;

use clap::ValueEnum;
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::clock::Clock;
use json::JsonLines;
use queue::{LineQueue, Writer};

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
    dropped: Counter,
    _writer: Writer,
}

impl Telemetry {
    /// Starts logging to stderr at a level given as `tracing` directives, and makes panics log their place only.
    pub fn start(format: LogFormat, level: &str, clock: Clock) -> Result<Self, TelemetryError> {
        let dropped = Counter::default();
        let (queue, writer) = queue::start(io::stderr(), dropped.clone()).map_err(TelemetryError::StartWriter)?;
        subscriber(format, level, clock, queue)?.try_init().map_err(|_| TelemetryError::AlreadyStarted)?;
        panic::log_panics();
        Ok(Self { dropped, _writer: writer })
    }

    /// Counts the lines that were dropped; for the metric.
    pub fn dropped_lines(&self) -> Counter {
        self.dropped.clone()
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
) -> Result<impl SubscriberInitExt + tracing::Subscriber, TelemetryError> {
    let problem = |problem: String| TelemetryError::ParseLevel { level: level.to_owned(), problem };
    // A lone word that is no level would be read as the name of a module and silence everything.
    if !level.contains(['=', ',']) && LevelFilter::from_str(level).is_err() {
        return Err(problem("it is neither off, error, warn, info, debug nor trace".to_owned()));
    }
    let wanted = EnvFilter::builder().parse(level).map_err(|error| problem(error.to_string()))?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => JsonLines::new(clock, queue).boxed(),
        LogFormat::Text => fmt::layer().with_ansi(false).with_writer(queue).boxed(),
    };
    let caps = caps();
    let capped = FilterFn::new(move |metadata| caps.would_enable(metadata.target(), metadata.level()));
    Ok(tracing_subscriber::registry().with(lines.with_filter(wanted).with_filter(capped)))
}

#[cfg(test)]
mod tests;

//! `tidelock controller`: puts the parts of the long-running process together, and takes them down in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Logs;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::reconcile::{self, Process};
use crate::server::probes::{Probes, Readiness, Requirement};
use crate::server::{Handles, Server, ServerError};
use crate::settings::{ControllerFlags, Environment, Settings, SettingsError};
use crate::telemetry::LogFormat;

/// How long running work may take to end after a signal. A pod is killed after 30 s by default; a node that is drained in a
/// hurry gives less.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(9);

/// Arguments of `tidelock controller`.
#[derive(Args, Clone, Debug)]
pub struct ControllerArguments {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help heading")]
    pub flags: ControllerFlags,
    /// How log lines on stderr look
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
    /// What is logged: a level, or levels by module such as `info,tidelock::git=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "TIDELOCK_LOG_LEVEL")]
    pub log_level: String,
}

impl ControllerArguments {
    pub(super) fn logs(&self) -> Logs {
        Logs { format: self.log_format, level: self.log_level.clone() }
    }
}

/// Why the controller ended other than by being told to.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The settings do not hold.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Signals can't be received.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    /// Probes and metrics can't be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The work ended.
    #[error(transparent)]
    Reconcile(#[from] reconcile::RunError),
    /// Work went on after the grace period.
    #[error("work in progress did not end within {} s of the signal; it is resumed at the next start", SHUTDOWN_GRACE.as_secs())]
    ShutdownTimeout,
    /// A task panicked.
    #[error("a task of the controller failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

pub(super) async fn run(
    arguments: ControllerArguments,
    clock: Clock,
    dropped_log_lines: Counter,
) -> Result<(), ControllerError> {
    let result = run_to_the_end(arguments, clock, dropped_log_lines).await;
    if let Err(error) = &result {
        tracing::error!(%error, "the controller ends");
    }
    result
}

async fn run_to_the_end(
    arguments: ControllerArguments,
    clock: Clock,
    dropped_log_lines: Counter,
) -> Result<(), ControllerError> {
    let settings = Settings::gather(arguments.flags, Environment::read())?;
    announce(&settings);
    let metrics = Arc::new(Metrics::new(dropped_log_lines));
    let probes = Probes::new(clock.clone());
    let shutdown = cancelled_by_signals(probes.readiness.clone())?;

    // Probes are answered until the work has ended: a pod that drains is alive.
    let stop_serving = CancellationToken::new();
    let server = Server::listen(settings.listen).await?;
    tracing::info!(address = %server.address(), "serving /healthz, /readyz and /metrics");
    let handles = Handles { metrics: Arc::clone(&metrics), probes: probes.clone() };
    let mut serving = tokio::spawn(server.serve(handles, stop_serving.clone()));

    let process = Process { clock, metrics, probes };
    let mut work = tokio::spawn(reconcile::run(settings, process, shutdown.clone()));
    let result = tokio::select! {
        ended = &mut work => ended.map_err(ControllerError::from).and_then(|result| Ok(result?)),
        ended = &mut serving => {
            // Without probes and metrics nobody can tell how the controller does; it is restarted.
            shutdown.cancel();
            let _ = tokio::time::timeout(SHUTDOWN_GRACE, &mut work).await;
            return Ok(ended??);
        }
        () = grace_after(&shutdown) => Err(ControllerError::ShutdownTimeout),
    };
    stop_serving.cancel();
    result
}

async fn grace_after(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(SHUTDOWN_GRACE).await;
}

fn announce(settings: &Settings) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = settings.namespace,
        installation = settings.installation,
        state = %settings.state.display(),
        "tidelock controller starts"
    );
    let tools = [("helm", &settings.tools.helm), ("kustomize", &settings.tools.kustomize)];
    for (tool, found) in tools {
        if let Some(path) = found {
            tracing::info!(tool, path = %path.display(), "found a rendering tool");
        } else {
            tracing::warn!(tool, "not found: sources that need it can't be rendered; give --tools DIR");
        }
    }
}

/// A token that SIGTERM or SIGINT cancels. From then on the process is not ready.
fn cancelled_by_signals(readiness: Readiness) -> Result<CancellationToken, ControllerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ControllerError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ControllerError::Signals)?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "stopping: no new work is begun");
        readiness.unmet(Requirement::Shutdown, format!("{name} came: no new work is begun"));
        token.cancel();
    });
    Ok(shutdown)
}

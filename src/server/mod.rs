//! The small HTTP server for probes and metrics. It changes nothing and tells no secret.

pub mod probes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use probes::{Probes, Standing};

/// What a scraper is told about the text it gets.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server shows.
#[derive(Clone, Debug)]
pub struct Handles {
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
    /// For `/healthz` and `/readyz`.
    pub probes: Probes,
}

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The address can't be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen ADDR")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What went wrong.
        source: io::Error,
    },
    /// Serving ended.
    #[error("the server for probes and metrics ended: {0}")]
    Serve(#[source] io::Error),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the address.
    pub async fn listen(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address in fact; its port differs from the one asked for when that was 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop.
    pub async fn serve(self, handles: Handles, shutdown: CancellationToken) -> Result<(), ServerError> {
        axum::serve(self.listener, routes(handles))
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .map_err(ServerError::Serve)
    }
}

fn routes(handles: Handles) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(handles)
}

/// `?verbose` lists what was looked at, as the probes of Kubernetes' own components do.
fn is_verbose(uri: &Uri) -> bool {
    uri.query().unwrap_or_default().split('&').any(|part| part.split('=').next() == Some("verbose"))
}

async fn alive(State(handles): State<Handles>, uri: Uri) -> Response {
    let stalls = handles.probes.watchdog.stalls();
    let status = if stalls.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text: String = stalls.iter().map(|stall| format!("{stall}\n")).collect();
    if is_verbose(&uri) {
        text = ["runtime", "lease", "queue", "workers"]
            .map(|name| {
                let found = stalls.iter().map(ToString::to_string).find(|stall| stall.starts_with(name));
                found.map_or_else(|| format!("[+]{name} ok\n"), |stall| format!("[-]{stall}\n"))
            })
            .concat();
        text.push_str(if stalls.is_empty() { "healthz check passed\n" } else { "healthz check failed\n" });
    } else if stalls.is_empty() {
        text.push_str("ok\n");
    }
    (status, text).into_response()
}

async fn ready(State(handles): State<Handles>, uri: Uri) -> Response {
    let standing = handles.probes.readiness.standing();
    let is_ready = standing.values().all(|standing| matches!(standing, Standing::Met(_)));
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = String::new();
    for (requirement, standing) in &standing {
        match (standing, is_verbose(&uri)) {
            (Standing::Met(note), true) if note.is_empty() => text.push_str(&format!("[+]{requirement} ok\n")),
            (Standing::Met(note), true) => text.push_str(&format!("[+]{requirement} ok: {note}\n")),
            (Standing::Met(_), false) => {}
            (Standing::Missing(why), true) => text.push_str(&format!("[-]{requirement} failed: {why}\n")),
            (Standing::Missing(why), false) => text.push_str(&format!("{requirement}: {why}\n")),
        }
    }
    if is_verbose(&uri) {
        text.push_str(if is_ready { "readyz check passed\n" } else { "readyz check failed\n" });
    } else if is_ready {
        text.push_str("ok\n");
    }
    (status, text).into_response()
}

async fn metrics(State(handles): State<Handles>) -> Response {
    match handles.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot encode the metrics: {error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests;

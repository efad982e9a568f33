//! What takes ended spans from whoever made them.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// Queues ended spans, or counts them as lost. Never waits.
#[derive(Debug)]
pub(super) struct Enqueue {
    ended: mpsc::Sender<SpanData>,
    dropped: Counter,
}

impl Enqueue {
    pub(super) const fn new(ended: mpsc::Sender<SpanData>, dropped: Counter) -> Self {
        Self { ended, dropped }
    }
}

impl SpanProcessor for Enqueue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.ended.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    /// The exporter is told by itself to send what waits.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _limit: Duration) -> OTelSdkResult {
        Ok(())
    }
}

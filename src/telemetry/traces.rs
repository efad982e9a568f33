//! Traces: spans that have ended go into a bounded queue; a task of its own sends them to a collector.
//!
//! ```text
//! crate::spans ─► sampler ─► queue (bounded; what finds no room is counted) ─► exporter ─► egress ─► collector
//! ```
//!
//! Nothing that works ever waits for any of this.

mod encode;
mod exporter;
mod processor;
mod report;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tracing::{Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::registry::LookupSpan;

use crate::settings::{TraceSampler, TraceSettings};
use crate::spans::TARGET;
pub use exporter::{Exporter, ExporterError, FLUSH_LIMIT, NoWayOut, Way, WayOut};
use processor::Enqueue;

/// Spans that may wait. At one to two kilobytes a span this is some 4 MiB.
const MOST_WAITING: usize = 2_048;

/// Traces that are made, and wait to be exported.
#[derive(Debug)]
pub struct Traces {
    settings: TraceSettings,
    resource: Resource,
    ended: mpsc::Receiver<SpanData>,
    dropped: Counter,
}

/// Begins to make traces: what makes them, and what they come out of. `dropped` counts what is lost.
pub(super) fn start(settings: TraceSettings, dropped: Counter) -> (SdkTracer, Traces) {
    start_with_room(settings, dropped, MOST_WAITING)
}

fn start_with_room(settings: TraceSettings, dropped: Counter, room: usize) -> (SdkTracer, Traces) {
    let (sender, ended) = mpsc::channel(room);
    // Without detectors: they would read the environment.
    let attributes = settings.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let resource = Resource::builder_empty().with_attributes(attributes).build();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler(settings.sampler))
        .with_resource(resource.clone())
        .with_span_processor(Enqueue::new(sender, dropped.clone()))
        .build();
    let tracer = provider.tracer("tidelock");
    (tracer, Traces { settings, resource, ended, dropped })
}

fn sampler(wanted: TraceSampler) -> Sampler {
    let root = match wanted {
        TraceSampler::All => Sampler::AlwaysOn,
        TraceSampler::None => Sampler::AlwaysOff,
        TraceSampler::Share(share) => Sampler::TraceIdRatioBased(share),
    };
    Sampler::ParentBased(Box::new(root))
}

/// Whether a span is one of a trace. Events are not taken: what is logged goes to the log.
pub(super) fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}

/// The layer that turns our spans into those of traces, whatever the level of the log is.
pub(super) fn layer<S>(tracer: SdkTracer) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    OpenTelemetryLayer::new(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(FilterFn::new(is_traced))
        .boxed()
}

impl Traces {
    /// What exports them, by a way out that is asked for with each batch.
    ///
    /// # Errors
    /// When the file with the receiver's authorities can't be used.
    pub fn exporter(self, way_out: Arc<dyn WayOut>) -> Result<Exporter, ExporterError> {
        let Self { settings, resource, ended, dropped } = self;
        Exporter::new(settings, &resource, ended, dropped, way_out)
    }
}

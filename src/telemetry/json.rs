//! One JSON object a line: the event's fields beside those of the spans it happened in, the innermost winning.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::LookupSpan;

use super::queue::LineQueue;
use crate::clock::Clock;

/// The layer that writes JSON lines.
#[derive(Debug)]
pub(super) struct JsonLines {
    clock: Clock,
    queue: LineQueue,
    /// Whether traces are exported, so that a line can name the one it belongs to.
    traced: bool,
}

impl JsonLines {
    pub(super) const fn new(clock: Clock, queue: LineQueue, traced: bool) -> Self {
        Self { clock, queue, traced }
    }
}

/// The fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

impl<S> Layer<S> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Map::new();
            attributes.record(&mut Collector(&mut fields));
            span.extensions_mut().replace(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: LayerContext<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut::<SpanFields>()
        {
            values.record(&mut Collector(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        let mut line = Map::new();
        if let Some(scope) = context.event_scope(event) {
            for span in scope.from_root() {
                if let Some(SpanFields(fields)) = span.extensions().get::<SpanFields>() {
                    line.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
                }
            }
        }
        event.record(&mut Collector(&mut line));
        if self.traced {
            let at = Context::map_current(|context| context.span().span_context().clone());
            if at.is_sampled() {
                line.insert("trace_id".to_owned(), Value::String(at.trace_id().to_string()));
                line.insert("span_id".to_owned(), Value::String(at.span_id().to_string()));
            }
        }
        let metadata = event.metadata();
        line.insert("timestamp".to_owned(), Value::String(format!("{:.6}", self.clock.now())));
        line.insert("level".to_owned(), Value::from(metadata.level().as_str()));
        line.insert("target".to_owned(), Value::from(metadata.target()));
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        self.queue.push(bytes);
    }
}

/// Puts fields into a map. The names of the line's own fields can't be taken.
struct Collector<'map>(&'map mut Map<String, Value>);

impl Collector<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Collector<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, Value::String(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }
}

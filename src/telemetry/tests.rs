//! Whole log lines, as they leave the process.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::subscriber::with_default;

use super::*;

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

fn logged(format: LogFormat, level: &str, act: impl FnOnce()) -> String {
    let sink = Sink::default();
    let (clock, _hands) = Clock::manual(Timestamp::from_second(1_700_000_000).unwrap());
    let (queue, writer) = queue::start(sink.clone(), Counter::default()).unwrap();
    with_default(subscriber(format, level, clock, queue, None).unwrap(), act);
    drop(writer);
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_json_line_has_the_fields_of_its_spans_beside_its_own() {
    let text = logged(LogFormat::Json, "info", || {
        let outer =
            tracing::info_span!("reconcile", application = "shop", attempt = 1, revision = tracing::field::Empty);
        outer.record("revision", "abc");
        let _outer = outer.enter();
        let _inner = tracing::info_span!("render", attempt = 2).entered();
        tracing::info!(objects = 3_u64, healthy = true, "rendered");
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        line,
        json!({
            "timestamp": "2023-11-14T22:13:20.000000Z",
            "level": "INFO",
            "target": "tidelock::telemetry::tests",
            "message": "rendered",
            "application": "shop",
            "revision": "abc",
            "attempt": 2,
            "objects": 3,
            "healthy": true,
        })
    );
}

#[test]
fn bodies_of_answers_and_headers_are_not_logged_at_any_level() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let text = logged(format, "trace,kube_client::client=trace,hyper=trace", || {
            tracing::warn!(target: "kube_client::client", "body canary");
            tracing::debug!(target: "kube_client::client::builder", "headers canary");
            tracing::info!(target: "hyper::proto", "headers canary");
            tracing::debug!(target: "rustls::client", "canary");
            tracing::error!(target: "kube_client::client", "body of a 500 canary");
            tracing::error!(target: "hyper::proto", "connection lost");
        });
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("connection lost"), "{text}");
    }
}

#[test]
fn a_level_applies_to_the_module_it_names() {
    let text = logged(LogFormat::Text, "warn,tidelock::git=debug", || {
        tracing::debug!(target: "tidelock::git::fetch", "wanted");
        tracing::info!(target: "tidelock::render", "unwanted");
    });
    assert!(text.contains("wanted") && !text.contains("unwanted"), "{text}");
}

#[test]
fn a_level_that_is_not_understood_is_an_error_and_not_silence() {
    for level in ["loud", "info,tidelock=loud"] {
        let (queue, _writer) = queue::start(io::sink(), Counter::default()).unwrap();
        let result = subscriber(LogFormat::Json, level, Clock::system(), queue, None);
        let error = result.err().expect(level).to_string();
        assert!(error.starts_with(&format!("--log-level `{level}` is not understood")), "{error}");
    }
}

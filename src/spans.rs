//! The spans of traces: their names and attributes, in one place.
//!
//! ```text
//! reconcile ─ render · compare                 one trace for each reconcile of an Application
//! sync ─ group ─ apply · prune · hook …        one for each attempt, over all reconciles that carry it on
//! poll ─ list refs · fetch                     one for each poll of a source
//! ```
//!
//! They have a target of their own: who exports traces takes these and no others, and log lines show none of their fields.
//! Where nobody exports, making one costs a load of a number. Attributes never hold bodies or credentials: URLs come
//! without them, and messages are those that the status shows.

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::model::{HealthStatus, ObjectKey, Reason, shorten};

/// The target of spans that are exported.
pub const TARGET: &str = "tidelock::trace";

/// Longest message of a failure, in bytes.
const LONGEST_MESSAGE: usize = 1024;

/// A reconcile of an Application.
pub fn reconcile(namespace: &str, application: &str) -> Span {
    info_span!(
        target: TARGET,
        parent: None,
        "reconcile",
        "tidelock.application.namespace" = namespace,
        "tidelock.application.name" = application,
        "tidelock.application.sync" = Empty,
        "tidelock.application.health" = Empty,
        "tidelock.reconcile.result" = Empty,
        "vcs.ref.head.revision" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
    )
}

/// What a reconcile found. `revision` is what the Application should be at.
pub fn reconciled(span: &Span, revision: &str, sync: &str, health: HealthStatus) {
    if !revision.is_empty() {
        span.record("vcs.ref.head.revision", revision);
    }
    span.record("tidelock.application.sync", sync);
    span.record("tidelock.application.health", health.as_str());
}

/// How a reconcile ended, in the words of the metric `tidelock_reconciles_total`.
pub fn ended(span: &Span, result: &str) {
    span.record("tidelock.reconcile.result", result);
}

/// A render of one source of an Application. `index` is its place among the sources.
pub fn render(index: usize, path: Option<&str>, chart: Option<&str>, revision: &str) -> Span {
    info_span!(
        target: TARGET,
        "render",
        "tidelock.source.index" = index,
        "tidelock.source.path" = path,
        "tidelock.source.chart" = chart,
        "vcs.ref.head.revision" = revision,
        "tidelock.render.tool" = Empty,
        "tidelock.render.objects" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
    )
}

/// What a render made, and with what.
pub fn rendered(span: &Span, tool: &str, objects: usize) {
    span.record("tidelock.render.tool", tool);
    span.record("tidelock.render.objects", objects);
}

/// A comparison of what is wanted with what runs.
pub fn compare(objects: usize) -> Span {
    info_span!(
        target: TARGET,
        "compare",
        "tidelock.compare.objects" = objects,
        "tidelock.compare.different" = Empty,
        "tidelock.compare.surplus" = Empty,
    )
}

/// What a comparison found: objects that differ, and objects that are there and not wanted.
pub fn compared(span: &Span, different: usize, surplus: usize) {
    span.record("tidelock.compare.different", different);
    span.record("tidelock.compare.surplus", surplus);
}

/// Why a sync began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncTrigger {
    /// The policy of the Application wants it.
    Policy,
    /// A person or a program asked for it.
    Request,
    /// The Application is being deleted.
    Deletion,
}

impl SyncTrigger {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Request => "request",
            Self::Deletion => "deletion",
        }
    }
}

/// An attempt at a sync, from its first reconcile to its last. A trace of its own that is linked with what it began in,
/// since that ends long before.
pub fn sync(namespace: &str, application: &str, revision: &str, trigger: SyncTrigger, retries: u32) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "sync",
        "tidelock.application.namespace" = namespace,
        "tidelock.application.name" = application,
        "vcs.ref.head.revision" = revision,
        "tidelock.sync.trigger" = trigger.as_str(),
        "tidelock.sync.retries" = retries,
        "tidelock.sync.result" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
    );
    if !span.is_disabled() {
        let begun_in = Context::map_current(|context| context.span().span_context().clone());
        if begun_in.is_valid() {
            span.add_link(begun_in);
        }
    }
    span
}

/// How an attempt ended, as the status names it.
pub fn synced(span: &Span, result: &str, succeeded: bool) {
    span.record("tidelock.sync.result", result);
    if !succeeded {
        span.record("otel.status_code", "ERROR");
    }
}

/// Steps that are made at the same time: of one phase, and of one wave where it is known.
pub fn group(phase: &str, wave: Option<i64>, steps: usize) -> Span {
    info_span!(
        target: TARGET,
        "group",
        "tidelock.sync.phase" = phase,
        "tidelock.sync.wave" = wave,
        "tidelock.sync.steps" = steps,
    )
}

/// Where code runs now, for work that goes on in another thread.
#[derive(Clone, Debug)]
pub struct Here {
    span: Span,
    context: Context,
}

/// Where this is called.
pub fn here() -> Here {
    Here { span: Span::current(), context: Context::current() }
}

impl Here {
    /// Works there, in this thread.
    pub fn run<T>(self, work: impl FnOnce() -> T) -> T {
        let _entered = self.span.enter();
        let _attached = self.context.attach();
        work()
    }
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is applied.
    Apply,
    /// It is deleted, since git has it no more.
    Prune,
    /// It is made, and runs as a hook.
    StartHook,
    /// It has run, and is deleted.
    DeleteHook,
    /// It has run, and may stay.
    ReleaseHook,
}

/// One act on one object. Never its body.
pub fn write(act: Act, key: &ObjectKey) -> Span {
    macro_rules! named {
        ($name:literal) => {
            info_span!(
                target: TARGET,
                $name,
                "tidelock.object.group" = key.group.as_str(),
                "tidelock.object.kind" = key.kind.as_str(),
                "tidelock.object.namespace" = key.namespace.as_str(),
                "tidelock.object.name" = key.name.as_str(),
                "tidelock.write.outcome" = Empty,
                "error.type" = Empty,
                "otel.status_code" = Empty,
                "otel.status_description" = Empty,
            )
        };
    }
    match act {
        Act::Apply => named!("apply"),
        Act::Prune => named!("prune"),
        Act::StartHook => named!("start hook"),
        Act::DeleteHook => named!("delete hook"),
        Act::ReleaseHook => named!("release hook"),
    }
}

/// What came of it, in the words that logs and the status use.
pub fn wrote(span: &Span, outcome: &str) {
    span.record("tidelock.write.outcome", outcome);
}

/// A poll of a source. `url` comes without credentials.
pub fn poll(url: &str, targets: usize) -> Span {
    info_span!(
        target: TARGET,
        "poll",
        "vcs.repository.url.full" = url,
        "tidelock.poll.targets" = targets,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
    )
}

/// A question to a git server: where its refs are.
pub fn list_refs(host: &str) -> Span {
    info_span!(
        target: TARGET,
        "list refs",
        "otel.kind" = "client",
        "server.address" = host,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
    )
}

/// A fetch of commits from a git server.
pub fn fetch(host: &str, commits: usize) -> Span {
    info_span!(
        target: TARGET,
        "fetch",
        "otel.kind" = "client",
        "server.address" = host,
        "tidelock.fetch.commits" = commits,
        "tidelock.fetch.bytes" = Empty,
        "tidelock.fetch.objects" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
        "otel.status_description" = Empty,
    )
}

/// What a fetch brought.
pub fn fetched(span: &Span, bytes: u64, objects: u32) {
    span.record("tidelock.fetch.bytes", bytes);
    span.record("tidelock.fetch.objects", objects);
}

/// What a span stands for has failed. The message is one that may be shown to whoever sees the status.
pub fn failed(span: &Span, reason: Reason, message: &str) {
    span.record("error.type", reason.as_str());
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", shorten(message, LONGEST_MESSAGE).as_str());
}

//! The one metric registry. Every name begins with `tidelock_`, every label has few values.

mod labels;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::AtomicI64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use labels::{
    ApplicationInfoLabels, ApplicationLabels, EgressLabels, GitLabels, HealthLabels, HostLabels, ReconcileLabels,
    RenderLabels, RenderToolLabels, RepositoryLabels, TipLabels, WebhookLabels, WriteLabels,
};
pub use labels::{GitOperation, ReconcileResult, RenderResult, RenderTool, WebhookOutcome, WriteOutcome, WriteVerb};

use crate::api::SyncState;
use crate::model::{HealthStatus, Reason};

/// Hosts that get a label of their own; the rest are counted together as `other`. A controller talks to a handful. The same
/// goes for routes.
const MAXIMUM_HOSTS: usize = 100;

/// Repositories that get labels of their own.
const MAXIMUM_REPOSITORIES: usize = 1000;

/// Everything that is counted. Recording never blocks for longer than a map access.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_duration: Histogram,
    git_requests: Family<GitLabels, Counter>,
    git_received: Family<HostLabels, Counter>,
    egress_connections: Family<EgressLabels, Counter>,
    renders: Family<RenderLabels, Counter>,
    render_duration: Family<RenderToolLabels, Histogram, fn() -> Histogram>,
    writes: Family<WriteLabels, Counter>,
    webhooks: Family<WebhookLabels, Counter>,
    health_changes: Family<HealthLabels, Counter>,
    live_objects: Gauge,
    watches: Gauge,
    applications: Family<ApplicationLabels, Gauge>,
    application_info: Family<ApplicationInfoLabels, Gauge>,
    polls: Counter,
    contacts: Family<RepositoryLabels, Gauge>,
    tips: Family<TipLabels, Gauge>,
    leader: Gauge,
    known: Mutex<Known>,
}

/// What must be remembered so that labels stay few and go away.
#[derive(Debug, Default)]
struct Known {
    hosts: BTreeSet<String>,
    routes: BTreeSet<String>,
    applications: BTreeMap<(String, String), (SyncState, HealthStatus)>,
    /// Repositories with the targets that have labels of their own.
    repositories: BTreeMap<String, BTreeSet<String>>,
}

/// From a reconcile that finds nothing to do (about 1 ms) to one that waits for a slow render.
const RECONCILE_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// From a small directory to the deadline of a tool.
const RENDER_BUCKETS: [f64; 11] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 90.0];

fn render_histogram() -> Histogram {
    Histogram::new(RENDER_BUCKETS)
}

impl Metrics {
    /// A registry with everything at zero. `dropped_log_lines` is counted by the logs themselves.
    pub fn new(dropped_log_lines: Counter) -> Self {
        let mut registry = Registry::with_prefix("tidelock");
        let reconciles = Family::default();
        let reconcile_duration = Histogram::new(RECONCILE_BUCKETS);
        let git_requests = Family::default();
        let git_received = Family::default();
        let egress_connections = Family::default();
        let renders = Family::default();
        let render_duration = Family::new_with_constructor(render_histogram as fn() -> Histogram);
        let writes = Family::default();
        let webhooks = Family::default();
        let health_changes = Family::default();
        let live_objects = Gauge::<i64, AtomicI64>::default();
        let watches = Gauge::<i64, AtomicI64>::default();
        let applications = Family::default();
        let application_info = Family::default();
        let polls = Counter::default();
        let contacts = Family::default();
        let tips = Family::default();
        let leader = Gauge::<i64, AtomicI64>::default();

        registry.register("build", "The running program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("leader", "1 while this process holds the lease", leader.clone());
        registry.register("reconciles", "Reconciles of Applications by result", reconciles.clone());
        registry.register_with_unit(
            "reconcile_duration",
            "Time from the start of a reconcile to its result",
            Unit::Seconds,
            reconcile_duration.clone(),
        );
        registry.register(
            "git_requests",
            "Requests to git servers; reason is ok, or why it failed as conditions name it",
            git_requests.clone(),
        );
        registry.register_with_unit(
            "git_received",
            "Bytes received from git servers",
            Unit::Bytes,
            git_received.clone(),
        );
        registry.register(
            "egress_connections",
            "Outgoing connections by route; outcome is ok, or why it could not be opened as conditions name it",
            egress_connections.clone(),
        );
        registry.register("polls", "Polls of a repository's refs", polls.clone());
        registry.register_with_unit(
            "repository_contact_timestamp",
            "When a repository last answered",
            Unit::Seconds,
            contacts.clone(),
        );
        registry.register_with_unit(
            "repository_tip_timestamp",
            "When the newest commit or artifact of a tracked target was made",
            Unit::Seconds,
            tips.clone(),
        );
        registry.register("renders", "Renders by tool and result", renders.clone());
        registry.register_with_unit(
            "render_duration",
            "Time of a render that was not in the cache",
            Unit::Seconds,
            render_duration.clone(),
        );
        registry.register("writes", "Writes to the API server by verb and outcome", writes.clone());
        registry.register("webhook_requests", "Webhooks by vendor and outcome", webhooks.clone());
        registry.register(
            "health_changes",
            "Objects whose health changed, by their new health",
            health_changes.clone(),
        );
        registry.register("live_objects", "Live objects that are kept as records", live_objects.clone());
        registry.register("watches", "Open watches", watches.clone());
        registry.register("applications", "Applications by sync state and health", applications.clone());
        registry.register(
            "application_info",
            "1 for each Application with its sync state and health",
            application_info.clone(),
        );
        registry.register("log_lines_dropped", "Log lines dropped because stderr was not read", dropped_log_lines);
        Self {
            registry,
            reconciles,
            reconcile_duration,
            git_requests,
            git_received,
            egress_connections,
            renders,
            render_duration,
            writes,
            webhooks,
            health_changes,
            live_objects,
            watches,
            applications,
            application_info,
            polls,
            contacts,
            tips,
            leader,
            known: Mutex::new(Known::default()),
        }
    }

    /// The same, with the spans of traces that are lost, which are counted where they are lost.
    #[must_use]
    pub fn with_dropped_spans(mut self, dropped: Counter) -> Self {
        let help = "Spans of traces dropped because the collector did not take them in time";
        self.registry.register("trace_spans_dropped", help, dropped);
        self
    }

    /// A reconcile ended.
    pub fn reconciled(&self, result: ReconcileResult, duration: Duration) {
        self.reconciles.get_or_create(&ReconcileLabels { result }).inc();
        self.reconcile_duration.observe(duration.as_secs_f64());
    }

    /// A request to a git server ended; `failure` says why when it failed.
    pub fn git_requested(&self, host: &str, operation: GitOperation, failure: Option<Reason>) {
        let labels =
            GitLabels { host: self.bounded_host(host), operation, reason: failure.map_or("ok", Reason::as_str) };
        self.git_requests.get_or_create(&labels).inc();
    }

    /// Bytes came from a git server.
    pub fn git_received(&self, host: &str, bytes: u64) {
        self.git_received.get_or_create(&HostLabels { host: self.bounded_host(host) }).inc_by(bytes);
    }

    /// An outgoing connection was opened by a route (`direct`, `proxy:NAME`, or `none` where no rule let it leave), or `failure`
    /// says why not.
    pub fn egress_connected(&self, route: &str, failure: Option<Reason>) {
        let route = bounded(&mut self.known().routes, route);
        let outcome = failure.map_or("ok", Reason::as_str);
        self.egress_connections.get_or_create(&EgressLabels { route, outcome }).inc();
    }

    /// The refs of a repository were polled.
    pub fn polled(&self) {
        self.polls.inc();
    }

    /// A repository last answered then, and the tips of its targets were made then. The first thousand repositories
    /// are told of.
    pub fn repository_is(&self, repository: &str, contact: Option<Timestamp>, tips: &BTreeMap<String, Timestamp>) {
        let mut known = self.known();
        if !known.repositories.contains_key(repository) && known.repositories.len() >= MAXIMUM_REPOSITORIES {
            return;
        }
        let before = known.repositories.insert(repository.to_owned(), tips.keys().cloned().collect());
        for target in before.into_iter().flatten().filter(|target| !tips.contains_key(target)) {
            self.tips.remove(&TipLabels { repository: repository.to_owned(), target });
        }
        if let Some(contact) = contact {
            self.contacts
                .get_or_create(&RepositoryLabels { repository: repository.to_owned() })
                .set(contact.as_second());
        }
        for (target, made) in tips {
            let labels = TipLabels { repository: repository.to_owned(), target: target.clone() };
            self.tips.get_or_create(&labels).set(made.as_second());
        }
    }

    /// Nobody is interested in a repository any more.
    pub fn repository_gone(&self, repository: &str) {
        for target in self.known().repositories.remove(repository).into_iter().flatten() {
            self.tips.remove(&TipLabels { repository: repository.to_owned(), target });
        }
        self.contacts.remove(&RepositoryLabels { repository: repository.to_owned() });
    }

    /// A tool rendered, or the cache answered for it (then `duration` is `None`).
    pub fn rendered(&self, tool: RenderTool, result: RenderResult, duration: Option<Duration>) {
        self.renders.get_or_create(&RenderLabels { tool, result }).inc();
        if let Some(duration) = duration {
            self.render_duration.get_or_create(&RenderToolLabels { tool }).observe(duration.as_secs_f64());
        }
    }

    /// A write to the API server ended.
    pub fn wrote(&self, verb: WriteVerb, outcome: WriteOutcome) {
        self.writes.get_or_create(&WriteLabels { verb, outcome }).inc();
    }

    /// A webhook came; `vendor` is `unknown` where none can be told.
    pub fn webhook(&self, vendor: &'static str, outcome: WebhookOutcome) {
        self.webhooks.get_or_create(&WebhookLabels { vendor, outcome }).inc();
    }

    /// An object's health changed.
    pub fn health_changed(&self, to: HealthStatus) {
        self.health_changes.get_or_create(&HealthLabels { health: to.as_str() }).inc();
    }

    /// How many live objects are kept as records.
    pub fn set_live_objects(&self, count: usize) {
        self.live_objects.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many watches are open.
    pub fn set_watches(&self, count: usize) {
        self.watches.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether this process holds the lease.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// An Application's verdicts are now these.
    pub fn application_is(&self, namespace: &str, name: &str, sync: SyncState, health: HealthStatus) {
        let mut known = self.known();
        let before = known.applications.insert((namespace.to_owned(), name.to_owned()), (sync, health));
        if before == Some((sync, health)) {
            return;
        }
        if let Some(before) = before {
            self.forget(namespace, name, before);
        }
        self.applications.get_or_create(&ApplicationLabels::new(sync, health)).inc();
        self.application_info.get_or_create(&ApplicationInfoLabels::new(namespace, name, sync, health)).set(1);
    }

    /// An Application is gone, and its labels with it.
    pub fn application_gone(&self, namespace: &str, name: &str) {
        let mut known = self.known();
        if let Some(before) = known.applications.remove(&(namespace.to_owned(), name.to_owned())) {
            self.forget(namespace, name, before);
        }
    }

    fn forget(&self, namespace: &str, name: &str, (sync, health): (SyncState, HealthStatus)) {
        self.applications.get_or_create(&ApplicationLabels::new(sync, health)).dec();
        self.application_info.remove(&ApplicationInfoLabels::new(namespace, name, sync, health));
    }

    fn bounded_host(&self, host: &str) -> String {
        bounded(&mut self.known().hosts, host)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The OpenMetrics text of everything.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut output = String::with_capacity(16 * 1024);
        text::encode(&mut output, &self.registry)?;
        Ok(output)
    }
}

/// The value as a label, or `other` when there are too many already.
fn bounded(known: &mut BTreeSet<String>, value: &str) -> String {
    if known.contains(value) {
        return value.to_owned();
    }
    if known.len() < MAXIMUM_HOSTS {
        known.insert(value.to_owned());
        return value.to_owned();
    }
    "other".to_owned()
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

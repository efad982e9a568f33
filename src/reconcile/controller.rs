//! Puts the parts of the operator together and keeps them going until told to stop.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use kube::{Client, ResourceExt as _};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use super::access::AccessBuilder;
use super::connections::Connections;
use super::dependencies::DependencyWatch;
use super::destinations::Destinations;
use super::driver::Reconciler;
use super::egress_policy;
use super::events;
use super::fleet::Fleet;
use super::hint_door::HintDoor;
use super::integrity::Integrity;
use super::inventory::InventoryStore;
use super::lease::{Acquired, Holder, HolderError, LeaseError, LeaseKeeper, Look, Terms};
use super::objects::Objects;
use super::observe::REFRESH_ANNOTATION;
use super::outward::OutwardHandle;
use super::projects;
use super::queue::Queue;
use super::report::Reporter;
use super::secrets::Secrets;
use super::sources::Sources;
use super::standby::{Role, Standby, make_default_project};
use super::store_key::StoreKey;
use super::trust::Trust;
use super::ways_out::WaysOut;
use super::windows::WindowCache;
use crate::api::{AppProject, Application, EgressPolicy, EgressProxy, OperationPhase, Repository, definitions};
use crate::apply::{Applier, Limits};
use crate::clock::Clock;
use crate::egress::EnvironmentProxies;
use crate::health::rules::{ApplicationRules, Rules};
use crate::health::{self, AssessContext};
use crate::live::client::{ClientError, Speaker};
use crate::live::{Cache, Change, LiveError, SurfaceCache, WriteFence, client};
use crate::metrics::{Metrics, ReconcileResult};
use crate::model::{GroupKind, Health, HealthStatus, InstanceId, Owner, Reason};
use crate::render::yaml::DuplicateKeys;
use crate::render::{Isolation, RenderError, RenderLimits, Renderer, Tools};
use crate::server::probes::{Part, Probes, Requirement, Watchdog};
use crate::settings::Settings;
use crate::spans;

/// Applications that are worked on at the same time. Most of a reconcile is waiting for the API server, whose own limit
/// is the applier's concern; this bounds what the waiting holds in memory.
const WORKERS: usize = 24;
/// Renders at the same time: each may hold a file tree and a tool's output, and uses a core.
const RENDERS: usize = 4;
/// Live changes of one Application within this time are one wake-up.
const SETTLE: Duration = Duration::from_millis(10);
/// Pause after a reconcile that panicked.
const AFTER_PANIC: Duration = Duration::from_mins(1);
/// How long reconciles may take to end after a signal, what is under way then to be answered, and the lease to be released.
/// Together they are less than what `cli::controller` waits for all of it.
const STOP_GRACE: Duration = Duration::from_millis(5500);
const WRITES_END: Duration = Duration::from_secs(1);
const RELEASE_GRACE: Duration = Duration::from_millis(1500);
/// How often the watchdog is fed; and how often a missing requirement of the start is looked at again.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the first look at the Lease is waited for before the cluster is looked at.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How long a process that stands by may not see the Lease before it counts as not ready.
const LEASE_UNSEEN: Duration = Duration::from_mins(2);

/// What the process lends to the work.
#[derive(Clone, Debug)]
pub struct Process {
    /// Tells the time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Tells whether work goes on and can start.
    pub probes: Probes,
    /// Is told the ways out, for what else leaves the process.
    pub outward: OutwardHandle,
    /// Takes hints that a source has changed.
    pub hints: HintDoor,
}

/// Why the work ended other than by being told to.
#[derive(Debug, Error)]
pub enum RunError {
    /// No client could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The state directory is in use.
    #[error(transparent)]
    Holder(#[from] HolderError),
    /// The lease is lost, or can't be had.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// Rendering can't be set up.
    #[error("cannot prepare rendering: {0}")]
    Renderer(#[from] RenderError),
    /// The state directory can't be used.
    #[error("cannot prepare the directory {path}: {source}")]
    State {
        /// The directory.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A task that never ends has ended.
    #[error("a part of the controller stopped working; it starts anew")]
    PartEnded,
}

/// Runs until told to stop.
pub async fn run(settings: Settings, process: Process, shutdown: CancellationToken) -> Result<(), RunError> {
    let configuration = client::configuration(settings.kubeconfig.as_deref()).await?;
    let api_hosts = configuration.cluster_url.host().map(str::to_owned).into_iter().collect();
    let holder = Holder::claim(&settings.state, &settings.host_name)?;
    let terms = Terms::lasting(settings.lease_duration);
    // Only the Lease itself is written without asking the fence.
    let speaker = Speaker { identity: Some(holder.to_string()), fence: None };
    let unfenced = client::build_as(configuration.clone(), &speaker)?;
    let keeper = LeaseKeeper::new(unfenced, &settings.namespace, holder, process.clock.clone(), terms);
    let fence = keeper.fence();
    let wire = WriteFence::new(move || fence.may_write(), terms.delivery());
    let speaker = Speaker { fence: Some(wire.clone()), ..speaker };
    let client = client::build_as(configuration, &speaker)?;

    let _beating = AbortOnDrop(tokio::spawn(beat(process.probes.clone())));
    let (role, roles) = watch::channel(Role::Unknown);
    let place = Place {
        client,
        api_hosts,
        identity: speaker.identity.unwrap_or_default(),
        wire: wire.clone(),
        role: roles,
        shutdown: shutdown.clone(),
    };
    let work_ended = CancellationToken::new();
    let (worked, kept) = tokio::join!(
        async {
            let worked = work(settings, process.clone(), place).await;
            work_ended.cancel();
            worked
        },
        async {
            let kept = hold(keeper, terms, process.clone(), role, shutdown.clone(), work_ended.clone()).await;
            // A lost lease ends the work at once; the fence has closed before.
            shutdown.cancel();
            kept
        }
    );
    process.metrics.set_leader(false);
    let keeper = kept?;
    worked?;
    if let Some(keeper) = keeper {
        wire.shut();
        if wire.settled(WRITES_END).await {
            if tokio::time::timeout(RELEASE_GRACE, keeper.release()).await.is_err() {
                warn!(
                    "the API server does not answer: the lease is not released, and a successor waits until it runs out"
                );
            }
        } else {
            warn!("a write has no answer yet: the lease is not released, and a successor waits until it runs out");
        }
    }
    Ok(())
}

/// Stands by until the lease is ours, and renews it until the work has ended. The keeper comes back when it holds the lease.
async fn hold(
    mut keeper: LeaseKeeper,
    terms: Terms,
    process: Process,
    role: watch::Sender<Role>,
    shutdown: CancellationToken,
    work_ended: CancellationToken,
) -> Result<Option<LeaseKeeper>, LeaseError> {
    let Process { clock, metrics, probes, outward: _, hints: _ } = process;
    // Between two signs of life lie at most a pause and the request after it.
    let rest = terms.renew + terms.request;
    let unseen = LEASE_UNSEEN.max(3 * (terms.look + terms.request));
    let mut last_seen = None;
    let looked = |look: Look<'_>| {
        probes.watchdog.beat_before_rest(Part::Lease, rest);
        let now = clock.monotonic();
        match look {
            Look::HeldBy(holder) => {
                last_seen = Some(now);
                probes.readiness.met_with(Requirement::Lease, format!("stands by for {holder}"));
                role.send_if_modified(|role| std::mem::replace(role, Role::StandsBy) != Role::StandsBy);
            }
            // A replica that stands by does not become unready with every hiccup of the API server.
            Look::Failed(problem) => {
                if last_seen.is_none_or(|seen| now.saturating_duration_since(seen) > unseen) {
                    let why = format!("the Lease can't be read or taken: {problem}");
                    probes.readiness.unmet(Requirement::Lease, why);
                }
            }
            Look::Ours => {}
        }
    };
    let acquired = keeper.acquire(shutdown, looked).await;
    let held = match acquired {
        Ok(Acquired::Held) => {
            probes.readiness.met_with(Requirement::Lease, "this process holds it");
            metrics.set_leader(true);
            role.send_replace(Role::Leads);
            keeper
                .keep(work_ended, |_| probes.watchdog.beat_before_rest(Part::Lease, rest))
                .await
                .map(|()| Some(keeper))
        }
        Ok(Acquired::ShuttingDown) => Ok(None),
        Err(error) => Err(error),
    };
    probes.watchdog.ended(Part::Lease);
    held
}

/// A task that ends with whoever holds this.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Where the work is done, and as whom.
struct Place {
    client: Client,
    api_hosts: Vec<String>,
    identity: String,
    wire: WriteFence,
    role: watch::Receiver<Role>,
    shutdown: CancellationToken,
}

async fn work(settings: Settings, process: Process, place: Place) -> Result<(), RunError> {
    let (wire, shutdown, watchdog) = (place.wire.clone(), place.shutdown.clone(), process.probes.watchdog.clone());
    let (mut parts, mut workers) = (JoinSet::new(), JoinSet::new());
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        ended = serve(settings, process, place, &mut parts, &mut workers) => return ended,
    }
    watchdog.ended(Part::Queue);
    // Without the lease nothing can be finished.
    if wire.check().is_ok() {
        // What is being written is finished and recorded; what only waits is resumed at the next start.
        let finished = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, finished).await.is_err() {
            warn!("reconciles that did not end in time are cut short; the next start resumes them");
        }
    }
    Ok(())
}

/// Stands by and works. Ends only by a failure.
async fn serve(
    settings: Settings,
    process: Process,
    place: Place,
    parts: &mut JoinSet<()>,
    workers: &mut JoinSet<()>,
) -> Result<(), RunError> {
    let (role, shutdown, watchdog) = (place.role.clone(), place.shutdown.clone(), process.probes.watchdog.clone());
    let (standby, began_as_leader) = start(settings, process, place, parts).await?;
    if !began_as_leader {
        tokio::select! {
            () = standby.until_it_leads(role) => {}
            // Every part runs for ever; one that ends has failed.
            _ = parts.join_next() => return Err(RunError::PartEnded),
        }
        standby.readiness.unmet(Requirement::Standby, "takes over: lists its own kinds again");
        tokio::select! {
            () = standby.take_over() => {}
            _ = parts.join_next() => return Err(RunError::PartEnded),
        }
    }
    standby.readiness.met_with(Requirement::Standby, "this process works");
    for _ in 0..WORKERS {
        let (reconciler, queue) = (Arc::clone(&standby.reconciler), Arc::clone(&standby.queue));
        workers.spawn(work_queue(reconciler, queue, watchdog.clone(), shutdown.clone()));
    }
    parts.spawn(watch_queue(watchdog, Arc::clone(&standby.queue)));
    tokio::select! {
        _ = parts.join_next() => Err(RunError::PartEnded),
        _ = workers.join_next() => Err(RunError::PartEnded),
    }
}

/// Builds the engine and starts what feeds it. Whether this process led when it began to look at the cluster is the second
/// value: then it knows nothing of another's time.
async fn start(
    settings: Settings,
    process: Process,
    place: Place,
    parts: &mut JoinSet<()>,
) -> Result<(Standby, bool), RunError> {
    let Place { client, api_hosts, identity, wire, mut role, shutdown: _ } = place;
    let Process { clock, metrics, probes, outward, hints } = process;
    let environment = EnvironmentProxies::read(&settings.proxy.variables);
    for warning in &environment.warnings {
        warn!("{warning}");
    }
    let may_write: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || wire.check().is_ok());
    let may_hint = Arc::clone(&may_write);
    let renderer = Arc::new(renderer(&settings)?);
    let git = settings.state.join("git");
    std::fs::create_dir_all(&git).map_err(|source| RunError::State { path: git.clone(), source })?;

    let surface = Arc::new(SurfaceCache::empty(client.clone()));
    await_definitions(&surface, &probes).await;
    // A look at the Lease takes no longer than one at the kinds; whoever is alone begins as the leader.
    let known = role.wait_for(|role| *role != Role::Unknown).map(|_| ());
    drop(tokio::time::timeout(FIRST_LOOK, known).await);
    let leads = *role.borrow() == Role::Leads;
    if leads {
        make_default_project(&client, &settings.namespace).await;
    }

    let queue = Arc::new(Queue::default());
    let (applications, projects, repositories, proxies, policies) = <(
        Arc<Objects<Application>>,
        Arc<Objects<AppProject>>,
        Arc<Objects<Repository>>,
        Arc<Objects<EgressProxy>>,
        Arc<Objects<EgressPolicy>>,
    )>::default();
    let namespace = settings.namespace.clone();
    let (changes, changed) = mpsc::unbounded_channel();
    let rules = Arc::new(Rules::default());
    let fleet = Arc::new(Fleet::default());
    let trust = Arc::new(Trust::default());
    let wants_whole: crate::live::HasHealth = Arc::new({
        let rules = Arc::clone(&rules);
        move |kind: &GroupKind| rules.has_health(kind)
    });
    let cache = Cache::new(
        client.clone(),
        Arc::clone(&surface),
        assess(Arc::clone(&rules), Arc::clone(&surface), clock.clone()),
        Arc::clone(&wants_whole),
        changes,
    );
    let served = Arc::clone(&surface);
    let applier = Applier::new(
        client.clone(),
        Arc::new(move || served.current()),
        wants_whole,
        Arc::clone(&may_write),
        Limits::default(),
    );
    let destinations =
        Arc::new(Destinations::new(client.clone(), cache, applier, settings.destination_namespaces.clone()));
    let sources = Sources::new(
        AccessBuilder::new(
            Arc::clone(&repositories),
            WaysOut {
                proxies: Arc::clone(&proxies),
                policies: Arc::clone(&policies),
                environment,
                cluster_api_hosts: api_hosts,
            },
            Secrets::new(client.clone(), &namespace),
            clock.clone(),
        )
        .counted_by(&metrics),
        Connections::new(&client, &namespace, clock.clone(), Arc::clone(&may_write)),
        StoreKey::new(client.clone(), &namespace),
        git,
        Arc::clone(&metrics),
        Arc::clone(&queue),
    );
    let dependencies = DependencyWatch::new(client.clone(), &namespace, Arc::clone(&applications), Arc::clone(&queue));
    let (event_outbox, event_writer) = events::outbox(&client, &identity);
    let driver = Arc::new(Reconciler {
        namespace: namespace.clone(),
        installation: settings.installation.clone(),
        clock,
        metrics: Arc::clone(&metrics),
        applications: Arc::clone(&applications),
        projects: Arc::clone(&projects),
        dependencies: Arc::clone(&dependencies),
        windows: WindowCache::default(),
        sources: Arc::clone(&sources),
        renderer,
        renders: Semaphore::new(RENDERS),
        render_limits: RenderLimits {
            duplicate_keys: if settings.allow_duplicate_keys { DuplicateKeys::Warn } else { DuplicateKeys::Refuse },
            ..RenderLimits::default()
        },
        surface,
        destinations: Arc::clone(&destinations),
        requires_impersonation: settings.require_impersonation,
        fleet: Arc::clone(&fleet),
        trust: Arc::clone(&trust),
        integrity: Integrity::default(),
        rules: Arc::clone(&rules),
        reporter: Reporter::new(&client, &namespace, event_outbox, Arc::clone(&metrics), Arc::clone(&may_write)),
        inventories: InventoryStore::new(client.clone(), &namespace),
        memories: Mutex::new(HashMap::new()),
    });

    let names: Arc<Mutex<BTreeMap<InstanceId, String>>> = Arc::default();
    parts.spawn(Arc::clone(&applications).run(client.clone(), namespace.clone(), {
        let (queue, names, installation, namespace) =
            (Arc::clone(&queue), Arc::clone(&names), settings.installation.clone(), namespace.clone());
        let (rules, destinations) = (Arc::clone(&rules), Arc::clone(&destinations));
        move |name, before: Option<&Application>, after: Option<&Application>| {
            dependencies.changed(name, before, after);
            let owner = Owner::new(&installation, &namespace, name);
            let given = |application: Option<&Application>| {
                application.map(|application| application.spec.health_check_exprs.clone()).unwrap_or_default()
            };
            if given(before) != given(after) {
                // In force before the Application is worked on.
                let own = ApplicationRules::compile(&given(after));
                let kinds = rules.set_application(owner.instance.clone(), Some(own));
                destinations.reassess(|kind| kinds.contains(kind));
            }
            let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
            match after {
                Some(_) => names.insert(owner.instance, name.to_owned()),
                None => names.remove(&owner.instance),
            };
            if differs_beyond_status(before, after) {
                queue.now(name);
            }
        }
    }));
    parts.spawn(Arc::clone(&projects).run(client.clone(), namespace.clone(), {
        let (queue, applications) = (Arc::clone(&queue), Arc::clone(&applications));
        let (client, namespace, clock) = (client.clone(), namespace.clone(), driver.clock.clone());
        let may_write = Arc::clone(&may_write);
        move |name, before: Option<&AppProject>, after: Option<&AppProject>| {
            if before.map(|project| &project.spec) != after.map(|project| &project.spec) {
                if let Some(project) = after
                    && may_write()
                {
                    let (client, namespace) = (client.clone(), namespace.clone());
                    tokio::spawn(projects::report_unsupported(client, namespace, project.clone(), clock.now()));
                }
                for (application, object) in applications.all() {
                    if object.spec.project == name || (object.spec.project.is_empty() && name == "default") {
                        queue.now(&application);
                    }
                }
            }
        }
    }));
    parts.spawn(Arc::clone(&repositories).run(client.clone(), namespace.clone(), {
        let sources = Arc::clone(&sources);
        move |name, before: Option<&Repository>, after: Option<&Repository>| {
            let refresh = |repository: Option<&Repository>| {
                repository.and_then(|repository| repository.annotations().get(REFRESH_ANNOTATION).cloned())
            };
            if before.map(|repository| &repository.spec) != after.map(|repository| &repository.spec)
                || refresh(before) != refresh(after)
            {
                sources.forget_report(false, name);
                sources.poll_covered(&[before, after].into_iter().flatten().map(|repository| &repository.spec));
            }
        }
    }));
    parts.spawn(Arc::clone(&proxies).run(client.clone(), namespace.clone(), {
        let sources = Arc::clone(&sources);
        move |name, before: Option<&EgressProxy>, after: Option<&EgressProxy>| {
            if before.map(|proxy| &proxy.spec) != after.map(|proxy| &proxy.spec) {
                sources.forget_report(true, name);
                sources.poll_all();
            }
        }
    }));
    parts.spawn(Arc::clone(&policies).run(client.clone(), namespace.clone(), {
        let (sources, client, namespace, clock) =
            (Arc::clone(&sources), client.clone(), namespace.clone(), driver.clock.clone());
        move |_, before: Option<&EgressPolicy>, after: Option<&EgressPolicy>| {
            if before.map(|policy| &policy.spec) != after.map(|policy| &policy.spec) {
                sources.poll_all();
                if let Some(policy) = after
                    && may_write()
                {
                    tokio::spawn(egress_policy::report(client.clone(), namespace.clone(), policy.clone(), clock.now()));
                }
            }
        }
    }));
    parts.spawn(Arc::clone(&fleet).run(client.clone(), namespace.clone(), {
        let (rules, destinations) = (Arc::clone(&rules), Arc::clone(&destinations));
        let (queue, applications) = (Arc::clone(&queue), Arc::clone(&applications));
        move |found| {
            destinations.reassess(rules.set_fleet(found));
            for (application, _) in applications.all() {
                queue.now(&application);
            }
        }
    }));
    parts.spawn(Arc::clone(&trust).run(client.clone(), namespace.clone(), {
        let (queue, applications) = (Arc::clone(&queue), Arc::clone(&applications));
        move || {
            for (application, _) in applications.all() {
                queue.now(&application);
            }
        }
    }));
    // Nothing is decided from a partial list of our own kinds: a missing proxy object would open the direct way.
    tokio::join!(
        projects.synced(),
        repositories.synced(),
        proxies.synced(),
        policies.synced(),
        applications.synced(),
        fleet.synced(),
        trust.synced()
    );
    outward.opens(&sources);
    hints.opens(&sources, may_hint, client.clone(), &namespace);
    probes.readiness.met(Requirement::Watches);
    info!(applications = applications.all().len(), "ready");

    parts.spawn(wake_by_changes(changed, Arc::clone(&queue), names));
    parts.spawn(measure(metrics, destinations));
    parts.spawn(event_writer.run());
    let kinds = Kinds { applications, projects, repositories, proxies, policies };
    Ok((Standby { reconciler: driver, kinds, queue, client, readiness: probes.readiness }, leads))
}

/// Our own kinds, as they are watched.
pub(super) struct Kinds {
    pub(super) applications: Arc<Objects<Application>>,
    pub(super) projects: Arc<Objects<AppProject>>,
    pub(super) repositories: Arc<Objects<Repository>>,
    pub(super) proxies: Arc<Objects<EgressProxy>>,
    pub(super) policies: Arc<Objects<EgressPolicy>>,
}

fn renderer(settings: &Settings) -> Result<Renderer, RunError> {
    let tools = Tools { helm: settings.tools.helm_path(), kustomize: settings.tools.kustomize_path() };
    // The first that is in memory is taken. In a pod `/tmp` is a volume of a chosen size, `/dev/shm` a small one.
    let own = settings.state.join("scratch");
    std::fs::create_dir_all(&own).map_err(|source| RunError::State { path: own.clone(), source })?;
    let scratch = [PathBuf::from("/tmp"), PathBuf::from("/dev/shm"), own];
    let renderer = Renderer::new(tools, &scratch)?;
    for warning in renderer.warnings() {
        warn!("{warning}");
    }
    let Isolation { files, system_calls, namespaces } = renderer.isolation();
    info!(files, system_calls, namespaces, "rendering tools are jailed by what is true here");
    Ok(renderer)
}

/// Waits until the API server answers and has our definitions: without them every watch would fail.
async fn await_definitions(surface: &SurfaceCache, probes: &Probes) {
    let wanted: Vec<GroupKind> = definitions()
        .iter()
        .map(|(_, definition)| GroupKind::new(definition.spec.group.as_str(), definition.spec.names.kind.as_str()))
        .collect();
    loop {
        match surface.refresh(Duration::ZERO).await {
            Ok(found) => {
                probes.readiness.met(Requirement::Discovery);
                let missing: Vec<String> = wanted
                    .iter()
                    .filter(|kind| !found.kinds.contains_key(*kind))
                    .map(|kind| kind.kind.clone())
                    .collect();
                if missing.is_empty() {
                    probes.readiness.met(Requirement::Definitions);
                    return;
                }
                let why = format!(
                    "the CustomResourceDefinitions of {} are missing: kubectl apply -f crds/",
                    missing.join(", ")
                );
                warn!("{why}");
                probes.readiness.unmet(Requirement::Definitions, why);
            }
            Err(LiveError { message, .. }) => {
                warn!(%message, "the API server can't be asked for its kinds");
                probes.readiness.unmet(Requirement::Discovery, message);
            }
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

fn assess(rules: Arc<Rules>, surface: Arc<SurfaceCache>, clock: Clock) -> crate::live::Assess {
    Arc::new(move |kind, object| {
        let has_status = surface.current().kinds.get(kind).map(|info| info.has_status);
        let context = AssessContext { now: clock.now(), has_status_subresource: has_status };
        if let Some(health) = rules.by_user(kind, object, &context) {
            return Some(health);
        }
        if kind.group.is_empty() && kind.kind == "PersistentVolumeClaim" && health::waits_for_consumer(object) {
            // A class that binds on first use waits for a pod, which a later wave may bring: waiting for the claim first
            // would be waiting for ever.
            return Some(Health::new(HealthStatus::Healthy, "waits for a pod that uses it"));
        }
        health::assess(object, &context)
    })
}

/// Whether anything but the status, which is our own writing, has changed, or a person ends the operation through it.
fn differs_beyond_status(before: Option<&Application>, after: Option<&Application>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    before.spec != after.spec
        || before.operation != after.operation
        || before.metadata.uid != after.metadata.uid
        || before.metadata.annotations != after.metadata.annotations
        || before.metadata.finalizers != after.metadata.finalizers
        || before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        // Written by a person: this operator never writes it.
        || (operation_phase(before) != operation_phase(after)
            && operation_phase(after) == Some(OperationPhase::Terminating))
}

fn operation_phase(application: &Application) -> Option<OperationPhase> {
    Some(application.status.as_ref()?.operation_state.as_ref()?.phase)
}

async fn wake_by_changes(
    mut changed: mpsc::UnboundedReceiver<Change>,
    queue: Arc<Queue>,
    names: Arc<Mutex<BTreeMap<InstanceId, String>>>,
) {
    while let Some(Change { key: _, instance, previous_instance }) = changed.recv().await {
        let names = names.lock().unwrap_or_else(PoisonError::into_inner);
        for instance in std::iter::once(instance).chain(previous_instance) {
            if let Some(name) = names.get(&instance) {
                queue.after(name, SETTLE);
            }
        }
    }
}

/// Shows that timers fire and tasks run.
async fn beat(probes: Probes) {
    loop {
        probes.watchdog.beat(Part::Runtime);
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// Shows that what is due is taken, or that every worker has something to do.
async fn watch_queue(watchdog: Watchdog, queue: Arc<Queue>) {
    loop {
        let (waited, running) = queue.backlog();
        if waited < HEARTBEAT || running >= WORKERS {
            watchdog.beat(Part::Queue);
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn measure(metrics: Arc<Metrics>, destinations: Arc<Destinations>) {
    loop {
        let (records, watches) = destinations.size();
        metrics.set_live_objects(records);
        metrics.set_watches(watches);
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn work_queue(driver: Arc<Reconciler>, queue: Arc<Queue>, watchdog: Watchdog, shutdown: CancellationToken) {
    loop {
        let name = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            name = queue.next() => name,
        };
        let started = driver.clock.monotonic();
        let log_span = info_span!("reconcile", application = %name);
        let span = spans::reconcile(&driver.namespace, &name);
        // A task of its own: a panic is this Application's failure and nobody else's.
        let work = tokio::spawn({
            let (driver, name, span, watchdog) = (Arc::clone(&driver), name.clone(), span.clone(), watchdog.clone());
            // The span of the log is the inner one, so that lines find it; that of the trace is found by its own context.
            async move {
                let work = watchdog.watch(&name, driver.reconcile(&name, &span));
                Box::pin(work).instrument(log_span).instrument(span.clone()).await
            }
        });
        let took = |driver: &Reconciler| driver.clock.monotonic().saturating_duration_since(started);
        if let Ok(pause) = work.await {
            let result = if pause.is_some() { ReconcileResult::Waiting } else { ReconcileResult::Idle };
            driver.metrics.reconciled(result, took(&driver));
            spans::ended(&span, result.as_str());
            queue.done(&name, pause);
        } else {
            driver.metrics.reconciled(ReconcileResult::Retry, took(&driver));
            spans::ended(&span, ReconcileResult::Retry.as_str());
            spans::failed(&span, Reason::InternalError, "it panicked");
            warn!(application = %name, "a reconcile panicked; it is tried again");
            queue.done(&name, Some(AFTER_PANIC));
        }
    }
}

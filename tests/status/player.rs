//! Plays a case: at each moment what the controller would decide, do and tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tidelock::api::{AppProjectSpec, Application, ApplicationStatus, OperationPhase, ProjectDestination, ResourceRule};
use tidelock::dependencies::{ApplicationId, Dependencies, Edges, Sight, circle};
use tidelock::desired::{AssembleInput, DesiredSet, ProjectRules, SyncOptions, assemble};
use tidelock::diff::{Differences, compare};
use tidelock::health::{AssessContext, assess};
use tidelock::live::{LiveRecord, LiveView, reduce};
use tidelock::model::{
    ApiSurface, GroupKind, Hash64, Inventory, InventoryEntry, KindInfo, Manifest, ObjectKey, Origin, Owner, Reason,
};
use tidelock::plan::{
    Act, CompileInput, Consents, DecideInput, Decision, GatePolicy, Heals, Hold, HookNaming, LastAttempt, Move,
    MovesInput, Next, Outcome, Plan, Policy, Progress, Waiting, compile, decide, hook_mark, next_moves, observe,
};
use tidelock::status::{Assessment, Attempt, Comparison, Failure, Observed, derive};
use tidelock::windows::{Subject, SyncWindows};

/// What a sync brings; one per case.
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const TARGET: Hash64 = Hash64(1);
/// Digest of our fields of an object as applied, and after somebody took one.
const OWNED: Hash64 = Hash64(7);
const TAKEN: Hash64 = Hash64(8);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    application: Application,
    /// The project's spec.
    #[serde(default)]
    project: AppProjectSpec,
    /// Other Applications.
    #[serde(default)]
    others: Vec<Application>,
    desired: Vec<Value>,
    moments: Vec<Moment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Moment {
    at: Timestamp,
    /// What happens, for readers.
    about: String,
    /// What the cluster holds. Marks, `uid` and an unstated generation (1) are filled in.
    #[serde(default)]
    live: Vec<Value>,
    /// Names of objects that somebody changed since they were applied.
    #[serde(default)]
    drifted: BTreeSet<String>,
    /// Names of objects that the API server refuses, each with what it says.
    #[serde(default)]
    refused: BTreeMap<String, String>,
    /// Corrections of drift that were made up to now.
    #[serde(default)]
    corrected: Vec<Correction>,
    /// Why the repository could not be asked.
    source_failure: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Correction {
    at: Timestamp,
    kind: String,
    name: String,
    manager: String,
    field: String,
}

/// An attempt that runs, or the last one.
struct Running {
    number: u32,
    started: Timestamp,
    ended: Option<Timestamp>,
    phase: OperationPhase,
    progress: Progress,
    waiting: Vec<Waiting>,
    failure: Option<Failure>,
}

/// What is remembered from one moment to the next.
#[derive(Default)]
struct Memory {
    status: ApplicationStatus,
    inventory: Inventory,
    attempt: Option<Running>,
    last_failure: Option<LastAttempt>,
    heals: Heals,
}

/// The statuses of a case, a document each.
pub(super) fn play(text: &str) -> String {
    let case: Case = serde_yaml::from_str(text).unwrap();
    let namespace = case.application.metadata.namespace.as_deref().unwrap();
    let owner = Owner::new("tidelock", namespace, case.application.metadata.name.as_deref().unwrap());
    let desired = desired(&case, &owner);
    let mut memory = Memory::default();
    let mut told = String::new();
    let mut before = BTreeMap::new();
    for (index, moment) in case.moments.iter().enumerate() {
        let mut live = live(moment, &owner);
        let stage = Stage { case: &case, moment, owner: &owner, desired: &desired };
        if index == 0 {
            for (key, record) in &live.objects {
                let wanted = desired.objects.get(key).map_or(Hash64(0), |object| object.hash);
                let entry = InventoryEntry::Applied { uid: record.uid.clone(), desired: wanted, owned: OWNED };
                memory.inventory.entries.insert(key.clone(), entry);
            }
        }
        let gone = |key: &ObjectKey| !desired.objects.contains_key(key) && !live.objects.contains_key(key);
        memory.inventory.entries.retain(|key, _| !gone(key));
        memory.status = look(stage, &mut live, &mut memory);
        let fields = fields(&memory.status);
        let changed: BTreeMap<_, _> = fields.iter().filter(|(name, value)| before.get(*name) != Some(*value)).collect();
        let cleared: Vec<&String> = before.keys().filter(|name| !fields.contains_key(*name)).collect();
        let _ = write!(told, "---\n# {}: {}\n", moment.at, moment.about);
        if !changed.is_empty() {
            told.push_str(&serde_yaml::to_string(&changed).unwrap());
        }
        for name in cleared {
            let _ = writeln!(told, "{name}: null");
        }
        before = fields;
    }
    told
}

/// The fields of a status as they are written, but for times of changes. Conditions are told in a line each; one that says
/// what `Ready` says, only by its status.
fn fields(status: &ApplicationStatus) -> BTreeMap<String, Value> {
    let mut status = serde_json::to_value(status).unwrap();
    let all = status["conditions"].as_array().unwrap();
    let ready = all.iter().find(|condition| condition["type"] == "Ready").unwrap();
    let conditions = all.iter().map(|condition| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        let same = condition != ready && ["reason", "message"].iter().all(|field| condition[field] == ready[field]);
        let why = if same { String::new() } else { format!(" {}: {}", text("reason"), text("message")) };
        (text("type").to_owned(), json!(format!("{}{why}", text("status"))))
    });
    let conditions = conditions.collect();
    status["conditions"] = Value::Object(conditions);
    status["health"].as_object_mut().unwrap().remove("lastTransitionTime");
    serde_json::from_value(status).unwrap()
}

/// What a moment is played with.
#[derive(Clone, Copy)]
struct Stage<'a> {
    case: &'a Case,
    moment: &'a Moment,
    owner: &'a Owner,
    desired: &'a DesiredSet,
}

fn look(stage: Stage<'_>, live: &mut LiveView, memory: &mut Memory) -> ApplicationStatus {
    let Stage { case, moment, owner, desired } = stage;
    let application = &case.application;
    let sync_policy = application.spec.sync_policy.as_ref();
    let options = sync_policy.map(|policy| policy.sync_options.as_slice()).unwrap_or_default();
    let options = SyncOptions::parse(options.iter().map(String::as_str));
    let policy = Policy::new(sync_policy.and_then(|policy| policy.automated.as_ref()))
        .with_drift_policy(application.spec.drift_policy);
    for correction in &moment.corrected {
        let key = desired.objects.keys().find(|key| key.kind == correction.kind && key.name == correction.name);
        memory.heals.note(key.unwrap(), &correction.manager, &correction.field, correction.at);
    }
    let holds = holds(case, moment.at);
    let compiled = |differences: &Differences, live: &LiveView, number: u32| {
        compile(CompileInput {
            desired,
            differences,
            live,
            options: &options,
            prune: policy.prune,
            consents: Consents::default(),
            only: None,
            held: &held(policy, differences),
            hooks: Some(HookNaming { revision: REVISION, started: Timestamp::from_second(i64::from(number)).unwrap() }),
        })
        .unwrap()
    };
    let mut differences = compare(desired, live, &memory.inventory, owner);
    let mut kept_by = None;
    let mut awaited = Vec::new();
    let number = memory.attempt.as_ref().map_or(0, |attempt| attempt.number);
    if memory.attempt.as_ref().is_none_or(|attempt| attempt.ended.is_some()) {
        let drifted = differences.objects.iter().filter(|(_, difference)| difference.is_drift()).map(|(key, _)| key);
        let decision = decide(DecideInput {
            policy,
            request: None,
            differences: &differences,
            held: &held(policy, &differences),
            prunes: policy.prune && !differences.extras.is_empty(),
            target: TARGET,
            last_failure: memory.last_failure.as_ref(),
            automated_blocked_by: holds.hold.as_ref(),
            manual_blocked_by: None,
            retry: sync_policy.and_then(|policy| policy.retry.as_ref()),
            heal_not_before: memory.heals.hold_back(drifted, moment.at).not_before(),
            now: moment.at,
        });
        match decision {
            Decision::Sync { .. } => {
                memory.attempt = Some(Running {
                    number: number + 1,
                    started: moment.at,
                    ended: None,
                    phase: OperationPhase::Running,
                    progress: Progress::default(),
                    waiting: Vec::new(),
                    failure: None,
                });
            }
            Decision::Blocked(hold) => {
                kept_by = Some(Failure { reason: hold.reason, message: hold.message });
                awaited.clone_from(&holds.waits);
            }
            Decision::Later(_) | Decision::Hold => {}
        }
    }
    if memory.attempt.as_ref().is_some_and(|attempt| attempt.ended.is_none()) {
        let plan = compiled(&differences, live, number.max(1));
        carry_out(stage, live, memory, &plan, options.delete_hooks_after_sync);
        differences = compare(desired, live, &memory.inventory, owner);
    }
    let plan = compiled(&differences, live, number.max(1));
    let source_failure = moment
        .source_failure
        .as_ref()
        .map(|message| Failure { reason: Reason::ProxyAuthRequired, message: message.clone() });
    let fights: Vec<String> = memory.heals.fights(moment.at).iter().map(ToString::to_string).collect();
    let failures = memory.last_failure.as_ref().map_or(0, |failure| failure.failures);
    let unverified = BTreeMap::new();
    derive(&Observed {
        previous: &memory.status,
        generation: application.metadata.generation,
        now: moment.at,
        assessment: Assessment::Compared {
            comparison: Comparison {
                by_hand: &BTreeMap::new(),
                revision: REVISION,
                revisions: &[],
                described: &REVISION[..7],
                desired,
                live,
                differences: &differences,
                blocked: &plan.blocked,
            },
            source_failure: source_failure.as_ref(),
        },
        attempt: memory.attempt.as_ref().map(|attempt| Attempt {
            phase: attempt.phase,
            revision: REVISION,
            revisions: &[],
            partial: false,
            operation: None,
            automated: true,
            started: attempt.started,
            ended: attempt.ended,
            retries: failures.saturating_sub(u32::from(attempt.ended.is_some() && attempt.failure.is_some())),
            outcomes: &attempt.progress.outcomes,
            hooks: &attempt.progress.hooks,
            unverified: &unverified,
            waiting: &attempt.waiting,
            failure: attempt.failure.as_ref(),
        }),
        unsupported: &[],
        stale: None,
        warnings: &desired.warnings,
        held: kept_by.as_ref(),
        dependencies: &awaited,
        fights: &fights,
        sync_window: holds.window,
        suspended: application.spec.suspend,
        history_limit: 10,
    })
}

fn held(policy: Policy, differences: &Differences) -> BTreeSet<ObjectKey> {
    let drifted = differences.objects.iter().filter(|(_, difference)| policy.hold_drifted && difference.is_drift());
    drifted.map(|(key, _)| key.clone()).collect()
}

fn carry_out(stage: Stage<'_>, live: &mut LiveView, memory: &mut Memory, plan: &Plan, delete_hooks_after_sync: bool) {
    let Stage { case, moment, owner: _, desired } = stage;
    let Memory { inventory, attempt, last_failure, .. } = memory;
    let attempt = attempt.as_mut().unwrap();
    let name = attempt.number.to_string();
    loop {
        let input = MovesInput {
            plan,
            desired,
            live,
            outside: &BTreeMap::new(),
            policy: GatePolicy::new(case.application.spec.gate.as_ref()),
            delete_hooks_after_sync,
            attempt: &name,
            now: moment.at,
        };
        observe(&mut attempt.progress, &input);
        attempt.waiting.clear();
        match next_moves(&attempt.progress, &input) {
            Next::Run(moves) => {
                for one in moves {
                    act(stage, &one, &name, live, &mut attempt.progress, inventory);
                }
            }
            Next::Wait { waiting, until: _ } => {
                attempt.waiting = waiting;
                return;
            }
            Next::Failed { reason, message } => {
                attempt.phase = OperationPhase::Failed;
                attempt.ended = Some(moment.at);
                attempt.failure = Some(Failure { reason, message });
                let failures = last_failure.as_ref().map_or(0, |failure| failure.failures) + 1;
                *last_failure = Some(LastAttempt { target: TARGET, ended: moment.at, failures, terminated: false });
                return;
            }
            Next::Done => {
                attempt.phase = OperationPhase::Succeeded;
                attempt.ended = Some(moment.at);
                *last_failure = None;
                return;
            }
        }
    }
}

fn act(
    stage: Stage<'_>,
    one: &Move,
    attempt: &str,
    live: &mut LiveView,
    progress: &mut Progress,
    inventory: &mut Inventory,
) {
    let Stage { case: _, moment, owner, desired } = stage;
    let Move { id, act } = one;
    let uid = uid_of(&id.key.kind, &id.key.name);
    if let Some(message) = moment.refused.get(&id.key.name) {
        progress.note_refused(id, Reason::InvalidObject, message.clone());
        return;
    }
    match act {
        Act::Apply => {
            let record = live.objects.get(&id.key);
            let outcome = if record.is_some() { Outcome::Configured } else { Outcome::Created };
            progress.note_outcome(id, outcome, Some(record.map_or(1, |record| record.generation)));
            let wanted = desired.objects.get(&id.key).unwrap();
            let entry = InventoryEntry::Applied { uid: uid.clone(), desired: wanted.hash, owned: OWNED };
            inventory.entries.insert(id.key.clone(), entry);
            // The answer to the apply shows it as it is now.
            if let Some(record) = live.objects.get_mut(&id.key) {
                Arc::make_mut(record).owned = Some(OWNED);
            } else {
                let (key, record) = seen(serde_json::from_slice(&wanted.body).unwrap(), moment, None);
                live.objects.insert(key, record);
            }
        }
        Act::Prune { .. } => progress.note_outcome(id, Outcome::Pruned { gone: false }, None),
        Act::StartHook { index } => {
            let hook = desired.hooks.get(*index).unwrap();
            let body = hook.body_for(&id.key.name, &hook_mark(attempt, id.phase), owner);
            let (key, record) = seen(serde_json::from_slice(&body).unwrap(), moment, None);
            live.objects.insert(key, record);
            progress.note_hook_started(id, uid, moment.at);
        }
        Act::DeleteHook { uid } => progress.note_hook_deleted(id, uid.clone()),
        Act::ReleaseHook { .. } => progress.note_hook_released(id),
    }
}

/// What keeps a sync from starting.
struct Holds {
    hold: Option<Hold>,
    waits: Vec<Waiting>,
    window: Option<tidelock::api::SyncWindowStatus>,
}

fn holds(case: &Case, now: Timestamp) -> Holds {
    let application = &case.application;
    let windows = SyncWindows::new("shop", &case.project.sync_windows);
    let subject = Subject::of(application);
    let closed = windows.hold(&subject, false, now);
    let own = id_of(application);
    let edges: Edges =
        case.others.iter().chain([application]).map(|one| (id_of(one), dependencies_of(one).ids())).collect();
    let sights = dependencies_of(application).ids().into_iter().map(|id| {
        let other = case.others.iter().find(|other| id_of(other) == id);
        let sight = other.map_or(Sight::Missing, |other| Sight::Present(Arc::new(other.clone())));
        (id, sight)
    });
    let waits = dependencies_of(application).evaluate(&sights.collect(), circle(&own, &edges).as_deref());
    let awaited =
        Dependencies::hold(&waits).map(|hold| Hold { reason: hold.reason, message: hold.message, until: hold.until });
    Holds {
        hold: closed.map(|hold| Hold { reason: hold.reason, message: hold.message, until: hold.until }).or(awaited),
        waits,
        window: windows.evaluate(&subject, now).map(|state| state.status()),
    }
}

fn id_of(application: &Application) -> ApplicationId {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ApplicationId::new(text(&application.metadata.namespace), text(&application.metadata.name))
}

fn dependencies_of(application: &Application) -> Dependencies {
    Dependencies::new(id_of(application), &application.spec.depends_on)
}

fn desired(case: &Case, owner: &Owner) -> DesiredSet {
    let any = || "*".to_owned();
    let project = AppProjectSpec {
        source_repos: vec![any()],
        destinations: vec![ProjectDestination { server: any(), name: String::new(), namespace: any() }],
        cluster_resource_whitelist: vec![ResourceRule { group: any(), kind: any(), name: String::new() }],
        ..AppProjectSpec::default()
    };
    let manifests = case.desired.iter().zip(1..).map(|(object, line)| Manifest {
        object: object.clone(),
        origin: Origin { file: "desired.yaml".to_owned(), line },
    });
    assemble(
        manifests.collect(),
        AssembleInput {
            owner,
            destination: &case.application.spec.destination,
            surface: &surface(),
            project: &ProjectRules::new("shop", &project, &[]),
            skip_missing: false,
        },
    )
    .unwrap()
}

/// The kinds that cases use.
fn surface() -> ApiSurface {
    let kinds = [
        ("", "ConfigMap", "configmaps", true),
        ("", "Namespace", "namespaces", false),
        ("apps", "Deployment", "deployments", true),
        ("batch", "Job", "jobs", true),
    ];
    let kinds = kinds.map(|(group, kind, plural, namespaced)| {
        let info = KindInfo {
            versions: vec!["v1".to_owned()],
            plural: plural.to_owned(),
            namespaced,
            has_status: kind != "ConfigMap",
            watchable: true,
        };
        (GroupKind::new(group, kind), info)
    });
    ApiSurface { kinds: kinds.into(), ..ApiSurface::default() }
}

fn uid_of(kind: &str, name: &str) -> String {
    format!("uid-{kind}-{name}")
}

fn live(moment: &Moment, owner: &Owner) -> LiveView {
    let mut view = LiveView::default();
    for object in &moment.live {
        let mut object = object.clone();
        let manifest = Manifest { object: object.clone(), origin: Origin::default() };
        let key = ObjectKey { namespace: "shop".to_owned(), ..manifest.key() };
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("namespace".to_owned(), json!(key.namespace));
        metadata.insert("labels".to_owned(), json!({"tidelock.dev/instance": owner.instance.as_str()}));
        let annotations = metadata.entry("annotations").or_insert(json!({}));
        annotations["tidelock.dev/tracking-id"] = json!(owner.tracking_id(&key));
        let (key, record) = seen(object, moment, moment.drifted.contains(&key.name).then_some(TAKEN));
        view.objects.insert(key, record);
    }
    view
}

/// An object as it is seen; `owned` tells that somebody took a field of ours.
fn seen(mut object: Value, moment: &Moment, owned: Option<Hash64>) -> (ObjectKey, Arc<LiveRecord>) {
    let manifest = Manifest { object: object.clone(), origin: Origin::default() };
    let (kind, name) = (manifest.gvk().group_kind(), manifest.name());
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.insert("uid".to_owned(), json!(uid_of(&kind.kind, name)));
    metadata.entry("resourceVersion").or_insert(json!("1"));
    metadata.entry("generation").or_insert(json!(1));
    let health = assess(&object, &AssessContext { now: moment.at, has_status_subresource: Some(true) });
    let (key, mut record) = reduce(&kind, &object, health).unwrap();
    record.owned = Some(owned.unwrap_or(OWNED));
    (key, Arc::new(record))
}

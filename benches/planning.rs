//! What deciding costs: an Application of 5,000 objects compared, planned, and moved on by one step of its gate.
//!
//! `cargo bench --bench planning`, or `make bench`. Prints medians in milliseconds and what the peak of resident memory
//! rose by. The objects are in their last state (in sync), and then all changed by git.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measuring program ends at the first thing that is not as expected"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use tidelock::api::{AppProjectSpec, Destination, ProjectDestination, ResourceRule};
use tidelock::desired::{AssembleInput, DesiredSet, ProjectRules, SyncOptions, assemble};
use tidelock::diff::compare;
use tidelock::live::{LiveRecord, LiveView};
use tidelock::model::{
    ApiSurface, GroupKind, Hash64, Health, Inventory, InventoryEntry, KindInfo, Manifest, Marks, Origin, Owner,
};
use tidelock::plan::{CompileInput, Consents, HookNaming, MovesInput, compile, next_moves, observe};
use tidelock::plan::{GatePolicy, Progress};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const OBJECTS: usize = 5_000;
const ROUNDS: usize = 21;
const WAVES: usize = 8;

fn main() {
    let owner = Owner::new("tidelock", "tidelock", "large");
    let desired = desired(&owner);
    assert_eq!(desired.objects.len(), OBJECTS);
    let live = live(&desired, &owner);
    let in_sync = inventory(&desired, |hash| hash);
    let changed = inventory(&desired, |Hash64(hash)| Hash64(hash ^ 1));
    for (name, inventory) in [("in sync", &in_sync), ("all changed by git", &changed)] {
        measure(name, &desired, &live, inventory, &owner);
    }
}

fn measure(name: &str, desired: &DesiredSet, live: &LiveView, inventory: &Inventory, owner: &Owner) {
    let options = SyncOptions::default();
    let now = Timestamp::from_second(1_800_000_000).expect("a time");
    let (mut comparing, mut compiling, mut moving) = (Vec::new(), Vec::new(), Vec::new());
    reset_peak();
    let before = memory("VmRSS:");
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let differences = compare(black_box(desired), live, inventory, owner);
        comparing.push(started.elapsed());

        let started = Instant::now();
        let plan = compile(CompileInput {
            desired,
            differences: &differences,
            live,
            options: &options,
            prune: true,
            consents: Consents::default(),
            only: None,
            held: &BTreeSet::new(),
            hooks: Some(HookNaming { revision: "0123456789abcdef", started: now }),
        })
        .expect("a plan");
        compiling.push(started.elapsed());

        let started = Instant::now();
        let input = MovesInput {
            plan: &plan,
            desired,
            live,
            outside: &BTreeMap::new(),
            policy: GatePolicy::default(),
            delete_hooks_after_sync: false,
            attempt: "attempt",
            now,
        };
        let mut progress = Progress::default();
        observe(&mut progress, &input);
        let _ = black_box(next_moves(&progress, &input));
        moving.push(started.elapsed());
    }
    let peak = memory("VmHWM:");
    let median = |mut times: Vec<std::time::Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let (comparing, compiling, moving) = (median(comparing), median(compiling), median(moving));
    println!(
        "{OBJECTS} objects, {name}: compared in {comparing:.1} ms, planned in {compiling:.1} ms, gate read in {moving:.1} ms, \
         together {:.1} ms; peak of memory {:.1} MiB above {:.1} MiB of input",
        comparing + compiling + moving,
        (peak - before) / 1024.0,
        before / 1024.0,
    );
}

/// A line of `/proc/self/status`, in KiB.
fn memory(field: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(field)).expect("the field");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
}

fn desired(owner: &Owner) -> DesiredSet {
    let manifests = (0..OBJECTS).map(manifest).collect();
    let surface = surface();
    let spec = AppProjectSpec {
        source_repos: vec!["*".into()],
        destinations: vec![ProjectDestination { namespace: "*".into(), server: "*".into(), name: String::new() }],
        cluster_resource_whitelist: vec![ResourceRule { group: "*".into(), kind: "*".into(), name: String::new() }],
        ..AppProjectSpec::default()
    };
    let project = ProjectRules::new("default", &spec, &[]);
    let destination = Destination { namespace: Some("shop".into()), ..Destination::default() };
    let input =
        AssembleInput { owner, destination: &destination, surface: &surface, project: &project, skip_missing: false };
    assemble(manifests, input).expect("a desired set")
}

/// One of a Deployment, its ServiceAccount, its Service and two ConfigMaps.
fn manifest(number: usize) -> Manifest {
    let (unit, part) = (number / 5, number % 5);
    let name = format!("unit-{unit:04}");
    let wave = (unit % WAVES).to_string();
    let mut object = match part {
        0 => deployment(&name),
        1 => json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}),
        2 => json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
        _ => json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{name}-{part}")},
            "data": {"settings.yaml": "color: blue\nsize: 3\n".repeat(20)},
        }),
    };
    object["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": wave});
    Manifest { object, origin: Origin::default() }
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "serviceAccountName": name,
                    "containers": [{
                        "name": "main", "image": "registry.example.com/team/unit:1.2.3",
                        "envFrom": [{"configMapRef": {"name": format!("{name}-3")}}],
                        "env": (0..10).map(|number| json!({"name": format!("VARIABLE_{number}"), "value": "x"})).collect::<Vec<_>>(),
                        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "64Mi"}},
                        "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}],
                    }],
                    "volumes": [{"name": "settings", "configMap": {"name": format!("{name}-4")}}],
                },
            },
        },
    })
}

fn surface() -> ApiSurface {
    let kind = |group: &str, kind: &str, plural: &str| {
        let info = KindInfo {
            versions: vec!["v1".into()],
            plural: plural.into(),
            namespaced: true,
            has_status: true,
            watchable: true,
        };
        (GroupKind::new(group, kind), info)
    };
    ApiSurface {
        kinds: BTreeMap::from([
            kind("apps", "Deployment", "deployments"),
            kind("", "ServiceAccount", "serviceaccounts"),
            kind("", "Service", "services"),
            kind("", "ConfigMap", "configmaps"),
        ]),
        ..ApiSurface::default()
    }
}

fn live(desired: &DesiredSet, owner: &Owner) -> LiveView {
    let objects = desired
        .objects
        .values()
        .map(|object| {
            let record = LiveRecord {
                uid: format!("uid-of-{}", object.key.name),
                resource_version: 1,
                generation: 1,
                marks: Marks { instance: owner.instance.clone(), tracking_id: owner.tracking_id(&object.key) },
                owned: Some(Hash64(7)),
                health: (object.key.kind == "Deployment").then(Health::healthy),
                deleting: false,
                prune: None,
                delete: None,
                extraneous_ignored: false,
                hook_attempt: None,
                by_hand: None,
                health_ignored: false,
                wave: object.wave,
            };
            (object.key.clone(), Arc::new(record))
        })
        .collect();
    LiveView { objects }
}

fn inventory(desired: &DesiredSet, applied: impl Fn(Hash64) -> Hash64) -> Inventory {
    let entries = desired
        .objects
        .values()
        .map(|object| {
            let uid = format!("uid-of-{}", object.key.name);
            (object.key.clone(), InventoryEntry::Applied { uid, desired: applied(object.hash), owned: Hash64(7) })
        })
        .collect();
    Inventory { entries }
}

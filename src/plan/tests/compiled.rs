//! What compiling makes of objects, hooks and what differs, told by examples.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::desired::{Dependency, Hook, HookDeletePolicy, SyncOptions};
use crate::diff::Cause;
use crate::model::{Consent, Owner, Phase, Reason};
use crate::plan::graph::{self, Group, Work};

/// Everything that a plan is compiled from.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) desired: DesiredSet,
    pub(super) differences: Differences,
    pub(super) live: LiveView,
    pub(super) options: SyncOptions,
    pub(super) prune: bool,
    pub(super) consents: Consents,
    pub(super) only: Option<BTreeSet<ObjectKey>>,
    pub(super) held: BTreeSet<ObjectKey>,
    pub(super) runs_hooks: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            desired: DesiredSet::default(),
            differences: Differences::default(),
            live: LiveView::default(),
            options: SyncOptions::default(),
            prune: true,
            consents: Consents::default(),
            only: None,
            held: BTreeSet::new(),
            runs_hooks: true,
        }
    }
}

pub(super) fn naming() -> HookNaming<'static> {
    HookNaming { revision: "0123456789abcdef", started: jiff::Timestamp::from_second(1_700_000_000).unwrap() }
}

impl Input {
    pub(super) fn of(objects: impl IntoIterator<Item = DesiredObject>) -> Self {
        let mut input = Self::default();
        for object in objects {
            input.add(object, absent());
        }
        input
    }

    pub(super) fn add(&mut self, object: DesiredObject, difference: Difference) {
        self.differences.objects.insert(object.key.clone(), difference);
        self.desired.objects.insert(object.key.clone(), Arc::new(object));
    }

    pub(super) fn with_hook(mut self, object: DesiredObject, phases: &[Phase]) -> Self {
        let generate_name = object.key.name.is_empty().then(|| "run-".to_owned());
        self.desired.hooks.push(Hook {
            object: Arc::new(object),
            phases: phases.iter().copied().collect(),
            delete_policies: BTreeSet::from([HookDeletePolicy::BeforeHookCreation]),
            generate_name,
        });
        self
    }

    pub(super) fn with_extra(mut self, key: ObjectKey, record: LiveRecord) -> Self {
        self.differences.extras.insert(key.clone(), prunable());
        self.live.objects.insert(key, Arc::new(record));
        self
    }

    pub(super) fn compile(&self) -> Result<graph::Plan, PlanError> {
        compile(CompileInput {
            desired: &self.desired,
            differences: &self.differences,
            live: &self.live,
            options: &self.options,
            prune: self.prune,
            consents: self.consents,
            only: self.only.as_ref(),
            held: &self.held,
            hooks: self.runs_hooks.then(naming),
        })
    }

    fn told(&self) -> Vec<String> {
        told_groups(&self.compile().unwrap().groups)
    }

    fn blocked(&self) -> Vec<(String, Reason)> {
        self.compile().unwrap().blocked.into_iter().map(|one| (one.key.name, one.reason)).collect()
    }

    fn error(&self) -> String {
        self.compile().unwrap_err().to_string()
    }
}

/// An object with a body, in a wave.
pub(super) fn made(key: &ObjectKey, wave: i32, body: &Value) -> DesiredObject {
    DesiredObject { body: Bytes::from(body.to_string()), ..object(key, wave) }
}

fn plain(key: &ObjectKey, wave: i32) -> DesiredObject {
    object(key, wave)
}

pub(super) fn depending(mut object: DesiredObject, on: &str) -> DesiredObject {
    object.depends_on = Dependency::parse_list(on).unwrap();
    object
}

fn of_kind(group: &str, kind: &str, name: &str) -> ObjectKey {
    let namespaced = !kind.starts_with("Cluster") && !kind.ends_with("WebhookConfiguration") && kind != "APIService";
    ObjectKey::new(group, kind, if namespaced { "shop" } else { "" }, name)
}

fn job(name: &str) -> ObjectKey {
    of_kind("batch", "Job", name)
}

/// A line for each group: phase, wave, what it does; a part for each step, with what it needs.
pub(super) fn told_groups(groups: &[Group]) -> Vec<String> {
    let step = |step: &graph::Step| {
        let needs: Vec<String> =
            step.needs.iter().map(|need| format!("{}:{}", need.on.name, need.state.as_str())).collect();
        let needs = if needs.is_empty() { String::new() } else { format!(" <- {}", needs.join(" ")) };
        format!("{} {}{needs}", step.id.key.kind, step.id.key.name)
    };
    let group = |group: &Group| {
        let work = if group.work == Work::Prune { " prune" } else { "" };
        let steps: Vec<String> = group.steps.iter().map(step).collect();
        format!("{} {}{work}: {}", group.phase, group.wave, steps.join(", "))
    };
    groups.iter().map(group).collect()
}

fn pods(spec: &Value) -> Value {
    json!({"spec": {"template": {"metadata": {"labels": {"app": "a", "tier": "b"}}, "spec": spec}}})
}

#[test]
fn phases_and_waves_make_groups_and_kinds_their_order() {
    let input = Input::of([
        plain(&deployment("d"), 0),
        plain(&config("c"), 0),
        plain(&config("late"), 2),
        plain(&config("early"), -1),
    ])
    .with_hook(plain(&job("migrate"), 0), &[Phase::PreSync])
    .with_hook(plain(&job("warm"), 1), &[Phase::PreSync])
    .with_hook(plain(&job("beside"), 0), &[Phase::Sync, Phase::PostSync])
    .with_hook(plain(&job("tell"), 0), &[Phase::SyncFail])
    .with_hook(plain(&job("leave"), 0), &[Phase::PreDelete, Phase::PostDelete]);
    let plan = input.compile().unwrap();
    assert_eq!(
        told_groups(&plan.groups),
        [
            "PreSync 0: Job migrate",
            "PreSync 1: Job warm",
            "Sync -1: ConfigMap early",
            "Sync 0: ConfigMap c, Deployment d, Job beside",
            "Sync 2: ConfigMap late",
            "PostSync 0: Job beside",
        ]
    );
    assert_eq!(told_groups(&plan.on_failure), ["SyncFail 0: Job tell"]);
    assert_eq!(plan.groups[0].steps[0].action, graph::Action::Hook { index: 0 });
}

#[test]
fn namespace_and_definition_come_before_what_needs_them_wherever_they_stand() {
    let shop = namespace("shop");
    let input = Input::of([plain(&shop, 9), plain(&definition(), 5), plain(&widget("w"), 1), plain(&config("c"), 0)]);
    assert_eq!(
        input.told(),
        [
            "Sync 0: Namespace shop, ConfigMap c <- shop:ready",
            "Sync 1: CustomResourceDefinition widgets.example.com, Widget w <- widgets.example.com:ready",
        ]
    );
    let with_hook = input.with_hook(plain(&job("migrate"), -2), &[Phase::PreSync]);
    assert_eq!(
        with_hook.told(),
        [
            "PreSync -2: Namespace shop, Job migrate <- shop:ready",
            "Sync 0: ConfigMap c",
            "Sync 1: CustomResourceDefinition widgets.example.com, Widget w <- widgets.example.com:ready",
        ]
    );
}

#[test]
fn a_workload_waits_for_its_account_its_rights_and_what_its_pods_read() {
    let rbac = "rbac.authorization.k8s.io";
    let subjects = json!([{"kind": "ServiceAccount", "name": "runner", "namespace": "shop"}]);
    let bound = |role: &str, name: &str| json!({"subjects": subjects, "roleRef": {"kind": role, "name": name}});
    let template = json!({
        "serviceAccountName": "runner",
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "configMap": {"name": "mounted"}},
            {"name": "b", "secret": {"secretName": "key"}},
            {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "d", "projected": {"sources": [{"configMap": {"name": "projected"}}, {"downwardAPI": {}}]}},
            {"name": "e", "emptyDir": {}},
        ],
        "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "from"}}, {"secretRef": {"name": "elsewhere"}}]}],
        "containers": [{"name": "m", "env": [
            {"name": "A", "value": "x \" y"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "single", "key": "k"}}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]}],
    });
    let input = Input::of([
        made(&deployment("d"), 0, &pods(&template)),
        plain(&of_kind("", "ServiceAccount", "runner"), 0),
        plain(&of_kind("", "ServiceAccount", "other"), 0),
        made(&of_kind(rbac, "RoleBinding", "binding"), 0, &bound("Role", "role")),
        made(&of_kind(rbac, "ClusterRoleBinding", "wide"), 0, &bound("ClusterRole", "wide-role")),
        plain(&of_kind(rbac, "Role", "role"), 0),
        plain(&of_kind(rbac, "ClusterRole", "wide-role"), 0),
        plain(&of_kind("", "Secret", "pull"), 0),
        plain(&of_kind("", "Secret", "key"), 0),
        plain(&of_kind("", "Secret", "single"), 1),
        plain(&of_kind("", "PersistentVolumeClaim", "data"), 0),
        plain(&config("mounted"), 0),
        plain(&config("projected"), 0),
        plain(&config("from"), -1),
        plain(&config("other"), 0),
    ]);
    let plan = input.compile().unwrap();
    let steps: Vec<&graph::Step> = plan.groups.iter().flat_map(|group| &group.steps).collect();
    let of = steps.iter().find(|step| step.id.key.kind == "Deployment").unwrap();
    let needs: Vec<String> =
        of.needs.iter().map(|need| format!("{} {} {:?}", need.on.kind, need.on.name, need.cause)).collect();
    // `from` comes in an earlier wave, and `single` was put into a later one.
    assert_eq!(
        needs,
        [
            "ConfigMap mounted Configuration",
            "ConfigMap projected Configuration",
            "PersistentVolumeClaim data Configuration",
            "Secret key Configuration",
            "Secret pull Configuration",
            "ServiceAccount runner Account",
            "ClusterRole wide-role Account",
            "ClusterRoleBinding wide Account",
            "Role role Account",
            "RoleBinding binding Account",
        ]
    );
    assert!(steps.iter().filter(|step| step.id.key.kind != "Deployment").all(|step| step.needs.is_empty()));
}

#[test]
fn pod_templates_of_cron_jobs_pods_and_extensions_count_too() {
    let read = json!({"containers": [{"name": "m", "envFrom": [{"configMapRef": {"name": "c"}}]}]});
    let input = Input::of([
        plain(&config("c"), 0),
        made(&of_kind("", "Pod", "p"), 0, &json!({"spec": read})),
        made(
            &of_kind("batch", "CronJob", "j"),
            0,
            &json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": read}}}}}),
        ),
        made(&of_kind("argoproj.io", "Rollout", "r"), 0, &pods(&read)),
        made(&of_kind("apps", "Deployment", "broken"), 0, &json!({"spec": {"template": {"spec": "none"}}})),
    ]);
    assert_eq!(
        input.told(),
        ["Sync 0: ConfigMap c, Pod p <- c:present, Deployment broken, CronJob j <- c:present, Rollout r <- c:present"]
    );
}

fn webhook_parts() -> [DesiredObject; 3] {
    let service = of_kind("", "Service", "hooks");
    let pod_spec = json!({"containers": [{"name": "m"}]});
    [
        made(&service, 0, &json!({"spec": {"selector": {"app": "a"}}})),
        made(&deployment("server"), 0, &pods(&pod_spec)),
        made(&job("once"), 0, &pods(&pod_spec)),
    ]
}

#[test]
fn what_is_served_by_a_service_waits_for_it_and_for_the_workload_behind_it() {
    let client = json!({"service": {"name": "hooks", "namespace": "shop"}});
    let admission = "admissionregistration.k8s.io";
    let mut input = Input::of(webhook_parts());
    let validating = of_kind(admission, "ValidatingWebhookConfiguration", "v");
    input.add(
        made(&validating, 0, &json!({"webhooks": [{"clientConfig": client}, {"clientConfig": {"url": "https://x"}}]})),
        absent(),
    );
    input.add(made(&of_kind("apiregistration.k8s.io", "APIService", "v1.x"), 0, &json!({"spec": client})), absent());
    assert_eq!(
        input.told(),
        ["Sync 0: Service hooks, Deployment server, Job once, APIService v1.x <- hooks:present server:ready, \
          ValidatingWebhookConfiguration v <- hooks:present server:ready"]
    );
}

#[test]
fn objects_of_a_kind_that_is_converted_wait_for_the_converter_and_their_definition_does_not() {
    let mut input = Input::of(webhook_parts());
    let body = json!({"spec": {"group": "example.com", "names": {"kind": "Widget"}, "conversion": {"strategy": "Webhook",
        "webhook": {"clientConfig": {"service": {"name": "hooks", "namespace": "shop"}}}}}});
    input.add(made(&definition(), 0, &body), absent());
    input.add(plain(&widget("w"), 0), absent());
    assert_eq!(
        input.told(),
        ["Sync 0: CustomResourceDefinition widgets.example.com, Service hooks, Deployment server, Job once, \
          Widget w <- hooks:present widgets.example.com:ready server:ready"]
    );
}

#[test]
fn explicit_dependencies_hold_inside_a_group_beyond_it_and_outside_of_the_application() {
    let input = Input::of([
        depending(plain(&config("a"), 0), "apps/Deployment/shop/d, apps/Deployment/infra/proxy:present"),
        plain(&config("b"), 0),
        plain(&deployment("d"), 0),
        depending(plain(&config("later"), 1), "/ConfigMap/shop/b:present"),
    ])
    .with_hook(depending(plain(&job("after"), 0), "batch/Job/shop/migrate:completed"), &[Phase::PostSync])
    .with_hook(plain(&job("migrate"), 0), &[Phase::PreSync, Phase::SyncFail]);
    assert_eq!(
        input.told(),
        [
            "PreSync 0: Job migrate",
            "Sync 0: ConfigMap b, Deployment d, ConfigMap a <- proxy:present d:ready",
            "Sync 1: ConfigMap later <- b:present",
            "PostSync 0: Job after <- migrate:completed",
        ]
    );
}

#[test]
fn a_circle_is_an_error_that_tells_every_link() {
    let on = |name: &str, target: &str, wave| {
        depending(plain(&config(name), wave), &format!("/ConfigMap/shop/{target}:present"))
    };
    let text = "dependencies go in a circle, so nothing was applied: ";
    let end = "; remove one of these dependencies, or change a wave";
    let why = "waits for (tidelock.dev/depends-on) →";
    let name = |name: &str| format!("/ConfigMap/shop/{name}");
    assert_eq!(
        Input::of([on("a", "b", 0), on("b", "c", 0), on("c", "a", 0), on("x", "a", 0)]).error(),
        format!("{text}{} {why} {} {why} {} {why} {}{end}", name("a"), name("b"), name("c"), name("a"))
    );
    assert_eq!(Input::of([on("a", "a", 0)]).error(), format!("{text}{} {why} {}{end}", name("a"), name("a")));
    assert_eq!(
        Input::of([on("a", "b", 0), plain(&config("b"), 2)]).error(),
        format!("{text}{} {why} {} waits for (wave 2 comes after wave 0) → {}{end}", name("a"), name("b"), name("a"))
    );
    let hook = Input::of([plain(&config("b"), 0)]).with_hook(on("h", "b", 0), &[Phase::PreSync]);
    assert_eq!(
        hook.error(),
        format!(
            "{text}{} (PreSync) {why} {} waits for (phase Sync comes after phase PreSync) → {} (PreSync){end}",
            name("h"),
            name("b"),
            name("h")
        )
    );
    assert_eq!(hook.compile().unwrap_err().reason(), Reason::DependencyCycle);
}

#[test]
fn a_circle_through_what_was_pulled_ahead_tells_who_pulled_it() {
    let early = Input::of([
        depending(plain(&namespace("shop"), 5), "/Namespace//other"),
        plain(&namespace("other"), 3),
        plain(&config("c"), 0),
    ]);
    assert_eq!(
        early.error(),
        "dependencies go in a circle, so nothing was applied: /Namespace//shop waits for (tidelock.dev/depends-on) → \
         /Namespace//other waits for (wave 3 comes after wave 0) → /ConfigMap/shop/c waits for (that is its Namespace) → \
         /Namespace//shop; remove one of these dependencies, or change a wave"
    );
    let inside = Input::of([depending(plain(&namespace("shop"), 0), "/ConfigMap/shop/c"), plain(&config("c"), 0)]);
    assert_eq!(
        inside.error(),
        "dependencies go in a circle, so nothing was applied: /ConfigMap/shop/c waits for (that is its Namespace) → \
         /Namespace//shop waits for (tidelock.dev/depends-on) → /ConfigMap/shop/c; remove one of these dependencies, or \
         change a wave"
    );
}

#[test]
fn what_is_inferred_gives_way_to_what_is_stated() {
    let read = json!({"containers": [{"name": "m", "envFrom": [{"configMapRef": {"name": "c"}}]}]});
    let input = Input::of([
        depending(plain(&config("c"), 0), "apps/Deployment/shop/d"),
        made(&deployment("d"), 0, &pods(&read)),
    ]);
    assert_eq!(input.told(), ["Sync 0: Deployment d, ConfigMap c <- d:ready"]);
}

#[test]
fn prunes_follow_the_last_wave_in_reverse_and_wait_for_the_last_hooks_when_told_so() {
    let mut input = Input::of([plain(&config("new"), 1)])
        .with_hook(plain(&job("after"), 0), &[Phase::PostSync])
        .with_extra(config("old"), record(0, None))
        .with_extra(deployment("old"), record(0, None))
        .with_extra(deployment("late"), record(3, None));
    assert_eq!(
        input.told(),
        [
            "Sync 1: ConfigMap new",
            "Sync 3 prune: Deployment late",
            "Sync 0 prune: Deployment old, ConfigMap old",
            "PostSync 0: Job after",
        ]
    );
    input.options.prune_last = true;
    assert_eq!(input.told()[1], "PostSync 0: Job after");
    assert_eq!(input.told()[2], "Sync 3 prune: Deployment late");
}

#[test]
fn consent_is_the_objects_own_and_then_the_applications() {
    let with = |prune| LiveRecord { prune, ..record(0, None) };
    let mut input = Input::default()
        .with_extra(config("unsaid"), with(None))
        .with_extra(config("confirm"), with(Some(Consent::Needed)))
        .with_extra(config("given"), with(Some(Consent::Given)))
        .with_extra(namespace("old"), with(None));
    assert_eq!(input.told(), ["Sync 0 prune: ConfigMap given, ConfigMap unsaid"]);
    assert_eq!(input.blocked(), [("confirm".into(), Reason::PruneWaiting), ("old".into(), Reason::PruneWaiting)]);
    input.consents = Consents { protected_kinds: true, prune: true, deletion: false };
    assert_eq!(input.told(), ["Sync 0 prune: ConfigMap confirm, ConfigMap given, ConfigMap unsaid, Namespace old"]);
    input.options.prune = Consent::Refused;
    assert_eq!(input.told(), ["Sync 0 prune: ConfigMap confirm, ConfigMap given"]);
    assert_eq!(input.blocked(), []);
}

#[test]
fn what_git_never_had_a_say_in_is_not_told_when_it_is_to_be_ignored() {
    let ignored = LiveRecord { extraneous_ignored: true, ..record(0, None) };
    let input = Input { prune: false, ..Input::default() }
        .with_extra(config("ignored"), ignored)
        .with_extra(config("told"), record(0, None));
    assert_eq!(input.blocked(), [("told".into(), Reason::PruneWaiting)]);
    assert_eq!(Input { prune: true, ..input }.told(), ["Sync 0 prune: ConfigMap ignored, ConfigMap told"]);
}

#[test]
fn nothing_that_stays_is_deleted_with_what_holds_it() {
    let kept = LiveRecord { prune: Some(Consent::Refused), ..record(0, None) };
    let mut input = Input::of([plain(&widget("w"), 0)])
        .with_extra(definition(), record(0, None))
        .with_extra(namespace("other"), record(0, None))
        .with_extra(namespace("empty"), record(0, None))
        .with_extra(ObjectKey::new("", "Secret", "other", "kept"), kept);
    input.consents.protected_kinds = true;
    assert_eq!(input.told(), ["Sync 0: Widget w", "Sync 0 prune: Namespace empty"]);
    assert_eq!(
        input.blocked(),
        [("other".into(), Reason::PruneWaiting), ("widgets.example.com".into(), Reason::PruneWaiting)]
    );
    assert_eq!(
        input.compile().unwrap().blocked[0].message,
        "/Namespace//other is no longer in git and is not pruned, since /Secret/other/kept would go with it, which stays"
    );
}

#[test]
fn objects_of_others_are_left_out_or_fail_the_sync() {
    let theirs = Difference::Conflict { application: "tidelock/other".into() };
    let mut input = Input::of([plain(&config("ours"), 0)]);
    input.add(plain(&config("theirs"), 0), theirs);
    assert_eq!(input.told(), ["Sync 0: ConfigMap ours"]);
    assert_eq!(input.blocked(), [("theirs".into(), Reason::OwnedByOther)]);
    input.options.fail_on_shared_resource = true;
    assert_eq!(
        input.error(),
        "/ConfigMap/shop/theirs belongs to the Application tidelock/other; nothing was applied, since \
         FailOnSharedResource=true: remove each from one of the two sources"
    );
}

#[test]
fn a_sync_of_selected_objects_touches_nothing_else_and_runs_no_hooks() {
    let mut input = Input::of([plain(&config("a"), 0), plain(&config("b"), 0), plain(&namespace("shop"), 0)])
        .with_hook(plain(&job("migrate"), 0), &[Phase::PreSync])
        .with_extra(config("old"), record(0, None))
        .with_extra(config("older"), record(0, None));
    input.only = Some(BTreeSet::from([config("b"), config("old")]));
    assert_eq!(input.told(), ["Sync 0: ConfigMap b", "Sync 0 prune: ConfigMap old"]);
    assert_eq!(input.blocked(), []);
}

#[test]
fn drift_that_is_held_is_told_and_left() {
    let mut input = Input::default();
    input.add(plain(&config("held"), 0), Difference::Changed(Cause::Live));
    input.add(plain(&config("synced"), 0), Difference::InSync);
    input.held = BTreeSet::from([config("held"), config("synced")]);
    assert_eq!(input.told(), ["Sync 0: ConfigMap synced"]);
    assert_eq!(input.blocked(), [("held".into(), Reason::OutOfSync)]);
}

#[test]
fn hooks_with_generated_names_have_a_name_of_their_own_each() {
    let unnamed = ObjectKey::new("batch", "Job", "shop", "");
    let input = Input::default()
        .with_hook(plain(&unnamed, 0), &[Phase::PreSync, Phase::PostSync])
        .with_hook(plain(&unnamed, 0), &[Phase::PreSync]);
    assert_eq!(
        input.told(),
        [
            "PreSync 0: Job run-0123456-presync-1700000000, Job run-0123456-presync-1700000000-2",
            "PostSync 0: Job run-0123456-postsync-1700000000",
        ]
    );
    assert_eq!(Input { runs_hooks: false, ..input }.told(), Vec::<String>::new());
}

#[test]
fn what_has_become_a_hook_is_left_to_the_hook() {
    let input = Input::default()
        .with_hook(plain(&job("migrate"), 0), &[Phase::Sync])
        .with_extra(job("migrate"), record(0, None));
    assert_eq!(input.told(), ["Sync 0: Job migrate"]);
}

struct Leaving {
    input: Input,
    owner: Owner,
}

impl Leaving {
    fn of(objects: impl IntoIterator<Item = (ObjectKey, i32)>) -> Self {
        let mut leaving = Self { input: Input::default(), owner: Owner::new("tidelock", "tidelock", "shop") };
        for (key, wave) in objects {
            leaving.add(key, record(wave, None));
        }
        leaving
    }

    fn add(&mut self, key: ObjectKey, record: LiveRecord) {
        let marks = Marks { instance: self.owner.instance.clone(), tracking_id: self.owner.tracking_id(&key) };
        self.input.live.objects.insert(key, Arc::new(LiveRecord { marks, ..record }));
    }

    fn compile(&self) -> graph::Plan {
        compile_deletion(DeletionInput {
            owner: &self.owner,
            owned: &BTreeMap::from([(config("recorded"), None)]),
            desired: &self.input.desired,
            live: &self.input.live,
            options: &self.input.options,
            consents: self.input.consents,
            hooks: Some(naming()),
        })
        .unwrap()
    }

    fn told(&self) -> Vec<String> {
        told_groups(&self.compile().groups)
    }
}

#[test]
fn a_deletion_goes_in_reverse_between_its_hooks_and_leaves_no_hook_behind() {
    let mut leaving = Leaving::of([
        (namespace("shop"), 7),
        (config("a"), 0),
        (config("b"), 0),
        (deployment("d"), 0),
        (deployment("late"), 2),
    ]);
    leaving.add(job("left"), LiveRecord { hook_attempt: Some("1".into()), ..record(0, None) });
    leaving.input = leaving
        .input
        .with_hook(plain(&job("before"), 0), &[Phase::PreDelete])
        .with_hook(plain(&job("after"), 0), &[Phase::PostDelete])
        .with_hook(plain(&job("sync"), 0), &[Phase::PreSync]);
    leaving.input.add(depending(plain(&deployment("d"), 0), "/ConfigMap/shop/a"), Difference::InSync);
    leaving.input.add(depending(plain(&config("a"), 0), "/ConfigMap/shop/b:present"), Difference::InSync);
    assert_eq!(
        leaving.told(),
        [
            "PreDelete 0: Job before",
            "Sync 2 prune: Deployment late",
            "Sync 0 prune: Job before, Job left, Deployment d, ConfigMap recorded",
            "Sync 0 prune: ConfigMap a",
            "Sync 0 prune: ConfigMap b",
            "PostDelete 0: Job after",
            "PostDelete 0 prune: Job after, Namespace shop",
        ]
    );
}

#[test]
fn what_is_kept_stays_with_what_holds_it_and_what_needs_consent_holds_everything() {
    let delete = |delete| LiveRecord { delete: Some(delete), ..record(0, None) };
    let mut leaving = Leaving::of([(namespace("shop"), 0), (namespace("other"), 0)]);
    leaving.add(config("kept"), delete(Consent::Refused));
    assert_eq!(leaving.told(), ["Sync 0 prune: ConfigMap recorded, Namespace other"]);
    leaving.add(config("asks"), delete(Consent::Needed));
    leaving.input = leaving.input.with_hook(plain(&job("before"), 0), &[Phase::PreDelete]);
    let plan = leaving.compile();
    let blocked: Vec<(&str, Reason)> = plan.blocked.iter().map(|one| (one.key.name.as_str(), one.reason)).collect();
    assert_eq!((plan.groups.len(), blocked), (0, vec![("asks", Reason::DeletionBlocked)]));
    leaving.input.consents.deletion = true;
    assert_eq!(
        leaving.told(),
        ["PreDelete 0: Job before", "Sync 0 prune: Job before, ConfigMap asks, ConfigMap recorded, Namespace other"]
    );
}

//! Everything that can be told about an Application from files: what is wanted, what is there, what differs, the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::application::Subject;
use super::live::{Dump, dump};
use super::render::render;
use super::{OfflineArguments, OfflineError, kinds, unknown_kind_note};
use crate::api::{AppProjectSpec, Application, DriftPolicy, ExtraFields, ProjectDestination, ResourceRule};
use crate::cli::input;
use crate::customizations::{self, Customizations};
use crate::desired::{AssembleInput, DesiredSet, ProjectRules, SyncOptions, assemble};
use crate::diff::{
    Differences, Examination, Examined, IgnoreRules, ObjectChanges, Verdict, compare_examined,
    field_changes_that_count, infer_inventory, leave_out,
};
use crate::live::LiveView;
use crate::model::{GroupVersionKind, ObjectKey, Owner};
use crate::plan::{
    CompileInput, Consents, GatePolicy, HookNaming, MovesInput, Next, Plan, PlanError, Policy, Progress, compile,
    next_moves, observe,
};

/// Annotation that consents to prune kinds that hold more than themselves, at one revision.
const APPROVE_PRUNE_ANNOTATION: &str = "tidelock.dev/approve-prune";
/// A consent names at least this much of a commit id, as git's short ids do.
const SHORTEST_CONSENT: usize = 7;

/// Name of the attempt that is foreseen: none that a hook's object in the cluster is marked with.
const ATTEMPT: &str = "foreseen";

/// What is known of an Application.
#[derive(Debug)]
pub struct Survey {
    /// Who owns the objects.
    pub owner: Owner,
    /// What is wanted.
    pub desired: DesiredSet,
    /// What is there.
    pub live: LiveView,
    /// What differs.
    pub differences: Differences,
    /// What applying would change, of objects that are both wanted and there.
    pub changes: BTreeMap<ObjectKey, ObjectChanges>,
    /// What would be done, or why there is no plan.
    pub plan: Result<Plan, PlanError>,
    /// What a sync that starts now would do first; `None` when there is no plan.
    pub next: Option<Next>,
    /// The sync options of the Application.
    pub options: SyncOptions,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Surveys an Application.
pub fn survey(arguments: &OfflineArguments, live: Option<&Path>, now: jiff::Timestamp) -> Result<Survey, OfflineError> {
    let subject = Subject::load(arguments.application.as_deref(), &arguments.desired)?;
    let owner = subject.owner(&arguments.installation);
    let (customizations, mut notes) = fleet_settings(arguments.customizations.as_deref())?;
    let is_excluded = |key: &ObjectKey| customizations.excludes(&key.group, &key.kind);
    let mut objects = live.map(input::objects).transpose()?.unwrap_or_default();
    // As they are not watched, nothing is known of them.
    objects.retain(|object| !is_excluded(&object.key()));
    let mut surface = kinds::built_in_kinds()?;
    kinds::add_live_kinds(&mut surface, &objects);

    let (manifests, warnings) = render(arguments, &subject, &surface)?;
    let Subject { application, warnings: about_application, .. } = subject;
    notes.extend(about_application.into_iter().chain(warnings));
    let automated = application.spec.automated();
    let policy = Policy::new(automated);
    if manifests.is_empty() && !policy.allow_empty {
        return Err(OfflineError::EmptyRender { path: arguments.desired.clone() });
    }
    if arguments.assume_namespaced {
        notes.extend(kinds::assume_namespaced(&mut surface, &manifests).iter().map(unknown_kind_note));
    }
    let (destination, project) = (&application.spec.destination, permissive());
    let options = SyncOptions::of(&application.spec);
    let skip_missing = options.skip_dry_run_on_missing_resource;
    let input = AssembleInput { owner: &owner, destination, surface: &surface, project: &project, skip_missing };
    let desired = leave_out(assemble(manifests, input).map_err(OfflineError::Desired)?, is_excluded);
    notes.extend(desired.warnings.iter().cloned());

    let Dump { view: live, bodies } = dump(objects, &surface, now)?;
    let (rules, problems) =
        IgnoreRules::compile(&application.spec.ignore_differences, &customizations.ignore_differences);
    notes.extend(problems.iter().map(|problem| format!("{}: {}", problem.reason, problem.message)));
    let extra_fields = application.spec.extra_fields.unwrap_or_default();
    let changes = changes(&desired, &bodies, (&rules, extra_fields), &mut notes);
    let inventory = infer_inventory(&desired, &live, &changes, &owner);
    let accepted = verdicts(&desired, &live, &changes, (&rules, extra_fields));
    let examined = Examined { rules: &rules, extra_fields, accepted: &accepted };
    let differences = compare_examined(&desired, &live, &inventory, &owner, &examined);
    notes.extend(namespace_note(&application, &options, &desired, &live).into_iter().chain(hold_note(&application)));
    let consent = has_consent(&application, arguments.revision.as_deref());
    let held = held(&application, &differences);
    let plan = compile(CompileInput {
        desired: &desired,
        differences: &differences,
        live: &live,
        options: &options,
        prune: policy.prune,
        consents: Consents { protected_kinds: consent, prune: consent, deletion: false },
        only: None,
        held: &held,
        // No name that is generated from these is shown.
        hooks: Some(HookNaming {
            revision: arguments.revision.as_deref().unwrap_or_default(),
            started: jiff::Timestamp::UNIX_EPOCH,
        }),
    });
    let next = plan.as_ref().ok().map(|plan| {
        let input = MovesInput {
            plan,
            desired: &desired,
            live: &live,
            // What is given of other objects is in the live view.
            outside: &BTreeMap::new(),
            policy: GatePolicy::new(application.spec.gate.as_ref()),
            delete_hooks_after_sync: options.delete_hooks_after_sync,
            attempt: ATTEMPT,
            now,
        };
        let mut progress = Progress::default();
        observe(&mut progress, &input);
        next_moves(&progress, &input)
    });
    Ok(Survey { owner, desired, live, differences, changes, plan, next, options, warnings: notes })
}

/// What `driftPolicy: hold` leaves as it is.
fn held(application: &Application, differences: &Differences) -> BTreeSet<ObjectKey> {
    if application.spec.drift_policy != Some(DriftPolicy::Hold) {
        return BTreeSet::new();
    }
    let drifted = differences.objects.iter().filter(|(_, difference)| difference.is_drift());
    drifted.map(|(key, _)| key.clone()).collect()
}

/// The settings for all Applications, and what a person should know of them.
fn fleet_settings(file: Option<&Path>) -> Result<(Customizations, Vec<String>), OfflineError> {
    let Some(file) = file else { return Ok((Customizations::default(), Vec::new())) };
    let (found, problems) = customizations::parse(&input::config_map(file)?);
    let name = input::name(file);
    let notes = problems.iter().map(|problem| format!("{name}: {}: {}", problem.key, problem.message));
    Ok((found, notes.collect()))
}

/// What comparing fields came to, of objects of which nothing that git states differs.
fn verdicts(
    desired: &DesiredSet,
    live: &LiveView,
    changes: &BTreeMap<ObjectKey, ObjectChanges>,
    (rules, extra_fields): (&IgnoreRules, ExtraFields),
) -> BTreeMap<ObjectKey, Verdict> {
    let same = changes.iter().filter(|(_, changes)| changes.is_empty());
    let verdicts = same.filter_map(|(key, changes)| {
        let (object, record) = (desired.objects.get(key)?, live.objects.get(key)?);
        let found = Examination { extras: changes.extras.clone(), ..Examination::default() };
        Some((key.clone(), Verdict::of(object, record, rules, extra_fields, &found)))
    });
    verdicts.collect()
}

/// Field by field what differs of the objects that are both wanted and there.
fn changes(
    desired: &DesiredSet,
    bodies: &BTreeMap<ObjectKey, Value>,
    (rules, extra_fields): (&IgnoreRules, ExtraFields),
    notes: &mut Vec<String>,
) -> BTreeMap<ObjectKey, ObjectChanges> {
    let mut all = BTreeMap::new();
    for (key, object) in &desired.objects {
        let Some(live) = bodies.get(key) else { continue };
        // Bodies are JSON by construction.
        let wanted: Value = serde_json::from_slice(&object.body).unwrap_or_default();
        let api_version = live.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        let given = GroupVersionKind::from_api_version(api_version, &key.kind);
        if given.version != object.gvk.version {
            notes.push(format!(
                "{key}: git states it in {}, the live object is given in {}: fields may have other names, so dump it \
                 in the same version (kubectl get {}.{}.{})",
                object.gvk.api_version(),
                given.api_version(),
                key.kind.to_ascii_lowercase(),
                object.gvk.version,
                key.group
            ));
        }
        let changes = field_changes_that_count(key, &wanted, live, rules, extra_fields);
        notes.extend(changes.problems.iter().map(|problem| format!("{}: {}", problem.reason, problem.message)));
        all.insert(key.clone(), changes);
    }
    all
}

fn permissive() -> ProjectRules {
    let any = || "*".to_owned();
    let spec = AppProjectSpec {
        source_repos: vec![any()],
        destinations: vec![ProjectDestination { server: any(), name: String::new(), namespace: any() }],
        cluster_resource_whitelist: vec![ResourceRule { group: any(), kind: any(), name: String::new() }],
        ..AppProjectSpec::default()
    };
    ProjectRules::new("offline", &spec, &[])
}

fn has_consent(application: &Application, revision: Option<&str>) -> bool {
    let annotations = application.metadata.annotations.as_ref();
    let consent = annotations.and_then(|annotations| annotations.get(APPROVE_PRUNE_ANNOTATION));
    matches!((consent, revision), (Some(consent), Some(revision))
        if consent.len() >= SHORTEST_CONSENT && revision.starts_with(consent.as_str()))
}

/// Of a changed field files tell neither when git changed nor what was applied.
fn hold_note(application: &Application) -> Option<String> {
    (application.spec.drift_policy == Some(DriftPolicy::Hold)).then(|| {
        "files do not tell what was changed in the cluster from what was changed in git, so what a sync in the cluster \
         would hold (driftPolicy: hold) is shown here as if git had changed"
            .to_owned()
    })
}

/// `CreateNamespace=true` is carried out beside the plan, before its first write.
fn namespace_note(
    application: &Application,
    options: &SyncOptions,
    desired: &DesiredSet,
    live: &LiveView,
) -> Option<String> {
    let namespace = application.spec.destination.namespace.as_deref().filter(|name| !name.is_empty())?;
    let key = ObjectKey::new("", "Namespace", "", namespace);
    let is_made = options.create_namespace && !desired.objects.contains_key(&key) && !live.objects.contains_key(&key);
    is_made.then(|| {
        format!("the namespace `{namespace}` is made before the first write if it is missing (CreateNamespace=true)")
    })
}

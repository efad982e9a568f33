//! Fields that people added to an object with the tools that people use, told from those that controllers add.
//!
//! Nobody says in `managedFields` whether a person or a program wrote; the name of the field manager is the best hint
//! there is. A field counts as added by hand when only managers that are tools for people own it, and we do not.

use serde_json::Value;

use super::{FieldSet, Hash64, Owned, Step, own_entry};

/// A tool for people.
struct Tool {
    /// How the names of its field managers begin.
    prefix: &'static str,
    /// Whether what follows may only be nothing, or begin with `-`, `/` or `_`.
    whole_word: bool,
}

const fn word(prefix: &'static str) -> Tool {
    Tool { prefix, whole_word: true }
}

const fn start(prefix: &'static str) -> Tool {
    Tool { prefix, whole_word: false }
}

/// Tools by the names of their field managers. Web consoles are known by the user agent of the browser or of the HTTP
/// library that they were made with.
const TOOLS: [Tool; 16] = [
    word("kubectl"),
    word("oc"),
    word("k9s"),
    word("lens"),
    start("Lens"),
    start("OpenLens"),
    start("Mozilla"),
    word("node-fetch"),
    word("helm"),
    word("rancher"),
    word("octant"),
    word("headlamp"),
    word("dashboard"),
    word("kubernetes-dashboard"),
    word("kubenav"),
    word("freelens"),
];

/// Tools that write whole objects: what the API server filled in at that moment is recorded as theirs too.
const WHOLE_WRITERS: [&str; 12] = [
    "kubectl-client-side-apply",
    "kubectl-create",
    "kubectl-run",
    "kubectl-replace",
    "kubectl-expose",
    "helm",
    "Mozilla",
    "node-fetch",
    "rancher",
    "dashboard",
    "kubernetes-dashboard",
    "oc",
];

/// Fields that the API server fills in, of kinds that are usually written whole.
const FILLED_IN: [&str; 48] = [
    "allowVolumeExpansion",
    "apiGroup",
    "backoffLimit",
    "clusterIP",
    "clusterIPs",
    "completionMode",
    "completions",
    "concurrencyPolicy",
    "defaultMode",
    "dnsPolicy",
    "enableServiceLinks",
    "externalTrafficPolicy",
    "failedJobsHistoryLimit",
    "failureThreshold",
    "healthCheckNodePort",
    "imagePullPolicy",
    "immutable",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "matchPolicy",
    "nodePort",
    "parallelism",
    "path",
    "periodSeconds",
    "persistentVolumeClaimRetentionPolicy",
    "podManagementPolicy",
    "progressDeadlineSeconds",
    "protocol",
    "reinvocationPolicy",
    "restartPolicy",
    "revisionHistoryLimit",
    "rollingUpdate",
    "scheme",
    "schedulerName",
    "scope",
    "securityContext",
    "sessionAffinity",
    "strategy",
    "successThreshold",
    "suspend",
    "terminationGracePeriodSeconds",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "timeoutSeconds",
    "type",
    "updateStrategy",
    "volumeMode",
];

/// Annotations that tools and people write on purpose about the object, not as its content.
const NOTES: [&str; 6] = [
    "kubectl.kubernetes.io/restartedAt",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/change-cause",
    "deployment.kubernetes.io/revision",
    "meta.helm.sh/release-name",
    "meta.helm.sh/release-namespace",
];
/// Beginnings of annotations that are words to an operator.
const NOTE_PREFIXES: [&str; 2] = ["tidelock.dev/", "argocd.argoproj.io/"];
/// Fields of `metadata` that hold the object's life, which is no content to be removed.
const LIFE: [&str; 3] = ["finalizers", "ownerReferences", "deletionGracePeriodSeconds"];

/// A field that people added.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldByHand {
    /// The way to it. Everything below is theirs too.
    pub steps: Vec<Step>,
    /// The field manager that owns it.
    pub manager: String,
    /// `Apply` or `Update`.
    pub operation: String,
    /// When the manager last changed its fields, in RFC 3339; empty when unknown.
    pub time: String,
}

impl FieldByHand {
    /// The way as text: `.spec.template.spec.containers[name="debug"]`.
    pub fn path(&self) -> String {
        self.steps.iter().fold(String::new(), |path, step| step.after(&path))
    }
}

/// Whether a field manager is a tool for people.
fn is_persons_tool(manager: &str) -> bool {
    TOOLS.iter().any(|tool| match manager.strip_prefix(tool.prefix) {
        None => false,
        Some(rest) => !tool.whole_word || rest.is_empty() || rest.starts_with(['-', '/', '_']),
    })
}

/// The fields that people added to an object of ours, in the order of `managedFields`. None for an object of which we
/// own nothing: there all fields are somebody else's.
pub fn fields_by_hand(managed_fields: &[Value], own_manager: &str) -> Vec<FieldByHand> {
    let Some(own) = own_entry(managed_fields, own_manager) else { return Vec::new() };
    let read = |entry: &Value| entry.get("fieldsV1").and_then(|fields| FieldSet::parse(fields).ok());
    let Some(ours) = read(own) else { return Vec::new() };
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let is_by_hand = |entry: &Value| is_persons_tool(&text(entry, "manager")) && text(entry, "subresource").is_empty();
    let programs: Vec<FieldSet> = managed_fields
        .iter()
        .filter(|entry| !std::ptr::eq(*entry, own) && !is_by_hand(entry))
        .filter_map(read)
        .collect();
    let mut found: Vec<FieldByHand> = Vec::new();
    for entry in managed_fields.iter().filter(|entry| !std::ptr::eq(*entry, own) && is_by_hand(entry)) {
        let Some(theirs) = read(entry) else { continue };
        let manager = text(entry, "manager");
        let mut walk = Walk {
            whole_writer: WHOLE_WRITERS.iter().any(|name| manager.starts_with(name)),
            steps: Vec::new(),
            found: Vec::new(),
        };
        walk.below(theirs.root(), Some(ours.root()), &programs.iter().map(FieldSet::root).collect::<Vec<_>>());
        for steps in walk.found {
            if !found.iter().any(|other| other.steps == steps) {
                let (operation, time) = (text(entry, "operation"), text(entry, "time"));
                found.push(FieldByHand { steps, manager: manager.clone(), operation, time });
            }
        }
    }
    found
}

/// Changes when the fields that people added change; `None` when there are none.
pub fn hash_of_fields_by_hand(managed_fields: &[Value], own_manager: &str) -> Option<Hash64> {
    let mut paths: Vec<String> = fields_by_hand(managed_fields, own_manager).iter().map(FieldByHand::path).collect();
    paths.sort();
    (!paths.is_empty()).then(|| Hash64::of_bytes(paths.join("\n").as_bytes()))
}

struct Walk {
    whole_writer: bool,
    steps: Vec<Step>,
    found: Vec<Vec<Step>>,
}

impl Walk {
    fn below(&mut self, theirs: Owned<'_>, ours: Option<Owned<'_>>, programs: &[Owned<'_>]) {
        for (step, child) in theirs.children() {
            self.steps.push(step.clone());
            if !self.is_excluded() {
                let ours = ours.and_then(|ours| ours.child(step));
                let programs: Vec<Owned<'_>> = programs.iter().filter_map(|owned| owned.child(step)).collect();
                let somebody_elses_whole =
                    ours.is_some_and(Owned::is_whole) || programs.iter().any(|owned| owned.is_whole());
                if child.is_itself() && ours.is_none() && programs.is_empty() && !self.has_excluded(child) {
                    self.found.push(self.steps.clone());
                } else if !somebody_elses_whole {
                    self.below(child, ours, &programs);
                }
            }
            self.steps.pop();
        }
    }

    /// Whether something at or below the last step must be left alone.
    fn has_excluded(&mut self, owned: Owned<'_>) -> bool {
        // An item of a list comes and goes with all that was filled in of it.
        let is_item = matches!(self.steps.last(), Some(Step::Item(_)));
        let whole_writer = self.whole_writer;
        self.whole_writer = whole_writer && !is_item;
        let found = owned.children().any(|(step, child)| {
            self.steps.push(step.clone());
            let found = self.is_excluded() || self.has_excluded(child);
            self.steps.pop();
            found
        });
        self.whole_writer = whole_writer;
        found
    }

    fn is_excluded(&self) -> bool {
        let field = |step: Option<&Step>| match step {
            Some(Step::Field(name)) => Some(name.to_string()),
            Some(Step::Item(_) | Step::Member(_) | Step::Index(_)) | None => None,
        };
        let Some(name) = field(self.steps.last()) else { return false };
        let above =
            |count: usize| self.steps.len().checked_sub(count + 1).and_then(|index| field(self.steps.get(index)));
        let at_root = |count: usize| self.steps.len() == count;
        if at_root(1) {
            return name == "status";
        }
        if at_root(2) && above(1).as_deref() == Some("metadata") && LIFE.contains(&name.as_str()) {
            return true;
        }
        let is_note = above(1).as_deref() == Some("annotations")
            && above(2).as_deref() == Some("metadata")
            && (NOTES.contains(&name.as_str()) || NOTE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        let in_metadata = field(self.steps.first()).as_deref() == Some("metadata");
        is_note || (self.whole_writer && !in_metadata && FILLED_IN.contains(&name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(entries: &Value) -> Vec<String> {
        fields_by_hand(entries.as_array().unwrap(), "tidelock").iter().map(FieldByHand::path).collect()
    }

    #[expect(clippy::needless_pass_by_value, reason = "called with literals")]
    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": "2025-01-01T00:00:00Z",
               "fieldsV1": fields})
    }

    fn ours() -> Value {
        entry(
            "tidelock",
            "Apply",
            json!({
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:image": {}},
                }}}},
            }),
        )
    }

    #[test]
    fn what_people_added_is_found_at_its_highest_place() {
        let edited = entry(
            "kubectl-edit",
            "Update",
            json!({
                "f:metadata": {"f:labels": {"f:team": {}}, "f:annotations": {".": {}, "f:note": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"app\"}": {"f:tty": {}},
                    "k:{\"name\":\"debug\"}": {".": {}, "f:name": {}, "f:image": {}, "f:imagePullPolicy": {}},
                }}}},
            }),
        );
        let found = fields_by_hand(&[ours(), edited], "tidelock");
        assert_eq!(
            found.iter().map(FieldByHand::path).collect::<Vec<_>>(),
            [
                ".metadata.annotations",
                ".metadata.labels.team",
                r#".spec.template.spec.containers[name="app"].tty"#,
                r#".spec.template.spec.containers[name="debug"]"#,
            ]
        );
        assert_eq!(
            (found[0].manager.as_str(), found[0].operation.as_str(), found[0].time.as_str()),
            ("kubectl-edit", "Update", "2025-01-01T00:00:00Z")
        );
    }

    #[test]
    fn restarts_scaling_status_and_words_to_operators_are_no_extra_fields() {
        let restart = entry(
            "kubectl-rollout",
            "Update",
            json!({"f:spec": {"f:template": {"f:metadata": {
            "f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}}}),
        );
        let mut scaled = entry("kubectl", "Update", json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
        scaled["subresource"] = json!("scale");
        let notes = entry(
            "kubectl-annotate",
            "Update",
            json!({
                "f:metadata": {"f:annotations": {".": {}, "f:tidelock.dev/approve-prune": {}}, "f:finalizers": {"v:\"x\"": {}}},
                "f:status": {"f:phase": {}},
            }),
        );
        assert_eq!(paths(&json!([ours(), restart, scaled, notes])), Vec::<String>::new());
        let both = entry(
            "kubectl-edit",
            "Update",
            json!({"f:spec": {"f:template": {"f:metadata": {
            "f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}, "f:x": {}}}}}}),
        );
        assert_eq!(paths(&json!([ours(), both])), [".spec.template.metadata.annotations.x"]);
    }

    #[test]
    fn what_a_controller_owns_too_or_owns_alone_is_not_peoples() {
        let shared = json!({"f:spec": {"f:paused": {}}});
        let edited = entry("kubectl-edit", "Update", shared.clone());
        assert_eq!(paths(&json!([ours(), edited])), [".spec.paused"]);
        assert_eq!(
            paths(&json!([ours(), edited, entry("some-operator", "Apply", shared.clone())])),
            Vec::<String>::new()
        );
        for manager in ["kube-controller-manager", "octopus", "kubectlish", "lensman"] {
            assert_eq!(
                paths(&json!([ours(), entry(manager, "Update", shared.clone())])),
                Vec::<String>::new(),
                "{manager}"
            );
        }
        for manager in ["kubectl", "kubectl-set", "k9s", "OpenLens/6.5", "Mozilla", "node-fetch", "lens", "helm"] {
            assert_eq!(
                paths(&json!([ours(), entry(manager, "Update", shared.clone())])),
                [".spec.paused"],
                "{manager}"
            );
        }
    }

    #[test]
    fn defaults_recorded_for_who_made_the_object_are_not_peoples() {
        let fields = json!({"f:spec": {"f:progressDeadlineSeconds": {}, "f:paused": {}, "f:template": {"f:spec": {
            "f:dnsPolicy": {}, "f:containers": {"k:{\"name\":\"app\"}": {"f:imagePullPolicy": {}}}}}}});
        assert_eq!(
            paths(&json!([ours(), entry("kubectl-client-side-apply", "Update", fields.clone())])),
            [".spec.paused"]
        );
        assert_eq!(paths(&json!([ours(), entry("kubectl-edit", "Update", fields)])).len(), 4);
    }

    #[test]
    fn an_object_of_which_nothing_is_ours_has_no_fields_added_by_hand() {
        assert_eq!(paths(&json!([entry("kubectl", "Update", json!({"f:data": {"f:a": {}}}))])), Vec::<String>::new());
        assert_eq!(hash_of_fields_by_hand(&[ours()], "tidelock"), None);
    }
}

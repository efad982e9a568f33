//! Hooks: objects that run at a phase of a sync instead of standing in the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::DesiredObject;
use crate::model::{HOOK_ATTEMPT_ANNOTATION, HOOK_FINALIZER, Manifest, ObjectKey, Owner, Phase, TRACKING_ANNOTATION};

/// Annotations that make an object a hook; the first that is stated counts, so ours or Argo CD's puts Helm's out of force.
const HOOK_ANNOTATIONS: [(&str, Dialect); 3] = [
    ("tidelock.dev/hook", Dialect::ArgoCd),
    ("argocd.argoproj.io/hook", Dialect::ArgoCd),
    ("helm.sh/hook", Dialect::Helm),
];
/// Annotations with delete policies; all of them count together, as in Argo CD.
const DELETE_POLICY_ANNOTATIONS: [(&str, Dialect); 3] = [
    ("tidelock.dev/hook-delete-policy", Dialect::ArgoCd),
    ("argocd.argoproj.io/hook-delete-policy", Dialect::ArgoCd),
    ("helm.sh/hook-delete-policy", Dialect::Helm),
];
/// Longest name that every kind takes: names of Jobs and Pods become values of labels.
const LONGEST_NAME: usize = 63;
/// Letters of a revision that go into a generated name.
const SHORT_REVISION: usize = 7;

/// Whose words an annotation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    ArgoCd,
    Helm,
}

/// When a hook's object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookDeletePolicy {
    /// Before the hook runs anew; the default when no policy is stated.
    BeforeHookCreation,
    /// When the hook succeeded; with the sync option `HookDeletion=AfterSync`, when the whole sync succeeded, as in Argo CD.
    HookSucceeded,
    /// When the hook failed.
    HookFailed,
}

/// One hook, in every phase that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The object. Its key has an empty name when `generate_name` is set.
    pub object: Arc<DesiredObject>,
    /// The phases it runs at; at least one.
    pub phases: BTreeSet<Phase>,
    /// When its object is deleted; at least one.
    pub delete_policies: BTreeSet<HookDeletePolicy>,
    /// `metadata.generateName`, when the object has no name of its own.
    pub generate_name: Option<String>,
}

impl Hook {
    /// The name of the object in one phase of one attempt: its own, or `<generateName><revision>-<phase>-<unix seconds>`, where
    /// the revision is cut to seven letters and `generateName` so that the name fits every kind.
    pub fn name_in(&self, phase: Phase, revision: &str, started: jiff::Timestamp) -> String {
        let Some(prefix) = &self.generate_name else { return self.object.key.name.clone() };
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
        let revision: String = revision.chars().take(SHORT_REVISION).map(plain).collect();
        let phase = phase.as_str().to_ascii_lowercase();
        let ending = format!("{}-{phase}-{}", revision.trim_matches('-'), started.as_second());
        let prefix: String = prefix.chars().take(LONGEST_NAME.saturating_sub(ending.len())).collect();
        format!("{prefix}{ending}").trim_start_matches('-').to_owned()
    }

    /// The object as it is made in an attempt: under this name, with the mark of the attempt and with our finalizer.
    pub fn body_for(&self, name: &str, attempt: &str, owner: &Owner) -> Bytes {
        let DesiredObject { key, body, .. } = &*self.object;
        // Assembling wrote the body, so it is a mapping.
        let mut object: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let key = ObjectKey { name: name.to_owned(), ..key.clone() };
        if let Some(metadata) = mapping(&mut object, "metadata") {
            metadata.remove("generateName");
            metadata.insert("name".to_owned(), Value::from(name));
            if let Value::Array(finalizers) = metadata.entry("finalizers").or_insert_with(|| Value::Array(Vec::new()))
                && !finalizers.iter().any(|finalizer| finalizer == HOOK_FINALIZER)
            {
                finalizers.push(Value::from(HOOK_FINALIZER));
            }
            if let Some(annotations) = mapping(metadata, "annotations") {
                annotations.insert(TRACKING_ANNOTATION.to_owned(), Value::from(owner.tracking_id(&key)));
                annotations.insert(HOOK_ATTEMPT_ANNOTATION.to_owned(), Value::from(attempt));
            }
        }
        Bytes::from(Value::Object(object).to_string())
    }
}

/// The mapping at a field; made when there is none.
fn mapping<'a>(parent: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    parent.entry(field).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}

/// What an object's annotations make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An ordinary object.
    Object,
    /// A hook.
    Hook {
        /// At least one.
        phases: BTreeSet<Phase>,
        /// At least one.
        delete_policies: BTreeSet<HookDeletePolicy>,
    },
    /// Nothing that is ever applied: a hook of phases that a sync does not have.
    LeftOut,
}

/// Reads the role of an object, with what a person should know of its annotations.
///
/// As in Argo CD, phases that are not known are passed over, and a hook without any phase that is known is never applied.
pub(super) fn role_of(manifest: &Manifest) -> (Role, Vec<String>) {
    let stated = HOOK_ANNOTATIONS.into_iter().find_map(|(annotation, dialect)| {
        let words: Vec<&str> = words(manifest.annotation(annotation)?).collect();
        (!words.is_empty()).then_some((annotation, dialect, words))
    });
    let Some((annotation, dialect, words)) = stated else { return (Role::Object, Vec::new()) };
    if dialect == Dialect::Helm && words == ["crd-install"] {
        return (Role::Object, Vec::new());
    }
    let mut warnings = Vec::new();
    let mut phases = BTreeSet::new();
    let mut is_meant = false;
    for word in words {
        let phase = match dialect {
            Dialect::ArgoCd => phase(word),
            Dialect::Helm => helm_phase(word),
        };
        match phase {
            Some(Word::Phase(phase)) => {
                phases.insert(phase);
            }
            Some(Word::Never) => is_meant = true,
            None => warnings.push(format!("{annotation}: the phase `{word}` is not known: {}", known(dialect))),
        }
    }
    if phases.is_empty() {
        if !is_meant {
            warnings.push(format!("{annotation} names no phase that is known, so the object is never applied"));
        }
        return (Role::LeftOut, warnings);
    }
    let delete_policies = delete_policies(manifest, &mut warnings);
    (Role::Hook { phases, delete_policies }, warnings)
}

/// What a word of an annotation says.
enum Word {
    /// To run at a phase.
    Phase(Phase),
    /// To run at none of the phases that there are here.
    Never,
}

fn phase(word: &str) -> Option<Word> {
    if word == "Skip" {
        return Some(Word::Never);
    }
    [Phase::PreSync, Phase::Sync, Phase::PostSync, Phase::SyncFail, Phase::PreDelete, Phase::PostDelete]
        .into_iter()
        .find(|phase| phase.as_str() == word)
        .map(Word::Phase)
}

/// The same for Helm's events. Argo CD knows no rollback and runs no tests.
fn helm_phase(word: &str) -> Option<Word> {
    match word {
        "pre-install" | "pre-upgrade" => Some(Word::Phase(Phase::PreSync)),
        "post-install" | "post-upgrade" => Some(Word::Phase(Phase::PostSync)),
        "pre-delete" => Some(Word::Phase(Phase::PreDelete)),
        "post-delete" => Some(Word::Phase(Phase::PostDelete)),
        "crd-install" | "pre-rollback" | "post-rollback" | "test" | "test-success" | "test-failure" => {
            Some(Word::Never)
        }
        _ => None,
    }
}

fn known(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::ArgoCd => "write PreSync, Sync, PostSync, SyncFail, PreDelete, PostDelete or Skip",
        Dialect::Helm => "Helm has pre-install, pre-upgrade, post-install, post-upgrade, pre-delete and post-delete",
    }
}

fn delete_policies(manifest: &Manifest, warnings: &mut Vec<String>) -> BTreeSet<HookDeletePolicy> {
    let mut policies = BTreeSet::new();
    for (annotation, dialect) in DELETE_POLICY_ANNOTATIONS {
        for word in manifest.annotation(annotation).into_iter().flat_map(words) {
            match (dialect, word) {
                (Dialect::ArgoCd, "BeforeHookCreation") | (Dialect::Helm, "before-hook-creation") => {
                    policies.insert(HookDeletePolicy::BeforeHookCreation);
                }
                (Dialect::ArgoCd, "HookSucceeded") | (Dialect::Helm, "hook-succeeded") => {
                    policies.insert(HookDeletePolicy::HookSucceeded);
                }
                (Dialect::ArgoCd, "HookFailed") | (Dialect::Helm, "hook-failed") => {
                    policies.insert(HookDeletePolicy::HookFailed);
                }
                (dialect, word) => {
                    let known = match dialect {
                        Dialect::ArgoCd => "BeforeHookCreation, HookSucceeded or HookFailed",
                        Dialect::Helm => "before-hook-creation, hook-succeeded or hook-failed",
                    };
                    warnings.push(format!("{annotation}: the policy `{word}` is not known: write {known}"));
                }
            }
        }
    }
    if policies.is_empty() {
        policies.insert(HookDeletePolicy::BeforeHookCreation);
    }
    policies
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::desired::ObjectOptions;
    use crate::model::{GroupVersionKind, Hash64, Origin};

    fn role(annotations: &Value) -> (Role, Vec<String>) {
        role_of(&Manifest { object: json!({ "metadata": { "annotations": annotations } }), origin: Origin::default() })
    }

    fn hook(phases: &[Phase], policies: &[HookDeletePolicy]) -> Role {
        Role::Hook { phases: phases.iter().copied().collect(), delete_policies: policies.iter().copied().collect() }
    }

    #[test]
    fn phases_and_policies_of_argo_cd_and_of_helm_are_read() {
        use HookDeletePolicy::{BeforeHookCreation, HookFailed, HookSucceeded};
        for (annotations, expected) in [
            (json!({}), Role::Object),
            (json!({"argocd.argoproj.io/hook": "PreSync"}), hook(&[Phase::PreSync], &[BeforeHookCreation])),
            (
                json!({"tidelock.dev/hook": "Sync, SyncFail", "tidelock.dev/hook-delete-policy": "HookSucceeded,HookFailed"}),
                hook(&[Phase::Sync, Phase::SyncFail], &[HookSucceeded, HookFailed]),
            ),
            (
                json!({"helm.sh/hook": "pre-install,post-upgrade", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded"}),
                hook(&[Phase::PreSync, Phase::PostSync], &[BeforeHookCreation, HookSucceeded]),
            ),
            (
                json!({"helm.sh/hook": "pre-delete,post-delete"}),
                hook(&[Phase::PreDelete, Phase::PostDelete], &[BeforeHookCreation]),
            ),
            (json!({"helm.sh/hook": "crd-install"}), Role::Object),
            (json!({"helm.sh/hook": "test"}), Role::LeftOut),
            (json!({"helm.sh/hook": "post-rollback"}), Role::LeftOut),
            (json!({"argocd.argoproj.io/hook": "Skip"}), Role::LeftOut),
            (
                json!({"argocd.argoproj.io/hook": "PostSync", "helm.sh/hook": "pre-install"}),
                hook(&[Phase::PostSync], &[BeforeHookCreation]),
            ),
        ] {
            assert_eq!(role(&annotations), (expected, Vec::new()), "{annotations}");
        }
    }

    #[test]
    fn words_that_are_not_known_are_passed_over_and_told() {
        let (read, warnings) = role(&json!({
            "argocd.argoproj.io/hook": "PreSync,BeforeSync", "argocd.argoproj.io/hook-delete-policy": "Always",
        }));
        assert_eq!(read, hook(&[Phase::PreSync], &[HookDeletePolicy::BeforeHookCreation]));
        assert_eq!(
            warnings,
            [
                "argocd.argoproj.io/hook: the phase `BeforeSync` is not known: write PreSync, Sync, PostSync, SyncFail, \
                 PreDelete, PostDelete or Skip",
                "argocd.argoproj.io/hook-delete-policy: the policy `Always` is not known: write BeforeHookCreation, \
                 HookSucceeded or HookFailed",
            ]
        );
        let (read, warnings) = role(&json!({"argocd.argoproj.io/hook": "PreSycn"}));
        assert_eq!((read, warnings.len()), (Role::LeftOut, 2));
        assert_eq!(warnings[1], "argocd.argoproj.io/hook names no phase that is known, so the object is never applied");
    }

    fn generated(prefix: &str) -> Hook {
        let body = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"generateName": prefix, "namespace": "shop", "labels": {"tidelock.dev/instance": "id"}},
        });
        let object = DesiredObject {
            key: ObjectKey::new("batch", "Job", "shop", ""),
            gvk: GroupVersionKind::from_api_version("batch/v1", "Job"),
            body: Bytes::from(body.to_string()),
            hash: Hash64(1),
            wave: 0,
            options: ObjectOptions::default(),
            depends_on: Vec::new(),
            origin: Origin::default(),
            kind_is_new: false,
        };
        Hook {
            object: Arc::new(object),
            phases: BTreeSet::from([Phase::PreSync]),
            delete_policies: BTreeSet::from([HookDeletePolicy::BeforeHookCreation]),
            generate_name: Some(prefix.to_owned()),
        }
    }

    #[test]
    fn a_generated_name_tells_revision_phase_and_start_and_fits_every_kind() {
        let started = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let revision = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(
            generated("migrate-").name_in(Phase::PreSync, revision, started),
            "migrate-0123456-presync-1700000000"
        );
        assert_eq!(generated("m-").name_in(Phase::PostSync, "1.2.3", started), "m-1-2-3-postsync-1700000000");
        let long = generated(&"x".repeat(80)).name_in(Phase::PostDelete, revision, started);
        assert_eq!((long.len(), long.ends_with("x0123456-postdelete-1700000000")), (63, true));
    }

    #[test]
    fn a_hooks_object_carries_its_name_its_attempt_and_our_finalizer() {
        let owner = Owner::new("tidelock", "tidelock", "shop");
        let body: Value = serde_json::from_slice(&generated("m-").body_for("m-1", "attempt-7", &owner)).unwrap();
        assert_eq!(
            body,
            json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": {
                    "name": "m-1", "namespace": "shop", "labels": {"tidelock.dev/instance": "id"},
                    "annotations": {
                        "tidelock.dev/tracking-id": "tidelock/shop:batch/Job:shop/m-1",
                        "tidelock.dev/hook-attempt": "attempt-7",
                    },
                    "finalizers": ["tidelock.dev/hook-finalizer"],
                },
            })
        );
    }
}

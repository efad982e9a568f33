//! What an object's annotations ask for.

use crate::model::Manifest;

/// Annotations that set the sync wave, the first that parses wins; `helm.sh/hook-weight` counts for hooks only.
pub const SYNC_WAVE_ANNOTATIONS: [&str; 2] = ["tidelock.dev/sync-wave", "argocd.argoproj.io/sync-wave"];

const SYNC_OPTIONS_ANNOTATIONS: [&str; 2] = ["tidelock.dev/sync-options", "argocd.argoproj.io/sync-options"];
const HOOK_ANNOTATIONS: [&str; 3] = ["tidelock.dev/hook", "argocd.argoproj.io/hook", "helm.sh/hook"];

/// Options of one object (`argocd.argoproj.io/sync-options`, ours, and `helm.sh/resource-policy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// `Prune=false` or `helm.sh/resource-policy: keep`: never prune it.
    pub keep_on_prune: bool,
    /// `Delete=false` or `keep`: leave it when the Application is deleted.
    pub keep_on_delete: bool,
    /// Options that are set and not acted on by this version.
    pub unsupported: Vec<String>,
}

/// The sync wave of an object: 0 when unset or unreadable, as in Argo CD.
pub fn sync_wave(manifest: &Manifest) -> i32 {
    SYNC_WAVE_ANNOTATIONS
        .iter()
        .find_map(|annotation| manifest.annotation(annotation)?.trim().parse().ok())
        .unwrap_or(0)
}

/// The hook that an object is, by our annotation, Argo CD's, or Helm's; `None` for ordinary objects.
///
/// Helm's `crd-install` makes an ordinary object, as in Argo CD.
pub fn hook_of(manifest: &Manifest) -> Option<String> {
    HOOK_ANNOTATIONS
        .iter()
        .find_map(|annotation| manifest.annotation(annotation))
        .map(str::trim)
        .filter(|hook| !hook.is_empty() && *hook != "crd-install")
        .map(str::to_owned)
}

/// The options of an object.
pub fn object_options(manifest: &Manifest) -> ObjectOptions {
    let mut options = ObjectOptions::default();
    if manifest.annotation("helm.sh/resource-policy").is_some_and(|policy| policy.trim() == "keep") {
        options.keep_on_prune = true;
        options.keep_on_delete = true;
    }
    let listed = SYNC_OPTIONS_ANNOTATIONS.iter().filter_map(|annotation| manifest.annotation(annotation));
    for option in listed.flat_map(|list| list.split(',')).map(str::trim).filter(|option| !option.is_empty()) {
        match option {
            "Prune=false" => options.keep_on_prune = true,
            "Delete=false" => options.keep_on_delete = true,
            "ServerSideApply=true" | "Prune=true" | "Delete=true" | "Validate=true" | "PruneLast=true" => {}
            other => options.unsupported.push(other.to_owned()),
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Origin;

    fn annotated(annotations: &serde_json::Value) -> Manifest {
        Manifest { object: json!({ "metadata": { "annotations": annotations } }), origin: Origin::default() }
    }

    #[test]
    fn own_wave_wins_over_argo_cds_and_unreadable_is_zero() {
        assert_eq!(sync_wave(&annotated(&json!({}))), 0);
        assert_eq!(sync_wave(&annotated(&json!({ "argocd.argoproj.io/sync-wave": "-5" }))), -5);
        assert_eq!(sync_wave(&annotated(&json!({ "argocd.argoproj.io/sync-wave": "many" }))), 0);
        let both = json!({ "argocd.argoproj.io/sync-wave": "1", "tidelock.dev/sync-wave": "2" });
        assert_eq!(sync_wave(&annotated(&both)), 2);
    }

    #[test]
    fn helm_keep_stops_prune_as_well_as_delete() {
        let options = object_options(&annotated(&json!({ "helm.sh/resource-policy": "keep" })));
        assert_eq!(options, ObjectOptions { keep_on_prune: true, keep_on_delete: true, unsupported: Vec::new() });
    }

    #[test]
    fn options_not_acted_on_are_named() {
        let options =
            object_options(&annotated(&json!({ "argocd.argoproj.io/sync-options": "Prune=false, Replace=true" })));
        assert_eq!(
            options,
            ObjectOptions { keep_on_prune: true, keep_on_delete: false, unsupported: vec!["Replace=true".into()] }
        );
    }

    #[test]
    fn helm_hooks_are_hooks_and_crd_install_is_not() {
        assert_eq!(
            hook_of(&annotated(&json!({ "helm.sh/hook": "pre-install,pre-upgrade" }))),
            Some("pre-install,pre-upgrade".into())
        );
        assert_eq!(hook_of(&annotated(&json!({ "helm.sh/hook": "crd-install" }))), None);
        assert_eq!(hook_of(&annotated(&json!({}))), None);
    }
}

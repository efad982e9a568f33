//! What an object's annotations ask for.

use super::sync_options::consent;
use crate::model::{Consent, Manifest};

/// Annotations that set the sync wave, the first that parses wins; `helm.sh/hook-weight` counts for hooks only.
pub const SYNC_WAVE_ANNOTATIONS: [&str; 2] = ["tidelock.dev/sync-wave", "argocd.argoproj.io/sync-wave"];

const SYNC_OPTIONS_ANNOTATIONS: [&str; 2] = ["tidelock.dev/sync-options", "argocd.argoproj.io/sync-options"];
const COMPARE_OPTIONS_ANNOTATIONS: [&str; 2] = ["tidelock.dev/compare-options", "argocd.argoproj.io/compare-options"];
/// Helm's wave of a hook.
const HOOK_WEIGHT_ANNOTATION: &str = "helm.sh/hook-weight";

/// Options of one object (`tidelock.dev/sync-options`, Argo CD's, and `helm.sh/resource-policy`); what is unset is as the
/// Application says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectOptions {
    /// `Prune=false|confirm`, or `helm.sh/resource-policy: keep`.
    pub prune: Option<Consent>,
    /// `Delete=false|confirm`, or `keep`.
    pub delete: Option<Consent>,
    /// `Validate`.
    pub validate: Option<bool>,
    /// `SkipDryRunOnMissingResource`.
    pub skip_dry_run_on_missing_resource: Option<bool>,
    /// `Replace`.
    pub replace: Option<bool>,
    /// `Force`.
    pub force: Option<bool>,
    /// `ClientSideApplyMigration`.
    pub client_side_apply_migration: Option<bool>,
    /// `compare-options: IgnoreExtraneous`: left over in the cluster it does not make the Application out of sync.
    pub ignore_extraneous: bool,
    /// Options that have no effect, each with why.
    pub warnings: Vec<String>,
}

/// The sync wave of an object: 0 when unset or unreadable, as in Argo CD.
pub fn sync_wave(manifest: &Manifest) -> i32 {
    SYNC_WAVE_ANNOTATIONS
        .iter()
        .find_map(|annotation| manifest.annotation(annotation)?.trim().parse().ok())
        .unwrap_or(0)
}

/// The sync wave of a hook: as of any object, and where none is stated Helm's weight.
pub fn hook_wave(manifest: &Manifest) -> i32 {
    SYNC_WAVE_ANNOTATIONS
        .iter()
        .chain([&HOOK_WEIGHT_ANNOTATION])
        .find_map(|annotation| manifest.annotation(annotation)?.trim().parse().ok())
        .unwrap_or(0)
}

/// The options of an object.
pub fn object_options(manifest: &Manifest) -> ObjectOptions {
    let mut options = ObjectOptions::default();
    let listed = SYNC_OPTIONS_ANNOTATIONS.iter().filter_map(|annotation| manifest.annotation(annotation));
    for option in listed.flat_map(|list| list.split(',')).map(str::trim).filter(|option| !option.is_empty()) {
        if let Err(warning) = take(&mut options, option) {
            options.warnings.push(warning);
        }
    }
    if manifest.annotation("helm.sh/resource-policy").is_some_and(|policy| policy.trim() == "keep") {
        options.prune = Some(Consent::Refused);
        options.delete = Some(Consent::Refused);
    }
    let compared = COMPARE_OPTIONS_ANNOTATIONS.iter().filter_map(|annotation| manifest.annotation(annotation));
    for option in compared.flat_map(|list| list.split(',')).map(str::trim).filter(|option| !option.is_empty()) {
        match option {
            "IgnoreExtraneous" => options.ignore_extraneous = true,
            // Comparison is by the server's own truth always.
            "ServerSideDiff=true" | "IncludeMutationWebhook=true" => {}
            other => options.warnings.push(format!("compare option `{other}` has no effect")),
        }
    }
    options
}

fn take(options: &mut ObjectOptions, option: &str) -> Result<(), String> {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    let switch = || match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(format!("sync option `{key}={other}`: the value must be true or false; it has no effect")),
    };
    match key {
        "Prune" => options.prune = Some(consent(key, value)?),
        "Delete" => options.delete = Some(consent(key, value)?),
        "Validate" => options.validate = Some(switch()?),
        "SkipDryRunOnMissingResource" => options.skip_dry_run_on_missing_resource = Some(switch()?),
        "Replace" => options.replace = Some(switch()?),
        "Force" => options.force = Some(switch()?),
        "ClientSideApplyMigration" => options.client_side_apply_migration = Some(switch()?),
        "ServerSideApply" => {
            if !switch()? {
                return Err("sync option `ServerSideApply=false` has no effect: every apply is server-side".to_owned());
            }
        }
        "PruneLast" => {
            switch()?;
        }
        _ => return Err(format!("sync option `{option}` is not known for an object and has no effect")),
    }
    Ok(())
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
        assert_eq!(
            options,
            ObjectOptions { prune: Some(Consent::Refused), delete: Some(Consent::Refused), ..ObjectOptions::default() }
        );
    }

    #[test]
    fn options_of_an_object_are_read_and_those_without_effect_are_named() {
        let options = object_options(&annotated(&json!({
            "argocd.argoproj.io/sync-options": "Prune=confirm, Replace=true,Force=true,Validate=false,Color=red",
            "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
        })));
        assert_eq!(
            options,
            ObjectOptions {
                prune: Some(Consent::Needed),
                validate: Some(false),
                replace: Some(true),
                force: Some(true),
                ignore_extraneous: true,
                warnings: vec!["sync option `Color=red` is not known for an object and has no effect".into()],
                ..ObjectOptions::default()
            }
        );
    }

    #[test]
    fn helms_weight_is_the_wave_of_a_hook_that_states_none() {
        assert_eq!(hook_wave(&annotated(&json!({ "helm.sh/hook-weight": "-3" }))), -3);
        assert_eq!(sync_wave(&annotated(&json!({ "helm.sh/hook-weight": "-3" }))), 0);
        let both = json!({ "helm.sh/hook-weight": "1", "argocd.argoproj.io/sync-wave": "2" });
        assert_eq!(hook_wave(&annotated(&both)), 2);
    }
}

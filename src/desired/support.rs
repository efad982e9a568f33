//! Fields that are accepted because Argo CD has them and that this version does not act on.

use super::SyncOptions;
use crate::api::{AppProjectSpec, Application, ApplicationSource, ApplicationSpec, SyncPolicy};

/// The paths of all fields that an Application sets and that have no effect, each with what happens instead where that
/// is not plain.
pub fn unsupported_fields(application: &Application) -> Vec<String> {
    let ApplicationSpec {
        project: _,
        source: _,
        sources,
        destination: _,
        sync_policy,
        ignore_differences: _,
        info: _,
        revision_history_limit: _,
        depends_on: _,
        preflight: _,
        drift_policy: _,
        extra_fields: _,
        health_check_exprs: _,
        gate: _,
        poll_interval: _,
        suspend: _,
    } = &application.spec;
    let mut fields = Vec::new();
    let mut note = |set: bool, text: &str| {
        if set {
            fields.push(text.to_owned());
        }
    };
    if let Some(SyncPolicy { automated: _, sync_options, retry: _, supersede: _, managed_namespace_metadata: _ }) =
        sync_policy
    {
        for warning in SyncOptions::parse(sync_options.iter().map(String::as_str)).warnings {
            note(true, &format!("spec.syncPolicy.syncOptions: {warning}"));
        }
    }
    let several = !sources.is_empty();
    for (index, source) in application.spec.all_sources().iter().enumerate() {
        let field = if several { format!("spec.sources[{index}]") } else { "spec.source".to_owned() };
        let ApplicationSource { repo_url, chart, reference, tag_prefix, target_revision, helm, kustomize, .. } = source;
        let is_set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        note(!several && is_set(reference), &format!("{field}.ref (only one of several `sources` can be referred to)"));
        let is_artifact = is_set(chart) || repo_url.starts_with("oci://");
        note(
            is_set(tag_prefix) && is_artifact,
            &format!("{field}.tagPrefix (it is about the tags of a git repository)"),
        );
        note(
            !is_artifact
                && is_set(tag_prefix)
                && target_revision.as_deref().is_none_or(|text| matches!(text, "" | "HEAD")),
            &format!("{field}.tagPrefix (targetRevision names no tag)"),
        );
        note(
            helm.as_ref().is_some_and(|helm| !helm.version.is_empty()),
            &format!("{field}.helm.version (there is one Helm)"),
        );
        note(
            kustomize.as_ref().is_some_and(|kustomize| !kustomize.version.is_empty()),
            &format!("{field}.kustomize.version (there is one Kustomize)"),
        );
        note(
            kustomize
                .as_ref()
                .is_some_and(|kustomize| !(kustomize.kube_version.is_empty() && kustomize.api_versions.is_empty())),
            &format!(
                "{field}.kustomize.kubeVersion and apiVersions (they are for charts, which Kustomize does not render here)"
            ),
        );
    }
    fields
}

/// The paths of all fields that a project sets and that have no effect. Rules that would hold something back are among
/// them, so whoever relies on one must be told.
pub fn unsupported_project_fields(spec: &AppProjectSpec) -> Vec<&'static str> {
    let AppProjectSpec {
        description: _,
        source_repos: _,
        destinations: _,
        source_namespaces,
        cluster_resource_whitelist: _,
        cluster_resource_blacklist: _,
        namespace_resource_whitelist: _,
        namespace_resource_blacklist: _,
        roles,
        sync_windows: _,
        orphaned_resources,
        signature_keys: _,
        source_integrity: _,
        destination_service_accounts: _,
        permit_only_project_scoped_clusters,
    } = spec;
    [
        (!source_namespaces.is_empty(), "spec.sourceNamespaces"),
        (!roles.is_empty(), "spec.roles"),
        (orphaned_resources.is_some(), "spec.orphanedResources"),
        (*permit_only_project_scoped_clusters, "spec.permitOnlyProjectScopedClusters"),
    ]
    .into_iter()
    .filter_map(|(set, field)| set.then_some(field))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Retry;

    #[test]
    fn every_field_without_effect_is_named() {
        let mut application = Application::default();
        application.spec.sync_policy = Some(SyncPolicy {
            sync_options: vec!["CreateNamespace=true".into(), "Replica=true".into()],
            retry: Some(Retry { refresh: true, ..Retry::default() }),
            ..SyncPolicy::default()
        });
        assert_eq!(
            unsupported_fields(&application),
            ["spec.syncPolicy.syncOptions: sync option `Replica=true` is not known and has no effect"]
        );
        assert!(unsupported_fields(&Application::default()).is_empty());
    }

    #[test]
    fn fields_of_each_source_are_named_by_their_place() {
        let source = |value: serde_json::Value| serde_json::from_value::<ApplicationSource>(value).unwrap();
        let mut application = Application::default();
        let one = source(serde_json::json!({"repoURL": "https://h/a", "ref": "a", "tagPrefix": "api/"}));
        application.spec.source = Some(one.clone());
        assert_eq!(
            unsupported_fields(&application),
            [
                "spec.source.ref (only one of several `sources` can be referred to)",
                "spec.source.tagPrefix (targetRevision names no tag)",
            ]
        );
        let ranged = source(serde_json::json!({
            "repoURL": "https://h/a", "targetRevision": "1.x", "tagPrefix": "api/", "helm": {"version": "v3"},
        }));
        application.spec.source = None;
        application.spec.sources = vec![source(serde_json::json!({"repoURL": "https://h/a", "ref": "a"})), ranged];
        assert_eq!(unsupported_fields(&application), ["spec.sources[1].helm.version (there is one Helm)"]);
    }

    #[test]
    fn project_rules_that_do_not_hold_are_named() {
        let spec = AppProjectSpec {
            source_namespaces: vec!["shop".into()],
            permit_only_project_scoped_clusters: true,
            ..AppProjectSpec::default()
        };
        assert_eq!(
            unsupported_project_fields(&spec),
            ["spec.sourceNamespaces", "spec.permitOnlyProjectScopedClusters"]
        );
    }
}

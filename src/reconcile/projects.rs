//! The project `default`, made at start when there is none; and what a project is told about its own rules.

use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tracing::{info, warn};

use crate::api::{
    AppProject, AppProjectSpec, Condition, ConditionStatus, IN_CLUSTER_SERVER, ProjectDestination, ResourceRule,
    set_condition,
};
use crate::desired::unsupported_project_fields;
use crate::live::client::DEFAULT_DEADLINE;
use crate::model::Reason;
use crate::status::{UNSUPPORTED_FIELD, rfc3339};

/// Any source, this cluster, any namespace but the operator's own and `kube-system` (which no project that does not
/// name them literally may touch), any kind.
fn default_spec() -> AppProjectSpec {
    let any = || "*".to_owned();
    AppProjectSpec {
        description: "Made by the operator. Narrow it, or delete its rules and use projects of your own.".to_owned(),
        source_repos: vec![any()],
        destinations: vec![ProjectDestination {
            server: IN_CLUSTER_SERVER.to_owned(),
            name: String::new(),
            namespace: any(),
        }],
        cluster_resource_whitelist: vec![ResourceRule { group: any(), kind: any(), name: String::new() }],
        ..AppProjectSpec::default()
    }
}

/// Makes the project `default` when it is absent; one that exists is left as it is.
pub async fn ensure_default(client: Client, namespace: &str) -> Result<(), kube::Error> {
    let api: Api<AppProject> = Api::namespaced(client, namespace);
    if api.get_opt("default").await?.is_some() {
        return Ok(());
    }
    match api.create(&PostParams::default(), &AppProject::new("default", default_spec())).await {
        Ok(_) => info!("made the project `default`"),
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Says in a project's status which of its rules have no effect. Written only when that changes.
pub async fn report_unsupported(client: Client, namespace: String, project: AppProject, now: Timestamp) {
    let name = project.name_any();
    let fields = unsupported_project_fields(&project.spec);
    let before = project.status.unwrap_or_default().conditions;
    let mut conditions = before.clone();
    if fields.is_empty() {
        conditions.retain(|condition| condition.type_ != UNSUPPORTED_FIELD);
    } else {
        set_condition(
            &mut conditions,
            Condition {
                type_: UNSUPPORTED_FIELD.to_owned(),
                status: ConditionStatus::True,
                reason: Reason::UnsupportedField.to_string(),
                message: format!("set and without effect in this version: {}", fields.join(", ")),
                last_transition_time: rfc3339(now),
                observed_generation: project.metadata.generation,
            },
        );
    }
    if conditions == before {
        return;
    }
    let api: Api<AppProject> = Api::namespaced(client, &namespace);
    let body = json!({ "status": { "observedGeneration": project.metadata.generation, "conditions": conditions } });
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(&body));
    let written = tokio::time::timeout(DEFAULT_DEADLINE, api.patch_status(&name, &parameters, &patch)).await;
    if !matches!(written, Ok(Ok(_))) {
        warn!(project = %name, "the status of a project could not be written");
    }
}

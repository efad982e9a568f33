//! The project `default`, made at start when there is none.

use kube::Client;
use kube::api::{Api, PostParams};
use tracing::info;

use crate::api::{AppProject, AppProjectSpec, IN_CLUSTER_SERVER, ProjectDestination, ResourceRule};

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

//! The custom resources of `tidelock.dev/v1alpha1`: types and their schemas, no behaviour.
//!
//! Field names and meanings are Argo CD's wherever the meaning is the same, so that migration is a change of
//! `apiVersion`. Every field of Argo CD's Application exists; one that this version does not act on makes the
//! condition `UnsupportedField` on the Application that sets it.

mod application;
mod cluster;
mod condition;
mod egress_policy;
mod egress_proxy;
mod integrity;
mod inventory;
mod operation;
mod project;
mod references;
mod repository;
mod schema;
mod source;
mod status;
mod sync_policy;

pub use application::{
    Application, ApplicationDependency, ApplicationSpec, DependencyCondition, Destination, DriftPolicy, ExtraFields,
    Gate, HealthCheckExpression, IN_CLUSTER_NAME, IN_CLUSTER_SERVER, IgnoreDifferences, Info, Preflight,
};
pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use condition::{Condition, ConditionStatus, set_condition};
pub use egress_policy::{
    EGRESS_POLICY_NAME, EgressDefault, EgressPolicy, EgressPolicyRule, EgressPolicySpec, EgressPolicyStatus,
};
pub use egress_proxy::{EgressProxy, EgressProxySpec, EgressProxyStatus};
pub use integrity::{
    CosignIntegrity, GitIntegrity, GitIntegrityPolicy, GpgIntegrity, IntegrityMode, IntegrityRepository, OciIntegrity,
    OciIntegrityPolicy, SignatureKey, SourceIntegrity, SshIntegrity,
};
pub use inventory::{Inventory, InventorySpec};
pub use operation::{
    InitiatedBy, Operation, SyncOperation, SyncOperationResource, SyncStrategy, SyncStrategyApply, SyncStrategyHook,
};
pub use project::{
    AppProject, AppProjectSpec, AppProjectStatus, DestinationServiceAccount, ProjectDestination, ResourceRule,
    SyncWindow,
};
pub use references::LocalReference;
pub use repository::{
    Repository, RepositoryEgress, RepositoryLfs, RepositoryLimits, RepositorySpec, RepositoryStatus,
    RepositorySubmodules, RepositoryTimeouts, RepositoryType,
};
pub use source::{
    ApplicationSource, CountOrText, DirectorySource, HelmFileParameter, HelmParameter, HelmSource, Jsonnet,
    JsonnetVariable, KustomizePatch, KustomizePatchTarget, KustomizeReplica, KustomizeSource, PluginEnv, PluginSource,
};
pub use status::{
    ApplicationStatus, HealthSummary, OperationPhase, OperationState, ResourceResult, ResourceStatus, RevisionHistory,
    SyncState, SyncStatus, SyncWindowStatus, WaitingOn,
};
pub use sync_policy::{Automated, Backoff, ManagedNamespaceMetadata, Retry, Supersede, SyncPolicy};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// API group of every kind here.
pub const GROUP: &str = "tidelock.dev";
/// Version of every kind here.
pub const VERSION: &str = "v1alpha1";

/// Every CustomResourceDefinition with the file name it is kept under in `crds/`.
pub fn definitions() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("applications.yaml", Application::crd()),
        ("appprojects.yaml", AppProject::crd()),
        ("clusters.yaml", Cluster::crd()),
        ("egresspolicies.yaml", EgressPolicy::crd()),
        ("egressproxies.yaml", EgressProxy::crd()),
        ("inventories.yaml", Inventory::crd()),
        ("repositories.yaml", Repository::crd()),
    ]
}

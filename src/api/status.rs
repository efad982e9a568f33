//! What the operator reports about an Application. Bounded: never more than 64 KiB, whatever the Application's size.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, InitiatedBy, Operation};
use crate::model::HealthStatus;

/// What the operator reports about an Application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Whether live state is what git wants.
    #[serde(default)]
    pub sync: SyncStatus,
    /// How well the Application does: as its worst object.
    #[serde(default)]
    pub health: HealthSummary,
    /// `Ready`, `Reconciling`, `Stalled`, and what else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The running or last operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation_state: Option<OperationState>,
    /// What a running operation waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_on: Vec<WaitingOn>,
    /// How the sync windows of the project stand, when any concerns this Application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_window: Option<SyncWindowStatus>,
    /// Objects with their state; those that are not in order first. Cut when there are too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceStatus>,
    /// How many objects there are in all, whether listed or not.
    #[serde(default)]
    pub resource_count: i64,
    /// Successful syncs, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<RevisionHistory>,
    /// What was applied, one entry an object: `<group>/<kind>/<namespace>/<name> <uid> <desired> <owned>`, or
    /// `… intended` for an object that is about to be applied. Kept in Inventory objects when it is large.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inventory: Vec<String>,
    /// How many Inventory objects (`<name>-0`, `<name>-1`, …) hold the inventory instead of `inventory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory_objects: Option<i64>,
    /// Hooks that run around the deletion of the Application, so that a deletion knows whether it has to render them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletion_hooks: Vec<String>,
    /// The value of the refresh annotation that was last acted on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_handled_refresh: String,
    /// The value of the sync annotation that was last acted on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_handled_sync: String,
    /// The value of the terminate annotation that was last acted on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_handled_terminate: String,
}

/// Whether live state is what git wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SyncState {
    /// It is.
    Synced,
    /// It is not.
    OutOfSync,
    /// Could not be told.
    #[default]
    Unknown,
}

impl SyncState {
    /// The name as it stands in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::OutOfSync => "OutOfSync",
            Self::Unknown => "Unknown",
        }
    }
}

/// Whether live state is what git wants, and at which revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// The verdict.
    #[serde(default)]
    pub status: SyncState,
    /// The revision compared with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// The revisions compared with, of several sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
}

/// How well the Application does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthSummary {
    /// The verdict.
    pub status: HealthStatus,
    /// The count and first causes of anything but healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the verdict last changed (RFC 3339).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_transition_time: String,
}

impl Default for HealthSummary {
    fn default() -> Self {
        Self { status: HealthStatus::Unknown, message: String::new(), last_transition_time: String::new() }
    }
}

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OperationPhase {
    /// Steps are being done or waited for.
    Running,
    /// It is being cut short.
    Terminating,
    /// A step failed.
    Failed,
    /// It could not be carried out.
    Error,
    /// All steps are done.
    Succeeded,
}

impl OperationPhase {
    /// The name as it stands in status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Terminating => "Terminating",
            Self::Failed => "Failed",
            Self::Error => "Error",
            Self::Succeeded => "Succeeded",
        }
    }
}

/// The running or last operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperationState {
    /// What was asked, when a person asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// Who asked.
    #[serde(default)]
    pub initiated_by: InitiatedBy,
    /// Where it stands.
    pub phase: OperationPhase,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The revision it brings.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// The revisions it brings, of several sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
    /// When it started (RFC 3339).
    pub started_at: String,
    /// When it ended (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// Attempts after the first.
    #[serde(default)]
    pub retry_count: i64,
    /// What was done to which object; failures first. Cut when there are too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceResult>,
}

/// What was done to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceResult {
    /// API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `created`, `configured`, `unchanged`, `pruned`, `skipped` or `failed`.
    pub status: String,
    /// The phase of the sync that it belongs to: `PreSync`, `Sync`, `PostSync`, `SyncFail`, `PreDelete`, `PostDelete`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sync_phase: String,
    /// For a hook: `Running`, `Succeeded` or `Failed`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hook_phase: String,
    /// Why, when there is something to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The state of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// API version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Whether it is what git wants.
    pub status: SyncState,
    /// How well it does; unset for kinds that have no health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthStatus>,
    /// Why it is not in sync or not healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether git no longer has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_pruning: bool,
    /// Its sync wave.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sync_wave: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A successful sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionHistory {
    /// Counts up from 0.
    pub id: i64,
    /// The revision.
    pub revision: String,
    /// The revisions, of several sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revisions: Vec<String>,
    /// When it started (RFC 3339).
    pub deploy_started_at: String,
    /// When it was done (RFC 3339).
    pub deployed_at: String,
    /// Who asked.
    #[serde(default)]
    pub initiated_by: InitiatedBy,
}

/// What a running operation waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitingOn {
    /// The object: `<group>/<kind>/<namespace>/<name>`.
    pub object: String,
    /// What must become true of it.
    pub condition: String,
    /// What is missing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when it is waited for (RFC 3339).
    pub since: String,
    /// What would release it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
}

/// How the sync windows of the project stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncWindowStatus {
    /// Whether an automated sync may run now.
    pub open: bool,
    /// Whether a sync that a person asks for may run now.
    pub manual_sync: bool,
    /// Which window decides, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When `open` changes next (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change: Option<String>,
}

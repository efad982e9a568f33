//! `Inventory`: what a large Application applied, when its status has no room for it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Part of what an Application applied. Written by the operator only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "tidelock.dev",
    version = "v1alpha1",
    kind = "Inventory",
    plural = "inventories",
    category = "tidelock",
    namespaced,
    derive = "PartialEq",
    printcolumn = r#"{"name":"Application","type":"string","jsonPath":".spec.application"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InventorySpec {
    /// Name of the Application.
    pub application: String,
    /// Entries in the form of the Application's `status.inventory`.
    #[serde(default)]
    pub entries: Vec<String>,
}

//! What a plan is, told by examples and by properties of arbitrary plans.

mod compiled;
mod compiled_properties;
mod decide;
mod gate_properties;
mod gate_rules;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::desired::{DesiredObject, DesiredSet, ObjectOptions};
use crate::diff::{Difference, Differences, Extra};
use crate::live::{LiveRecord, LiveView};
use crate::model::{GroupVersionKind, Hash64, Health, HealthStatus, Marks, ObjectKey, Origin};

fn prunable() -> Extra {
    Extra::Prunable { uid: "u1".into() }
}

fn absent() -> Difference {
    Difference::Absent { drift: false }
}

fn namespace(name: &str) -> ObjectKey {
    ObjectKey::new("", "Namespace", "", name)
}

fn config(name: &str) -> ObjectKey {
    ObjectKey::new("", "ConfigMap", "shop", name)
}

fn deployment(name: &str) -> ObjectKey {
    ObjectKey::new("apps", "Deployment", "shop", name)
}

fn definition() -> ObjectKey {
    ObjectKey::new("apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.example.com")
}

fn widget(name: &str) -> ObjectKey {
    ObjectKey::new("example.com", "Widget", "shop", name)
}

fn object(key: &ObjectKey, wave: i32) -> DesiredObject {
    let body = if key.kind == "CustomResourceDefinition" {
        json!({"spec": {"group": "example.com", "names": {"kind": "Widget"}}}).to_string()
    } else {
        String::new()
    };
    DesiredObject {
        key: key.clone(),
        gvk: GroupVersionKind::from_api_version("v1", &key.kind),
        body: Bytes::from(body),
        hash: Hash64(1),
        wave,
        options: ObjectOptions::default(),
        origin: Origin::default(),
        kind_is_new: key.kind == "Widget",
        depends_on: Vec::new(),
    }
}

fn record(wave: i32, health: Option<Health>) -> LiveRecord {
    LiveRecord { health, wave, ..LiveRecord::plain("u1") }
}

#[expect(clippy::unnecessary_wraps, reason = "the form that a record wants it in")]
fn progressing() -> Option<Health> {
    Some(Health::new(HealthStatus::Progressing, "1 of 2 replicas are ready"))
}

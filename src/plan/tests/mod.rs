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
use crate::model::{GroupVersionKind, Hash64, Health, HealthStatus, InstanceId, Marks, ObjectKey, Origin};

/// One object of a case: what is wanted of it and what is there.
#[derive(Clone, Debug)]
struct Item {
    key: ObjectKey,
    wave: i32,
    state: State,
    health: Option<Health>,
}

#[derive(Clone, Debug)]
enum State {
    Wanted(Difference),
    Extra(Extra),
}

fn item(key: ObjectKey, wave: i32, state: State) -> Item {
    Item { key, wave, state, health: None }
}

fn wanted(key: ObjectKey, wave: i32, difference: Difference) -> Item {
    item(key, wave, State::Wanted(difference))
}

fn extra(key: ObjectKey, wave: i32, extra: Extra) -> Item {
    item(key, wave, State::Extra(extra))
}

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
    LiveRecord {
        uid: "u1".into(),
        resource_version: 1,
        generation: 0,
        marks: Marks { instance: InstanceId::from_label(""), tracking_id: String::new() },
        owned: None,
        health,
        deleting: false,
        prune: None,
        delete: None,
        extraneous_ignored: false,
        hook_attempt: None,
        by_hand: None,
        health_ignored: false,
        wave,
    }
}

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default)]
struct Case {
    desired: DesiredSet,
    differences: Differences,
    live: LiveView,
}

impl Case {
    fn of(items: impl IntoIterator<Item = Item>) -> Self {
        let mut case = Self::default();
        for Item { key, wave, state, health } in items {
            let mut found = record(wave, health);
            let seen = match &state {
                State::Wanted(Difference::Absent { .. }) | State::Extra(Extra::Unseen) => false,
                State::Wanted(difference) => {
                    found.deleting = *difference == Difference::Terminating;
                    true
                }
                State::Extra(extra) => {
                    found.deleting = *extra == Extra::Terminating;
                    true
                }
            };
            if seen {
                case.live.objects.insert(key.clone(), Arc::new(found));
            }
            match state {
                State::Wanted(difference) => {
                    case.desired.objects.insert(key.clone(), Arc::new(object(&key, wave)));
                    case.differences.objects.insert(key, difference);
                }
                State::Extra(extra) => {
                    case.differences.extras.insert(key, extra);
                }
            }
        }
        case
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the form that a record wants it in")]
fn progressing() -> Option<Health> {
    Some(Health::new(HealthStatus::Progressing, "1 of 2 replicas are ready"))
}

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::desired::ObjectOptions;
use crate::model::{GroupVersionKind, Hash64, ObjectKey, Origin};

fn object(key: ObjectKey, version: &str, body: &Value) -> DesiredObject {
    DesiredObject {
        gvk: GroupVersionKind { group: key.group.clone(), version: version.to_owned(), kind: key.kind.clone() },
        key,
        body: Bytes::from(body.to_string()),
        hash: Hash64(0),
        wave: 0,
        options: ObjectOptions::default(),
        depends_on: Vec::new(),
        origin: Origin::default(),
        kind_is_new: false,
    }
}

fn definition() -> DesiredObject {
    object(
        ObjectKey::new("apiextensions.k8s.io", "CustomResourceDefinition", "", "lamps.e.org"),
        "v1",
        &json!({"spec": {"group": "e.org", "names": {"kind": "Lamp"}, "versions": [
            {"name": "v1", "served": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": {"watts": {"type": "integer"}}},
            }}}},
            {"name": "v0", "served": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ]}}),
    )
}

fn lamp(version: &str, watts: &Value) -> DesiredObject {
    object(
        ObjectKey::new("e.org", "Lamp", "shop", "a"),
        version,
        &json!({"apiVersion": format!("e.org/{version}"), "kind": "Lamp", "metadata": {"name": "a"}, "spec": {"watts": watts}}),
    )
}

fn refused<T>(reason: Reason, message: &str) -> Result<T, Refusal> {
    Err(Refusal { reason, message: message.to_owned() })
}

fn is_unverified(verdict: &Verdict, why: &str) -> bool {
    matches!(verdict, Verdict::Unverified(text) if text.contains(why))
}

#[test]
fn an_object_of_a_new_kind_is_checked_by_the_schema_that_comes_along() {
    let change = Change::of([&definition()], |_| true, None);
    let unknown = || refused(Reason::KindNotFound, "no such kind");
    let fits = verdict(&lamp("v1", &json!(60)), unknown(), &change, true, false);
    assert!(is_unverified(&fits, "it fits the schema there"), "{fits:?}");
    assert_eq!(
        verdict(&lamp("v1", &json!("sixty")), unknown(), &change, true, false),
        Verdict::Refused(Refusal {
            reason: Reason::InvalidObject,
            message: "it does not fit the schema that comes with the same change: .spec.watts: must be an integer, is a string"
                .to_owned(),
        })
    );
    let other = lamp("v0", &json!(60));
    assert_eq!(
        verdict(&other, unknown(), &change, true, false),
        Verdict::Refused(Refusal { reason: Reason::KindNotFound, message: "no such kind".to_owned() })
    );
}

#[test]
fn a_field_that_an_updated_definition_brings_is_no_refusal() {
    let change = Change::of([&definition()], |_| true, None);
    let found =
        verdict(&lamp("v1", &json!(1)), refused(Reason::InvalidObject, "field not declared"), &change, true, false);
    assert!(is_unverified(&found, "comes with the same change"), "{found:?}");
}

#[test]
fn a_namespace_is_missing_unless_it_comes_along() {
    let config = object(ObjectKey::new("", "ConfigMap", "shop", "a"), "v1", &json!({}));
    let missing = || refused(Reason::NamespaceNotFound, "namespaces \"shop\" not found");
    let found = verdict(&config, missing(), &Change::of([], |_| true, Some("shop")), true, false);
    assert!(is_unverified(&found, "its namespace shop comes with the same change"), "{found:?}");
    assert_eq!(
        verdict(&config, missing(), &Change::default(), true, false),
        Verdict::Refused(Refusal {
            reason: Reason::NamespaceNotFound,
            message: "namespaces \"shop\" not found".to_owned()
        })
    );
}

#[test]
fn what_misses_an_object_of_the_same_change_is_unverified() {
    let pod = object(ObjectKey::new("", "Pod", "shop", "p"), "v1", &json!({}));
    let account = object(ObjectKey::new("", "ServiceAccount", "shop", "robot"), "v1", &json!({}));
    let words =
        "pods \"p\" is forbidden: error looking up service account shop/robot: serviceaccount \"robot\" not found";
    let found = verdict(
        &pod,
        refused(Reason::AdmissionDenied, words),
        &Change::of([&pod, &account], |_| true, None),
        true,
        false,
    );
    assert!(is_unverified(&found, "it needs ServiceAccount robot"), "{found:?}");
    let alone = verdict(
        &pod,
        refused(Reason::AdmissionDenied, words),
        &Change::of([&pod, &account], |key| *key == pod.key, None),
        true,
        false,
    );
    assert!(matches!(alone, Verdict::Refused(_)), "{alone:?}");
}

#[test]
fn a_webhook_without_trials_and_a_kind_that_may_be_missing_are_unverified() {
    let lamp = lamp("v1", &json!(1));
    let webhook = refused(Reason::ApplyFailed, "admission webhook \"w\" does not support dry run");
    assert!(is_unverified(&verdict(&lamp, webhook, &Change::default(), true, false), "knows no trial"));
    let missing = refused(Reason::KindNotFound, "no such kind");
    assert!(is_unverified(&verdict(&lamp, missing, &Change::default(), true, true), "SkipDryRunOnMissingResource"));
    assert_eq!(verdict(&lamp, Ok(()), &Change::default(), true, false), Verdict::Verified);
}

#[test]
fn what_the_old_definition_takes_and_the_new_one_may_not_is_unverified() {
    let change = Change::of([&definition()], |_| true, None);
    let doubtful = verdict(&lamp("v1", &json!("sixty")), Ok(()), &change, true, false);
    assert!(is_unverified(&doubtful, "as things stand, but it does not fit the schema"), "{doubtful:?}");
    assert_eq!(verdict(&lamp("v1", &json!(60)), Ok(()), &change, true, false), Verdict::Verified);
}

#[test]
fn a_definition_that_is_there_and_not_served_yet_is_no_refusal_and_overrules_no_refusal() {
    let change = Change::of([&definition()], |_| false, None);
    let lagging = verdict(&lamp("v1", &json!(60)), refused(Reason::KindNotFound, "no such kind"), &change, true, false);
    assert!(is_unverified(&lagging, "it fits the schema there"), "{lagging:?}");
    let invalid = verdict(&lamp("v1", &json!(60)), refused(Reason::InvalidObject, "no"), &change, true, false);
    assert!(matches!(invalid, Verdict::Refused(_)), "{invalid:?}");
}

use serde_json::json;

use super::*;
use crate::api::IgnoreDifferences;

fn key() -> ObjectKey {
    ObjectKey::new("apps", "Deployment", "shop", "cart")
}

fn no_rules() -> IgnoreRules {
    IgnoreRules::default()
}

fn pointers(pointers: &[&str]) -> IgnoreRules {
    let rule = IgnoreDifferences {
        group: "*".to_owned(),
        kind: "*".to_owned(),
        json_pointers: pointers.iter().map(|&pointer| pointer.to_owned()).collect(),
        ..IgnoreDifferences::default()
    };
    IgnoreRules::compile(&[rule], &[]).0
}

fn entry(manager: &str, operation: &str, time: &str, fields: &Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": time, "fieldsV1": fields})
}

fn object(replicas: u32, image: &str, entries: &[Value]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "cart", "namespace": "shop", "uid": "u", "resourceVersion": image.len().to_string(),
                     "generation": replicas, "managedFields": entries},
        "spec": {"replicas": replicas, "template": {"spec": {"dnsPolicy": "ClusterFirst",
            "containers": [{"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"}]}}},
        "status": {"replicas": replicas},
    })
}

fn both() -> Value {
    json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
        "k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}})
}

fn without_replicas() -> Value {
    json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {
        "k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}})
}

fn only_replicas() -> Value {
    json!({"f:spec": {"f:replicas": {}}})
}

/// Somebody scaled the live object; the apply would take it back.
fn scaled() -> (Value, Value) {
    let live = object(
        9,
        "cart:1",
        &[
            entry("tidelock", "Apply", "2025-01-01T00:00:00Z", &without_replicas()),
            entry("kubectl-edit", "Update", "2025-01-02T00:00:00Z", &only_replicas()),
        ],
    );
    (live, object(2, "cart:1", &[entry("tidelock", "Apply", "2025-01-03T00:00:00Z", &both())]))
}

#[test]
fn a_changed_field_is_told_with_both_values_and_its_owner() {
    let (live, predicted) = scaled();
    assert_eq!(
        examine(&key(), &live, &predicted, &no_rules(), ExtraFields::Ignore),
        Examination {
            fields: vec![FieldDifference {
                path: ".spec.replicas".to_owned(),
                live: Some(json!(9)),
                desired: Some(json!(2)),
                managers: vec![FieldOwner {
                    manager: "kubectl-edit".to_owned(),
                    operation: "Update".to_owned(),
                    subresource: String::new(),
                    time: "2025-01-02T00:00:00Z".to_owned(),
                    ours: false,
                }],
                cause: FieldCause::Changed,
            }],
            ignored: 0,
            extras: vec![],
            problems: vec![],
        }
    );
}

#[test]
fn an_ignored_field_is_counted_and_not_told() {
    let (live, predicted) = scaled();
    let found = examine(&key(), &live, &predicted, &pointers(&["/spec/replicas"]), ExtraFields::Ignore);
    assert_eq!((found.only_ignored(), found.ignored), (true, 1));
    let (mut live, predicted) = scaled();
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("cart:0");
    let found = examine(&key(), &live, &predicted, &pointers(&["/spec/replicas"]), ExtraFields::Ignore);
    let paths: Vec<&str> = found.fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!((paths, found.ignored), (vec![r#".spec.template.spec.containers[name="app"].image"#], 1));
}

#[test]
fn defaults_of_the_server_and_of_mutating_webhooks_are_no_difference() {
    // Both sides went through defaulting and admission: a sidecar, a default, an annotation.
    let entries = [entry("tidelock", "Apply", "2025-01-01T00:00:00Z", &both())];
    let mut live = object(2, "cart:1", &entries);
    live["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "proxy", "image": "p"}));
    live["metadata"]["annotations"] = json!({"injected": "yes"});
    let mut predicted = live.clone();
    predicted["metadata"]["resourceVersion"] = json!("77");
    predicted["metadata"]["generation"] = json!(4);
    predicted["status"] = json!({});
    assert_eq!(examine(&key(), &live, &predicted, &no_rules(), ExtraFields::Report), Examination::default());
}

#[test]
fn fields_missing_extra_and_taken_over_are_told_apart() {
    let live = json!({
        "metadata": {"name": "a", "managedFields": [
            entry("tidelock", "Apply", "t1", &json!({"f:data": {"f:old": {}}})),
            entry("other", "Apply", "t2", &json!({"f:data": {"f:same": {}}})),
        ]},
        "data": {"old": "1", "same": "1"},
    });
    let predicted = json!({
        "metadata": {"name": "a", "managedFields": [
            entry("tidelock", "Apply", "t3", &json!({"f:data": {"f:new": {}, "f:same": {}}})),
        ]},
        "data": {"new": "1", "same": "1"},
    });
    let config = ObjectKey::new("", "ConfigMap", "shop", "a");
    let told = |rules: &IgnoreRules| -> Vec<(String, FieldCause, Vec<String>)> {
        let found = examine(&config, &live, &predicted, rules, ExtraFields::Ignore).fields.into_iter();
        found
            .map(|field| (field.path, field.cause, field.managers.into_iter().map(|owner| owner.manager).collect()))
            .collect()
    };
    let all = vec![
        (".data.new".to_owned(), FieldCause::Missing, vec![]),
        (".data.old".to_owned(), FieldCause::Extra, vec!["tidelock".to_owned()]),
        (".data.same".to_owned(), FieldCause::Unowned, vec!["other".to_owned()]),
    ];
    assert_eq!(told(&no_rules()), all);
    // What is ignored need not become ours.
    assert_eq!(told(&pointers(&["/data/same"])), all[..2]);
    assert_eq!(told(&pointers(&["/data"])), []);
}

#[test]
fn items_of_lists_are_paired_by_keys_sets_by_value_and_order_counts_where_nothing_else_differs() {
    let fields = json!({"f:ports": {"k:{\"port\":80}": {".": {}, "f:port": {}, "f:name": {}}}, "f:set": {"v:1": {}}});
    let object = |ports: Value, set: Value, plain: Value| {
        json!({"metadata": {"managedFields": [entry("tidelock", "Apply", "t", &fields)]},
               "ports": ports, "set": set, "plain": plain})
    };
    let live = object(json!([{"port": 81, "name": "b"}, {"port": 80, "name": "a"}]), json!([1, 3]), json!([1, 2]));
    let predicted = object(json!([{"port": 80, "name": "x"}]), json!([1, 2]), json!([1, 3]));
    let found = examine(&key(), &live, &predicted, &no_rules(), ExtraFields::Ignore).fields;
    let told: Vec<(&str, FieldCause)> = found.iter().map(|field| (field.path.as_str(), field.cause)).collect();
    assert_eq!(
        told,
        [
            (".plain[1]", FieldCause::Changed),
            (".ports[port=81]", FieldCause::Extra),
            (".ports[port=80].name", FieldCause::Changed),
            (".set[=3]", FieldCause::Extra),
            (".set[=2]", FieldCause::Missing),
        ]
    );
    let live = object(json!([{"port": 80}, {"port": 81}]), json!([]), json!([]));
    let predicted = object(json!([{"port": 81}, {"port": 80}]), json!([]), json!([]));
    let found = examine(&key(), &live, &predicted, &no_rules(), ExtraFields::Ignore).fields;
    assert_eq!(found.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(), [".ports"]);
}

#[test]
fn what_people_added_is_told_by_pointer_unless_it_is_ignored_or_not_asked_for() {
    let fields = json!({"f:metadata": {"f:labels": {"f:a/b": {}}}, "f:spec": {"f:template": {"f:spec": {"f:containers": {
        "k:{\"name\":\"app\"}": {"f:tty": {}}}}}}});
    let mut live = object(
        2,
        "cart:1",
        &[entry("tidelock", "Apply", "t1", &both()), entry("kubectl-edit", "Update", "t2", &fields)],
    );
    live["metadata"]["labels"] = json!({"a/b": "x"});
    live["spec"]["template"]["spec"]["containers"][0]["tty"] = json!(true);
    let extra = |path: &str, pointer: &str| ExtraField {
        path: path.to_owned(),
        pointer: pointer.to_owned(),
        manager: "kubectl-edit".to_owned(),
        operation: "Update".to_owned(),
        time: "t2".to_owned(),
    };
    let label = extra(r#".metadata.labels["a/b"]"#, "/metadata/labels/a~1b");
    let tty = extra(r#".spec.template.spec.containers[name="app"].tty"#, "/spec/template/spec/containers/0/tty");
    let extras = |rules: &IgnoreRules, policy| examine(&key(), &live, &live, rules, policy).extras;
    assert_eq!(extras(&no_rules(), ExtraFields::Report), [label.clone(), tty.clone()]);
    assert_eq!(extras(&no_rules(), ExtraFields::Remove), [label.clone(), tty]);
    assert_eq!(extras(&pointers(&["/spec/template"]), ExtraFields::Report), [label]);
    assert_eq!(extras(&no_rules(), ExtraFields::Ignore), []);
}

#[test]
fn a_field_that_git_states_is_never_one_that_people_added() {
    let (live, predicted) = scaled();
    let found = examine(&key(), &live, &predicted, &no_rules(), ExtraFields::Remove);
    assert_eq!((found.fields.len(), found.extras), (1, vec![]));
}

#[test]
fn of_secrets_only_names_of_fields_are_known_and_lost_ones_are_told_without_content() {
    let secret = ObjectKey::new("", "Secret", "shop", "db");
    let object = |entries: Vec<Value>| {
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
               "metadata": {"name": "db", "managedFields": entries}})
    };
    let live = object(vec![
        entry("tidelock", "Apply", "t1", &json!({"f:data": {"f:user": {}}})),
        entry("kubectl-edit", "Update", "t2", &json!({"f:data": {"f:password": {}}})),
    ]);
    let predicted =
        object(vec![entry("tidelock", "Apply", "t3", &json!({"f:data": {"f:user": {}, "f:password": {}}}))]);
    let found = examine(&secret, &live, &predicted, &no_rules(), ExtraFields::Ignore);
    let told: Vec<_> = found.fields.iter().map(|field| (field.path.as_str(), field.cause, &field.live)).collect();
    assert_eq!(told, [(".data.password", FieldCause::Changed, &Some(json!("•••")))]);
    assert_eq!(found.fields[0].managers[0].manager, "kubectl-edit");
    let found = examine(&secret, &live, &predicted, &pointers(&["/data/password"]), ExtraFields::Ignore);
    assert_eq!((found.only_ignored(), found.ignored), (true, 1));
}

#[test]
fn content_of_secrets_never_shows() {
    let secret = ObjectKey::new("", "Secret", "shop", "db");
    let object = |value: &str| {
        json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": value}},
               "data": {"a": value, "b": [value]}, "stringData": {"c": value}})
    };
    let found = examine(&secret, &object("canary-1"), &object("canary-2"), &no_rules(), ExtraFields::Report);
    assert_eq!(found.fields.len(), 4);
    assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    let found = examine(&secret, &object("canary-1"), &json!({}), &no_rules(), ExtraFields::Report);
    assert!(!format!("{found:?}").contains("canary"), "{found:?}");
}

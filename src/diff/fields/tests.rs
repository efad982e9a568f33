use proptest::prelude::*;
use serde_json::json;

use super::*;

fn key(group: &str, kind: &str) -> ObjectKey {
    ObjectKey::new(group, kind, "shop", "a")
}

fn told(key: &ObjectKey, desired: &Value, live: &Value) -> Vec<String> {
    let text = |value: Option<&Value>| value.map_or_else(|| "-".to_owned(), Value::to_string);
    field_changes(key, desired, live)
        .fields
        .iter()
        .map(|FieldChange { path, change, live, desired, managers: _ }| {
            format!("{} {path}: {} -> {}", change.as_str(), text(live.as_ref()), text(desired.as_ref()))
        })
        .collect()
}

fn nothing() -> ObjectChanges {
    ObjectChanges { fields: Vec::new(), record: Record::Ours, ignored: 0, extras: Vec::new(), problems: Vec::new() }
}

#[test]
fn what_does_not_count_is_counted_and_not_told_and_what_differs_comes_with_its_owner() {
    let desired = json!({"spec": {"replicas": 2, "image": "a:2"}});
    let mut live = json!({"spec": {"replicas": 9, "image": "a:1", "paused": true}});
    live["metadata"]["managedFields"] = managed(&json!({"f:spec": {"f:image": {}}}));
    live["metadata"]["managedFields"].as_array_mut().unwrap().push(json!({
        "manager": "kubectl-edit", "operation": "Update", "time": "2025-01-01T00:00:00Z",
        "fieldsV1": {"f:spec": {"f:replicas": {}, "f:paused": {}}}}));
    let rule = |pointer: &str| crate::api::IgnoreDifferences {
        group: "*".to_owned(),
        kind: "*".to_owned(),
        json_pointers: vec![pointer.to_owned()],
        ..crate::api::IgnoreDifferences::default()
    };
    let key = key("apps", "Deployment");
    let counted = |pointer: &str| {
        let rules = IgnoreRules::compile(&[rule(pointer)], &[]).0;
        field_changes_that_count(&key, &desired, &live, &rules, ExtraFields::Report)
    };
    let changes = counted("/spec/image");
    let owner = FieldOwner {
        manager: "kubectl-edit".to_owned(),
        operation: "Update".to_owned(),
        subresource: String::new(),
        time: "2025-01-01T00:00:00Z".to_owned(),
        ours: false,
    };
    assert_eq!(
        changes.fields,
        [FieldChange {
            path: ".spec.replicas".to_owned(),
            change: Change::Set,
            live: Some(json!(9)),
            desired: Some(json!(2)),
            managers: vec![owner],
        }]
    );
    assert_eq!(changes.ignored, 1);
    assert_eq!(changes.extras.iter().map(|extra| extra.pointer.as_str()).collect::<Vec<_>>(), ["/spec/paused"]);
    let changes = counted("/spec");
    assert_eq!(changes, ObjectChanges { ignored: 2, ..nothing() });
    let rules = IgnoreRules::default();
    let changes = field_changes_that_count(&key, &desired, &live, &rules, ExtraFields::Ignore);
    assert_eq!(changes, field_changes(&key, &desired, &live));
    assert_eq!(changes.fields.len(), 2);
}

fn managed(fields: &Value) -> Value {
    json!([{"manager": "tidelock", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": fields}])
}

#[test]
fn what_is_not_stated_is_left_alone_without_a_record_of_owned_fields() {
    let desired =
        json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "app", "image": "a:2"}]}}}});
    let live = json!({"spec": {"replicas": 2, "paused": false, "template": {"spec": {"containers": [
        {"name": "sidecar", "image": "s:1"},
        {"name": "app", "image": "a:1", "imagePullPolicy": "Always"},
    ]}}}, "status": {"replicas": 2}});
    assert_eq!(
        told(&key("apps", "Deployment"), &desired, &live),
        [r#"set .spec.template.spec.containers[name="app"].image: "a:1" -> "a:2""#]
    );
}

#[test]
fn what_we_applied_and_want_no_more_is_removed_unless_another_manager_wants_it_too() {
    let desired = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "app"}]}});
    let mut live = json!({
        "metadata": {"labels": {"a": "1", "b": "2", "c": "3", "theirs": "4"}},
        "spec": {"containers": [{"name": "app", "args": ["x"]}, {"name": "old", "image": "o:1"}, {"name": "injected"}]},
    });
    live["metadata"]["managedFields"] = managed(&json!({
        "f:metadata": {"f:labels": {"f:a": {}, "f:b": {}, "f:c": {}}},
        "f:spec": {"f:containers": {
            "k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:args": {}},
            "k:{\"name\":\"old\"}": {".": {}, "f:name": {}, "f:image": {}},
        }},
    }));
    let entries = live["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.push(
        json!({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:c": {}}}}}),
    );
    assert_eq!(
        told(&key("", "Pod"), &desired, &live),
        [
            r#"remove .metadata.labels.b: "2" -> -"#,
            r#"remove .spec.containers[name="app"].args: ["x"] -> -"#,
            r#"remove .spec.containers[name="old"]: {"image":"o:1","name":"old"} -> -"#,
        ]
    );
}

#[test]
fn a_wanted_value_that_is_not_recorded_as_ours_would_become_ours() {
    let desired = json!({"spec": {"replicas": 2, "paused": true}});
    let live = |manager: &str| {
        json!({"spec": {"replicas": 2, "paused": true}, "metadata": {"managedFields": [
            {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:paused": {}}}}]}})
    };
    let deployment = key("apps", "Deployment");
    assert_eq!(told(&deployment, &desired, &live("tidelock")), ["own .spec.replicas: 2 -> 2"]);
    let theirs = field_changes(&deployment, &desired, &live("kubectl"));
    assert_eq!(theirs, ObjectChanges { record: Record::NotOurs, ..nothing() });
    assert!(!theirs.is_empty());
}

#[test]
fn key_fields_of_lists_come_from_the_record_and_tcp_is_the_protocol_that_is_not_stated() {
    let desired =
        json!({"spec": {"ports": [{"port": 53, "name": "tcp"}, {"port": 53, "protocol": "UDP", "name": "u"}]}});
    let mut live = json!({"spec": {"ports": [
        {"port": 53, "protocol": "UDP", "name": "udp"}, {"port": 53, "protocol": "TCP", "name": "tcp"}]}});
    live["metadata"]["managedFields"] = managed(&json!({"f:spec": {"f:ports": {
        "k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}},
        "k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:name": {}, "f:protocol": {}}}}}));
    assert_eq!(
        told(&key("", "Service"), &desired, &live),
        [r#"set .spec.ports[port=53,protocol="UDP"].name: "udp" -> "u""#]
    );
}

#[test]
fn lists_and_maps_that_are_applied_as_a_whole_are_compared_as_a_whole() {
    let desired = json!({"spec": {"args": ["a", "c"], "selector": {"matchLabels": {"app": "x"}}}});
    let mut live = json!({"spec": {"args": ["a", "b", "c"], "selector": {"matchLabels": {"app": "x", "tier": "y"}}}});
    live["metadata"]["managedFields"] = managed(&json!({"f:spec": {"f:args": {}, "f:selector": {}}}));
    assert_eq!(
        told(&key("apps", "Deployment"), &desired, &live),
        [
            r#"set .spec.args[1]: "b" -> "c""#,
            r#"remove .spec.args[2]: "c" -> -"#,
            r#"remove .spec.selector.matchLabels.tier: "y" -> -"#,
        ]
    );
}

#[test]
fn finalizers_are_a_set() {
    let desired = json!({"metadata": {"finalizers": ["ours"]}});
    let live = json!({"metadata": {"finalizers": ["theirs", "ours"]}});
    assert_eq!(told(&key("", "ConfigMap"), &desired, &live), Vec::<String>::new());
}

#[test]
fn spellings_that_the_api_server_changes_are_equal_in_its_own_kinds_only() {
    let desired =
        json!({"spec": {"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}, "hostNetwork": false, "x": ""}});
    let live = json!({"spec": {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}});
    assert_eq!(told(&key("", "Pod"), &desired, &live), Vec::<String>::new());
    assert_eq!(
        told(&key("example.com", "Pod"), &desired, &live),
        [
            "add .spec.hostNetwork: - -> false",
            r#"set .spec.resources.limits.cpu: "500m" -> 0.5"#,
            r#"set .spec.resources.limits.memory: "1Gi" -> "1024Mi""#,
            r#"add .spec.x: - -> """#,
        ]
    );
}

#[test]
fn nothing_of_a_secrets_content_is_told() {
    let desired = json!({"data": {"same": "Y2FuYXJ5", "new": "Y2FuYXJ5", "other": "Y2FuYXJ5"}, "type": "Opaque"});
    let live = json!({"data": {"same": "Y2Fu\nYXJ5\n", "other": "Y2FuYXJ5Mg=="}, "type": "Other"});
    assert_eq!(
        told(&key("", "Secret"), &desired, &live),
        [
            r#"add .data.new: - -> "•••""#,
            r#"set .data.other: "•••" -> "••• (differs)""#,
            r#"set .type: "Other" -> "Opaque""#,
        ]
    );
    assert_eq!(
        told(&key("", "Secret"), &json!({"data": {"a": "Y2FuYXJ5"}}), &json!({})),
        [r#"add .data: - -> {"a":"•••"}"#]
    );
    assert_eq!(
        told(&key("", "Secret"), &json!({"data": "Y2FuYXJ5"}), &json!({"data": {}})),
        [r#"set .data: {} -> "••• (differs)""#]
    );
}

fn json_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    let name = prop_oneof!["[a-c]", Just("name".to_owned()), Just("limits".to_owned())];
    scalar.prop_recursive(4, 30, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..4).prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

proptest! {
    #[test]
    fn an_object_does_not_differ_from_itself(spec in json_value()) {
        let object = json!({"spec": spec});
        prop_assert_eq!(told(&key("example.com", "Widget"), &object, &object), Vec::<String>::new());
    }

    #[test]
    fn a_fields_absence_or_other_value_is_always_noticed(mut spec in json_value()) {
        let before = json!({"spec": spec, "canary": "x"});
        let widget = key("example.com", "Widget");
        prop_assert_eq!(told(&widget, &before, &json!({"spec": spec, "canary": "y"})).len(), 1);
        spec = json!({"spec": spec});
        prop_assert_eq!(told(&widget, &before, &spec), [r#"add .canary: - -> "x""#]);
    }
}

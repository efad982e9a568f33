use serde_json::json;

use super::*;

fn rule(value: Value) -> IgnoreDifferences {
    serde_json::from_value(value).unwrap()
}

fn rules(values: Vec<Value>) -> IgnoreRules {
    let given: Vec<IgnoreDifferences> = values.into_iter().map(rule).collect();
    let (rules, problems) = IgnoreRules::compile(&given, &[]);
    assert_eq!(problems, []);
    rules
}

fn key() -> ObjectKey {
    ObjectKey::new("apps", "Deployment", "shop", "cart")
}

fn deployment(replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "cart", "namespace": "shop",
            "labels": {"tidelock.dev/instance": "abc"}, "annotations": {"tidelock.dev/tracking-id": "x", "a/b": "1"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "app", "image": image}]}}},
    })
}

/// Both sides without what is ignored.
fn stripped(rules: &IgnoreRules, live: &Value, predicted: &Value) -> (Value, Value) {
    let (mut live, mut predicted) = (live.clone(), predicted.clone());
    assert_eq!(rules.strip(&key(), &mut live, &mut predicted), []);
    (live, predicted)
}

#[test]
fn rules_choose_objects_by_globs_of_group_and_kind_and_by_name_and_namespace() {
    let pointer = json!(["/x"]);
    for (chosen, expected) in [
        (json!({"group": "apps", "kind": "Deployment", "jsonPointers": pointer}), true),
        (json!({"group": "*", "kind": "*", "jsonPointers": pointer}), true),
        (json!({"group": "a*", "kind": "Dep*", "jsonPointers": pointer}), true),
        (
            json!({"group": "apps", "kind": "Deployment", "name": "cart", "namespace": "shop", "jsonPointers": pointer}),
            true,
        ),
        (json!({"kind": "Deployment", "jsonPointers": pointer}), false),
        (json!({"group": "apps", "kind": "StatefulSet", "jsonPointers": pointer}), false),
        (json!({"group": "apps", "kind": "Deployment", "name": "car*", "jsonPointers": pointer}), false),
        (json!({"group": "apps", "kind": "Deployment", "namespace": "other", "jsonPointers": pointer}), false),
    ] {
        assert_eq!(rules(vec![chosen.clone()]).matches(&key()), expected, "{chosen}");
    }
    let (system, problems) =
        IgnoreRules::compile(&[], &[rule(json!({"group": "*", "kind": "*", "jsonPointers": ["/x"]}))]);
    assert!(system.matches(&key()) && problems.is_empty() && !system.is_empty());
    assert!(IgnoreRules::default().is_empty() && !IgnoreRules::default().matches(&key()));
}

#[test]
fn pointers_and_jq_take_fields_out_of_both_sides_and_missing_ones_are_fine() {
    let (live, predicted) = (deployment(9, "cart:9"), deployment(2, "cart:2"));
    let replicas = json!({"group": "apps", "kind": "*", "jsonPointers": ["/spec/replicas", "/nothing/here", "/metadata/annotations/a~1b"]});
    let (left, right) = stripped(&rules(vec![replicas.clone()]), &live, &predicted);
    let mut expected = deployment(9, "cart:9");
    expected["spec"].as_object_mut().unwrap().remove("replicas");
    expected["metadata"]["annotations"].as_object_mut().unwrap().remove("a/b");
    assert_eq!(left, expected);
    assert_ne!(left, right);
    let image = json!({"group": "apps", "kind": "Deployment",
        "jqPathExpressions": [".spec.template.spec.containers[] | select(.name == \"app\") | .image"]});
    let (left, right) = stripped(&rules(vec![replicas, image]), &live, &predicted);
    assert_eq!(left, right);
    assert_eq!(left["spec"], json!({"template": {"spec": {"containers": [{"name": "app"}]}}}));
}

#[test]
fn several_items_of_one_list_are_taken_out_whatever_their_order() {
    let expression = json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/items/0", "/items/3"],
        "jqPathExpressions": [".items[] | select(. == 2)"]});
    let mut one = json!({"items": [1, 2, 3, 4]});
    let mut other = json!({"items": []});
    rules(vec![expression]).strip(&key(), &mut one, &mut other);
    assert_eq!((one, other), (json!({"items": [3]}), json!({"items": []})));
}

#[test]
fn fields_of_named_managers_are_taken_out_of_both_sides() {
    let mut live = deployment(9, "cart:2");
    live["metadata"]["managedFields"] = json!([
        {"manager": "hpa", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "other", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"app\"}": {".": {}, "f:name": {}, "f:image": {}}}}}}}},
    ]);
    let mut predicted = deployment(2, "cart:2");
    predicted["metadata"]["managedFields"] = json!([]);
    let by =
        |manager: &str| rules(vec![json!({"group": "apps", "kind": "Deployment", "managedFieldsManagers": [manager]})]);
    let (left, right) = stripped(&by("hpa"), &live, &predicted);
    assert_eq!(left["spec"], right["spec"]);
    assert_eq!(left["spec"].get("replicas"), None);
    let (left, right) = stripped(&by("other"), &live, &predicted);
    assert_ne!(left["spec"], right["spec"]);
    assert_eq!(left["spec"]["template"]["spec"]["containers"], json!([{"name": "app"}]));
    let (left, right) = stripped(&by("nobody"), &live, &predicted);
    assert_ne!(left["spec"], right["spec"]);
}

#[test]
fn what_can_not_be_used_is_told_with_its_place_and_the_rest_counts() {
    let given = [
        rule(json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["spec/replicas", "/spec/paused"]})),
        rule(json!({"group": "apps", "kind": "Deployment", "jqPathExpressions": [".a[", ".spec.replicas"]})),
        rule(json!({"group": "[", "kind": "Deployment", "jsonPointers": ["/a~2"]})),
        rule(json!({"group": "apps", "kind": "Deployment"})),
    ];
    let (rules, problems) =
        IgnoreRules::compile(&given, &[rule(json!({"group": "*", "kind": "", "jsonPointers": ["/a"]}))]);
    assert!(problems.iter().all(|problem| problem.reason == Reason::InvalidRule));
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "spec.ignoreDifferences[0].jsonPointers[0]: `spec/replicas` can't be used: a JSON pointer begins with `/`, as in /spec/replicas",
            "spec.ignoreDifferences[1].jqPathExpressions[0]: `.a[` can't be used: expected closing bracket, found the end",
            "spec.ignoreDifferences[2].group: `[` is no pattern: unclosed character class; missing ']'",
            "spec.ignoreDifferences[2].jsonPointers[0]: `/a~2` can't be used: `~` in `a~2` must be followed by 0 (for ~) or 1 (for /)",
            "spec.ignoreDifferences[3].jsonPointers: no field is named: set jsonPointers, jqPathExpressions or managedFieldsManagers",
            "system-wide ignoreDifferences[0].kind: it is empty: name a kind, or * for all",
        ]
    );
    let (mut live, mut predicted) = (json!({"spec": {"replicas": 1, "paused": true}}), json!({"spec": {}}));
    rules.strip(&key(), &mut live, &mut predicted);
    assert_eq!(live, json!({"spec": {}}));
}

#[test]
fn an_expression_that_produces_too_much_is_told_and_the_rest_counts() {
    let rules = rules(vec![json!({"group": "apps", "kind": "Deployment",
        "jqPathExpressions": ["[range(0; infinite)] as $x | .spec", ".spec.replicas"]})]);
    let (mut live, mut predicted) = (json!({"spec": {"replicas": 1}}), json!({"spec": {"replicas": 2}}));
    let problems = rules.strip(&key(), &mut live, &mut predicted);
    assert_eq!(
        problems,
        [Problem {
            reason: Reason::InvalidRule,
            message: "spec.ignoreDifferences[0].jqPathExpressions[0]: it produces too much on this object, so it was \
                      stopped (apps/Deployment/shop/cart); make it more selective"
                .to_owned(),
        }]
    );
    assert_eq!(live, predicted);
}

#[test]
fn respected_fields_take_their_live_value_and_the_rest_stays_as_desired() {
    let rules = rules(vec![json!({"group": "apps", "kind": "Deployment",
        "jsonPointers": ["/spec/replicas", "/status", "/metadata/labels", "/metadata/annotations/a~1b"],
        "jqPathExpressions": [".spec.template.spec.containers[] | select(.name == \"side\") | .image", ".spec.paused"]})]);
    let mut desired = deployment(2, "cart:2");
    desired["spec"]["paused"] = json!(true);
    desired["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "app", "image": "cart:2"}, {"name": "side", "image": "side:1"}]);
    let mut live = deployment(9, "cart:1");
    live["status"] = json!({"replicas": 9});
    live["metadata"]["labels"] = json!({"team": "b"});
    live["metadata"]["annotations"]["a/b"] = json!("live");
    live["spec"]["template"]["spec"]["containers"] = json!([{"name": "injected", "image": "x"}, {"name": "side", "image": "side:7"}, {"name": "app", "image": "cart:1"}]);
    let (body, problems) = rules.respect(&key(), &desired, &live);
    let mut expected = desired.clone();
    expected["spec"]["replicas"] = json!(9);
    expected["spec"].as_object_mut().unwrap().remove("paused");
    expected["metadata"]["annotations"]["a/b"] = json!("live");
    expected["metadata"]["labels"] = json!({"team": "b", "tidelock.dev/instance": "abc"});
    expected["spec"]["template"]["spec"]["containers"][1]["image"] = json!("side:7");
    assert_eq!((body, problems), (expected, vec![]));
}

#[test]
fn respected_fields_that_git_no_longer_states_are_kept_when_they_are_ours() {
    let rules =
        rules(vec![json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas", "/spec/other"]})]);
    let desired = json!({"spec": {"paused": false}});
    let live = json!({
        "metadata": {"managedFields": [{"manager": "tidelock", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
        "spec": {"replicas": 5, "other": 1, "paused": false},
    });
    assert_eq!(rules.respect(&key(), &desired, &live).0, json!({"spec": {"paused": false, "replicas": 5}}));
}

#[test]
fn the_fingerprint_moves_with_the_rules() {
    let one = rules(vec![json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/a"]})]);
    let other = rules(vec![json!({"group": "apps", "kind": "Deployment", "jsonPointers": ["/b"]})]);
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert_eq!(IgnoreRules::default().fingerprint(), IgnoreRules::compile(&[], &[]).0.fingerprint());
}

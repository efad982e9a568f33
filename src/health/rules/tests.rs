use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::customizations::parse;
use crate::model::HealthStatus;

const CONTEXT: AssessContext = AssessContext { now: Timestamp::UNIX_EPOCH, has_status_subresource: None };

fn cart() -> GroupKind {
    GroupKind::new("shop.example", "Cart")
}

fn object(instance: &str) -> Value {
    json!({
        "apiVersion": "shop.example/v1", "kind": "Cart",
        "metadata": {"name": "c", "generation": 2, "labels": {"tidelock.dev/instance": instance}},
        "status": {"observedGeneration": 1, "phase": "Ready"},
    })
}

fn fleet(entries: &[(&str, &str)]) -> FleetRules {
    let data: BTreeMap<String, String> =
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (customizations, problems) = parse(&data);
    assert_eq!(problems, vec![]);
    FleetRules::compile(&customizations).0
}

fn own(current: &str) -> ApplicationRules {
    let rule = HealthCheckExpression {
        api_version: "shop.example/v1".to_owned(),
        kind: "Cart".to_owned(),
        current: current.to_owned(),
        ..HealthCheckExpression::default()
    };
    let rules = ApplicationRules::compile(&[rule]);
    assert_eq!(rules.problems(), Vec::<String>::new());
    rules
}

const SCRIPT: (&str, &str) =
    ("resource.customizations.health.shop.example_Cart", "return {status = 'Degraded', message = 'by script'}");
const EXPRESSION: (&str, &str) =
    ("resource.health.cel.shop.example_Cart", "current: 'false'\nsuspended: status.phase == 'Ready'");

fn status(rules: &Rules, instance: &str) -> HealthStatus {
    rules.assess(&cart(), &object(instance), &CONTEXT).unwrap().status
}

#[test]
fn the_applications_rule_comes_before_the_fleets_expression_its_script_and_the_built_in_rules() {
    let rules = Rules::default();
    assert_eq!(status(&rules, "a"), HealthStatus::Progressing);
    drop(rules.set_fleet(fleet(&[SCRIPT])));
    assert_eq!(status(&rules, "a"), HealthStatus::Degraded);
    drop(rules.set_fleet(fleet(&[SCRIPT, EXPRESSION])));
    assert_eq!(status(&rules, "a"), HealthStatus::Suspended);
    rules.set_application(InstanceId::from_label("a"), Some(own("status.phase == 'Ready'")));
    assert_eq!(status(&rules, "a"), HealthStatus::Healthy);
    assert_eq!(status(&rules, "b"), HealthStatus::Suspended);
    rules.set_application(InstanceId::from_label("a"), None);
    assert_eq!(status(&rules, "a"), HealthStatus::Suspended);
}

#[test]
fn an_object_that_is_being_deleted_is_progressing_before_any_rule() {
    let rules = Rules::default();
    rules.set_application(InstanceId::from_label("a"), Some(own("true")));
    let mut leaving = object("a");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let health = rules.assess(&cart(), &leaving, &CONTEXT);
    assert_eq!(health, Some(Health::new(HealthStatus::Progressing, "Pending deletion")));
}

#[test]
fn a_script_without_a_verdict_leaves_it_to_the_built_in_rules() {
    let rules = Rules::default();
    drop(rules.set_fleet(fleet(&[("resource.customizations.health.shop.example_Cart", "return nil")])));
    assert_eq!(rules.assess(&cart(), &object("a"), &CONTEXT), assess(&object("a"), &CONTEXT));
}

#[test]
fn a_rule_gives_health_to_a_kind_that_has_none() {
    let kind = GroupKind::new("", "ConfigMap");
    let rules = Rules::default();
    assert!(!rules.has_health(&kind));
    drop(rules.set_fleet(fleet(&[("resource.customizations.health.ConfigMap", "return {status = 'Healthy'}")])));
    assert!(rules.has_health(&kind));
    drop(rules.set_fleet(FleetRules::default()));
    assert!(!rules.has_health(&kind));
    let rule = HealthCheckExpression {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        current: "has(data.ready)".to_owned(),
        ..HealthCheckExpression::default()
    };
    rules.set_application(InstanceId::from_label("a"), Some(ApplicationRules::compile(&[rule])));
    assert!(rules.has_health(&kind));
}

#[test]
fn only_kinds_whose_rule_has_changed_are_assessed_again() {
    let (pod, job) = (GroupKind::new("", "Pod"), GroupKind::new("batch", "Job"));
    let rules = Rules::default();
    let again = rules.set_fleet(fleet(&[SCRIPT]));
    assert!(again(&cart()) && !again(&pod));
    let again = rules.set_fleet(fleet(&[SCRIPT]));
    assert!(!again(&cart()) && !again(&pod));
    let everything = "'*':\n  health.lua: return nil\n";
    let again = rules.set_fleet(fleet(&[SCRIPT, ("resource.customizations", everything)]));
    assert!(!again(&cart()) && again(&pod) && again(&job));

    let instance = InstanceId::from_label("a");
    let cart_only = BTreeSet::from([cart()]);
    assert_eq!(rules.set_application(instance.clone(), Some(own("true"))), cart_only);
    assert_eq!(rules.set_application(instance.clone(), Some(own("true"))), BTreeSet::new());
    assert_eq!(rules.set_application(instance.clone(), Some(own("false"))), cart_only);
    assert_eq!(rules.set_application(instance.clone(), None), cart_only);
    assert_eq!(rules.set_application(instance, None), BTreeSet::new());
}

#[test]
fn a_rule_that_does_not_compile_is_reported_with_its_key_and_the_others_hold() {
    let data: BTreeMap<String, String> = [
        ("resource.customizations.health.Pod", "retrun"),
        ("resource.health.cel.batch_Job", "current: 'a =='"),
        SCRIPT,
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let (compiled, problems) = FleetRules::compile(&parse(&data).0);
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["resource.health.cel.batch_Job", "resource.customizations.health.Pod"], "{problems:?}");
    let rules = Rules::default();
    drop(rules.set_fleet(compiled));
    assert_eq!(status(&rules, "a"), HealthStatus::Degraded);
    let pod = rules.assess(&GroupKind::new("", "Pod"), &json!({"apiVersion": "v1", "kind": "Pod"}), &CONTEXT).unwrap();
    assert_eq!(pod.status, HealthStatus::Unknown);
    assert!(pod.message.starts_with("resource.customizations.health.Pod: health.lua:1: "), "{}", pod.message);
}

#[test]
fn two_rules_of_an_application_for_one_kind_are_reported() {
    let rule = |current: &str| HealthCheckExpression {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        current: current.to_owned(),
        ..HealthCheckExpression::default()
    };
    let compiled = ApplicationRules::compile(&[rule("true"), rule("false"), rule("(")]);
    let rules = Rules::default();
    let instance = InstanceId::from_label("a");
    let kinds = rules.set_application(instance.clone(), Some(compiled));
    assert_eq!(kinds, BTreeSet::from([GroupKind::new("apps", "Deployment")]));
    let problems = rules.problems_of(&instance);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0], "spec.healthCheckExprs has more than one rule for apps/Deployment; the first counts");
    assert!(
        problems[1].starts_with("spec.healthCheckExprs, apps/Deployment: `(` is no CEL expression: "),
        "{problems:?}"
    );
    let deployment =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"labels": {"tidelock.dev/instance": "a"}}});
    let health = rules.assess(&GroupKind::new("apps", "Deployment"), &deployment, &CONTEXT);
    assert_eq!(health, Some(Health::healthy()));
}

//! The table of dialects: at least one case for each row.

mod configuration;
mod data;
mod delivery;
mod network;
mod platform;

use super::super::table::{row_of, rows};
use super::*;

/// Name, group with version and kind, spec and status (as YAML), verdict, message.
type Case = (&'static str, &'static str, &'static str, &'static str, HealthStatus, &'static str);

fn all_cases() -> impl Iterator<Item = &'static Case> {
    [delivery::CASES, data::CASES, network::CASES, platform::CASES, configuration::CASES].into_iter().flatten()
}

fn names_of(case: &'static Case) -> (&'static str, &'static str, &'static str) {
    let (api_version, kind) = case.1.split_once(' ').unwrap();
    let (group, _) = api_version.split_once('/').unwrap();
    (api_version, group, kind)
}

#[test]
fn each_dialect_is_read_as_it_is_meant() {
    let read = |text: &str| serde_yaml::from_str::<Value>(text).unwrap();
    for case in all_cases() {
        let (name, _, spec, status, wanted, message) = case;
        let (api_version, _, kind) = names_of(case);
        let object = object(api_version, kind, &read(spec), &read(status));
        assert_eq!(verdict(&object), Some((*wanted, (*message).to_owned())), "{kind}: {name}");
    }
}

#[test]
fn every_row_has_a_case_and_no_row_hides_another() {
    for row in rows() {
        let reaches = |case| {
            let (_, group, kind) = names_of(case);
            std::ptr::eq(row_of(group, kind), row)
        };
        assert!(all_cases().any(reaches), "no case reaches the row of {} {}", row.groups, row.kinds);
    }
}

#[test]
fn patterns_are_names_with_gaps_and_a_kind_without_a_row_is_plain() {
    for (group, kind, has_row) in [
        ("s3.aws.upbound.io", "Bucket", true),
        ("upbound.io", "Bucket", false),
        ("numaflow.numaproj.io", "Anything", true),
        ("rollouts.kruise.io", "Rollout", true),
        ("rollouts.kruise.io", "RolloutHistory", false),
        ("traefik.io", "MiddlewareTCP", true),
        ("example.com", "Rollout", false),
    ] {
        assert_eq!(!row_of(group, kind).groups.is_empty(), has_row, "{group} {kind}");
    }
}

#[test]
fn a_table_of_dialects_does_not_overrule_deletion_staleness_or_a_hold() {
    let schedule = |metadata: Value, spec: Value, status: Value| json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "CronWorkflow", "metadata": metadata, "spec": spec, "status": status});
    check(&[
        (
            "deleted",
            schedule(json!({"deletionTimestamp": NOW}), json!({}), Value::Null),
            HealthStatus::Progressing,
            "Pending deletion",
        ),
        (
            "stale",
            schedule(json!({"generation": 2}), json!({}), json!({"observedGeneration": 1})),
            HealthStatus::Progressing,
            "its controller has observed generation 1, not yet 2",
        ),
        (
            "held",
            schedule(json!({}), json!({"suspend": true}), Value::Null),
            HealthStatus::Suspended,
            "is held by spec.suspend",
        ),
    ]);
}

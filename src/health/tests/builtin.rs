//! The other built-in kinds.

use HealthStatus::{Degraded, Healthy, Progressing, Suspended, Unknown};

use super::*;

fn with_conditions(api_version: &str, kind: &str, conditions: Value) -> Value {
    let mut status = json!({"observedGeneration": 2});
    status["conditions"] = conditions;
    object(api_version, kind, &json!({}), &status)
}

#[test]
fn job_is_healthy_only_when_complete_and_reads_the_value_of_conditions() {
    let job = |spec: Value, status: Value| object("batch/v1", "Job", &spec, &status);
    let condition = |kind: &str, value: &str| json!({"conditions": [{"type": kind, "status": value, "message": "sentence"}], "active": 1, "failed": 2});
    check(&[
        ("complete", job(json!({}), condition("Complete", "True")), Healthy, ""),
        ("failed", job(json!({}), condition("Failed", "True")), Degraded, "sentence"),
        ("about to fail", job(json!({}), condition("FailureTarget", "True")), Degraded, "sentence"),
        ("suspended", job(json!({"suspend": true}), json!({})), Suspended, "the job is suspended (spec.suspend)"),
        (
            "resumed",
            job(json!({"completions": 3}), condition("Suspended", "False")),
            Progressing,
            "0 of 3 completions, 1 active, 2 failed",
        ),
        ("not failed", job(json!({}), condition("Failed", "False")), Progressing, "0 succeeded, 1 active, 2 failed"),
    ]);
}

#[test]
fn cron_job_is_healthy_whatever_became_of_its_last_run() {
    let status = json!({"lastScheduleTime": NOW, "conditions": [{"type": "Failed", "status": "True"}]});
    check(&[
        ("failed run", object("batch/v1", "CronJob", &json!({}), &status), Healthy, ""),
        (
            "suspended",
            object("batch/v1", "CronJob", &json!({"suspend": true}), &status),
            Suspended,
            "no run is scheduled (spec.suspend)",
        ),
    ]);
}

#[test]
fn services_and_ingresses_need_the_address_they_ask_for() {
    let address = json!({"loadBalancer": {"ingress": [{"hostname": "a"}]}});
    let class = json!({"ingressClassName": "alb"});
    check(&[
        ("cluster IP", object("v1", "Service", &json!({"type": "ClusterIP"}), &json!({})), Healthy, ""),
        (
            "no address",
            object("v1", "Service", &json!({"type": "LoadBalancer"}), &json!({"loadBalancer": {}})),
            Progressing,
            "waits for the address of its load balancer (status.loadBalancer.ingress is empty)",
        ),
        ("address", object("v1", "Service", &json!({"type": "LoadBalancer"}), &address), Healthy, ""),
        ("ingress", object("networking.k8s.io/v1", "Ingress", &class, &address), Healthy, ""),
        (
            "ingress without address",
            object("networking.k8s.io/v1", "Ingress", &class, &json!({})),
            Progressing,
            "waits for the controller of class `alb` to publish an address (status.loadBalancer.ingress is empty)",
        ),
    ]);
}

#[test]
fn claims_and_volumes_are_read_by_phase() {
    let claim = |spec: Value, phase: &str| object("v1", "PersistentVolumeClaim", &spec, &json!({"phase": phase}));
    let volume = |status: Value| object("v1", "PersistentVolume", &json!({}), &status);
    check(&[
        ("bound", claim(json!({}), "Bound"), Healthy, ""),
        (
            "lost",
            claim(json!({"volumeName": "pv1"}), "Lost"),
            Degraded,
            "its volume `pv1` is lost and the data with it",
        ),
        (
            "pending",
            claim(json!({"storageClassName": "gp3"}), "Pending"),
            Progressing,
            "is not bound to a volume of class `gp3` yet; a class that binds on first use waits for a pod that uses the claim",
        ),
        (
            "pending on a chosen volume",
            claim(json!({"volumeName": "pv1"}), "Pending"),
            Progressing,
            "is not bound to a volume of the default class yet",
        ),
        ("odd", claim(json!({}), "Odd"), Unknown, "phase is Odd"),
        ("available", volume(json!({"phase": "Available"})), Healthy, ""),
        (
            "released",
            volume(json!({"phase": "Released"})),
            Healthy,
            "its claim is gone; it is not reused before it is reclaimed",
        ),
        ("failed", volume(json!({"phase": "Failed", "message": "no rights"})), Degraded, "no rights"),
        ("new", volume(json!({})), Progressing, "is not available yet"),
    ]);
    assert!(waits_for_consumer(&claim(json!({}), "Pending")));
    assert!(!waits_for_consumer(&claim(json!({"volumeName": "pv1"}), "Pending")));
    assert!(!waits_for_consumer(&claim(json!({}), "Bound")));
    let mut chosen = claim(json!({}), "Pending");
    chosen["metadata"]["annotations"] = json!({"volume.kubernetes.io/selected-node": "node-1"});
    assert!(!waits_for_consumer(&chosen));
}

#[test]
fn autoscaler_fails_without_metrics_and_reads_v1_conditions_from_their_annotation() {
    let hpa = |conditions: Value| with_conditions("autoscaling/v2", "HorizontalPodAutoscaler", conditions);
    let mut v1 = object("autoscaling/v1", "HorizontalPodAutoscaler", &json!({}), &json!({"currentReplicas": 1}));
    check(&[
        ("able", hpa(json!([{"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"}])), Healthy, ""),
        (
            "no metrics",
            hpa(json!([{"type": "AbleToScale", "status": "True"}, {"type": "ScalingActive",
         "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics"}])),
            Degraded,
            "no metrics",
        ),
        (
            "a failure that is over",
            hpa(json!([{"type": "AbleToScale", "status": "True", "reason": "FailedGetScale"}])),
            Healthy,
            "",
        ),
        (
            "scaled to zero",
            hpa(json!([{"type": "AbleToScale", "status": "True"},
         {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}])),
            Healthy,
            "",
        ),
        ("new", hpa(json!([])), Progressing, "condition AbleToScale is not reported yet"),
        ("new v1", v1.clone(), Progressing, "condition AbleToScale is not reported yet"),
    ]);
    v1["metadata"]["annotations"] = json!({"autoscaling.alpha.kubernetes.io/conditions":
        r#"[{"type":"AbleToScale","status":"True"},{"type":"ScalingActive","status":"False","reason":"InvalidSelector","message":"bad"}]"#});
    check(&[("v1", v1, Degraded, "bad")]);
}

#[test]
fn disruption_budget_is_healthy_once_observed() {
    let budget = |reason: &str, value: &str, observed: i64| {
        with_conditions(
            "policy/v1",
            "PodDisruptionBudget",
            json!([
                {"type": "DisruptionAllowed", "status": value, "reason": reason, "observedGeneration": observed},
            ]),
        )
    };
    check(&[
        ("allows none", budget("InsufficientPods", "False", 2), Healthy, ""),
        ("can't count", budget("SyncFailed", "False", 2), Degraded, "DisruptionAllowed is False: SyncFailed"),
        (
            "stale condition",
            budget("SufficientPods", "True", 1),
            Progressing,
            "condition DisruptionAllowed is about generation 1, not yet 2",
        ),
        (
            "unseen",
            object("policy/v1", "PodDisruptionBudget", &json!({}), &Value::Null),
            Progressing,
            "its controller has not observed it yet",
        ),
    ]);
}

#[test]
fn definitions_and_api_services_are_healthy_when_served() {
    let definition =
        |conditions: Value| with_conditions("apiextensions.k8s.io/v1", "CustomResourceDefinition", conditions);
    let service = |conditions: Value| with_conditions("apiregistration.k8s.io/v1", "APIService", conditions);
    let accepted = json!({"type": "NamesAccepted", "status": "True"});
    let established = json!({"type": "Established", "status": "True"});
    check(&[
        ("served", definition(json!([accepted, established])), Healthy, ""),
        (
            "names taken",
            definition(json!([established, {"type": "NamesAccepted", "status": "False",
         "message": "`things` is in use"}])),
            Degraded,
            "`things` is in use",
        ),
        (
            "bad schema",
            definition(json!([accepted, established, {"type": "NonStructuralSchema", "status": "True",
         "message": "spec.x: type is missing"}])),
            Degraded,
            "spec.x: type is missing",
        ),
        (
            "installing",
            definition(json!([accepted, {"type": "Established", "status": "False", "reason": "Installing",
         "message": "the initial names have been accepted"}])),
            Progressing,
            "the initial names have been accepted",
        ),
        ("new", definition(json!([])), Progressing, "condition Established is not reported yet"),
        (
            "going",
            definition(json!([accepted, established, {"type": "Terminating", "status": "True",
         "message": "deletes instances"}])),
            Progressing,
            "deletes instances",
        ),
        ("reached", service(json!([{"type": "Available", "status": "True"}])), Healthy, ""),
        (
            "not reached",
            service(json!([{"type": "Available", "status": "False", "message": "no endpoints"}])),
            Progressing,
            "no endpoints",
        ),
        ("unknown", service(json!([])), Progressing, "condition Available is not reported yet"),
    ]);
}

#[test]
fn namespace_is_read_by_phase() {
    let namespace = |status: Value| object("v1", "Namespace", &json!({}), &status);
    check(&[
        ("active", namespace(json!({"phase": "Active"})), Healthy, ""),
        ("new", namespace(json!({})), Progressing, "has no phase yet"),
        (
            "going",
            namespace(json!({"phase": "Terminating", "conditions": [{"type": "NamespaceFinalizersRemaining",
         "status": "True", "message": "some content has finalizers remaining: a/b in 1 resource instances"}]})),
            Progressing,
            "some content has finalizers remaining: a/b in 1 resource instances",
        ),
    ]);
}

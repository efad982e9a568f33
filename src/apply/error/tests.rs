//! Refusals as real API servers word them.

use serde_json::{Value, json};

use super::*;

fn answer(code: u16, body: &Value) -> Answer {
    Answer { status: code, retry_after: None, body: body.to_string().into() }
}

fn status(code: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "details": details, "code": code,
    });
    answer(code, &body)
}

fn deployment(answer: &Answer) -> ApplyError {
    ApplyError::refused(&GroupKind::new("apps", "Deployment"), answer)
}

#[test]
fn refusals_have_their_reasons() {
    let none = json!({});
    let table = [
        (
            status(
                422,
                "Invalid",
                "deployments.apps \"cart\" is forbidden: ValidatingAdmissionPolicy 'replicas.example.com' with binding 'replicas-binding.example.com' denied request: failed expression: object.spec.replicas <= 5",
                &none,
            ),
            Reason::AdmissionDenied,
            false,
        ),
        (
            status(
                403,
                "",
                "admission webhook \"validation.gatekeeper.sh\" denied the request: [owner] you must provide labels: {\"owner\"}",
                &none,
            ),
            Reason::AdmissionDenied,
            false,
        ),
        (
            status(
                403,
                "Forbidden",
                "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
                &json!({"name": "x", "kind": "pods"}),
            ),
            Reason::AdmissionDenied,
            false,
        ),
        (
            status(
                403,
                "Forbidden",
                "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
                &none,
            ),
            Reason::AdmissionDenied,
            false,
        ),
        (
            status(
                403,
                "Forbidden",
                "deployments.apps \"cart\" is forbidden: User \"system:serviceaccount:a:b\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"",
                &json!({"name": "cart", "group": "apps", "kind": "deployments"}),
            ),
            Reason::Forbidden,
            false,
        ),
        (
            status(
                403,
                "Forbidden",
                "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: user \"a\" (groups=[\"b\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"*\"]}",
                &none,
            ),
            Reason::Forbidden,
            false,
        ),
        (status(401, "Unauthorized", "Unauthorized", &none), Reason::Forbidden, false),
        (
            status(
                403,
                "Forbidden",
                "configmaps \"x\" is forbidden: unable to create new content in namespace shop because it is being terminated",
                &json!({"name": "x", "kind": "configmaps", "causes": [{"reason": "NamespaceTerminating", "message": "namespace shop is being terminated", "field": "metadata.namespace"}]}),
            ),
            Reason::NamespaceTerminating,
            false,
        ),
        (
            status(404, "NotFound", "namespaces \"shop\" not found", &json!({"name": "shop", "kind": "namespaces"})),
            Reason::NamespaceNotFound,
            false,
        ),
        (
            status(404, "NotFound", "the server could not find the requested resource", &none),
            Reason::KindNotFound,
            false,
        ),
        (
            status(
                422,
                "Invalid",
                "Deployment.apps \"cart\" is invalid: spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable",
                &json!({"name": "cart", "group": "apps", "kind": "Deployment", "causes": [{"reason": "FieldValueInvalid", "message": "Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable", "field": "spec.selector"}]}),
            ),
            Reason::ImmutableField,
            false,
        ),
        (
            status(
                422,
                "Invalid",
                "StatefulSet.apps \"db\" is invalid: spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy' are forbidden",
                &json!({"causes": [{"reason": "FieldValueForbidden", "message": "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy' are forbidden", "field": "spec"}]}),
            ),
            Reason::ImmutableField,
            false,
        ),
        (
            status(
                422,
                "Invalid",
                "Deployment.apps \"cart\" is invalid: spec.template.spec.containers[0].image: Required value",
                &json!({"causes": [{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template.spec.containers[0].image"}]}),
            ),
            Reason::InvalidObject,
            false,
        ),
        (
            status(
                400,
                "BadRequest",
                "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.replica\"",
                &none,
            ),
            Reason::InvalidObject,
            false,
        ),
        (
            status(
                500,
                "",
                "failed to create typed patch object (shop/cart; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema",
                &none,
            ),
            Reason::InvalidObject,
            false,
        ),
        (
            status(
                500,
                "",
                "failed to convert new object (shop/x; /v1, Kind=Pod) to proper version: unable to convert unstructured object to /v1, Kind=Pod: quantities must match the regular expression",
                &none,
            ),
            Reason::InvalidObject,
            false,
        ),
        (
            status(
                500,
                "",
                "failed to convert new object (shop/x; example.org/v1, Kind=Widget) to proper version: conversion webhook for example.org/v1, Kind=Widget failed: Post \"https://w.x.svc:443/\": EOF",
                &none,
            ),
            Reason::ApplyFailed,
            true,
        ),
        (
            status(
                500,
                "InternalError",
                "Internal error occurred: failed calling webhook \"w.example.org\": failed to call webhook: Post \"https://w.x.svc:443/\": context deadline exceeded",
                &none,
            ),
            Reason::ApplyFailed,
            true,
        ),
        (
            status(409, "Conflict", "Operation cannot be fulfilled: the object has been modified", &none),
            Reason::ApplyFailed,
            true,
        ),
        (status(429, "TooManyRequests", "too many requests, please try again later", &none), Reason::Throttled, true),
        (status(503, "ServiceUnavailable", "apiserver not ready", &none), Reason::ClusterUnreachable, true),
        (answer(502, &json!("<html>bad gateway</html>")), Reason::ClusterUnreachable, true),
        (status(418, "", "", &none), Reason::ApplyFailed, false),
    ];
    for (answer, reason, retryable) in table {
        let error = deployment(&answer);
        assert_eq!((error.reason, error.retryable), (reason, retryable), "{error}");
    }
}

#[test]
fn the_server_is_quoted_and_its_wait_is_taken_over() {
    let quoted = deployment(&status(429, "TooManyRequests", "slow down", &json!({"retryAfterSeconds": 2})));
    assert_eq!(
        quoted,
        ApplyError {
            reason: Reason::Throttled,
            message: "slow down".to_owned(),
            retry_after: Some(Duration::from_secs(2)),
            retryable: true,
        }
    );
    let header = Answer { retry_after: Some(Duration::from_secs(7)), ..status(429, "", "slow down", &json!({})) };
    assert_eq!(deployment(&header).retry_after, Some(Duration::from_secs(7)));
}

#[test]
fn a_long_explanation_is_cut() {
    let error = deployment(&status(422, "Invalid", &"x".repeat(5000), &json!({})));
    assert_eq!(error.message.len(), MESSAGE_LIMIT);
}

#[test]
fn no_word_of_the_server_about_a_secret_is_repeated() {
    let secret = GroupKind::new("", "Secret");
    let canary = "c4n4ry-hunter2";
    let refusals = [
        status(
            422,
            "Invalid",
            &format!("Secret \"db\" is invalid: data[password]: Invalid value: \"{canary}\": bad"),
            &json!({"name": "db", "kind": "Secret", "causes": [{"reason": "FieldValueInvalid", "message": format!("Invalid value: \"{canary}\""), "field": "data[password]"}]}),
        ),
        status(
            400,
            "BadRequest",
            &format!("Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data: {canary}"),
            &json!({}),
        ),
        status(
            403,
            "",
            &format!("admission webhook \"scan.example.org\" denied the request: found {canary}"),
            &json!({}),
        ),
        status(
            422,
            "Invalid",
            &format!(
                "secrets \"db\" is forbidden: ValidatingAdmissionPolicy 'no-weak.example.com' with binding 'b' denied request: {canary}"
            ),
            &json!({}),
        ),
        answer(500, &json!(canary)),
    ];
    for refusal in &refusals {
        let error = ApplyError::refused(&secret, refusal);
        assert!(!error.message.contains(canary), "{error}");
        assert!(!format!("{error:?}").contains(canary));
    }
    assert_eq!(
        ApplyError::refused(&secret, &refusals[0]).message,
        "the API server refused this Secret (HTTP 422, InvalidObject) for data[password]; its explanation is withheld \
         because it may hold values of the Secret"
    );
    assert!(ApplyError::refused(&secret, &refusals[2]).message.contains("by admission webhook \"scan.example.org\""));
    assert!(
        ApplyError::refused(&secret, &refusals[3]).message.contains("ValidatingAdmissionPolicy 'no-weak.example.com'")
    );
}

#[test]
fn a_lack_of_rights_names_verb_resource_and_namespace_and_whose_rights_they_are_also_for_a_secret() {
    let said = "secrets \"db\" is forbidden: User \"system:serviceaccount:shop:deployer\" cannot patch resource \"secrets\" in API group \
                \"\" in the namespace \"shop\"";
    let refused =
        ApplyError::refused(&GroupKind::new("", "Secret"), &status(403, "Forbidden", said, &json!({"name": "db"})));
    assert_eq!((refused.reason, refused.message.as_str()), (Reason::Forbidden, said));
    assert_eq!(refused.clone().asked_by(&Identity::Own), refused);
    let account = Identity::ServiceAccount(crate::model::ServiceAccount::new("shop", "deployer"));
    assert_eq!(
        refused.asked_by(&account).message,
        format!(
            "{said}; asked as the ServiceAccount `shop/deployer`, which the project names: bind a Role that allows it to that account"
        )
    );
    let of_admission =
        deployment(&status(403, "Forbidden", "pods \"x\" is forbidden: exceeded quota: small", &json!({})));
    assert_eq!(of_admission.clone().asked_by(&account), of_admission, "no Role helps against a quota");
}

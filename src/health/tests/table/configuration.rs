//! Configuration that has no status: cases of the table.

use super::Case;
use crate::model::HealthStatus::{Degraded, Healthy, Progressing};

pub const CASES: &[Case] = &[
    ("a route of a mesh", "networking.istio.io/v1 VirtualService", "{}", "null", Healthy, ""),
    ("what is scraped", "monitoring.coreos.com/v1 ServiceMonitor", "{}", "null", Healthy, ""),
    ("a template", "argoproj.io/v1alpha1 WorkflowTemplate", "{}", "null", Healthy, ""),
    ("a pipeline", "tekton.dev/v1 Pipeline", "{}", "null", Healthy, ""),
    ("an entry", "traefik.io/v1alpha1 IngressRoute", "{}", "null", Healthy, ""),
    ("what is injected", "opentelemetry.io/v1alpha1 Instrumentation", "{}", "null", Healthy, ""),
    ("where secrets are", "secrets-store.csi.x-k8s.io/v1 SecretProviderClass", "{}", "null", Healthy, ""),
    (
        "violations of a rule by others",
        "constraints.gatekeeper.sh/v1beta1 K8sRequiredLabels",
        "{}",
        "{totalViolations: 4, violations: [{message: no label}], byPod: [{enforced: true, observedGeneration: 2}]}",
        Healthy,
        "",
    ),
    (
        "a rule that a pod has not seen",
        "constraints.gatekeeper.sh/v1beta1 K8sRequiredLabels",
        "{}",
        "{byPod: [{enforced: true, observedGeneration: 2}, {enforced: true, observedGeneration: 1}]}",
        Progressing,
        "an item of byPod is about generation 1, not yet 2",
    ),
    (
        "a template that is in force",
        "templates.gatekeeper.sh/v1 ConstraintTemplate",
        "{}",
        "{created: true, byPod: [{id: a, observedGeneration: 2}]}",
        Healthy,
        "",
    ),
    (
        "a template that is not yet",
        "templates.gatekeeper.sh/v1 ConstraintTemplate",
        "{}",
        "{created: false, byPod: [{id: a}]}",
        Progressing,
        "created is `false`",
    ),
    (
        "a template that does not compile",
        "templates.gatekeeper.sh/v1 ConstraintTemplate",
        "{}",
        "{created: true, byPod: [{id: a, errors: [{code: ingest_error, message: bad rego}]}]}",
        Degraded,
        "an item of byPod has errors",
    ),
    (
        "a template that nobody has seen",
        "templates.gatekeeper.sh/v1 ConstraintTemplate",
        "{}",
        "null",
        Progressing,
        "byPod is not set",
    ),
    ("a grant", "gateway.networking.k8s.io/v1beta1 ReferenceGrant", "{}", "null", Healthy, ""),
];

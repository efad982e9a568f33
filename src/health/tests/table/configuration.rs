//! Configuration that has no status: cases of the table.

use super::Case;
use crate::model::HealthStatus::{Healthy, Progressing};

pub const CASES: &[Case] = &[
    ("a route of a mesh", "networking.istio.io/v1 VirtualService", "{}", "null", Healthy, ""),
    ("what is scraped", "monitoring.coreos.com/v1 ServiceMonitor", "{}", "null", Healthy, ""),
    ("a template", "argoproj.io/v1alpha1 WorkflowTemplate", "{}", "null", Healthy, ""),
    ("a pipeline", "tekton.dev/v1 Pipeline", "{}", "null", Healthy, ""),
    ("an entry", "traefik.io/v1alpha1 IngressRoute", "{}", "null", Healthy, ""),
    ("what is injected", "opentelemetry.io/v1alpha1 Instrumentation", "{}", "null", Healthy, ""),
    ("where secrets are", "secrets-store.csi.x-k8s.io/v1 SecretProviderClass", "{}", "null", Healthy, ""),
    (
        "violations of a rule",
        "constraints.gatekeeper.sh/v1beta1 K8sRequiredLabels",
        "{}",
        "{totalViolations: 4, byPod: [{enforced: true}]}",
        Healthy,
        "",
    ),
    (
        "a template that is in force",
        "templates.gatekeeper.sh/v1 ConstraintTemplate",
        "{}",
        "{created: true}",
        Healthy,
        "",
    ),
    (
        "a template that is not yet",
        "templates.gatekeeper.sh/v1 ConstraintTemplate",
        "{}",
        "{byPod: [{id: a}]}",
        Progressing,
        "its status says nothing that is known to mean health",
    ),
    ("a grant", "gateway.networking.k8s.io/v1beta1 ReferenceGrant", "{}", "null", Healthy, ""),
];

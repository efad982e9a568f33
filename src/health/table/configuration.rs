//! Kinds that only hold configuration for others: their status, if the definition has one, is written rarely or never,
//! so that waiting for it would be waiting for ever. Where it is written, it is read.

use super::Test::{Is, ItemHas, ItemIsStale, Nothing};
use super::{Clause, Polarity, Row, Silence};
use crate::model::HealthStatus::{Degraded, Progressing};

/// Families of them.
pub const ROWS: &[Row] = &[
    // Istio writes a status only where that is switched on, and then only trouble.
    Row {
        groups: "networking.istio.io|security.istio.io|telemetry.istio.io|extensions.istio.io",
        roles: &[("Reconciled", Polarity::Neutral)],
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // What Prometheus reads. Newer versions tell per reader whether it is accepted.
    Row {
        groups: "monitoring.coreos.com",
        kinds: "ServiceMonitor|PodMonitor|Probe|ScrapeConfig|PrometheusRule|AlertmanagerConfig",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row {
        groups: "argoproj.io",
        kinds: "AppProject|AnalysisTemplate|ClusterAnalysisTemplate|WorkflowTemplate|ClusterWorkflowTemplate|\
                WorkflowEventBinding|WorkflowArtifactGCTask",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row {
        groups: "tekton.dev|triggers.tekton.dev",
        kinds: "Task|ClusterTask|Pipeline|StepAction|Trigger|TriggerBinding|ClusterTriggerBinding|TriggerTemplate|\
                Interceptor|ClusterInterceptor",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row {
        groups: "traefik.io|traefik.containo.us|crd.projectcalico.org|projectcalico.org|cilium.io|policy.linkerd.io|\
                 linkerd.io|configuration.konghq.com|k8s.cni.cncf.io|cloud.google.com|networking.gke.io",
        kinds: "IngressRoute*|Middleware*|TLSOption|TLSStore|TraefikService|ServersTransport*|*NetworkPolicy|\
                GlobalNetworkSet|NetworkSet|IPPool|HostEndpoint|*Configuration|Cilium*Policy|CiliumLoadBalancerIPPool|\
                Server|ServerAuthorization|AuthorizationPolicy|MeshTLSAuthentication|NetworkAuthentication|\
                ServiceProfile|KongPlugin|KongIngress|NetworkAttachmentDefinition|BackendConfig|FrontendConfig",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row { groups: "opentelemetry.io", kinds: "Instrumentation", silence: Silence::IsHealthy, ..Row::PLAIN },
    Row {
        groups: "secrets-store.csi.x-k8s.io|wgpolicyk8s.io|reports.kyverno.io|config.gatekeeper.sh",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // Each pod of Gatekeeper reports for itself. Violations are of other objects.
    Row {
        groups: "templates.gatekeeper.sh|constraints.gatekeeper.sh|mutations.gatekeeper.sh|expansion.gatekeeper.sh",
        clauses: &[
            Clause { when: &[ItemHas("/status/byPod", "errors")], then: Degraded },
            Clause { when: &[ItemIsStale("/status/byPod", "observedGeneration")], then: Progressing },
            Clause { when: &[Nothing("/status/byPod")], then: Progressing },
            Clause { when: &[Is("/status/created", &["false"])], then: Progressing },
        ],
        ignored: &["/status/violations"],
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row { groups: "gateway.networking.k8s.io", kinds: "ReferenceGrant", silence: Silence::IsHealthy, ..Row::PLAIN },
];

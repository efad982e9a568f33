//! Platforms: Crossplane, Knative, Karpenter, KEDA, Cluster API, OpenShift, Config Connector.

use super::Row;
use super::Test::{Below, Condition, Nothing, Positive, Something};
use super::{Clause, Polarity, Silence};
use crate::health::conditions::Truth;
use crate::health::words::Meaning;
use crate::model::HealthStatus::{Degraded, Healthy, Progressing, Suspended};

/// What is special about each.
pub const ROWS: &[Row] = &[
    // What others are made from, and what providers read: no controller writes a status.
    Row {
        groups: "*.crossplane.io|*.upbound.io|crossplane.io",
        kinds: "*ProviderConfig|*ProviderConfigUsage|StoreConfig|Composition|CompositionRevision|ControllerConfig|\
                DeploymentRuntimeConfig|EnvironmentConfig|Function*Input",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // What is ready is the cloud's; what is to come always tells of it.
    Row { groups: "*.upbound.io", awaited: &["Ready"], ..Row::PLAIN },
    // Knative's convention: Unknown is work, False is failure that needs a change.
    Row {
        groups: "serving.knative.dev|eventing.knative.dev|messaging.knative.dev|sources.knative.dev|flows.knative.dev",
        roles: &[("Ready", Polarity::Verdict)],
        ..Row::PLAIN
    },
    // While a node comes up, conditions are Unknown; False is a fault. A node that is being replaced serves on, but
    // nothing should wait for it.
    Row {
        groups: "karpenter.sh",
        kinds: "NodeClaim",
        clauses: &[Clause { when: &[Condition("Disrupting", Truth::True, &[])], then: Suspended }],
        ..Row::PLAIN
    },
    Row {
        groups: "karpenter.sh|karpenter.k8s.aws|karpenter.azure.com",
        kinds: "NodePool|*NodeClass",
        clauses: &[Clause { when: &[Condition("Ready", Truth::False, &[])], then: Degraded }],
        ..Row::PLAIN
    },
    // Unknown is written when some triggers fail. `Active` is about the load, not about the object.
    Row {
        groups: "keda.sh",
        kinds: "ScaledObject|ScaledJob",
        clauses: &[
            Clause { when: &[Something("/status/pausedReplicaCount")], then: Suspended },
            Clause {
                when: &[Condition("Ready", Truth::Unknown, &["PartialTriggerError", "TriggerError"])],
                then: Degraded,
            },
        ],
        roles: &[("Fallback", Polarity::Negative), ("Active", Polarity::Ignored)],
        ..Row::PLAIN
    },
    Row {
        groups: "keda.sh",
        kinds: "TriggerAuthentication|ClusterTriggerAuthentication",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // A machine is there before its node is.
    Row {
        groups: "cluster.x-k8s.io",
        kinds: "Machine|MachinePool",
        words: &[("phase", "Provisioned", Meaning::Working)],
        ..Row::PLAIN
    },
    Row {
        groups: "cluster.x-k8s.io|machine.openshift.io",
        kinds: "MachineHealthCheck",
        clauses: &[
            Clause { when: &[Condition("RemediationAllowed", Truth::False, &[])], then: Degraded },
            Clause { when: &[Below("/status/expectedMachines", "/status/currentHealthy")], then: Progressing },
            Clause {
                when: &[Positive("/status/expectedMachines"), Nothing("/status/currentHealthy")],
                then: Progressing,
            },
        ],
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // Refers to others that may come later.
    Row {
        groups: "*.cnrm.cloud.google.com",
        clauses: &[Clause { when: &[Condition("Ready", Truth::False, &["DependencyNotReady"])], then: Progressing }],
        ..Row::PLAIN
    },
    // `Available` has no reason: with a failed rollout it stays False, with one under way the other condition tells.
    Row {
        groups: "apps.openshift.io",
        kinds: "DeploymentConfig",
        clauses: &[
            Clause {
                when: &[
                    Condition("Progressing", Truth::True, &["NewReplicationControllerAvailable"]),
                    super::Test::Is("/status/replicas", &["0"]),
                ],
                then: Healthy,
            },
            Clause {
                when: &[Condition("Available", Truth::False, &[]), Positive("/status/unavailableReplicas")],
                then: Degraded,
            },
        ],
        ..Row::PLAIN
    },
    Row {
        groups: "machineconfiguration.openshift.io",
        kinds: "MachineConfigPool",
        clauses: &[
            Clause { when: &[Condition("Degraded", Truth::True, &[])], then: Degraded },
            Clause { when: &[Condition("Updating", Truth::True, &[])], then: Progressing },
            Clause { when: &[Condition("Updated", Truth::True, &[])], then: Healthy },
        ],
        ..Row::PLAIN
    },
    // Only recommends; whether it has something to recommend depends on the load.
    Row {
        groups: "autoscaling.k8s.io",
        kinds: "VerticalPodAutoscaler",
        clauses: &[
            Clause { when: &[Condition("ConfigUnsupported", Truth::True, &[])], then: Degraded },
            Clause { when: &[Nothing("/status/conditions")], then: Progressing },
        ],
        roles: &[(
            "RecommendationProvided|LowConfidence|NoPodsMatched|FetchingHistory|ConfigDeprecated",
            Polarity::Ignored,
        )],
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
];

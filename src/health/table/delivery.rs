//! Delivery and workflows: Argo, Flux, Tekton, Keptn, Kruise, Numaproj, GitOps Promoter, OLM, Open Cluster Management.

use super::Test::{Below, Condition, EmptyList, Is, NotTrue, Nothing, Something};
use super::{Clause, Polarity, Row, Silence};
use crate::health::conditions::Truth;
use crate::health::words::Meaning;
use crate::model::HealthStatus::{Degraded, Healthy, Missing, Progressing, Suspended, Unknown};

/// What is special about each.
pub const ROWS: &[Row] = &[
    // Another installation of Argo CD judges the objects; its verdict is taken as it stands.
    Row {
        groups: "argoproj.io",
        kinds: "Application",
        clauses: &[
            Clause { when: &[Is("/status/operationState/phase", &["Running", "Terminating"])], then: Progressing },
            Clause { when: &[Is("/status/health/status", &["Healthy"])], then: Healthy },
            Clause { when: &[Is("/status/health/status", &["Suspended"])], then: Suspended },
            Clause { when: &[Is("/status/health/status", &["Degraded"])], then: Degraded },
            Clause { when: &[Is("/status/health/status", &["Missing"])], then: Missing },
            Clause { when: &[Is("/status/health/status", &["Unknown"])], then: Unknown },
            Clause { when: &[Nothing("/status/health/status")], then: Progressing },
        ],
        ..Row::PLAIN
    },
    // The states of the generated Applications are their own.
    Row {
        groups: "argoproj.io",
        kinds: "ApplicationSet",
        ignored: &["/status/resources", "/status/applicationStatus"],
        ..Row::PLAIN
    },
    // Has a status only after its first run, and conditions only after a refused submission.
    Row { groups: "argoproj.io", kinds: "CronWorkflow", silence: Silence::IsHealthy, ..Row::PLAIN },
    // Nodes are tried again, and a failed one may be what the workflow was made to bear: the phase tells.
    Row { groups: "argoproj.io", kinds: "Workflow", ignored: &["/status/nodes"], ..Row::PLAIN },
    // An analysis that can't tell has not failed.
    Row {
        groups: "argoproj.io",
        kinds: "AnalysisRun|Experiment",
        words: &[("phase", "Inconclusive", Meaning::Unknown)],
        ignored: &["/status/metricResults", "/status/dryRunSummary", "/status/runSummary"],
        ..Row::PLAIN
    },
    // The phase is what is told of a commit, not how the object does.
    Row {
        groups: "promoter.argoproj.io",
        kinds: "*CommitStatus",
        ignored: &["/status/phase", "/status/environments", "/status/applicationsSelected"],
        ..Row::PLAIN
    },
    Row {
        groups: "promoter.argoproj.io",
        kinds: "PromotionStrategy",
        clauses: &[Clause { when: &[EmptyList("/status/environments")], then: Degraded }],
        ..Row::PLAIN
    },
    // Repositories of charts in a registry are only read, as are alerts and providers.
    Row {
        groups: "source.toolkit.fluxcd.io",
        kinds: "HelmRepository",
        clauses: &[Clause { when: &[Is("/spec/type", &["oci"]), Nothing("/status/conditions")], then: Healthy }],
        ..Row::PLAIN
    },
    Row {
        groups: "notification.toolkit.fluxcd.io",
        kinds: "Alert|Provider",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // Knative's convention for things that run once: Unknown is work, False is failure.
    Row {
        groups: "tekton.dev",
        kinds: "PipelineRun|TaskRun|CustomRun|Run",
        roles: &[("Succeeded", Polarity::Verdict)],
        ignored: &["/status/taskRuns", "/status/steps", "/status/sidecars", "/status/childReferences"],
        ..Row::PLAIN
    },
    // The value of the metric is all that there is to tell.
    Row { groups: "metrics.keptn.sh", kinds: "KeptnMetric", silence: Silence::IsHealthy, ..Row::PLAIN },
    Row {
        groups: "rollouts.kruise.io",
        kinds: "Rollout",
        clauses: &[
            Clause { when: &[Is("/status/phase", &["Disabled", "Disabling"])], then: Degraded },
            Clause { when: &[Is("/status/canaryStatus/currentStepState", &["StepPaused"])], then: Suspended },
            Clause { when: &[Is("/status/blueGreenStatus/currentStepState", &["StepPaused"])], then: Suspended },
        ],
        ..Row::PLAIN
    },
    // Says so when pods are missing for whatever reason, and rolls out without saying so.
    Row { groups: "numaflow.numaproj.io", roles: &[("*Healthy", Polarity::Verdict)], ..Row::PLAIN },
    // An upgrade that waits for a person does not touch what is installed.
    Row {
        groups: "operators.coreos.com",
        kinds: "Subscription",
        clauses: &[
            Clause {
                when: &[
                    Condition("InstallPlanPending", Truth::True, &["RequiresApproval"]),
                    Nothing("/status/installedCSV"),
                ],
                then: Progressing,
            },
            Clause {
                when: &[
                    Condition("InstallPlanPending", Truth::True, &["RequiresApproval"]),
                    Something("/status/installedCSV"),
                ],
                then: Healthy,
            },
        ],
        ..Row::PLAIN
    },
    // What is halted is the propagation into the children, because the hierarchy is wrong.
    Row {
        groups: "hnc.x-k8s.io",
        roles: &[("ActivitiesHalted", Polarity::Negative)],
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // Each part reports before the whole does.
    Row { groups: "policy.open-cluster-management.io", kinds: "OperatorPolicy", awaited: &["Compliant"], ..Row::PLAIN },
    // Scheduling is a judgement; what is scheduled has yet to be applied to the clusters.
    Row {
        groups: "work.karmada.io",
        kinds: "ResourceBinding|ClusterResourceBinding",
        clauses: &[Clause {
            when: &[Below("/metadata/generation", "/status/schedulerObservedGeneration")],
            then: Progressing,
        }],
        roles: &[("Scheduled", Polarity::Verdict)],
        awaited: &["FullyApplied"],
        ..Row::PLAIN
    },
    // A queue says only whether it admits work.
    Row {
        groups: "kueue.x-k8s.io",
        kinds: "ClusterQueue|LocalQueue|AdmissionCheck|Cohort",
        clauses: &[
            Clause { when: &[Condition("Active", Truth::True, &[])], then: Healthy },
            Clause { when: &[NotTrue("Active")], then: Progressing },
        ],
        ..Row::PLAIN
    },
];

//! Data, queues and jobs: Kafka, RabbitMQ, PostgreSQL, MinIO, Spark, Flink, Velero, Rook, Datadog, Prometheus.

use super::Test::{Condition, Is, Nothing, Positive};
use super::{Clause, Polarity, Row, Silence};
use crate::health::conditions::Truth;
use crate::health::words::Meaning;
use crate::model::HealthStatus::{Degraded, Healthy, Progressing, Suspended};

/// What is special about each.
pub const ROWS: &[Row] = &[
    // The types of the conditions are states; a proposal waits for a person, or for auto-approval.
    Row {
        groups: "kafka.strimzi.io",
        kinds: "KafkaRebalance",
        roles: &[("PendingProposal|Rebalancing", Polarity::Activity), ("ProposalReady|Stopped", Polarity::Hold)],
        ..Row::PLAIN
    },
    // Has no conditions: that node ids are given out is the sign that it is in use.
    Row {
        groups: "kafka.strimzi.io",
        kinds: "KafkaNodePool",
        clauses: &[Clause { when: &[Nothing("/status/nodeIds")], then: Progressing }],
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row {
        groups: "platform.confluent.io",
        kinds: "Connector",
        clauses: &[Clause { when: &[Positive("/status/failedTasksCount")], then: Degraded }],
        ..Row::PLAIN
    },
    Row {
        groups: "rabbitmq.com",
        kinds: "RabbitmqCluster",
        roles: &[("ReconcileSuccess", Polarity::Verdict), ("NoWarnings", Polarity::Ignored)],
        ..Row::PLAIN
    },
    // The states are sentences.
    Row {
        groups: "minio.min.io",
        kinds: "Tenant",
        words: &[
            ("currentState", "Another MinIO Tenant already exists in the namespace", Meaning::Bad),
            ("currentState", "Different versions across MinIO Pools", Meaning::Bad),
            ("currentState", "Statefulset not controlled by operator", Meaning::Bad),
            ("currentState", "Unable to decommission pool", Meaning::Bad),
        ],
        ..Row::PLAIN
    },
    // The conditions are a history, of which all stay True.
    Row { groups: "*.percona.com", roles: &[("*", Polarity::Ignored)], ..Row::PLAIN },
    // A job that was asked to stop has no job manager.
    Row {
        groups: "flink.apache.org",
        clauses: &[Clause {
            when: &[Is("/spec/job/state", &["suspended"]), Is("/status/jobStatus/state", &["SUSPENDED", "FINISHED"])],
            then: Healthy,
        }],
        ..Row::PLAIN
    },
    Row {
        groups: "sparkoperator.k8s.io",
        kinds: "ScheduledSparkApplication",
        words: &[("scheduleState", "Scheduled", Meaning::Good)],
        ..Row::PLAIN
    },
    Row {
        groups: "velero.io",
        kinds: "BackupStorageLocation",
        words: &[("phase", "Unavailable", Meaning::Bad)],
        ..Row::PLAIN
    },
    // Tells when it runs, and nothing else.
    Row { groups: "astra.netapp.io", kinds: "Schedule", silence: Silence::IsHealthy, ..Row::PLAIN },
    // Between two runs it only tells that it waits for the next.
    Row { groups: "volsync.backube", silence: Silence::IsHealthy, ..Row::PLAIN },
    // `Progressing` stays True after the last step; the phase tells what goes on.
    Row { groups: "ceph.rook.io", roles: &[("Progressing", Polarity::Ignored)], ..Row::PLAIN },
    // An alarm of the monitored system is no failure of the monitor.
    Row {
        groups: "datadoghq.com",
        kinds: "DatadogMonitor",
        ignored: &["/status/monitorState", "/status/triggeredState", "/status/downtimeStatus"],
        ..Row::PLAIN
    },
    // `Available` is False only when no pod at all is ready, and has a value of its own while some are.
    Row {
        groups: "monitoring.coreos.com",
        kinds: "Prometheus|PrometheusAgent|Alertmanager|ThanosRuler",
        roles: &[("Available", Polarity::Verdict)],
        ..Row::PLAIN
    },
    // Collectors in sidecars have no pods of their own.
    Row {
        groups: "opentelemetry.io",
        kinds: "OpenTelemetryCollector",
        clauses: &[Clause { when: &[Is("/spec/mode", &["sidecar"])], then: Healthy }],
        ..Row::PLAIN
    },
    // The word that people read is the printable one; the conditions of a stopped machine are all False.
    Row {
        groups: "kubevirt.io",
        kinds: "VirtualMachine",
        clauses: &[
            Clause { when: &[Is("/status/printableStatus", &["Stopped", "Paused"])], then: Suspended },
            Clause {
                when: &[Condition("Ready", Truth::True, &[]), Is("/status/printableStatus", &["Running"])],
                then: Healthy,
            },
        ],
        ..Row::PLAIN
    },
];

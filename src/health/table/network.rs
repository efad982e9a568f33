//! Networking and identity: Gloo, Gateway API, cert-manager, sealed secrets, load balancers, DNS.

use super::Row;
use super::Test::{Condition, Is};
use super::{Clause, Polarity, Silence};
use crate::health::conditions::Truth;
use crate::health::words::Meaning;
use crate::model::HealthStatus::{Degraded, Progressing};

/// What is special about each.
pub const ROWS: &[Row] = &[
    // Old versions write the number of the state. What is pending waits for a proxy that takes it up, which nothing
    // promises.
    Row {
        groups: "gloo.solo.io|gateway.solo.io",
        words: &[
            ("state", "0", Meaning::Paused),
            ("state", "1", Meaning::Good),
            ("state", "2", Meaning::Bad),
            ("state", "3", Meaning::Bad),
            ("state", "Pending", Meaning::Paused),
        ],
        ..Row::PLAIN
    },
    // Told of listeners that share certificates, and no fault.
    Row {
        groups: "gateway.networking.k8s.io",
        kinds: "Gateway|ListenerSet",
        roles: &[("OverlappingTLSConfig", Polarity::Ignored)],
        ..Row::PLAIN
    },
    // Ready is False also before the first issuance; a failed issuance is told of by `Issuing`.
    Row {
        groups: "cert-manager.io|certmanager.k8s.io",
        kinds: "Certificate",
        clauses: &[
            Clause { when: &[Condition("Issuing", Truth::True, &[])], then: Progressing },
            Clause { when: &[Condition("Ready", Truth::False, &["Expired", "InvalidKeyPair"])], then: Degraded },
        ],
        ..Row::PLAIN
    },
    // A valid order is done; a ready one has yet to be finalised.
    Row { groups: "acme.cert-manager.io", words: &[("state", "ready", Meaning::Working)], ..Row::PLAIN },
    // Is written only after an attempt, so False is a failed one.
    Row { groups: "bitnami.com", kinds: "SealedSecret", roles: &[("Synced", Polarity::Verdict)], ..Row::PLAIN },
    // Report that they have been seen, and nothing else.
    Row {
        groups: "elbv2.k8s.aws|externaldns.k8s.io|externaldns.nginx.org|vpcresources.k8s.aws|crd.k8s.amazonaws.com",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    // Vault's operator tells of static secrets by their digest, of the others by `valid` and `error`.
    Row {
        groups: "secrets.hashicorp.com",
        kinds: "VaultStaticSecret|VaultDynamicSecret|VaultPKISecret|HCPVaultSecretsApp|SecretTransformation",
        silence: Silence::IsHealthy,
        ..Row::PLAIN
    },
    Row {
        groups: "install.istio.io",
        kinds: "IstioOperator",
        clauses: &[Clause { when: &[Is("/status/status", &["ACTION_REQUIRED"])], then: Degraded }],
        ..Row::PLAIN
    },
];

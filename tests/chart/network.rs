//! What the NetworkPolicies let through, by an evaluator of policies (cyclonus).

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::{all_right, cases, documents, golden, run, text};

/// Who talks, or is talked to.
#[derive(Clone, Copy)]
enum Peer {
    Pod {
        name: &'static str,
        namespace: &'static str,
        labels: &'static [(&'static str, &'static str)],
        address: &'static str,
    },
    Address(&'static str),
}

const CONTROLLER: Peer = Peer::Pod {
    name: "controller",
    namespace: "tidelock",
    labels: &[("app.kubernetes.io/name", "tidelock"), ("app.kubernetes.io/instance", "tidelock")],
    address: "10.0.0.5",
};
const TEST: Peer = Peer::Pod {
    name: "helm test",
    namespace: "tidelock",
    labels: &[("app.kubernetes.io/name", "tidelock-test"), ("app.kubernetes.io/instance", "tidelock")],
    address: "10.0.0.6",
};
const NEIGHBOUR: Peer =
    Peer::Pod { name: "another pod", namespace: "tidelock", labels: &[("app", "other")], address: "10.0.0.7" };
const SHOP: Peer = Peer::Pod { name: "cart", namespace: "shop", labels: &[("app", "cart")], address: "10.0.9.9" };
const PROMETHEUS: Peer =
    Peer::Pod { name: "prometheus", namespace: "monitoring", labels: &[("app", "prometheus")], address: "10.0.8.8" };
const COLLECTOR: Peer =
    Peer::Pod { name: "collector", namespace: "monitoring", labels: &[("app", "collector")], address: "10.0.8.9" };
const DNS: Peer =
    Peer::Pod { name: "coredns", namespace: "kube-system", labels: &[("k8s-app", "kube-dns")], address: "10.0.7.7" };

/// Address of the API server's endpoint, in the network that narrow policies name.
const API_SERVER: Peer = Peer::Address("10.0.0.10");
const PROXY: Peer = Peer::Address("10.50.0.10");
const INTERNET: Peer = Peer::Address("203.0.113.9");

const FLOWS: &[(Peer, Peer, u16, &str)] = &[
    (CONTROLLER, DNS, 53, "UDP"),
    (CONTROLLER, DNS, 53, "TCP"),
    (CONTROLLER, DNS, 8181, "TCP"),
    (CONTROLLER, Peer::Address("169.254.20.10"), 53, "UDP"),
    (CONTROLLER, Peer::Address("172.20.0.10"), 53, "UDP"),
    (CONTROLLER, INTERNET, 53, "UDP"),
    (CONTROLLER, API_SERVER, 443, "TCP"),
    (CONTROLLER, API_SERVER, 6443, "TCP"),
    (CONTROLLER, API_SERVER, 10250, "TCP"),
    (CONTROLLER, PROXY, 3128, "TCP"),
    (CONTROLLER, Peer::Address("10.50.0.11"), 3128, "TCP"),
    (CONTROLLER, PROXY, 22, "TCP"),
    (CONTROLLER, INTERNET, 443, "TCP"),
    (CONTROLLER, INTERNET, 80, "TCP"),
    (CONTROLLER, INTERNET, 22, "TCP"),
    (CONTROLLER, Peer::Address("169.254.169.254"), 80, "TCP"),
    (CONTROLLER, Peer::Address("169.254.170.23"), 80, "TCP"),
    (CONTROLLER, Peer::Address("fd00:ec2::23"), 80, "TCP"),
    (CONTROLLER, COLLECTOR, 4318, "TCP"),
    (CONTROLLER, SHOP, 4318, "TCP"),
    (CONTROLLER, SHOP, 8080, "TCP"),
    (CONTROLLER, NEIGHBOUR, 8080, "TCP"),
    (PROMETHEUS, CONTROLLER, 8080, "TCP"),
    (SHOP, CONTROLLER, 8080, "TCP"),
    (NEIGHBOUR, CONTROLLER, 8080, "TCP"),
    (TEST, CONTROLLER, 8080, "TCP"),
    (INTERNET, CONTROLLER, 8080, "TCP"),
    (PROMETHEUS, CONTROLLER, 9090, "TCP"),
    (Peer::Address("10.0.3.4"), CONTROLLER, 8081, "TCP"),
    (SHOP, CONTROLLER, 8081, "TCP"),
    (INTERNET, CONTROLLER, 8081, "TCP"),
    (TEST, DNS, 53, "UDP"),
    (TEST, API_SERVER, 443, "TCP"),
    (TEST, INTERNET, 443, "TCP"),
    (TEST, NEIGHBOUR, 8080, "TCP"),
    (NEIGHBOUR, TEST, 8080, "TCP"),
];

impl Peer {
    /// As the evaluator reads it.
    fn json(self) -> Value {
        match self {
            Self::Address(address) => json!({ "IP": address }),
            Self::Pod { namespace, labels, address, .. } => {
                let labels: Value = labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
                let of_namespace = json!({ "kubernetes.io/metadata.name": namespace });
                let internal = json!({ "PodLabels": labels, "NamespaceLabels": of_namespace, "Namespace": namespace });
                json!({ "Internal": internal, "IP": address })
            }
        }
    }

    fn words(self) -> String {
        match self {
            Self::Address(address) => address.to_owned(),
            Self::Pod { name, namespace, .. } => format!("{namespace}/{name}"),
        }
    }
}

/// A line for each flow: allowed or denied.
fn verdicts(output: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let [policies, traffic] = ["policies.yaml", "traffic.json"].map(|name| folder.path().join(name));
    let items: Vec<Value> =
        documents(output).into_iter().filter(|object| text(object, "/kind") == "NetworkPolicy").collect();
    let list = json!({ "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList", "items": items });
    fs::write(&policies, serde_yaml::to_string(&list).unwrap()).unwrap();
    let asked: Vec<Value> = FLOWS
        .iter()
        .map(|(from, to, port, protocol)| {
            json!({ "Source": from.json(), "Destination": to.json(), "ResolvedPort": port, "Protocol": protocol })
        })
        .collect();
    fs::write(&traffic, json!(asked).to_string()).unwrap();
    let flags = ["analyze", "--mode", "query-traffic", "--policy-path", policies.to_str().unwrap(), "--traffic-path"];
    let (success, answer, log) = run("cyclonus", &[&flags[..], &[traffic.to_str().unwrap()]].concat());
    assert!(success, "{log}");
    let answers: Vec<bool> = answer
        .lines()
        .filter(|line| line.contains("IS ALLOWED?"))
        .map(|line| match (line.contains("TRUE"), line.contains("FALSE")) {
            (true, false) => true,
            (false, true) => false,
            _ => panic!("neither allowed nor denied: {line}"),
        })
        .collect();
    assert_eq!(answers.len(), FLOWS.len(), "{answer}{log}");
    let mut lines = String::new();
    for ((from, to, port, protocol), allowed) in FLOWS.iter().zip(answers) {
        let verdict = if allowed { "allowed" } else { "-" };
        writeln!(lines, "{verdict:8} {:24} -> {:24} {port}/{protocol}", from.words(), to.words()).unwrap();
    }
    lines
}

#[test]
fn what_the_network_policies_let_through_is_what_is_written_down() {
    let mut wrong = Vec::new();
    for case in cases() {
        let output = case.output();
        if output.contains("kind: NetworkPolicy") {
            wrong.extend(golden(&case.directory.join("network.txt"), &verdicts(&output)));
        }
    }
    all_right(&wrong);
}

//! A real API server takes every object that the chart makes, and every pod in a namespace that enforces the Pod Security
//! Standard `restricted`. Nothing is kept: all are dry runs on the server.
//!
//! Needs root and the packages that `e2e/install.sh` installs, as the test bed does. The bed stays up afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test ends at the first thing that is not as expected; where the bed is comes from the environment"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize as _;
use serde_json::{Value, json};

/// Kinds of the Prometheus operator, whose definitions the test bed does not have.
const UNKNOWN_TO_THE_BED: [&str; 3] = ["PodMonitor", "PrometheusRule", "ServiceMonitor"];
/// How long the bed may take for a namespace's ServiceAccount.
const PATIENCE: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Bed {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Bed {
    fn up() -> Self {
        let script = root().join("e2e/testbed.sh");
        let verb = |arguments: &[&str]| {
            let done = Command::new(&script).args(arguments).output().unwrap();
            let [output, log] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
            assert!(
                done.status.success(),
                "e2e/testbed.sh {arguments:?}: {output}{log}\nIt needs root and the packages of e2e/install.sh"
            );
            output
        };
        verb(&["up", "--pods"]);
        let description = verb(&["description"]);
        let description: Value = serde_json::from_str(&fs::read_to_string(description.trim()).unwrap()).unwrap();
        let path = |field: &str| PathBuf::from(description[field].as_str().unwrap());
        Self { kubectl: path("bin").join("kubectl"), kubeconfig: path("kubeconfig") }
    }

    fn kubectl(&self, arguments: &[&str], input: &Value) -> Result<String, String> {
        let mut child = Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let [output, log] = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        if done.status.success() { Ok(output) } else { Err(log) }
    }

    fn apply(&self, objects: &[Value], flags: &[&str]) -> Result<String, String> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.kubectl(&[&["apply", "--server-side", "--validate=strict"], flags, &["-f", "-"]].concat(), &list)
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn documents(file: &Path) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(&fs::read_to_string(file).unwrap())
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|value| !value.is_null())
        .collect()
}

/// The objects of each set of values, in namespaces that no other test uses.
fn cases() -> Vec<(String, Vec<Value>)> {
    let mut cases: Vec<(String, Vec<Value>)> = fs::read_dir(root().join("tests/chart/cases"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let mut objects = documents(&entry.path().join("output.yaml"));
            for object in &mut objects {
                if let Some(namespace) = object.pointer_mut("/metadata/namespace") {
                    *namespace = json!(format!("chart-{}", namespace.as_str().unwrap()));
                }
            }
            (entry.file_name().into_string().unwrap(), objects)
        })
        .collect();
    cases.sort_by(|one, other| one.0.cmp(&other.0));
    cases
}

fn namespaces(cases: &[(String, Vec<Value>)]) -> BTreeSet<String> {
    let named = cases.iter().flat_map(|(_, objects)| objects).map(|object| text(object, "/metadata/namespace"));
    named.filter(|namespace| !namespace.is_empty()).map(str::to_owned).collect()
}

/// The pod that a workload makes, run by a ServiceAccount that is there.
fn pod(object: &Value) -> Option<Value> {
    let spec = match text(object, "/kind") {
        "Deployment" => object.pointer("/spec/template/spec")?,
        "Pod" => object.pointer("/spec")?,
        _ => return None,
    };
    let mut spec = spec.clone();
    spec["serviceAccountName"] = json!("default");
    let metadata = json!({ "name": "pod", "namespace": text(object, "/metadata/namespace") });
    Some(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))
}

#[test]
fn the_server_takes_every_object_and_every_pod_where_restricted_is_enforced() {
    let bed = Bed::up();
    let definitions: Vec<Value> =
        fs::read_dir(root().join("crds")).unwrap().flat_map(|entry| documents(&entry.unwrap().path())).collect();
    bed.apply(&definitions, &["--force-conflicts"]).unwrap();
    bed.kubectl(
        &["wait", "--for=condition=Established", "--timeout=60s", "-f", "-"],
        &json!({"apiVersion": "v1", "kind": "List", "items": definitions}),
    )
    .unwrap();
    let cases = cases();
    assert_eq!(cases.len(), 12);
    let enforced: Vec<Value> = namespaces(&cases)
        .into_iter()
        .map(|name| {
            let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
        })
        .collect();
    bed.apply(&enforced, &[]).unwrap();
    let began = Instant::now();
    for namespace in namespaces(&cases) {
        let account = ["wait", "--for=create", "--timeout=60s", "-n", &namespace, "serviceaccount/default"];
        bed.kubectl(&account, &Value::Null).unwrap();
        assert!(began.elapsed() < PATIENCE);
    }

    let mut unknown = BTreeSet::new();
    for (name, objects) in &cases {
        let (known, others): (Vec<Value>, Vec<Value>) =
            objects.iter().cloned().partition(|object| !UNKNOWN_TO_THE_BED.contains(&text(object, "/kind")));
        unknown.extend(others.iter().map(|object| text(object, "/kind").to_owned()));
        let pods: Vec<Value> = known.iter().filter_map(pod).collect();
        assert!(!pods.is_empty(), "{name}");
        let said = bed.apply(&known, &["--dry-run=server"]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(said.lines().count(), known.len(), "{name}: {said}");
        for pod in pods {
            let said = bed.kubectl(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &pod);
            assert_eq!(said, Ok("pod/pod created (server dry run)\n".to_owned()), "{name}");
        }
    }
    assert_eq!(unknown, UNKNOWN_TO_THE_BED.map(str::to_owned).into(), "kinds that the server does not know");
}

#[test]
fn a_pod_that_is_not_restricted_is_refused_there() {
    let bed = Bed::up();
    let name = "chart-enforced";
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
    bed.apply(&[namespace], &[]).unwrap();
    bed.kubectl(&["wait", "--for=create", "--timeout=60s", "-n", name, "serviceaccount/default"], &Value::Null)
        .unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod", "namespace": name },
        "spec": { "containers": [{ "name": "web", "image": "example.com/web:1" }] },
    });
    let refusal = bed.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod).unwrap_err();
    assert!(refusal.contains("violates PodSecurity \"restricted"), "{refusal}");
}

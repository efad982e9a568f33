//! `kubectl tidelock`: this program under the name `kubectl-tidelock`, which kubectl finds on `PATH`.
//!
//! A way out is a matter of the pod that takes it, so `doctor` runs there. kubectl itself opens the connection: it has
//! called this program, and it alone knows every way to log in that a kubeconfig may name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use thiserror::Error;

use crate::reconcile::lease::LEASE_NAME;

/// The name that makes this program a plugin of kubectl.
const NAME: &str = "kubectl-tidelock";
/// What the operator's pods are labelled with.
const SELECTOR: &str = "app.kubernetes.io/name=tidelock";
/// The program in its image.
const PROGRAM: &str = "/usr/local/bin/tidelock";
/// The container of the operator in its pod.
const CONTAINER: &str = "controller";

/// Whether a program that is called so is to be the plugin.
pub fn is_plugin(program: Option<&OsStr>) -> bool {
    program.and_then(|program| Path::new(program).file_name()) == Some(OsStr::new(NAME))
}

/// Tidelock in the cluster that kubectl talks to
#[derive(Clone, Debug, Parser)]
#[command(name = "kubectl-tidelock", bin_name = "kubectl tidelock", version, about, max_term_width = 100)]
pub struct PluginArguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: PluginVerb,
}

/// The verbs.
#[derive(Clone, Debug, Subcommand)]
pub enum PluginVerb {
    /// Run `tidelock doctor` in the operator's pod: why a destination can't be reached from there, hop by hop
    Doctor(PluginDoctorArguments),
}

/// Arguments of `kubectl tidelock doctor`.
#[derive(Args, Clone, Debug)]
pub struct PluginDoctorArguments {
    /// Namespace of the operator
    #[arg(short, long, value_name = "NS", default_value = "tidelock")]
    pub namespace: String,
    /// Kubeconfig, as for kubectl
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig, as for kubectl
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// What `tidelock doctor` is given: destinations, --only, --timeout, --output
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Why nothing was run.
#[derive(Debug, Error)]
pub enum PluginError {
    /// There is no kubectl.
    #[error("cannot run kubectl: {0}; it must be on PATH")]
    Kubectl(#[source] io::Error),
    /// kubectl could not list the pods.
    #[error("kubectl can't list the operator's pods: {0}")]
    List(String),
    /// Its answer is no list.
    #[error("kubectl's list of pods can't be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// No pod to run in.
    #[error(
        "no pod with the label {SELECTOR} runs in the namespace `{namespace}`{}; give the operator's namespace with \
         --namespace", waiting(.not_ready)
    )]
    NoPod {
        /// Where it was looked for.
        namespace: String,
        /// Pods that are there and don't run.
        not_ready: Vec<String>,
    },
}

fn waiting(pods: &[String]) -> String {
    if pods.is_empty() { String::new() } else { format!(" (not running: {})", pods.join(", ")) }
}

/// Finds the operator's pod and becomes `kubectl exec` in it, whose output and exit code are those of the doctor. Returns
/// only when that fails.
pub fn run(arguments: PluginArguments) -> Result<std::convert::Infallible, PluginError> {
    let PluginVerb::Doctor(arguments) = arguments.verb;
    let namespace = arguments.namespace.as_str();
    let pods = kubectl(&arguments, &["get", "pods", "--selector", SELECTOR, "--output", "json"])?;
    if !pods.status.success() {
        return Err(PluginError::List(String::from_utf8_lossy(&pods.stderr).trim().to_owned()));
    }
    let pods: Value = serde_json::from_slice(&pods.stdout)?;
    // Whoever may not read the lease gets any of the pods: they take the same ways out.
    let lease = kubectl(&arguments, &["get", "lease", LEASE_NAME, "--output", "jsonpath={.spec.holderIdentity}"])?;
    let holder = lease.status.success().then(|| String::from_utf8_lossy(&lease.stdout).into_owned());
    let pod = choose(&pods, holder.as_deref())
        .map_err(|not_ready| PluginError::NoPod { namespace: namespace.to_owned(), not_ready })?;
    let mut command = command(&arguments);
    command.args(["exec", &pod, "--container", CONTAINER, "--", PROGRAM, "doctor"]).args(&arguments.arguments);
    Err(PluginError::Kubectl(command.exec()))
}

fn command(arguments: &PluginDoctorArguments) -> Command {
    let mut command = Command::new("kubectl");
    command.args(["--namespace", &arguments.namespace]);
    for (flag, value) in [("--kubeconfig", &arguments.kubeconfig), ("--context", &arguments.context)] {
        if let Some(value) = value {
            command.args([flag, value]);
        }
    }
    command
}

fn kubectl(arguments: &PluginDoctorArguments, further: &[&str]) -> Result<Output, PluginError> {
    command(arguments).args(further).output().map_err(PluginError::Kubectl)
}

/// The pod to run in: the holder of the lease, else the first that is ready, else the first that runs. The names of those
/// that don't run, when none does.
fn choose(pods: &Value, holder: Option<&str>) -> Result<String, Vec<String>> {
    let items = pods["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let runs = |pod: &Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    // The identity of a holder is `<host>_<token>`, and a pod's host name is its own, cut to 63 characters.
    let host = holder.and_then(|holder| holder.rsplit_once('_')).map(|(host, _)| host);
    let leads = |pod: &Value| host.is_some_and(|host| !host.is_empty() && name(pod).chars().take(63).eq(host.chars()));
    let best = items.iter().filter(|pod| runs(pod)).min_by_key(|pod| (!leads(pod), !ready(pod), name(pod)));
    best.map(name).ok_or_else(|| items.iter().map(name).collect())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, phase: &str, ready: bool) -> Value {
        let status = if ready { "True" } else { "False" };
        json!({
            "metadata": {"name": name},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": status}]},
        })
    }

    #[test]
    fn the_leader_is_chosen_then_a_ready_pod_then_any_that_runs() {
        let pods =
            json!({"items": [pod("c", "Pending", false), pod("b", "Running", false), pod("a", "Running", true)]});
        assert_eq!(choose(&pods, Some("b_0123456789abcdef")), Ok("b".to_owned()));
        assert_eq!(choose(&pods, Some("gone_0123456789abcdef")), Ok("a".to_owned()));
        assert_eq!(choose(&pods, Some("")), Ok("a".to_owned()));
        assert_eq!(choose(&pods, None), Ok("a".to_owned()));
        // A leader that does not run can't run anything.
        assert_eq!(choose(&pods, Some("c_0123456789abcdef")), Ok("a".to_owned()));
        assert_eq!(choose(&json!({"items": [pod("b", "Running", false)]}), None), Ok("b".to_owned()));
        assert_eq!(choose(&json!({"items": [pod("c", "Pending", false)]}), None), Err(vec!["c".to_owned()]));
        assert_eq!(choose(&json!({}), None), Err(Vec::new()));
        let mut leaving = pod("a", "Running", true);
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(choose(&json!({"items": [leaving, pod("b", "Running", false)]}), None), Ok("b".to_owned()));
    }

    #[test]
    fn the_name_of_the_program_makes_it_a_plugin() {
        assert!(is_plugin(Some(OsStr::new("/usr/local/bin/kubectl-tidelock"))));
        assert!(is_plugin(Some(OsStr::new("kubectl-tidelock"))));
        assert!(!is_plugin(Some(OsStr::new("/usr/local/bin/tidelock"))));
        assert!(!is_plugin(None));
    }

    #[test]
    fn what_follows_is_passed_on_to_the_doctor() {
        PluginArguments::command().debug_assert();
        let given = ["kubectl-tidelock", "doctor", "-n", "ops", "--", "--output", "json", "h:22"];
        let PluginVerb::Doctor(arguments) = PluginArguments::try_parse_from(given).unwrap().verb;
        assert_eq!(arguments.namespace, "ops");
        assert_eq!(arguments.arguments, ["--output", "json", "h:22"]);
        let PluginVerb::Doctor(arguments) =
            PluginArguments::try_parse_from(["kubectl-tidelock", "doctor", "h:22", "--only"]).unwrap().verb;
        assert_eq!(
            (arguments.namespace.as_str(), arguments.arguments),
            ("tidelock", vec!["h:22".into(), "--only".into()])
        );
    }
}

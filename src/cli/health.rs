//! `tidelock health`: the verdict on objects as a cluster returned them, by the rules of the controller.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::Exit;
use crate::clock::Clock;
use crate::health::report::ReportError;
use crate::health::{AssessContext, assess, is_ignored};
use crate::model::{Health, HealthStatus, Origin};
use crate::render::yaml::{DuplicateKeys, YamlError, YamlLimits, decode};
use crate::render::{RenderError, manifests};

/// A dump of a large cluster is far larger than what git holds; this is what a workstation can take.
const LIMITS: YamlLimits = YamlLimits {
    bytes: 1024 * 1024 * 1024,
    documents: 1_000_000,
    depth: 100,
    nodes: 100_000_000,
    copied_bytes: 64 * 1024 * 1024,
};

/// Arguments of `tidelock health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArguments {
    /// YAML or JSON with live objects, as `kubectl get -o yaml` prints them; `-` is stdin
    #[arg(short = 'f', long = "file", value_name = "FILE", required_unless_present = "report")]
    pub file: Option<PathBuf>,

    /// Instead: assess the judged examples in a directory, laid out as Argo CD lays out its own
    /// (`GROUP/KIND/health_test.yaml`), and print how far the verdicts agree
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "file")]
    pub report: Option<PathBuf>,
}

/// Why there are no verdicts.
#[derive(Debug, Error)]
pub enum HealthError {
    /// The input could not be read.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The file, or stdin.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The input is no YAML or JSON.
    #[error("{name}: {source}")]
    Decode {
        /// The file, or stdin.
        name: String,
        /// What is wrong with it.
        source: YamlError,
    },
    /// A document is no Kubernetes object.
    #[error(transparent)]
    Object(RenderError),
    /// The judged examples could not be read.
    #[error(transparent)]
    Examples(#[from] ReportError),
    /// The directory holds no judged example.
    #[error("{0}: no GROUP/KIND/health_test.yaml is in it; name the directory that holds the groups")]
    NoExamples(String),
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Print(#[source] io::Error),
}

/// One line of the output.
#[derive(Serialize)]
struct Line<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    status: HealthStatus,
    message: &'a str,
}

pub(super) fn run(arguments: &HealthArguments, clock: &Clock, output: &mut impl Write) -> Result<Exit, HealthError> {
    if let Some(directory) = &arguments.report {
        return compare(directory, output);
    }
    let (name, text) = read(arguments.file.as_deref().unwrap_or_else(|| Path::new("-")))?;
    report(&name, &text, clock, output)
}

/// Prints the agreement with judged examples; too little of it, or one false green, is not success.
fn compare(directory: &Path, output: &mut impl Write) -> Result<Exit, HealthError> {
    let report = crate::health::report::run(directory)?;
    if report.cases.is_empty() {
        return Err(HealthError::NoExamples(directory.display().to_string()));
    }
    write!(output, "{report}").map_err(HealthError::Print)?;
    Ok(if report.is_good() { Exit::Success } else { Exit::Unhealthy })
}

fn read(file: &Path) -> Result<(String, Vec<u8>), HealthError> {
    let mut text = Vec::new();
    if file == Path::new("-") {
        let name = "stdin".to_owned();
        return match io::stdin().lock().read_to_end(&mut text) {
            Ok(_) => Ok((name, text)),
            Err(source) => Err(HealthError::Read { name, source }),
        };
    }
    let name = file.display().to_string();
    match File::open(file).and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => Ok((name, text)),
        Err(source) => Err(HealthError::Read { name, source }),
    }
}

/// Writes one line an object, in the order of the input. An object whose annotations take it out of the reckoning is
/// shown, and does not count for the exit code; a kind without health is well by existing.
fn report(name: &str, text: &[u8], clock: &Clock, output: &mut impl Write) -> Result<Exit, HealthError> {
    let decoded = decode(text, &LIMITS, DuplicateKeys::Refuse)
        .map_err(|source| HealthError::Decode { name: name.to_owned(), source })?;
    let place = |line| Origin { file: name.to_owned(), line };
    let objects = manifests(decoded.documents, |document| place(document.line)).map_err(HealthError::Object)?;
    let context = AssessContext { now: clock.now(), has_status_subresource: None };
    let mut worst = HealthStatus::Healthy;
    for object in &objects {
        let Health { status, message } = assess(&object.object, &context).unwrap_or_else(Health::healthy);
        if !is_ignored(&object.object) {
            worst = worst.max(status);
        }
        let gvk = object.gvk();
        let line = Line {
            group: &gvk.group,
            kind: &gvk.kind,
            namespace: object.namespace(),
            name: object.name(),
            status,
            message: &message,
        };
        let line = serde_json::to_string(&line).map_err(|error| HealthError::Print(error.into()))?;
        writeln!(output, "{line}").map_err(HealthError::Print)?;
    }
    Ok(exit_of(worst))
}

const fn exit_of(worst: HealthStatus) -> Exit {
    match worst {
        HealthStatus::Healthy | HealthStatus::Suspended => Exit::Success,
        HealthStatus::Progressing | HealthStatus::Missing => Exit::Unsettled,
        HealthStatus::Degraded | HealthStatus::Unknown => Exit::Unhealthy,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn reported(text: &str) -> Result<(Exit, String), HealthError> {
        let (clock, _hands) = Clock::manual(Timestamp::from_second(1_700_000_000).unwrap());
        let mut output = Vec::new();
        let exit = report("live.yaml", text.as_bytes(), &clock, &mut output)?;
        Ok((exit, String::from_utf8(output).unwrap()))
    }

    const HEALTHY_POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"shop"},
        "spec":{"restartPolicy":"Always","containers":[{"name":"c"}]},
        "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],
        "containerStatuses":[{"name":"c","ready":true,"restartCount":0,"state":{"running":{}}}]}}"#;

    #[test]
    fn lists_and_documents_give_a_line_each_in_their_order() {
        let text = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {HEALTHY_POD}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: b, namespace: shop}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\nstatus: {{phase: Active}}\n"
        );
        let (exit, output) = reported(&text).unwrap();
        assert_eq!(
            output,
            concat!(
                r#"{"group":"","kind":"Pod","namespace":"shop","name":"a","status":"Healthy","message":""}"#,
                "\n",
                r#"{"group":"","kind":"ConfigMap","namespace":"shop","name":"b","status":"Healthy","message":""}"#,
                "\n",
                r#"{"group":"","kind":"Namespace","namespace":"","name":"shop","status":"Healthy","message":""}"#,
                "\n",
            )
        );
        assert_eq!(exit, Exit::Success);
    }

    #[test]
    fn the_worst_object_that_counts_decides_the_exit_code() {
        let deployment = |annotations: &str| {
            format!(
                r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d","generation":2,"annotations":{{{annotations}}}}},
                "spec":{{"replicas":1}},"status":{{"observedGeneration":1}}}}"#
            )
        };
        assert_eq!(reported(&deployment("")).unwrap().0, Exit::Unsettled);
        let ignored = deployment(r#""tidelock.dev/ignore-healthcheck":"true""#);
        assert_eq!(reported(&ignored).unwrap().0, Exit::Success);
        for (status, exit) in [
            (HealthStatus::Healthy, Exit::Success),
            (HealthStatus::Suspended, Exit::Success),
            (HealthStatus::Progressing, Exit::Unsettled),
            (HealthStatus::Missing, Exit::Unsettled),
            (HealthStatus::Degraded, Exit::Unhealthy),
            (HealthStatus::Unknown, Exit::Unhealthy),
        ] {
            assert_eq!(exit_of(status), exit);
        }
    }

    #[test]
    fn input_that_is_no_object_is_an_error_with_its_place() {
        let error = reported("a: 1\n---\nb: [\n").unwrap_err().to_string();
        assert!(error.starts_with("live.yaml: line "), "{error}");
        let error = reported("apiVersion: v1\n").unwrap_err().to_string();
        assert!(error.starts_with("live.yaml:1: "), "{error}");
    }

    #[test]
    fn judged_examples_are_compared_and_disagreement_is_no_success() {
        let directory = tempfile::tempdir().unwrap();
        let compared = |wanted: &str| {
            let kind = directory.path().join("example.com").join("Thing");
            std::fs::create_dir_all(&kind).unwrap();
            let object = "apiVersion: example.com/v1\nkind: Thing\nstatus: {phase: Ready}\n";
            std::fs::write(kind.join("a.yaml"), object).unwrap();
            let tests = format!("tests:\n- healthStatus: {{status: {wanted}}}\n  inputPath: a.yaml\n");
            std::fs::write(kind.join("health_test.yaml"), tests).unwrap();
            let mut output = Vec::new();
            let exit = compare(directory.path(), &mut output).unwrap();
            (exit, String::from_utf8(output).unwrap())
        };
        let agreeing = "   1 of 1    example.com\n1 of 1 agree (100.0 %), 0 false greens\n";
        assert_eq!(compared("Healthy"), (Exit::Success, agreeing.to_owned()));
        assert_eq!(compared("Degraded").0, Exit::Unhealthy);
    }

    #[test]
    fn a_directory_without_examples_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let error = compare(directory.path(), &mut Vec::new()).unwrap_err().to_string();
        assert!(error.ends_with("name the directory that holds the groups"), "{error}");
    }

    #[test]
    fn nothing_is_well() {
        assert_eq!(reported("").unwrap(), (Exit::Success, String::new()));
    }
}

//! `tidelock health`: the verdict on objects as a cluster returned them, by the rules of the controller.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::Exit;
use super::input::{self, InputError};
use crate::api::HealthCheckExpression;
use crate::clock::Clock;
use crate::customizations::{self, Customizations, HealthExpression, HealthScript, KindPattern};
use crate::health::report::ReportError;
use crate::health::rules::{FleetRules, Rules};
use crate::health::{AssessContext, is_ignored};
use crate::model::{GroupKind, Health, HealthStatus, Manifest};

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
    /// Health script in Argo CD's dialect of Lua, tried on every object
    #[arg(long, value_name = "FILE")]
    pub lua: Option<PathBuf>,
    /// Let the script of --lua use `string` and `math`, as `useOpenLibs` does
    #[arg(long, requires = "lua")]
    pub use_open_libs: bool,
    /// YAML with a list of health rules in CEL, as in `spec.healthCheckExprs` of an Application
    #[arg(long, value_name = "FILE")]
    pub cel: Option<PathBuf>,
    /// ConfigMap with fleet-wide settings (`tidelock-cm`, or Argo CD's `argocd-cm`)
    #[arg(long, value_name = "FILE")]
    pub customizations: Option<PathBuf>,
}

/// Why there are no verdicts.
#[derive(Debug, Error)]
pub enum HealthError {
    /// A file is of no use.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The judged examples could not be read.
    #[error(transparent)]
    Examples(#[from] ReportError),
    /// The directory holds no judged example.
    #[error("{0}: no GROUP/KIND/health_test.yaml is in it; name the directory that holds the groups")]
    NoExamples(String),
    /// A file with rules is not what is expected there.
    #[error("{file}: {message}")]
    Rules {
        /// The file.
        file: String,
        /// What is wrong with it.
        message: String,
    },
    /// Rules can't be used.
    #[error("{}", .0.join("\n"))]
    Broken(Vec<String>),
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
    let rules = rules(arguments)?;
    let objects = input::objects(arguments.file.as_deref().unwrap_or_else(|| Path::new("-")))?;
    report(&objects, &rules, clock, output)
}

/// The rules that the files give; those of a ConfigMap come after a script or an expression that is tried.
fn rules(arguments: &HealthArguments) -> Result<Rules, HealthError> {
    let mut found = Customizations::default();
    let mut broken = Vec::new();
    let mut keys = BTreeMap::new();
    if let Some(file) = &arguments.customizations {
        let name = input::name(file);
        let data = input::config_map(file)?;
        let (customizations, problems) = customizations::parse(&data);
        broken.extend(problems.iter().map(|problem| format!("{name}: {}: {}", problem.key, problem.message)));
        found = customizations;
        keys = data.into_keys().map(|key| (key.clone(), format!("{name}: {key}"))).collect();
    }
    if let Some(file) = &arguments.cel {
        let (origin, text) = (input::name(file), input::read(file)?);
        let rules: Vec<HealthCheckExpression> = serde_yaml::from_slice(&text).map_err(|error| HealthError::Rules {
            file: origin.clone(),
            message: format!("is no list of health rules with apiVersion, kind and current: {error}"),
        })?;
        found
            .health_expressions
            .extend(rules.into_iter().map(|rule| HealthExpression { origin: origin.clone(), rule }));
    }
    if let Some(file) = &arguments.lua {
        let (origin, text) = (input::name(file), input::read(file)?);
        let source = String::from_utf8(text).map_err(|_| HealthError::Rules {
            file: origin.clone(),
            message: "is not UTF-8, and so is no script".to_owned(),
        })?;
        let kinds = KindPattern::all();
        // What is tried comes before everything else.
        found.health_expressions.clear();
        found.health_scripts = vec![HealthScript { kinds, origin, source, open_libraries: arguments.use_open_libs }];
    }
    let (fleet, problems) = FleetRules::compile(&found);
    // What is from a file of its own has that file for a key.
    let place = |key: &String| keys.get(key).unwrap_or(key).clone();
    broken.extend(problems.iter().map(|problem| format!("{}: {}", place(&problem.key), problem.message)));
    if !broken.is_empty() {
        return Err(HealthError::Broken(broken));
    }
    let rules = Rules::default();
    // Nothing was assessed by other rules before.
    drop(rules.set_fleet(fleet));
    Ok(rules)
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

/// Writes one line an object, in the order of the input. An object whose annotations take it out of the reckoning is
/// shown, and does not count for the exit code; a kind without health is well by existing.
fn report(objects: &[Manifest], rules: &Rules, clock: &Clock, output: &mut impl Write) -> Result<Exit, HealthError> {
    let context = AssessContext { now: clock.now(), has_status_subresource: None };
    let mut worst = HealthStatus::Healthy;
    for object in objects {
        let gvk = object.gvk();
        let kind = GroupKind::new(gvk.group.as_str(), gvk.kind.as_str());
        let verdict = rules.assess(&kind, &object.object, &context);
        let Health { status, message } = verdict.unwrap_or_else(Health::healthy);
        if !is_ignored(&object.object) {
            worst = worst.max(status);
        }
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
        let objects = input::objects_in("live.yaml", text.as_bytes())?;
        let exit = report(&objects, &Rules::default(), &clock, &mut output)?;
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

    fn with_rules(files: &[(&str, &str)], arguments: &[&str]) -> Result<(Exit, String), HealthError> {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            arguments: HealthArguments,
        }
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let in_directory = |argument: &&str| match argument.strip_prefix('@') {
            Some(name) => directory.path().join(name).display().to_string(),
            None => (*argument).to_owned(),
        };
        let all: Vec<String> = ["health", "-f", "@live.yaml"].iter().chain(arguments).map(in_directory).collect();
        let arguments = <Command as clap::Parser>::try_parse_from(all).unwrap().arguments;
        let (clock, _hands) = Clock::manual(Timestamp::from_second(1_700_000_000).unwrap());
        let mut output = Vec::new();
        let exit = run(&arguments, &clock, &mut output)?;
        let output = String::from_utf8(output).unwrap();
        let verdicts: Vec<String> = output
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                format!("{} {}", line["status"].as_str().unwrap(), line["message"].as_str().unwrap())
            })
            .collect();
        Ok((exit, verdicts.join("\n")))
    }

    const LIVE: (&str, &str) = (
        "live.yaml",
        "apiVersion: shop.example/v1\nkind: Cart\nmetadata: {name: c, generation: 3}\nstatus: {phase: Ready}\n",
    );

    #[test]
    fn a_script_is_tried_on_the_objects() {
        let script = "return {status = 'Degraded', message = obj.kind .. ' ' .. obj.metadata.generation}";
        let tried = with_rules(&[LIVE, ("health.lua", script)], &["--lua", "@health.lua"]).unwrap();
        assert_eq!(tried, (Exit::Unhealthy, "Degraded Cart 3".to_owned()));
        let open = "return {status = 'Healthy', message = string.upper(obj.kind)}";
        let tried = with_rules(&[LIVE, ("health.lua", open)], &["--lua", "@health.lua", "--use-open-libs"]).unwrap();
        assert_eq!(tried, (Exit::Success, "Healthy CART".to_owned()));
        let broken = with_rules(&[LIVE, ("health.lua", "return {")], &["--lua", "@health.lua"]).unwrap_err();
        assert!(broken.to_string().contains("health.lua: health.lua:1: "), "{broken}");
    }

    const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n";

    #[test]
    fn rules_in_cel_and_a_config_map_are_tried_on_the_objects() {
        let rules = "- apiVersion: shop.example/v1\n  kind: Cart\n  current: status.phase == 'Gone'\n";
        let tried = with_rules(&[LIVE, ("rules.yaml", rules)], &["--cel", "@rules.yaml"]).unwrap();
        assert_eq!(tried, (Exit::Unsettled, "Progressing `status.phase == 'Gone'` is not true yet".to_owned()));
        let map = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: argocd-cm}}\ndata:\n{data}");
        let script = "  resource.customizations.health.shop.example_Cart: |\n    return {status = 'Suspended', message = 'held'}\n";
        let tried = with_rules(&[LIVE, ("cm.yaml", &map(script))], &["--customizations", "@cm.yaml"]).unwrap();
        assert_eq!(tried, (Exit::Success, "Suspended held".to_owned()));
        let broken = "  resource.exclusions: 'x: 1'\n  resource.health.cel.a_b_c: x\n";
        let error = with_rules(&[LIVE, ("cm.yaml", &map(broken))], &["--customizations", "@cm.yaml"]).unwrap_err();
        let HealthError::Broken(problems) = error else { panic!("{error}") };
        assert_eq!(problems.len(), 2, "{problems:?}");
        let error = with_rules(&[LIVE, ("cm.yaml", SECRET)], &["--customizations", "@cm.yaml"]).unwrap_err();
        assert!(error.to_string().contains("cm.yaml: it holds a Secret; one ConfigMap like tidelock-cm"), "{error}");
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

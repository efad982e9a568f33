//! The command line.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | Done. `diff`: no differences. `health`: everything healthy or suspended. `plan`: a plan was made. |
//! | 1 | It could not be done; stderr says what, where and what to do. `doctor`: a destination fails, or an object is not valid. |
//! | 2 | The arguments are wrong. |
//! | 3 | Done, and not (yet) as wanted. `diff`: there are differences. `health`: something is progressing or missing, nothing is worse. |
//! | 4 | `health` only: something is degraded or can't be assessed. |
//!
//! `docs/cli.md` tells every verb, flag and the shapes of JSON output.
//!
//! A reader of stdout that closes early (`| head`) is no error.

mod controller;
mod crds;
mod diff;
mod doctor;
mod health;
mod input;
mod offline;
mod plan;
pub mod plugin;
mod probe;
mod render;
mod sources;
mod yaml;

use std::io::{self, BufWriter, Write};

use clap::{Parser, Subcommand};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;

use crate::clock::Clock;
use crate::telemetry::LogFormat;

pub use controller::{ControllerArguments, ControllerError};
pub use crds::{CrdsArguments, CrdsError, crd_documents};
pub use diff::DiffArguments;
pub use doctor::{DoctorArguments, DoctorVerbError};
pub use health::{HealthArguments, HealthError};
pub use input::InputError;
pub use offline::OfflineError;
pub use plan::PlanArguments;
pub use probe::{ProbeArguments, ProbeError};
pub use render::{RenderArguments, RenderVerbError};
pub use sources::SourcesError;

/// The exit codes, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; diff: no differences; health: everything healthy or suspended
  1  it could not be done; stderr says why; doctor: something fails, as the report says
  2  wrong arguments
  3  diff: there are differences; health: something is progressing or missing
  4  health: something is degraded or can't be assessed";

/// GitOps for clusters that have no internet gateway
#[derive(Clone, Debug, Parser)]
#[command(name = "tidelock", version, about, after_help = EXIT_CODES, propagate_version = true, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Make the cluster follow git: runs until it is told to stop
    Controller(ControllerArguments),
    /// Print the CustomResourceDefinitions as YAML, or write them into a directory
    Crds(CrdsArguments),
    /// Tell how well live objects do, a JSON line each: group, kind, namespace, name, status, message
    Health(HealthArguments),
    /// Print the manifests that a folder, or an Application, renders to
    Render(RenderArguments),
    /// Print what a sync would do with a directory: ordered steps, and what each waits for
    Plan(PlanArguments),
    /// Tell why a destination can't be reached: route, DNS, TCP, proxy, TLS, login, refs, each with what to change
    Doctor(DoctorArguments),
    /// Print what a sync would change, field by field; the content of Secrets is hidden
    Diff(DiffArguments),
    /// Ask a URL, such as the controller's /readyz, until it answers 200
    Probe(ProbeArguments),
    /// Print the version
    Version,
}

/// How a verb ends when it could be carried out, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and all is as wanted.
    Success,
    /// It could not be done.
    Error,
    /// The arguments are wrong; `clap` ends with this one by itself.
    Usage,
    /// `diff` found differences.
    Different,
    /// `health` found something that is progressing or missing, and nothing worse.
    Unsettled,
    /// `health` found something that is degraded or can't be assessed.
    Unhealthy,
}

impl Exit {
    /// The code that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::Different | Self::Unsettled => 3,
            Self::Unhealthy => 4,
        }
    }
}

/// How a verb logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The look.
    pub format: LogFormat,
    /// The level, as `tracing` directives.
    pub level: String,
}

impl Verb {
    /// How this verb logs; always to stderr.
    pub fn logs(&self) -> Logs {
        match self {
            Self::Controller(arguments) => arguments.logs(),
            // The report says all that the log would.
            Self::Doctor(_) => Logs { format: LogFormat::Text, level: "off".to_owned() },
            Self::Crds(_)
            | Self::Health(_)
            | Self::Render(_)
            | Self::Plan(_)
            | Self::Diff(_)
            | Self::Probe(_)
            | Self::Version => Logs { format: LogFormat::Text, level: "warn".to_owned() },
        }
    }

    /// Whether this verb reads credentials, so that its memory must be kept from others.
    pub const fn handles_secrets(&self) -> bool {
        match self {
            Self::Controller(_) | Self::Doctor(_) => true,
            Self::Crds(_)
            | Self::Health(_)
            | Self::Render(_)
            | Self::Plan(_)
            | Self::Diff(_)
            | Self::Probe(_)
            | Self::Version => false,
        }
    }
}

/// Why a verb could not be carried out.
#[derive(Debug, Error)]
pub enum CliError {
    /// `crds`.
    #[error(transparent)]
    Crds(#[from] CrdsError),
    /// `doctor`.
    #[error(transparent)]
    Doctor(#[from] DoctorVerbError),
    /// `health`.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// `probe`.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// `render`.
    #[error(transparent)]
    Render(#[from] RenderVerbError),
    /// `plan` or `diff`.
    #[error(transparent)]
    Offline(#[from] OfflineError),
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Write(#[source] io::Error),
}

/// Carries out a verb.
pub async fn run(verb: Verb, clock: Clock, dropped_log_lines: Counter) -> Result<Exit, CliError> {
    let mut output = BufWriter::new(io::stdout());
    let result = match verb {
        Verb::Controller(arguments) => {
            // The log says why; a second copy on stderr would spoil a stream of JSON.
            let ended = controller::run(arguments, clock, dropped_log_lines).await;
            Ok(if ended.is_ok() { Exit::Success } else { Exit::Error })
        }
        Verb::Crds(arguments) => crds::run(&arguments, &mut output).map_err(CliError::from),
        Verb::Doctor(arguments) => Box::pin(doctor::run(arguments, &clock, &mut output)).await.map_err(CliError::from),
        Verb::Health(arguments) => health::run(&arguments, &clock, &mut output).map_err(CliError::from),
        Verb::Render(arguments) => render::run(&arguments, &mut output).map_err(CliError::from),
        Verb::Plan(arguments) => plan::run(&arguments, &clock, &mut output).map_err(CliError::from),
        Verb::Diff(arguments) => diff::run(&arguments, &clock, &mut output).map_err(CliError::from),
        Verb::Probe(arguments) => Box::pin(probe::run(arguments, &mut output)).await.map_err(CliError::from),
        Verb::Version => {
            writeln!(output, "tidelock {}", env!("CARGO_PKG_VERSION")).map(|()| Exit::Success).map_err(CliError::Write)
        }
    };
    finish(result, output)
}

/// Writes out what is buffered. A reader that went away is no error of ours.
fn finish(result: Result<Exit, CliError>, mut output: impl Write) -> Result<Exit, CliError> {
    let result = result.and_then(|exit| output.flush().map(|()| exit).map_err(CliError::Write));
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(Exit::Success),
        other => other,
    }
}

fn is_closed_pipe(error: &CliError) -> bool {
    match error {
        CliError::Write(error)
        | CliError::Crds(CrdsError::Print(error))
        | CliError::Doctor(DoctorVerbError::Print(error))
        | CliError::Health(HealthError::Print(error))
        | CliError::Probe(ProbeError::Print(error))
        | CliError::Render(RenderVerbError::Print(error))
        | CliError::Offline(OfflineError::Print(error)) => error.kind() == io::ErrorKind::BrokenPipe,
        CliError::Crds(_)
        | CliError::Doctor(_)
        | CliError::Health(_)
        | CliError::Probe(_)
        | CliError::Render(_)
        | CliError::Offline(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_controller_needs_no_flag_in_a_pod() {
        let arguments = Arguments::try_parse_from(["tidelock", "controller"]).unwrap();
        let Verb::Controller(arguments) = arguments.verb else { panic!("another verb") };
        assert_eq!(arguments.flags.state.to_str(), Some("/var/lib/tidelock"));
        assert_eq!(arguments.flags.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(arguments.flags.installation, "tidelock");
        assert_eq!(arguments.logs(), Logs { format: LogFormat::Json, level: "info".to_owned() });
    }

    #[test]
    fn help_lists_every_exit_code() {
        for exit in [Exit::Success, Exit::Error, Exit::Usage, Exit::Different, Exit::Unsettled, Exit::Unhealthy] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", exit.code())), "{exit:?}");
        }
    }
}

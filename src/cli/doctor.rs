//! `tidelock doctor`: why a destination can't be reached, hop by hop.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use thiserror::Error;

use super::Exit;
use crate::clock::Clock;
use crate::doctor::{self, Argument, DoctorError, Request};
use crate::model::parse_duration;
use crate::settings::{Environment, SettingsError, namespace};

/// Arguments of `tidelock doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArguments {
    /// Destinations to look at besides those that objects name: `https://HOST/PATH`, `oci://HOST/NAME`, `HOST:PORT`
    #[arg(value_name = "DESTINATION")]
    pub destinations: Vec<Argument>,
    /// Look at the destinations given here and at nothing else
    #[arg(long, requires = "destinations")]
    pub only: bool,
    /// Kubeconfig of the cluster whose objects to read; without it this must run in the controller's pod
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the controller; defaults to the pod's own
    #[arg(long, value_name = "NS", env = "TIDELOCK_NAMESPACE")]
    pub namespace: Option<String>,
    /// How long all of it may take (`30s`, `2m`); what was found until then is printed. A proxy may need most of a minute
    /// to say that it can't reach something
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = duration)]
    pub timeout: Duration,
    /// Text for people, or JSON for programs
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Aligned text.
    Text,
    /// JSON.
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a duration such as 30s or 2m".to_owned())
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum DoctorVerbError {
    /// The namespace is not known.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Nothing can be examined.
    #[error(transparent)]
    Doctor(#[from] DoctorError),
    /// The report can't be put into JSON.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// stdout could not be written to.
    #[error("cannot write to stdout: {0}")]
    Print(#[source] io::Error),
}

pub(super) async fn run(
    arguments: DoctorArguments,
    clock: &Clock,
    output: &mut impl Write,
) -> Result<Exit, DoctorVerbError> {
    let DoctorArguments { destinations, only, kubeconfig, namespace: given, timeout, output: form } = arguments;
    let environment = Environment::read();
    let request = Request {
        kubeconfig,
        namespace: namespace(given, &environment)?,
        arguments: destinations,
        only_arguments: only,
        timeout,
        proxies: environment.proxy,
    };
    let report = Box::pin(doctor::diagnose(request, clock.clone())).await?;
    let text = match form {
        Form::Text => report.text(),
        Form::Json => report.json()?,
    };
    output.write_all(text.as_bytes()).map_err(DoctorVerbError::Print)?;
    Ok(if report.ok { Exit::Success } else { Exit::Error })
}

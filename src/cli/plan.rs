//! `tidelock plan`: what a sync would do, in which order, and what each step waits for.

mod report;
mod text;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Exit;
use super::offline::{OfflineArguments, OfflineError, Output, survey};
use crate::clock::Clock;

pub use report::PlanReport;

/// Arguments of `tidelock plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArguments {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help heading")]
    pub offline: OfflineArguments,
    /// YAML or JSON with live objects, as `kubectl get -o yaml --show-managed-fields` prints them; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub live: Option<PathBuf>,
    /// How the plan is printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Writes the plan.
pub fn run(arguments: &PlanArguments, clock: &Clock, output: &mut impl Write) -> Result<Exit, OfflineError> {
    let survey = survey(&arguments.offline, arguments.live.as_deref(), clock.now())?;
    let plan = survey.plan.as_ref().map_err(|error| OfflineError::Plan(error.clone()))?;
    let report = PlanReport::of(&survey, plan);
    let text = match arguments.output {
        Output::Text => text::text(&report),
        Output::Json => super::offline::json(&report)?,
    };
    output.write_all(text.as_bytes()).map_err(OfflineError::Print)?;
    Ok(Exit::Success)
}

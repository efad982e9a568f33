//! `tidelock diff`: what a sync would change, object by object and field by field.

mod lines;
mod report;
mod text;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Exit;
use super::offline::{OfflineArguments, OfflineError, Output, survey};
use crate::clock::Clock;

pub use report::DiffReport;

/// Arguments of `tidelock diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffArguments {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help heading")]
    pub offline: OfflineArguments,
    /// YAML or JSON with live objects, as `kubectl get -o yaml --show-managed-fields` prints them; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub live: PathBuf,
    /// How the differences are printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Writes the differences.
pub fn run(arguments: &DiffArguments, clock: &Clock, output: &mut impl Write) -> Result<Exit, OfflineError> {
    let survey = survey(&arguments.offline, Some(&arguments.live), clock.now())?;
    let report = DiffReport::of(&survey);
    let text = match arguments.output {
        Output::Text => text::text(&report),
        Output::Json => super::offline::json(&report)?,
    };
    output.write_all(text.as_bytes()).map_err(OfflineError::Print)?;
    Ok(if report.in_sync { Exit::Success } else { Exit::Different })
}

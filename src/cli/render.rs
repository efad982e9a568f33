//! `tidelock render`: what a directory renders to, by the controller's renderer.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Exit, yaml};
use super::offline::{OfflineError, Subject, built_in_kinds, render};
use crate::render::Rendered;
use crate::settings::ToolFlags;

/// Arguments of `tidelock render`.
#[derive(Args, Clone, Debug)]
pub struct RenderArguments {
    /// Root of a repository, or the folder of the Application in it
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// YAML with the Application; without it the tool follows from the files, and folders are read recursively
    #[arg(long, value_name = "FILE")]
    pub application: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become the help heading")]
    pub tools: ToolFlags,
}

/// Writes the manifests.
pub(super) fn run(arguments: &RenderArguments, output: &mut impl Write) -> Result<Exit, OfflineError> {
    let mut subject = Subject::load(arguments.application.as_deref(), &arguments.path)?;
    let surface = built_in_kinds()?;
    let Rendered { manifests, warnings, tool: _, inputs: _ } =
        render(&arguments.path, &mut subject, &surface, &arguments.tools)?;
    for warning in subject.warnings.iter().chain(&warnings) {
        tracing::warn!("{warning}");
    }
    for manifest in &manifests {
        let text = format!("---\n# Source: {}\n{}", manifest.origin, yaml::document(&manifest.object));
        output.write_all(text.as_bytes()).map_err(OfflineError::Print)?;
    }
    Ok(Exit::Success)
}

//! `tidelock render`: what a directory renders to, by the controller's renderer.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::Exit;
use super::offline::{OfflineError, Subject, built_in_kinds, render};
use crate::render::Rendered;
use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};
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
        let text = format!("---\n# Source: {}\n{}", manifest.origin, document(&manifest.object));
        output.write_all(text.as_bytes()).map_err(OfflineError::Print)?;
    }
    Ok(Exit::Success)
}

/// An object as YAML that Kubernetes' tools read back as the same object, else as JSON, which every YAML reader takes.
fn document(object: &Value) -> String {
    let json = || format!("{object}\n");
    let Ok(text) = serde_yaml::to_string(object) else { return json() };
    match decode(text.as_bytes(), &YamlLimits::default(), DuplicateKeys::Refuse) {
        Ok(decoded) if matches!(decoded.documents.as_slice(), [only] if only.value == *object) => text,
        Ok(_) | Err(_) => json(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_read_back_as_the_same_object_whatever_its_texts_look_like() {
        for text in ["yes", "on", "0644", "1e3", "null", "~", "12:30:45", "0o17", "a: b", "- x", "#", "", " x ", "a\nb\n", "\t", "=", "2020-01-01"] {
            let object = json!({"data": {"value": text}});
            let document = document(&object);
            let decoded = decode(document.as_bytes(), &YamlLimits::default(), DuplicateKeys::Refuse).unwrap();
            assert_eq!(decoded.documents[0].value, object, "{document}");
        }
    }
}

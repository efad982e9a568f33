//! What driving a tool needs, for Helm and Kustomize alike: its material written out, a run in the jail, its output read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::complaint::Canaries;
use super::environment::BuildEnvironment;
use super::exec::{Bounds, ExecError, Jail, Run};
use super::manifests::manifests;
use super::material::{Material, write_file};
use super::renderer::Tools;
use super::scratch::{Private, Scratch, private_directory};
use super::yaml::{self, Document, DuplicateKeys, YamlLimits};
use super::{RecordingFiles, RenderError, RenderRequest};
use crate::model::{Manifest, Origin, Reason};

/// One render by a tool.
pub(super) struct Bench<'a> {
    pub(super) tools: &'a Tools,
    pub(super) scratch: &'a Scratch,
    pub(super) jail: &'a Jail,
    pub(super) files: &'a RecordingFiles<'a>,
    /// Trees of other sources by their `ref`.
    pub(super) references: &'a BTreeMap<String, RecordingFiles<'a>>,
    pub(super) environment: &'a BuildEnvironment,
    pub(super) request: &'a RenderRequest<'a>,
}

/// A tool and how its failures are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) command: &'static str,
    pub(super) reason: Reason,
}

/// A private directory with the material in `tree` and room for generated files beside it.
pub(super) struct Workplace {
    private: Private,
}

impl Workplace {
    /// Writes the material out.
    pub(super) fn prepare(bench: &Bench<'_>, material: &Material<'_>) -> Result<Self, RenderError> {
        let private = bench.scratch.fresh().map_err(|error| broken("no private directory can be made", &error))?;
        let tree = private.path().join("tree");
        private_directory(&tree).map_err(|error| broken("no private directory can be made", &error))?;
        material.write(&tree)?;
        Ok(Self { private })
    }

    /// Where a path of the tree lies.
    pub(super) fn place(&self, path: &str) -> PathBuf {
        let tree = self.private.path().join("tree");
        if path.is_empty() { tree } else { tree.join(path) }
    }

    /// Writes a generated file beside the tree.
    pub(super) fn generate(&self, name: &str, content: &[u8]) -> Result<PathBuf, RenderError> {
        let path = self.private.path().join(name);
        std::fs::write(&path, content).map_err(|error| broken("a generated file can't be written", &error))?;
        Ok(path)
    }

    /// Writes a file of another source beside the tree, under the name that the parameters use.
    pub(super) fn lend(&self, reference: &str, path: &str, content: &[u8]) -> Result<PathBuf, RenderError> {
        let root = self.private.path().join("lent");
        let under = format!("${reference}/{path}");
        let place = root.join(&under);
        match write_file(&root, &under, content) {
            Ok(()) => Ok(place),
            // The same file may be named twice.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(place),
            Err(error) => Err(broken("a file of another source can't be written", &error)),
        }
    }

    /// Runs a tool and gives its output.
    pub(super) fn run(
        &self,
        bench: &Bench<'_>,
        tool: &Path,
        arguments: Vec<OsString>,
        failure: Failure,
        canaries: &Canaries,
    ) -> Result<Vec<u8>, RenderError> {
        let limits = &bench.request.limits;
        let bounds =
            Bounds { timeout: limits.timeout, output_bytes: limits.output_bytes, memory_bytes: limits.memory_bytes };
        let run = Run { tool, arguments, private: self.private.path(), bounds };
        let command = failure.command;
        let output = bench.jail.run(&run).map_err(|error| {
            let reason = match &error {
                ExecError::Start { .. } | ExecError::Read(_) => Reason::InternalError,
                ExecError::Timeout(_) => Reason::RenderTimeout,
                ExecError::TooMuchOutput(_) | ExecError::Killed(_) => Reason::RenderLimit,
            };
            RenderError::new(reason, format!("`{command}`: {error}"))
        })?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        if output.stderr.contains("out of memory") || output.stderr.contains("cannot allocate memory") {
            let message = format!("`{command}` needs more than the limit of {} bytes of memory", limits.memory_bytes);
            return Err(RenderError::new(Reason::RenderLimit, message));
        }
        let said = canaries.complaint(&output.stderr, self.private.path());
        let said = if said.is_empty() { format!("it ended with {}", output.status) } else { said };
        Err(RenderError::new(failure.reason, format!("`{command}` failed: {said}")))
    }
}

fn broken(what: &str, error: &std::io::Error) -> RenderError {
    RenderError::new(Reason::StoreFailed, format!("{what} for a render: {error}"))
}

/// Reads a tool's output. `origin` gives the place that a document came from.
pub(super) fn read_output(
    output: &[u8],
    bench: &Bench<'_>,
    command: &str,
    warnings: &mut Vec<String>,
    origin: impl Fn(&Document) -> Origin,
) -> Result<Vec<Manifest>, RenderError> {
    let limits = &bench.request.limits;
    let yaml_limits = YamlLimits { bytes: limits.output_bytes, ..limits.yaml };
    let decoded = yaml::decode(output, &yaml_limits, DuplicateKeys::Warn).map_err(|error| {
        let place = Document { value: serde_json::Value::Null, line: error.line };
        let message = format!("the output of `{command}` is not valid YAML: {}", error.message);
        RenderError::in_file(error.reason, &origin(&place).file, message)
    })?;
    warnings.extend(decoded.warnings.into_iter().map(|warning| format!("output of `{command}`: {warning}")));
    manifests(decoded.documents, origin)
}

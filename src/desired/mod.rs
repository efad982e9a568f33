//! Manifests → desired set: namespaces filled in by real discovery, duplicates refused, project policy held,
//! ownership marks put on. Pure.

mod assemble;
mod object;
mod options;
mod project;
mod support;

pub use assemble::{AssembleInput, Problem, assemble};
pub use object::{DesiredObject, DesiredSet};
pub use options::{ObjectOptions, SYNC_WAVE_ANNOTATIONS, hook_of, object_options, sync_wave};
pub use project::{ProjectRules, SourceDenied};
pub use support::{unsupported_fields, unsupported_operation, unsupported_project_fields};

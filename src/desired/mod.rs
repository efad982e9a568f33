//! Manifests → desired set: namespaces filled in by real discovery, duplicates refused, project policy held,
//! ownership marks put on. Pure.

mod acting_as;
mod assemble;
mod dependency;
mod hook;
mod limits;
mod object;
mod options;
mod project;
mod sources;
mod support;
mod sync_options;

pub use acting_as::acting_as;
pub use assemble::{AssembleInput, Problem, assemble};
pub use dependency::{DEPENDS_ON_ANNOTATION, Dependency, DependencyState};
pub use hook::{Hook, HookDeletePolicy};
pub use limits::{out_of_reach, outside_namespaces};
pub use object::{DesiredObject, DesiredSet};
pub use options::{ObjectOptions, SYNC_WAVE_ANNOTATIONS, hook_wave, object_options, sync_wave};
pub use project::{ProjectRules, SourceDenied};
pub use sources::{about_source, check_references, join_sources, source_label};
pub use support::{unsupported_fields, unsupported_project_fields};
pub use sync_options::{PrunePropagation, SyncOptions};

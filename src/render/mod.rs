//! Files → manifests: plain directories, Kustomize and Helm.
//!
//! A render is a pure function of (tool, parameters, files). What it read is recorded, so that a commit that touches
//! none of it needs no render. Kustomize and Helm are the real tools, run as jailed children.

mod bench;
mod chart_archives;
mod complaint;
mod directory;
mod environment;
mod error;
mod exec;
mod helm;
mod helm_dependencies;
pub mod inputs;
mod jail;
mod kustomization;
mod kustomize;
pub mod local;
mod manifests;
mod material;
mod overrides;
mod references;
mod renderer;
mod scratch;
mod tree;
mod value_files;
pub mod yaml;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod memory;

pub use chart_archives::{ChartArchive, ChartArchives, ChartDependency};
pub use error::RenderError;
pub use inputs::{RecordingFiles, RenderInputs};
pub use jail::Isolation;
pub use local::LocalFiles;
pub use manifests::{is_foreign, manifests};
pub use references::References;
pub use renderer::{RenderLimits, RenderRequest, Rendered, Renderer, Tool, Tools};

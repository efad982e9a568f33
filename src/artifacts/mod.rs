//! Charts and manifests that lie in Helm repositories and registries.
//!
//! ```text
//! HelmRepository::index(charts) ─► choose(version) ─► download ─┐
//! Registry::digest_of(tag) ─► Registry::artifact ─► blob ───────┴─► unpack::import(store) ─► Revision
//! ```
//!
//! What comes is unpacked into the same kind of object store that git repositories have, as a commit whose tree is the
//! content: everything after it is as for git. All connections take the egress layer.

mod challenge;
mod digest;
mod download;
mod error;
mod helm_repository;
mod index;
mod location;
mod manifest;
mod registry;
#[cfg(test)]
pub mod testing;
mod unpack;
mod version;

pub use digest::Digest;
pub use download::{DEFAULT_LIMIT, archive};
pub use error::ArtifactError;
pub use helm_repository::{ChartPlace, HelmRepository, HelmRepositoryConfig, choose as choose_chart};
pub use index::{ChartEntry, Index, IndexError, parse as parse_index};
pub use location::{HelmRepositoryUrl, LocationError, RegistryReference, covers};
pub use manifest::{Content, Descriptor, Document, Manifest, ManifestError, parse as parse_manifest};
pub use registry::{Artifact, CosignSignature, Registry, RegistryConfig};
pub use unpack::{ARCHIVE, Layout, UnpackLimits, import, keep_archive};
pub use version::{choose as choose_version, is_range, newest_of, tag_of_version, version_of_tag};

//! Git repositories: what a ref points to, and the files at a commit.
//!
//! ```text
//! RepositoryUrl ─► Remote::ls_refs(prefixes)  ─► resolve::resolve(target, refs) ─► Revision
//!                  Remote::fetch(store, wants) ─► Store ─► Store::snapshot(revision) ─► Snapshot: Files
//! ```
//!
//! The network side is a smart-HTTP client of our own (protocol version 2) on the egress layer. `git2` is used for
//! objects alone: its network code is never called, because it cannot be given a route, a CA or timers per repository,
//! and is unsafe behind a proxy.

mod answer;
mod error;
mod import;
mod github_app;
mod ingest;
mod layout;
mod packet_line;
mod protocol;
mod remote;
mod resolve;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;
mod url;
mod version;

pub use error::GitError;
pub use import::{Import, ImportNote, ImportedKind};
pub use github_app::{GitHubApp, GitHubAppError};
pub use remote::{FetchLimits, FetchStats, Remote, RemoteConfig};
pub use resolve::{Resolved, Target, ref_prefixes, resolve};
pub use snapshot::{Snapshot, SnapshotLimits};
pub use store::{CommitFacts, Store, StoreLimits};
pub use url::{RepositoryUrl, RepositoryUrlError, UrlPrefix};
pub use version::{Constraint, newest, parse_version};

pub use protocol::RemoteRef;

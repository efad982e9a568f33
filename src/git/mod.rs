//! Git repositories: what a ref points to, and the files at a commit.
//!
//! ```text
//! RepositoryUrl ─► Remote::ls_refs(prefixes)  ─► resolve::resolve(target, refs) ─► Revision
//!                  Remote::fetch(store, wants) ─► Store ─► Store::snapshot(revision) ─► Snapshot: Files
//!                  Mounted{Snapshot, submodules, LFS contents}: Files
//! ```
//!
//! The network side is a git client of our own (protocol version 2, and 0 and 1 where a server knows no other) on the
//! egress layer. `git2` is used for
//! objects alone: its network code is never called, because it cannot be given a route, a CA or timers per repository,
//! and is unsafe behind a proxy.

mod advertisement;
mod answer;
mod error;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod github_app;
mod http_transport;
mod import;
mod ingest;
mod layout;
mod lfs;
mod memory;
mod mounted;
mod old_protocol;
mod pack_scan;
mod packet_line;
mod pieces;
mod protocol;
mod raw;
mod remote;
mod resolve;
mod snapshot;
mod ssh;
mod store;
mod submodules;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod transfer_tests;
mod transport;
mod url;
mod version;

pub use error::GitError;
pub use fetch::{FetchLimits, FetchStats};
pub use github_app::{GitHubApp, GitHubAppError};
pub use import::{Import, ImportNote, ImportedKind};
pub use lfs::{LfsClient, LfsConfig, LfsLimits, LfsPointer, LfsStore};
pub use memory::bound_memory;
pub use mounted::{Lacking, LfsMode, Mount, Mounted};
pub use remote::{Remote, RemoteConfig};
pub use resolve::{Resolved, Target, ref_prefixes, resolve};
pub use snapshot::{Snapshot, SnapshotLimits};
pub use ssh::{KnownHosts, KnownHostsError, SshChannel, SshConfig, SshConfigError, SshIdentity, SshTransport};
pub use store::{CommitFacts, Store, StoreLimits, WeakStore};
pub use submodules::{GITMODULES, SubmoduleUrlError, Submodules, SubmodulesError};
pub use url::{RepositoryUrl, RepositoryUrlError, SshPlace, UrlPrefix};
pub use version::{Constraint, newest, parse_version};

pub use protocol::RemoteRef;

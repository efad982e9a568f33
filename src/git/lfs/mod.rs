//! Git LFS: large files that lie beside the repository, each named by a small pointer file.
//!
//! ```text
//! Pointer::parse(content of a file)      → which content is meant       (pure)
//! LfsClient::fetch(pointers, &LfsStore)  → content, checked by its hash (I/O: egress → server → store)
//! LfsStore::read(pointer)                → content                      (I/O: files beside the object store)
//! ```

mod batch;
mod client;
mod pointer;
mod store;

pub use client::{LfsClient, LfsConfig, LfsLimits};
pub use pointer::LfsPointer;
pub use store::LfsStore;

pub(super) use pointer::LONGEST_POINTER;

#[cfg(test)]
mod tests;

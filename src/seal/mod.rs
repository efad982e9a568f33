//! What was verified of a source, kept over restarts and sealed against whoever else can write to the volume.
//!
//! ```text
//! key::SealKey      32 bytes, kept in a Secret            (never on the volume)
//! index::Index      target → revision, tree, times        (pure: sealed and opened)
//! file::{read, write}  `verified.json` beside the content   (blocking)
//! voucher           what was asked for → revision, one file each   (blocking)
//! ```
//!
//! The content of a store needs no seal: it is addressed by its hashes, and those are checked when it is read. What
//! imported content claims to be does, and that is what vouchers are for. A sealed commit id is enough to trust all that it names. The address of the source is part of what is sealed: the index
//! of one store proves nothing about another. An older index of the same store does verify: noticing that would take a
//! counter outside of the volume, written at each poll.

mod file;
mod index;
mod key;
mod voucher;

pub use file::{FILE_NAME, read, write};
pub use index::{Index, SealError, Verified};
pub use key::{KEY_BYTES, SealKey, SealKeyError};
pub use voucher::{is_vouched, vouch};

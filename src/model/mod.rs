//! Plain values that every layer shares. Pure: no I/O, no clock, no environment.

mod api_surface;
mod by_hand;
mod consent;
mod duration;
mod field_set;
mod files;
mod hash;
mod health;
mod hook;
mod inventory;
mod json_type;
mod key;
mod manifest;
mod ownership;
mod phase;
mod reason;
mod revision;
mod shorten;

pub use api_surface::{ApiSurface, KindInfo};
pub use by_hand::{FieldByHand, fields_by_hand, hash_of_fields_by_hand};
pub use consent::Consent;
pub use duration::parse_duration;
pub use field_set::{FieldSet, FieldSetError, Location, Owned, Step, entry_hash, own_entry};
pub use files::{Entry, EntryKind, Files, FilesError};
pub use hash::Hash64;
pub use health::{Health, HealthStatus};
pub use hook::{HOOK_ATTEMPT_ANNOTATION, HOOK_FINALIZER};
pub use inventory::{Inventory, InventoryEntry};
pub use json_type::json_type;
pub use key::{GroupKind, GroupVersionKind, ObjectKey};
pub use manifest::{Manifest, Origin};
pub use ownership::{FIELD_MANAGER, INSTANCE_LABEL, InstanceId, Marks, Owner, TRACKING_ANNOTATION};
pub use phase::Phase;
pub use reason::Reason;
pub use revision::{Revision, RevisionParseError, short_revision};
pub use shorten::shorten;

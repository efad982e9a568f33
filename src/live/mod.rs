//! What the cluster holds, known for almost nothing: label-selected watches of the kinds in use, reduced to records.
//!
//! ```text
//! discovery ─► ApiSurface ─► cache: a watch for each scope in use ─► reduce ─► index ─► LiveView
//!                                                                              └──► Change (only when a record changed)
//! ```

mod cache;
pub mod client;
mod discovery;
mod error;
mod fence;
mod impersonation;
mod index;
mod page;
mod record;
mod reduce;
mod scope;
mod stream;
mod surface;
mod trouble;
mod view;
mod watch;

pub use cache::{Assess, Cache, Counters, HasHealth};
pub use discovery::{SurfaceCache, discover};
pub use error::LiveError;
pub use fence::{FenceClosed, WriteFence};
pub use impersonation::{ImpersonationError, acting_as};
pub use index::{Change, Index};
pub use record::{HOOK_ATTEMPT_ANNOTATION, LiveRecord};
pub use reduce::reduce;
pub use scope::{Coverage, Scope};
pub use view::LiveView;

//! What the cluster holds, known for almost nothing: label-selected watches of the kinds in use, reduced to records.

mod record;
mod view;

pub use record::LiveRecord;
pub use view::LiveView;

//! What came of a step.

use crate::model::Reason;

/// What came of a step: one vocabulary for logs, events, status and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The object was not there and is now.
    Created,
    /// The object was changed.
    Configured,
    /// The API server found nothing to change.
    Unchanged,
    /// Its deletion was accepted, or it was found gone.
    Pruned {
        /// Whether a live read found that it does not exist.
        gone: bool,
    },
    /// It was left alone.
    Skipped {
        /// Why.
        message: String,
    },
    /// It was refused.
    Failed {
        /// What kind of refusal.
        reason: Reason,
        /// What was refused, and what to do.
        message: String,
    },
}

impl Outcome {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Pruned { .. } => "pruned",
            Self::Skipped { .. } => "skipped",
            Self::Failed { .. } => "failed",
        }
    }
}

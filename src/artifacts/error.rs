//! What can go wrong with a chart or an artifact.

use std::time::Duration;

use thiserror::Error;

use crate::egress::EgressError;
use crate::git::GitError;
use crate::model::Reason;

/// A chart or an artifact can't be had. The message names where it should come from, and where the network is concerned
/// host, route and rule; it never holds a credential.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ArtifactError {
    /// The reason for conditions.
    pub reason: Reason,
    /// What failed, where, and what to do.
    pub message: String,
    /// How long the server or proxy asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

impl ArtifactError {
    /// An error without a wish of the server's.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    /// The same error, its message beginning with what it is about.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        if !self.message.starts_with(what) {
            self.message = format!("{what}: {}", self.message);
        }
        self
    }
}

impl From<EgressError> for ArtifactError {
    fn from(error: EgressError) -> Self {
        Self { reason: error.reason, message: error.to_string(), retry_after: error.retry_after }
    }
}

impl From<GitError> for ArtifactError {
    fn from(error: GitError) -> Self {
        Self { reason: error.reason, message: error.message, retry_after: error.retry_after }
    }
}

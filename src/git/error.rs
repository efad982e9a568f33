//! What can go wrong with a repository.

use std::time::Duration;

use thiserror::Error;

use crate::egress::EgressError;
use crate::model::Reason;

use super::protocol::ProtocolError;
use super::url::RepositoryUrl;

/// An operation on a repository failed. The message names the repository, and where the network is concerned host,
/// route and rule; it never holds a credential.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct GitError {
    /// The reason for conditions.
    pub reason: Reason,
    /// What failed, where, and what to do.
    pub message: String,
    /// How long the server or proxy asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

impl From<EgressError> for GitError {
    fn from(error: EgressError) -> Self {
        Self { reason: error.reason, message: error.to_string(), retry_after: error.retry_after }
    }
}

impl GitError {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_after: None }
    }

    pub(super) fn store(doing: &str, error: &git2::Error) -> Self {
        Self::new(Reason::StoreFailed, format!("the local object store failed: {doing}: {}", error.message()))
    }

    pub(super) fn file(doing: &str, error: &std::io::Error) -> Self {
        Self::new(Reason::StoreFailed, format!("the local object store failed: {doing}: {error}"))
    }

    pub(super) fn protocol(error: &ProtocolError) -> Self {
        let reason = match error {
            ProtocolError::Framing(_) | ProtocolError::Unexpected(_) => Reason::ProtocolError,
            ProtocolError::ObjectFormat(_) => Reason::ObjectFormatUnsupported,
            ProtocolError::Refused(text) if text.contains("not our ref") => Reason::RefNotFound,
            ProtocolError::Refused(_) => Reason::ServerError,
        };
        Self::new(reason, error.to_string())
    }

    /// The same error, its message beginning with the repository.
    pub(super) fn about(mut self, url: &RepositoryUrl) -> Self {
        if !self.message.starts_with(url.as_str()) {
            self.message = format!("{url}: {}", self.message);
        }
        self
    }
}

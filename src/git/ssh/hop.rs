//! Where a connection goes and how: what every error of it repeats.

use std::time::Duration;

use crate::egress::{Decision, Destination, Egress, Override};
use crate::git::GitError;
use crate::model::Reason;

/// Parts of an SSH connection's life, as messages show them. Those before are the egress layer's.
pub(super) mod phase {
    /// Key exchange, and the check of the host key.
    pub(in crate::git::ssh) const HANDSHAKE: &str = "ssh handshake";
    /// Login.
    pub(in crate::git::ssh) const LOGIN: &str = "ssh login";
    /// Starting git on the server.
    pub(in crate::git::ssh) const COMMAND: &str = "ssh command";
    /// Waiting for the first byte of an answer.
    pub(in crate::git::ssh) const FIRST_BYTE: &str = "first-byte";
    /// Reading an answer.
    pub(in crate::git::ssh) const TRANSFER: &str = "transfer";
}

/// Where and how.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    host: String,
    route: String,
    rule: String,
}

impl Hop {
    pub(super) fn new(egress: &Egress, destination: &Destination, chosen: &Override) -> Self {
        let (route, rule) = match egress.rules().decide_destination(destination, chosen) {
            Ok(Decision { route, rule }) => (route.to_string(), rule),
            Err(error) => ("none".to_owned(), error.to_string()),
        };
        Self { host: destination.to_string(), route, rule }
    }

    /// `direct`, or `proxy corporate (10.0.0.1:3128)`.
    pub(super) fn route(&self) -> &str {
        &self.route
    }

    pub(super) fn error(&self, reason: Reason, phase: &str, message: impl AsRef<str>) -> GitError {
        let Self { host, route, rule } = self;
        let message = message.as_ref();
        GitError::new(
            reason,
            format!("request to {host} failed in phase {phase}, route {route}: {message} [rule: {rule}]"),
        )
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

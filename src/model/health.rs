//! The health vocabulary, as Argo CD has it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How well an object or an Application does.
///
/// Ordered from best to worst as Argo CD orders them; an Application is as healthy as its worst object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HealthStatus {
    /// Does what it should.
    Healthy,
    /// Held on purpose (a paused rollout, a suspended Job).
    Suspended,
    /// On its way; may still become healthy without a change.
    Progressing,
    /// Not in the cluster.
    Missing,
    /// Failed, or can't become healthy without a change.
    Degraded,
    /// Could not be assessed.
    Unknown,
}

impl HealthStatus {
    /// All of them, from best to worst.
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Suspended, Self::Progressing, Self::Missing, Self::Degraded, Self::Unknown];

    /// The one of a name, as [`Self::as_str`] writes it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// The name as it stands in status fields and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Suspended => "Suspended",
            Self::Progressing => "Progressing",
            Self::Missing => "Missing",
            Self::Degraded => "Degraded",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A verdict on one object, with the sentence that explains anything but plain health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Why, in a sentence that names what is missing; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl Health {
    /// A verdict with its explanation.
    pub fn new(status: HealthStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// Healthy, with nothing to add.
    pub const fn healthy() -> Self {
        Self { status: HealthStatus::Healthy, message: String::new() }
    }
}

//! What the probes tell: whether work goes on, and what is missing before it can start. A leaf module: the workers
//! report here and know nothing of the server.

mod watchdog;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;

pub use watchdog::{PART_LIMIT, Part, Stall, WORK_LIMIT, Watchdog, Watched};

/// The two things that probes ask.
#[derive(Clone, Debug)]
pub struct Probes {
    /// Whether work goes on.
    pub watchdog: Watchdog,
    /// Whether it can start.
    pub readiness: Readiness,
}

impl Probes {
    /// Alive as of now, and not ready.
    pub fn new(clock: Clock) -> Self {
        Self { watchdog: Watchdog::new(clock), readiness: Readiness::default() }
    }
}

/// What must be there before the controller counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// The API server has our CustomResourceDefinitions.
    Definitions,
    /// The kinds of the API server are known.
    Discovery,
    /// The lease is held, or a live holder is seen and this process stands by.
    Lease,
    /// The watches of our own kinds have delivered their first state.
    Watches,
    /// A process that stands by knows the live state of what the holder of the lease manages.
    Standby,
    /// The process was not told to stop.
    Shutdown,
}

impl Requirement {
    /// Every requirement.
    pub const ALL: [Self; 6] =
        [Self::Definitions, Self::Discovery, Self::Lease, Self::Watches, Self::Standby, Self::Shutdown];

    /// The name that `/readyz` shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Definitions => "crds",
            Self::Discovery => "discovery",
            Self::Lease => "lease",
            Self::Watches => "watches",
            Self::Standby => "standby",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How a requirement stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is met; with what there is to say about it, or nothing.
    Met(String),
    /// It is not met, and why.
    Missing(String),
}

/// Which requirements are met. At first none is, but for the one that only a signal takes away.
#[derive(Clone, Debug)]
pub struct Readiness {
    standing: Arc<Mutex<BTreeMap<Requirement, Standing>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        let mut standing = BTreeMap::from(
            Requirement::ALL.map(|requirement| (requirement, Standing::Missing("not looked at yet".to_owned()))),
        );
        standing.insert(Requirement::Shutdown, Standing::Met(String::new()));
        Self { standing: Arc::new(Mutex::new(standing)) }
    }
}

impl Readiness {
    /// A requirement is met.
    pub fn met(&self, requirement: Requirement) {
        self.stands(requirement, Standing::Met(String::new()));
    }

    /// A requirement is met; `note` is shown to whoever wants to know more.
    pub fn met_with(&self, requirement: Requirement, note: impl Into<String>) {
        self.stands(requirement, Standing::Met(note.into()));
    }

    /// A requirement is not met; `why` is shown to whoever asks and must hold no secret.
    pub fn unmet(&self, requirement: Requirement, why: impl Into<String>) {
        self.stands(requirement, Standing::Missing(why.into()));
    }

    /// How every requirement stands.
    pub fn standing(&self) -> BTreeMap<Requirement, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stands(&self, requirement: Requirement, standing: Standing) {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).insert(requirement, standing);
    }
}

//! What the probes tell: whether work goes on, and what is missing before it can start. A leaf module: the workers
//! report here and know nothing of the server.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::Clock;

/// How old the last sign of life may be. A reconcile loop beats every few seconds even when it has nothing to do; two
/// minutes is far beyond any pause that is not a hang, and short enough for the kubelet to restart the pod in time.
pub const HEARTBEAT_LIMIT: Duration = Duration::from_mins(2);

/// The two things that probes ask.
#[derive(Clone, Debug)]
pub struct Probes {
    /// Whether work goes on.
    pub heartbeat: Heartbeat,
    /// Whether it can start.
    pub readiness: Readiness,
}

impl Probes {
    /// Alive as of now, and not ready.
    pub fn new(clock: Clock) -> Self {
        Self { heartbeat: Heartbeat::new(clock, HEARTBEAT_LIMIT), readiness: Readiness::default() }
    }
}

/// A sign of life that goes stale. Cheap to clone and to beat.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    clock: Clock,
    limit: Duration,
    start: Instant,
    last_milliseconds: Arc<AtomicU64>,
}

/// No sign of life for too long.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the work loop gave no sign of life for {} s (limit {} s)", age.as_secs(), limit.as_secs())]
pub struct HeartbeatStale {
    /// Time since the last sign.
    pub age: Duration,
    /// How old it may be.
    pub limit: Duration,
}

impl Heartbeat {
    /// A heartbeat that counts from now.
    pub fn new(clock: Clock, limit: Duration) -> Self {
        let start = clock.monotonic();
        Self { clock, limit, start, last_milliseconds: Arc::new(AtomicU64::new(0)) }
    }

    /// Gives a sign of life.
    pub fn beat(&self) {
        self.last_milliseconds.fetch_max(self.since_start(), Ordering::AcqRel);
    }

    /// Whether the last sign of life is recent enough.
    pub fn check(&self) -> Result<(), HeartbeatStale> {
        let last = self.last_milliseconds.load(Ordering::Acquire);
        let age = Duration::from_millis(self.since_start().saturating_sub(last));
        if age <= self.limit { Ok(()) } else { Err(HeartbeatStale { age, limit: self.limit }) }
    }

    fn since_start(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_duration_since(self.start);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
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
    /// The watches have delivered their first state.
    Watches,
}

impl Requirement {
    /// Every requirement.
    pub const ALL: [Self; 4] = [Self::Definitions, Self::Discovery, Self::Lease, Self::Watches];

    /// The name that `/readyz` shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Definitions => "crds",
            Self::Discovery => "discovery",
            Self::Lease => "lease",
            Self::Watches => "watches",
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Which requirements are not met, and why. At first none is.
#[derive(Clone, Debug)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeMap<Requirement, String>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        let missing = Requirement::ALL.map(|requirement| (requirement, "not looked at yet".to_owned()));
        Self { missing: Arc::new(Mutex::new(BTreeMap::from(missing))) }
    }
}

impl Readiness {
    /// A requirement is met.
    pub fn met(&self, requirement: Requirement) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(&requirement);
    }

    /// A requirement is not met; `why` is shown to whoever asks and must hold no secret.
    pub fn unmet(&self, requirement: Requirement, why: impl Into<String>) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(requirement, why.into());
    }

    /// The requirements that are not met, with the reasons.
    pub fn missing(&self) -> BTreeMap<Requirement, String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

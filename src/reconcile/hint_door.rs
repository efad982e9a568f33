//! The door by which hints from outside reach the sources, and by which the keys that prove them are read.

use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::hint::Hints;
use super::secrets::{SecretValues, Secrets};
use super::sources::Sources;
use super::tracker::lock;
use crate::status::Failure;

/// How long the keys are taken from memory: a rotation counts within this time.
const FRESH: Duration = Duration::from_secs(30);
/// How often the keys are read again because something did not fit them, at most.
const AGAIN: Duration = Duration::from_secs(5);

/// Cheap to clone. Nothing is behind it before the work goes on, and after it has ended.
#[derive(Clone, Default)]
pub struct HintDoor {
    inside: Arc<OnceLock<Inside>>,
}

struct Inside {
    sources: Weak<Sources>,
    may_write: Arc<dyn Fn() -> bool + Send + Sync>,
    secrets: Secrets,
    read_again: Mutex<Option<Instant>>,
    /// Why they could not be read a moment ago: strangers must not make the API server be asked again and again.
    failed: Mutex<Option<(Instant, Failure)>>,
}

impl HintDoor {
    /// Hints are taken from now on, as long as this process may write.
    pub(super) fn opens(
        &self,
        sources: &Arc<Sources>,
        may_write: Arc<dyn Fn() -> bool + Send + Sync>,
        client: Client,
        namespace: &str,
    ) {
        let secrets = Secrets::new(client, namespace).fresh_for(FRESH);
        let inside = Inside {
            sources: Arc::downgrade(sources),
            may_write,
            secrets,
            read_again: Mutex::default(),
            failed: Mutex::default(),
        };
        // The work begins once in a process.
        let _ = self.inside.set(inside);
    }

    /// Whether this process is the one that works.
    pub fn is_open(&self) -> bool {
        self.inside.get().is_some_and(|inside| (inside.may_write)() && inside.sources.strong_count() > 0)
    }

    /// The values of the Secret with the keys; `None` while the door is closed.
    ///
    /// # Errors
    /// `SecretNotFound` when it does not exist; others when it can't be read.
    pub async fn keys(&self, secret: &str) -> Option<Result<Arc<SecretValues>, Failure>> {
        let inside = self.inside.get()?;
        let failed = lock(&inside.failed).clone();
        if let Some((_, failure)) = failed.filter(|(since, _)| since.elapsed() < AGAIN) {
            return Some(Err(failure));
        }
        let read = inside.secrets.get(secret, "--webhook-secret").await;
        *lock(&inside.failed) = read.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        Some(read)
    }

    /// Something did not fit the keys: they are read again next time, unless that was done a moment ago. True when they are.
    pub fn forget_keys(&self, secret: &str) -> bool {
        let Some(inside) = self.inside.get() else { return false };
        let mut last = lock(&inside.read_again);
        if last.is_some_and(|last| last.elapsed() < AGAIN) {
            return false;
        }
        *last = Some(Instant::now());
        inside.secrets.forget(secret);
        true
    }

    /// Polls sooner what the hints are about. Returns how many sources that are.
    pub fn take(&self, hints: &Hints) -> usize {
        let Some(sources) = self.inside.get().and_then(|inside| inside.sources.upgrade()) else { return 0 };
        sources.poll_sooner(hints)
    }
}

impl std::fmt::Debug for HintDoor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HintDoor").field("open", &self.is_open()).finish()
    }
}

//! The ways out, lent to what leaves this process and is no source: a collector of traces, say.

use std::sync::{Arc, OnceLock, Weak};

use super::sources::Sources;
use super::survey::Outward;
use crate::status::Failure;

/// The ways out of the work, once it goes on.
#[derive(Clone, Default)]
pub struct OutwardHandle {
    /// Not kept alive: with the work, polls end too.
    sources: Arc<OnceLock<Weak<Sources>>>,
}

impl OutwardHandle {
    /// Everything that says ways out is known from now on.
    pub(super) fn opens(&self, sources: &Arc<Sources>) {
        // The work begins once in a process.
        let _ = self.sources.set(Arc::downgrade(sources));
    }

    /// The ways out as they are now; `None` before all objects that say them are read, since one of them may be the way, and
    /// after the work has ended.
    ///
    /// # Errors
    /// When an object that says ways out is not valid: then nothing leaves.
    pub async fn outward(&self) -> Option<Result<Outward, Failure>> {
        let sources = self.sources.get()?.upgrade()?;
        Some(sources.access.outward().await)
    }

    /// Reads the credentials of proxies again next time.
    pub fn forget_secrets(&self) {
        if let Some(sources) = self.sources.get().and_then(Weak::upgrade) {
            sources.access.forget_all_secrets();
        }
    }
}

impl std::fmt::Debug for OutwardHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("OutwardHandle").field("open", &self.sources.get().is_some()).finish()
    }
}

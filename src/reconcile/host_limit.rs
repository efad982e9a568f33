//! How many repositories of one host are asked at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Polls of one host at a time. Enough that a slow clone keeps nobody waiting, and few enough that five hundred
/// repositories don't fall upon a proxy or a server at once when the operator starts.
const POLLS_PER_HOST: usize = 8;

/// Lets only so many polls of each host begin; the others wait in the order in which they came.
#[derive(Default)]
pub(super) struct HostLimit {
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl HostLimit {
    /// Waits for a place. It is free again when what is returned is dropped.
    pub(super) async fn enter(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        let places = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            if !hosts.contains_key(host) {
                // Whoever has or waits for a place holds the semaphore too.
                hosts.retain(|_, places| Arc::strong_count(places) > 1);
            }
            let new = || Arc::new(Semaphore::new(POLLS_PER_HOST));
            Arc::clone(hosts.entry(host.to_owned()).or_insert_with(new))
        };
        // It is never closed, so there is no error.
        places.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_ninth_poll_of_a_host_waits_for_one_of_the_eight_and_other_hosts_do_not_care() {
        let limit = HostLimit::default();
        let mut places: Vec<_> = (0..8).map(|_| limit.enter("a").now_or_never()).collect();
        assert!(places.iter().all(Option::is_some));
        let mut ninth = std::pin::pin!(limit.enter("a"));
        assert!(ninth.as_mut().now_or_never().is_none());
        assert!(limit.enter("b").now_or_never().is_some());
        places.pop();
        assert!(ninth.now_or_never().is_some());
    }

    #[tokio::test]
    async fn hosts_that_nobody_asks_are_forgotten_and_others_keep_their_count() {
        let limit = HostLimit::default();
        let held = limit.enter("a").await;
        for index in 0..10 {
            drop(limit.enter(&format!("host-{index}")).await);
        }
        assert!(limit.hosts.lock().unwrap().len() <= 2);
        let mut places: Vec<_> = (0..7).map(|_| limit.enter("a").now_or_never()).collect();
        assert!(places.iter().all(Option::is_some));
        places.push(limit.enter("a").now_or_never());
        assert!(places.pop().is_some_and(|ninth| ninth.is_none()), "the one that is held counts");
        drop(held);
    }
}

//! Which Application is due when. An Application is worked on by one worker at a time; what happens meanwhile makes it
//! due again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Due times by Application name.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    order: BTreeSet<(Instant, String)>,
    due: HashMap<String, Instant>,
    running: HashSet<String>,
    again: HashMap<String, Instant>,
}

impl Inner {
    fn schedule(&mut self, name: &str, at: Instant) {
        if self.running.contains(name) {
            let entry = self.again.entry(name.to_owned()).or_insert(at);
            *entry = at.min(*entry);
            return;
        }
        match self.due.get(name) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.order.remove(&(*later, name.to_owned()));
            }
            None => {}
        }
        self.due.insert(name.to_owned(), at);
        self.order.insert((at, name.to_owned()));
    }
}

impl Queue {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes an Application due at once.
    pub fn now(&self, name: &str) {
        self.after(name, Duration::ZERO);
    }

    /// Makes an Application due after a pause, unless it is due earlier.
    pub fn after(&self, name: &str, pause: Duration) {
        let now = Instant::now();
        let at = now.checked_add(pause).unwrap_or(now);
        self.with(|inner| inner.schedule(name, at));
        self.changed.notify_one();
    }

    /// Waits for the next Application that is due and marks it as worked on.
    pub async fn next(&self) -> String {
        loop {
            let changed = self.changed.notified();
            let first = self.with(|inner| {
                let (at, name) = inner.order.first().cloned()?;
                if at > Instant::now() {
                    return Some(Err(at));
                }
                inner.order.pop_first();
                inner.due.remove(&name);
                inner.running.insert(name.clone());
                Some(Ok((name, !inner.order.is_empty())))
            });
            match first {
                Some(Ok((name, more))) => {
                    // One wake-up was one change; whoever else waits must see the rest.
                    if more {
                        self.changed.notify_one();
                    }
                    return name;
                }
                Some(Err(at)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// How long ago the first Application that nobody has taken was due, and how many are worked on.
    pub fn backlog(&self) -> (Duration, usize) {
        let now = Instant::now();
        self.with(|inner| {
            let waited = inner.order.first().map(|(at, _)| now.saturating_duration_since(*at));
            (waited.unwrap_or_default(), inner.running.len())
        })
    }

    /// Ends the work on an Application and makes it due again if something happened meanwhile, or after a pause.
    pub fn done(&self, name: &str, pause: Option<Duration>) {
        let now = Instant::now();
        self.with(|inner| {
            inner.running.remove(name);
            if let Some(at) = inner.again.remove(name) {
                inner.schedule(name, at);
            }
            if let Some(at) = pause.and_then(|pause| now.checked_add(pause)) {
                inner.schedule(name, at);
            }
        });
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn earliest_due_time_wins_and_order_is_by_time() {
        let queue = Queue::default();
        queue.after("late", Duration::from_secs(20));
        queue.after("early", Duration::from_secs(10));
        queue.after("late", Duration::from_secs(5));
        queue.after("late", Duration::from_secs(30));
        assert_eq!(queue.next().await, "late");
        assert_eq!(queue.next().await, "early");
    }

    #[tokio::test(start_paused = true)]
    async fn the_backlog_is_what_nobody_took() {
        let queue = Queue::default();
        queue.after("a", Duration::from_secs(10));
        assert_eq!(queue.backlog(), (Duration::ZERO, 0));
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(queue.backlog(), (Duration::from_secs(5), 0));
        queue.next().await;
        assert_eq!(queue.backlog(), (Duration::ZERO, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_during_the_work_makes_it_due_again_once() {
        let queue = Queue::default();
        queue.now("a");
        assert_eq!(queue.next().await, "a");
        queue.now("a");
        queue.now("a");
        queue.now("b");
        assert_eq!(queue.next().await, "b");
        queue.done("b", None);
        let waiting = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(waiting.is_err(), "an Application was handed out twice at the same time");
        queue.done("a", None);
        assert_eq!(queue.next().await, "a");
        queue.done("a", None);
        assert!(tokio::time::timeout(Duration::from_secs(60), queue.next()).await.is_err());
    }
}

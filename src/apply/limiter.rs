//! How many requests may be in flight: as many as the API server takes without slowing down.
//!
//! Additive increase, multiplicative decrease. Until the first sign of overload the limit grows with every good answer
//! (doubling per round trip); afterwards slowly, by the clock, because round trips are so short that the limit would be
//! back where it was too high within milliseconds. A 429 or a timeout halves it, once per burst.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a request taught about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lesson {
    /// It was answered after this long.
    Answered(Duration),
    /// It was refused for load, or not answered in time.
    Overloaded,
    /// Nothing about load: a refused connection.
    Nothing,
}

/// The bounds of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: usize,
    pub(super) start: usize,
    pub(super) max: usize,
    /// Answers slower than this don't raise the limit.
    pub(super) target: Duration,
}

/// Answers of one burst arrive within this time, and count as one sign of overload.
const BURST: Duration = Duration::from_secs(1);
/// After an overload the limit grows by one in this time at most: from the half to the whole of 64 in 16 s.
const GROWTH_PACE: Duration = Duration::from_millis(500);

/// The limit as a pure function of the lessons.
#[derive(Debug)]
struct Policy {
    bounds: Bounds,
    limit: usize,
    overloaded_at: Option<Instant>,
    grown_at: Option<Instant>,
}

impl Policy {
    const fn new(bounds: Bounds) -> Self {
        Self { bounds, limit: bounds.start, overloaded_at: None, grown_at: None }
    }

    fn learn(&mut self, lesson: Lesson, now: Instant) -> usize {
        let long_ago = |then: Option<Instant>, pace| then.is_none_or(|at| now.saturating_duration_since(at) >= pace);
        match lesson {
            Lesson::Answered(latency) if latency <= self.bounds.target => {
                if self.overloaded_at.is_none() || long_ago(self.grown_at, GROWTH_PACE) {
                    self.limit = (self.limit + 1).min(self.bounds.max);
                    self.grown_at = Some(now);
                }
            }
            Lesson::Answered(_) | Lesson::Nothing => {}
            Lesson::Overloaded => {
                if long_ago(self.overloaded_at, BURST) {
                    self.limit = (self.limit / 2).max(self.bounds.min);
                    self.overloaded_at = Some(now);
                    self.grown_at = Some(now);
                }
            }
        }
        self.limit
    }
}

/// How often a task that waits for a slot runs, for whoever watches whether tasks run.
const SIGN_OF_LIFE: Duration = Duration::from_mins(1);

/// A shared limit of requests in flight.
#[derive(Debug)]
pub(super) struct Limiter {
    free: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    policy: Policy,
    /// Slots that exist: free ones and ones in use.
    slots: usize,
}

/// A slot in use. It is held while a request waits to be sent again, so that the requests that wait press as little on
/// the server as those under way.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    limiter: &'a Limiter,
    permit: Option<OwnedSemaphorePermit>,
}

impl Limiter {
    pub(super) fn new(bounds: Bounds) -> Self {
        let slots = bounds.start;
        Self { free: Arc::new(Semaphore::new(slots)), state: Mutex::new(State { policy: Policy::new(bounds), slots }) }
    }

    /// Waits for a slot.
    pub(super) async fn acquire(&self) -> Slot<'_> {
        let mut waiting = std::pin::pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            // Behind a slow API server the queue may be long; whoever stands in it shows that it lives.
            if let Ok(permit) = tokio::time::timeout(SIGN_OF_LIFE, &mut waiting).await {
                // The semaphore is never closed, so there always is a permit.
                return Slot { limiter: self, permit: permit.ok() };
            }
        }
    }

    /// Adapts the limit to what a request taught.
    pub(super) fn learn(&self, lesson: Lesson) {
        let mut state = self.lock();
        let limit = state.policy.learn(lesson, Instant::now());
        if limit > state.slots {
            self.free.add_permits(limit - state.slots);
            state.slots = limit;
        } else if limit < state.slots {
            // Free slots go at once; of those in use each one goes when it is given back.
            state.slots -= self.free.forget_permits(state.slots - limit);
        }
    }

    /// The limit now.
    pub(super) fn limit(&self) -> usize {
        self.lock().policy.limit
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        if state.slots > state.policy.limit
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            state.slots -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: 4, start: 16, max: 64, target: Duration::from_secs(1) };
    const FAST: Lesson = Lesson::Answered(Duration::from_millis(5));

    #[test]
    fn the_limit_doubles_per_round_trip_until_the_first_overload_and_then_grows_by_the_clock() {
        let now = Instant::now();
        let mut policy = Policy::new(BOUNDS);
        for _ in 0..16 {
            policy.learn(FAST, now);
        }
        assert_eq!(policy.limit, 32);
        assert_eq!(policy.learn(Lesson::Overloaded, now), 16);
        for _ in 0..1000 {
            policy.learn(FAST, now + Duration::from_millis(499));
        }
        assert_eq!(policy.limit, 16);
        for _ in 0..1000 {
            policy.learn(FAST, now + Duration::from_millis(500));
        }
        assert_eq!(policy.limit, 17);
    }

    #[test]
    fn a_burst_of_refusals_halves_once_and_never_below_the_minimum() {
        let now = Instant::now();
        let mut policy = Policy::new(BOUNDS);
        for _ in 0..20 {
            policy.learn(Lesson::Overloaded, now);
        }
        assert_eq!(policy.limit, 8);
        for second in 1..10 {
            policy.learn(Lesson::Overloaded, now + Duration::from_secs(second));
        }
        assert_eq!(policy.limit, 4);
    }

    #[test]
    fn slow_answers_and_refused_connections_leave_the_limit_and_good_ones_stop_at_the_maximum() {
        let now = Instant::now();
        let mut policy = Policy::new(BOUNDS);
        policy.learn(Lesson::Answered(Duration::from_secs(2)), now);
        policy.learn(Lesson::Nothing, now);
        assert_eq!(policy.limit, 16);
        for _ in 0..1000 {
            policy.learn(FAST, now);
        }
        assert_eq!(policy.limit, 64);
    }

    #[tokio::test]
    async fn slots_in_use_go_when_they_are_given_back() {
        let limiter = Limiter::new(BOUNDS);
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(limiter.acquire().await);
        }
        limiter.learn(Lesson::Overloaded);
        assert_eq!(limiter.limit(), 8);
        held.truncate(9);
        assert_eq!(limiter.free.available_permits(), 0);
        held.clear();
        assert_eq!(limiter.free.available_permits(), 8);
    }

    #[tokio::test]
    async fn free_slots_come_and_go_at_once() {
        let limiter = Limiter::new(BOUNDS);
        limiter.learn(FAST);
        assert_eq!(limiter.free.available_permits(), 17);
        limiter.learn(Lesson::Overloaded);
        assert_eq!(limiter.free.available_permits(), 8);
    }
}

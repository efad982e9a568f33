//! How many requests may be in flight: as many as the API server takes without slowing down.
//!
//! Additive increase, multiplicative decrease. Until the first sign of overload the limit grows with every good answer
//! (doubling per round trip), afterwards by one per round trip. A 429 or a timeout halves it, once per burst.

use std::sync::{Arc, Mutex, PoisonError};
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

/// The limit as a pure function of the lessons.
#[derive(Debug)]
struct Policy {
    bounds: Bounds,
    limit: f64,
    overloaded_at: Option<Instant>,
}

impl Policy {
    fn new(bounds: Bounds) -> Self {
        Self { bounds, limit: as_float(bounds.start), overloaded_at: None }
    }

    fn learn(&mut self, lesson: Lesson, now: Instant) -> usize {
        match lesson {
            Lesson::Answered(latency) if latency <= self.bounds.target => {
                let step = if self.overloaded_at.is_none() { 1.0 } else { 1.0 / self.limit };
                self.limit = (self.limit + step).min(as_float(self.bounds.max));
            }
            Lesson::Answered(_) | Lesson::Nothing => {}
            Lesson::Overloaded => {
                if self.overloaded_at.is_none_or(|at| now.saturating_duration_since(at) >= BURST) {
                    self.limit = (self.limit / 2.0).max(as_float(self.bounds.min));
                    self.overloaded_at = Some(now);
                }
            }
        }
        self.limit()
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between min and max, both small")]
    fn limit(&self) -> usize {
        self.limit as usize
    }
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// A shared limit of requests in flight.
#[derive(Debug)]
pub(super) struct Limiter {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    policy: Policy,
    /// Slots that exist: free ones and ones in use.
    slots: usize,
}

impl Limiter {
    pub(super) fn new(bounds: Bounds) -> Self {
        let policy = Policy::new(bounds);
        let slots = policy.limit();
        Self { slots: Arc::new(Semaphore::new(slots)), state: Mutex::new(State { policy, slots }) }
    }

    /// Waits for a slot. A slot that is dropped without a lesson is free again.
    pub(super) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Gives a slot back with what was learned.
    pub(super) fn release(&self, permit: Option<OwnedSemaphorePermit>, lesson: Lesson) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = state.policy.learn(lesson, Instant::now());
        if limit > state.slots {
            self.slots.add_permits(limit - state.slots);
            state.slots = limit;
        }
        if limit < state.slots {
            // Free slots go at once; of those in use each one goes when it is given back.
            if let Some(permit) = permit {
                permit.forget();
                state.slots -= 1;
            }
            state.slots -= self.slots.forget_permits(state.slots - limit);
        }
    }

    /// The limit now.
    pub(super) fn limit(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).policy.limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: 4, start: 16, max: 64, target: Duration::from_secs(1) };
    const FAST: Lesson = Lesson::Answered(Duration::from_millis(5));

    #[test]
    fn the_limit_doubles_per_round_trip_until_the_first_overload_and_then_grows_by_one() {
        let now = Instant::now();
        let mut policy = Policy::new(BOUNDS);
        for _ in 0..16 {
            policy.learn(FAST, now);
        }
        assert_eq!(policy.limit(), 32);
        assert_eq!(policy.learn(Lesson::Overloaded, now), 16);
        for _ in 0..17 {
            policy.learn(FAST, now);
        }
        assert_eq!(policy.limit(), 17);
    }

    #[test]
    fn a_burst_of_refusals_halves_once_and_never_below_the_minimum() {
        let now = Instant::now();
        let mut policy = Policy::new(BOUNDS);
        for _ in 0..20 {
            policy.learn(Lesson::Overloaded, now);
        }
        assert_eq!(policy.limit(), 8);
        for second in 1..10 {
            policy.learn(Lesson::Overloaded, now + Duration::from_secs(second));
        }
        assert_eq!(policy.limit(), 4);
    }

    #[test]
    fn slow_answers_and_refused_connections_leave_the_limit_and_good_ones_stop_at_the_maximum() {
        let now = Instant::now();
        let mut policy = Policy::new(BOUNDS);
        policy.learn(Lesson::Answered(Duration::from_secs(2)), now);
        policy.learn(Lesson::Nothing, now);
        assert_eq!(policy.limit(), 16);
        for _ in 0..1000 {
            policy.learn(FAST, now);
        }
        assert_eq!(policy.limit(), 64);
    }

    #[tokio::test]
    async fn slots_in_use_go_when_they_are_given_back() {
        let limiter = Limiter::new(BOUNDS);
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(limiter.acquire().await);
        }
        limiter.release(held.pop().flatten(), Lesson::Overloaded);
        assert_eq!(limiter.limit(), 8);
        assert_eq!(limiter.slots.available_permits(), 0);
        while let Some(permit) = held.pop() {
            limiter.release(permit, Lesson::Nothing);
        }
        assert_eq!(limiter.slots.available_permits(), 8);
    }
}

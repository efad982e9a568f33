//! Whether work goes on. What fails here is cured by a new process and by nothing else; an API server that is slow or away
//! never is such a thing, because whatever waits for it has a limit of its own and shows itself when that is over.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::clock::Clock;

/// How long a part may show no sign of life, and how long one piece of work may hold a thread. Parts show themselves every
/// few seconds; two minutes are far beyond any pause that is no hang, and short enough to be restarted in time.
pub const PART_LIMIT: Duration = Duration::from_mins(2);
/// How long a reconcile may wait for one thing. Whatever it may wait for gives up, or shows itself, within a minute.
pub const WORK_LIMIT: Duration = Duration::from_mins(10);

/// What never rests for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Timers fire and tasks run.
    Runtime,
    /// The Lease is looked at, or renewed.
    Lease,
    /// What is due is taken by a worker.
    Queue,
}

impl Part {
    /// What a failed probe calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Lease => "lease",
            Self::Queue => "queue",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Runtime => "no timer has fired",
            Self::Lease => "the Lease was neither looked at nor renewed",
            Self::Queue => "Applications are due and no worker takes them, although some are free,",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Something that does not go on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Stall {
    /// A part is silent.
    #[error("{part}: {} for {} s (limit {} s)", part.what(), age.as_secs(), limit.as_secs())]
    Silent {
        /// Which.
        part: Part,
        /// Since its last sign of life.
        age: Duration,
        /// How long it may be silent.
        limit: Duration,
    },
    /// A piece of work computes and computes.
    #[error("workers: the reconcile of {name} has held a thread for {} s (limit {} s)", age.as_secs(), PART_LIMIT.as_secs())]
    Computes {
        /// The Application.
        name: String,
        /// Since when.
        age: Duration,
    },
    /// A piece of work waits for what does not come.
    #[error("workers: the reconcile of {name} has waited for one thing for {} s (limit {} s)", age.as_secs(), WORK_LIMIT.as_secs())]
    Waits {
        /// The Application.
        name: String,
        /// Since when.
        age: Duration,
    },
}

/// Takes signs of life, and tells what gives none. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watchdog {
    clock: Clock,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When each last showed itself, and how long it may be silent then.
    parts: BTreeMap<Part, (Instant, Duration)>,
    work: BTreeMap<u64, Work>,
    next: u64,
}

#[derive(Debug)]
struct Work {
    name: String,
    /// When it last began to compute, or stopped to wait.
    since: Instant,
    computes: bool,
}

impl Watchdog {
    /// Watches the runtime from now on; other parts from their first sign of life on.
    pub fn new(clock: Clock) -> Self {
        let watchdog = Self { clock, seen: Arc::default() };
        watchdog.beat(Part::Runtime);
        watchdog
    }

    /// Takes a sign of life.
    pub fn beat(&self, part: Part) {
        self.beat_before_rest(part, Duration::ZERO);
    }

    /// Takes a sign of life of a part that rests for so long before it has to show itself again.
    pub fn beat_before_rest(&self, part: Part, rest: Duration) {
        let now = self.clock.monotonic();
        self.seen().parts.insert(part, (now, PART_LIMIT.saturating_add(rest)));
    }

    /// A part ends as it should, and is watched no more.
    pub fn ended(&self, part: Part) {
        self.seen().parts.remove(&part);
    }

    /// The same work under watch, until it is done or dropped.
    pub fn watch<F>(&self, name: &str, work: F) -> Watched<F> {
        let since = self.clock.monotonic();
        let mut seen = self.seen();
        let id = seen.next;
        seen.next = id.wrapping_add(1);
        seen.work.insert(id, Work { name: name.to_owned(), since, computes: false });
        Watched { work: Box::pin(work), place: Place { watchdog: self.clone(), id } }
    }

    /// What does not go on; nothing when all is well.
    pub fn stalls(&self) -> Vec<Stall> {
        let now = self.clock.monotonic();
        let seen = self.seen();
        let silent = seen.parts.iter().filter_map(|(part, (last, limit))| {
            let (age, limit) = (now.saturating_duration_since(*last), *limit);
            (age > limit).then_some(Stall::Silent { part: *part, age, limit })
        });
        let stuck = seen.work.values().filter_map(|work| {
            let (name, age) = (work.name.clone(), now.saturating_duration_since(work.since));
            match work.computes {
                true if age > PART_LIMIT => Some(Stall::Computes { name, age }),
                false if age > WORK_LIMIT => Some(Stall::Waits { name, age }),
                true | false => None,
            }
        });
        silent.chain(stuck).collect()
    }

    fn step(&self, id: u64, computes: bool) {
        let since = self.clock.monotonic();
        if let Some(work) = self.seen().work.get_mut(&id) {
            work.since = since;
            work.computes = computes;
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work under watch.
pub struct Watched<F> {
    work: Pin<Box<F>>,
    place: Place,
}

struct Place {
    watchdog: Watchdog,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watchdog.seen().work.remove(&self.id);
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.place.watchdog.step(self.place.id, true);
        let polled = self.work.as_mut().poll(context);
        self.place.watchdog.step(self.place.id, false);
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use jiff::Timestamp;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn texts(watchdog: &Watchdog) -> Vec<String> {
        watchdog.stalls().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_part_that_is_silent_is_named_and_one_that_ended_is_not_missed() {
        let (clock, hands) = Clock::manual(Timestamp::UNIX_EPOCH);
        let watchdog = Watchdog::new(clock);
        watchdog.beat(Part::Lease);
        hands.advance(PART_LIMIT);
        assert_eq!(texts(&watchdog), Vec::<String>::new());
        hands.advance(SECOND);
        assert_eq!(
            texts(&watchdog),
            [
                "runtime: no timer has fired for 121 s (limit 120 s)",
                "lease: the Lease was neither looked at nor renewed for 121 s (limit 120 s)"
            ]
        );
        watchdog.beat(Part::Runtime);
        watchdog.ended(Part::Lease);
        assert_eq!(texts(&watchdog), Vec::<String>::new());
        watchdog.beat_before_rest(Part::Lease, 30 * SECOND);
        hands.advance(PART_LIMIT + 31 * SECOND);
        watchdog.beat(Part::Runtime);
        assert_eq!(texts(&watchdog), ["lease: the Lease was neither looked at nor renewed for 151 s (limit 150 s)"]);
    }

    #[test]
    fn work_that_waits_too_long_for_one_thing_is_named_until_it_goes_on() {
        let (clock, hands) = Clock::manual(Timestamp::UNIX_EPOCH);
        let watchdog = Watchdog::new(clock);
        let mut polls = 0;
        let mut work = Box::pin(watchdog.watch(
            "shop",
            std::future::poll_fn(|_| {
                polls += 1;
                if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
            }),
        ));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert_eq!(work.as_mut().poll(&mut context), Poll::Pending);
            hands.advance(WORK_LIMIT);
            watchdog.beat(Part::Runtime);
            assert_eq!(texts(&watchdog), Vec::<String>::new());
        }
        hands.advance(SECOND);
        assert_eq!(
            texts(&watchdog),
            ["workers: the reconcile of shop has waited for one thing for 601 s (limit 600 s)"]
        );
        assert_eq!(work.as_mut().poll(&mut context), Poll::Ready(()));
        drop(work);
        hands.advance(PART_LIMIT);
        assert_eq!(texts(&watchdog), ["runtime: no timer has fired for 121 s (limit 120 s)"]);
    }

    #[test]
    fn work_that_never_gives_its_thread_back_is_named_sooner() {
        let (clock, hands) = Clock::manual(Timestamp::UNIX_EPOCH);
        let watchdog = Watchdog::new(clock);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let work = watchdog.watch("shop", {
            let (watchdog, seen) = (watchdog.clone(), Arc::clone(&seen));
            async move {
                hands.advance(PART_LIMIT + SECOND);
                watchdog.beat(Part::Runtime);
                *seen.lock().unwrap() = watchdog.stalls();
            }
        });
        assert_eq!(Box::pin(work).as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
        let expected = Stall::Computes { name: "shop".to_owned(), age: PART_LIMIT + SECOND };
        assert_eq!(*seen.lock().unwrap(), [expected]);
        assert_eq!(watchdog.stalls(), []);
    }
}

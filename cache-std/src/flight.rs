//! One load in progress and those who wait for it.

use core::task::Waker;
use std::sync::Arc;

use cache_core::Lifetime;

use crate::error::{Failure, LoadError};
use crate::pool::Job;
use crate::primitives::{Mutex, MutexGuard, PoisonError, ThreadId, thread};
use crate::sync::Source;
use crate::time::Signal;

/// How a flight ended, for all who waited.
#[derive(Clone)]
pub(crate) enum End<V> {
    Value(V, Arrival),
    Missing,
    Failed(Failure),
    /// The load was given up without an end; those who waited look again.
    Abandoned,
    /// An old value was found in the store behind the cache, which may serve those who waited. The
    /// load goes on as this flight.
    Adopted(Arc<Flight<V>>),
}

/// What is known of a value that a flight has brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) source: Source,
    /// Its life as it was when it arrived.
    pub(crate) lifetime: Lifetime,
}

/// Why somebody cannot wait for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CannotWait {
    /// As many wait as may.
    TooMany,
}

impl CannotWait {
    /// As the caller is told.
    pub(crate) const fn told<E>(self) -> LoadError<E> {
        match self {
            Self::TooMany => LoadError::Busy,
        }
    }
}

/// Who waits: a thread, or a task. One flight serves both.
enum Waiter {
    Thread(Arc<Signal>),
    #[cfg_attr(not(test), allow(dead_code))] // tasks come with the async driver
    Task(Waker),
}

/// One load in progress.
pub(crate) struct Flight<V> {
    state: Mutex<State<V>>,
}

struct State<V> {
    end: Option<End<V>>,
    waiters: Vec<Waiter>,
    /// The thread that runs the loader, to find a loader that waits for itself.
    runner: Option<ThreadId>,
    /// The load, while it waits in a queue: whoever needs it first takes it.
    queued: Option<Job>,
}

impl<V> Flight<V> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { end: None, waiters: Vec::new(), runner: None, queued: None };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the load where a worker, or a caller who cannot wait for one, takes it.
    pub(crate) fn queue(&self, job: Job) {
        self.lock().queued = Some(job);
    }

    pub(crate) fn take_queued(&self) -> Option<Job> {
        self.lock().queued.take()
    }

    /// Says that the current thread runs the loader.
    pub(crate) fn runs_here(&self) {
        self.lock().runner = Some(thread::current().id());
    }

    /// Whether the current thread runs the loader: to wait would be to wait for itself.
    pub(crate) fn is_mine(&self) -> bool {
        self.lock().runner == Some(thread::current().id())
    }

    /// Ends the flight, once, and wakes all who wait.
    pub(crate) fn finish(&self, end: End<V>) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        state.runner = None;
        let (waiters, queued) = (core::mem::take(&mut state.waiters), state.queued.take());
        drop(state);
        for waiter in waiters {
            match waiter {
                Waiter::Thread(signal) => signal.set(),
                Waiter::Task(waker) => waker.wake(),
            }
        }
        drop(queued);
    }

    /// Registers a thread that waits; `false` if the flight has ended.
    pub(crate) fn join(&self, signal: &Arc<Signal>) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        state.waiters.push(Waiter::Thread(Arc::clone(signal)));
        true
    }

    /// Registers a task that waits, once however often it is polled; `false` if the flight has
    /// ended.
    #[cfg_attr(not(test), allow(dead_code))] // tasks come with the async driver
    pub(crate) fn join_task(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.end.is_some() {
            return false;
        }
        let known = |waiter: &Waiter| matches!(waiter, Waiter::Task(own) if own.will_wake(waker));
        if !state.waiters.iter().any(known) {
            state.waiters.push(Waiter::Task(waker.clone()));
        }
        true
    }

    /// Takes a thread back that stopped waiting.
    pub(crate) fn leave(&self, signal: &Arc<Signal>) {
        let is_not = |waiter: &Waiter| match waiter {
            Waiter::Thread(other) => !Arc::ptr_eq(other, signal),
            Waiter::Task(_) => true,
        };
        self.lock().waiters.retain(is_not);
    }

    /// How the flight ended, if it has. The value's `Clone` runs under the flight's own lock.
    pub(crate) fn end(&self) -> Option<End<V>>
    where
        V: Clone,
    {
        self.lock().end.clone()
    }
}

#[cfg(all(test, shuttle))]
mod models;

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    const HERE: Arrival =
        Arrival { source: Source::Origin, lifetime: Lifetime::fresh_for(Duration::ZERO) };

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn threads_and_tasks_wait_for_the_same_flight() {
        let flight = Flight::<u32>::new();
        let (signal, woken) = (Arc::new(Signal::new()), Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        assert!(flight.join(&signal) && flight.join_task(&waker) && flight.join_task(&waker));
        flight.finish(End::Value(7, HERE));
        assert!(signal.is_set());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "woken once, however often it was polled");
        assert!(matches!(flight.end(), Some(End::Value(7, _))));
        assert!(!flight.join(&signal) && !flight.join_task(&waker), "it has ended");
    }

    #[test]
    fn only_the_first_end_counts() {
        let flight = Flight::new();
        flight.finish(End::Value(1, HERE));
        flight.finish(End::Abandoned);
        assert!(matches!(flight.end(), Some(End::Value(1, _))));
    }

    #[test]
    fn who_left_is_not_woken() {
        let flight = Flight::<u32>::new();
        let signal = Arc::new(Signal::new());
        assert!(flight.join(&signal));
        flight.leave(&signal);
        flight.finish(End::Missing);
        assert!(!signal.is_set());
    }
}

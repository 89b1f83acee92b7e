//! One load in progress and those who wait for it.

use core::cell::RefCell;
use core::sync::atomic::Ordering;
use std::sync::Arc;

use cache_core::Lifetime;

use crate::error::{Failure, LoadError};
use crate::pool::Job;
use crate::primitives::{AtomicUsize, Mutex, MutexGuard, PoisonError, ThreadId, thread};
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
    /// A store behind the cache was in trouble.
    pub(crate) degraded: bool,
    /// It is not kept: something has changed since the load began.
    pub(crate) superseded: bool,
}

/// Why somebody cannot wait for a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CannotWait {
    /// As many wait as may.
    TooMany,
    /// The load runs as a task that this very thread would have to run.
    Hangs,
    /// There is no runtime to wait by.
    NoRuntime,
}

impl CannotWait {
    /// As the caller is told.
    pub(crate) const fn told<E>(self) -> LoadError<E> {
        match self {
            Self::TooMany => LoadError::Busy,
            Self::Hangs => LoadError::WouldHang,
            Self::NoRuntime => LoadError::NoRuntime,
        }
    }
}

/// What became of somebody who came to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// Will be told of the end.
    Waits,
    /// The flight has ended.
    Ended,
    /// As many wait for this flight as may.
    Full,
}

/// Whether to block this thread now would keep a load from running.
pub(crate) type Hangs = Box<dyn Fn() -> bool + Send + Sync>;

/// One load in progress. Threads and tasks wait for it in the same way.
pub(crate) struct Flight<V> {
    state: Mutex<State<V>>,
    /// Most who wait.
    most: usize,
    /// How many changes of tags there were before it.
    after_tags: u64,
}

struct State<V> {
    end: Option<End<V>>,
    waiters: Vec<Arc<Signal>>,
    /// The thread that runs the loader, to find a loader that waits for itself.
    runner: Option<ThreadId>,
    /// The load, while it waits in a queue: whoever needs it first takes it.
    queued: Option<Job>,
    /// Set by who needs a load that waits for its turn as a task.
    nudge: Option<Arc<Signal>>,
    /// Where the load runs as a task, of a runtime that this thread may be needed by.
    hangs: Option<Hangs>,
    /// Who waits, if the load is not to go on when nobody does.
    watchers: Option<Arc<Watchers>>,
}

/// How many wait for one load, for whichever of its keys.
pub(crate) struct Watchers {
    there: AtomicUsize,
    over: Arc<Signal>,
}

/// One of those who wait for a load, until it is dropped.
pub(crate) struct Watcher(Arc<Watchers>);

thread_local! {
    /// The flights whose loaders' futures are being polled on this thread.
    static POLLED: RefCell<Vec<*const ()>> = const { RefCell::new(Vec::new()) };
}

/// Flights are being polled here; ends when it is dropped.
struct Polled(usize);

impl Drop for Polled {
    fn drop(&mut self) {
        POLLED.with_borrow_mut(|polled| polled.truncate(self.0));
    }
}

impl Watchers {
    /// One that has `over` set when the last who waits has left.
    pub(crate) fn new(over: &Arc<Signal>) -> Arc<Self> {
        Arc::new(Self { there: AtomicUsize::new(0), over: Arc::clone(over) })
    }

    /// One who waits for more than one key, or more than once.
    pub(crate) fn watcher(self: &Arc<Self>) -> Watcher {
        self.come();
        Watcher(Arc::clone(self))
    }

    fn come(&self) {
        self.there.fetch_add(1, Ordering::Relaxed);
    }

    fn go(&self) {
        if self.there.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.set();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.go();
    }
}

impl<V> Flight<V> {
    #[cfg(test)]
    pub(crate) fn new() -> Arc<Self> {
        Self::bounded(usize::MAX, 0)
    }

    /// A flight that at most so many may wait for, begun after so many changes of tags.
    pub(crate) fn bounded(most: usize, after_tags: u64) -> Arc<Self> {
        let state = State {
            end: None,
            waiters: Vec::new(),
            runner: None,
            queued: None,
            nudge: None,
            hangs: None,
            watchers: None,
        };
        Arc::new(Self { state: Mutex::new(state), most, after_tags })
    }

    /// The flight that this one goes on as, with the same bound.
    pub(crate) fn next(&self) -> Arc<Self> {
        Self::bounded(self.most, self.after_tags)
    }

    /// Whether tags had changed since it began, when there were so many changes.
    pub(crate) const fn is_older(&self, changes: u64) -> bool {
        changes != self.after_tags
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves the load where a worker, or a caller who cannot wait for one, takes it. Whether somebody
    /// waits for it already, and will not look here again.
    pub(crate) fn queue(&self, job: Job) -> bool {
        let mut state = self.lock();
        state.queued = Some(job);
        !state.waiters.is_empty()
    }

    pub(crate) fn take_queued(&self) -> Option<Job> {
        self.lock().queued.take()
    }

    /// Has `signal` set when somebody comes to need the load before its turn.
    /// At once, where somebody does already, who will not look here again.
    pub(crate) fn nudge(&self, signal: &Arc<Signal>) {
        let mut state = self.lock();
        let is_needed = !state.waiters.is_empty();
        state.nudge = Some(Arc::clone(signal)).filter(|_| !is_needed);
        drop(state);
        if is_needed {
            signal.set();
        }
    }

    pub(crate) fn take_nudge(&self) -> Option<Arc<Signal>> {
        self.lock().nudge.take()
    }

    /// Says that the current thread runs the loader.
    pub(crate) fn runs_here(&self) {
        self.lock().runner = Some(thread::current().id());
    }

    /// Says that the load runs as a task, and how to find out whether that hangs if this thread is
    /// blocked.
    pub(crate) fn runs_as_task(&self, hangs: Option<Hangs>) {
        self.lock().hangs = hangs;
    }

    /// Polls the futures of these flights' loader, by which it may ask for what it loads.
    pub(crate) fn polling<T>(flights: &[Arc<Self>], poll: impl FnOnce() -> T) -> T {
        let before = POLLED.with_borrow_mut(|polled| {
            let before = polled.len();
            polled.extend(flights.iter().map(|flight| Arc::as_ptr(flight).cast()));
            before
        });
        let _polled = Polled(before);
        poll()
    }

    /// Whether the loader runs here, or is polled here: to wait would be to wait for itself.
    pub(crate) fn is_mine(&self) -> bool {
        let own = core::ptr::from_ref(self).cast();
        self.lock().runner == Some(thread::current().id())
            || POLLED.with_borrow(|polled| polled.contains(&own))
    }

    /// Whether the load would not run while this thread is blocked.
    pub(crate) fn would_hang(&self) -> bool {
        let state = self.lock();
        state.end.is_none() && state.hangs.as_ref().is_some_and(|hangs| hangs())
    }

    /// Counts those who wait in `watchers`, until the end.
    pub(crate) fn count_in(&self, watchers: &Arc<Watchers>) {
        let mut state = self.lock();
        // Some may have joined already.
        state.waiters.iter().for_each(|_| watchers.come());
        state.watchers = Some(Arc::clone(watchers));
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
        let left = (state.hangs.take(), state.watchers.take(), state.nudge.take());
        drop(state);
        waiters.iter().for_each(|signal| signal.set());
        drop((queued, left));
    }

    /// Registers who waits.
    pub(crate) fn join(&self, signal: &Arc<Signal>) -> Joined {
        let mut state = self.lock();
        if state.end.is_some() {
            return Joined::Ended;
        }
        if state.waiters.len() >= self.most {
            return Joined::Full;
        }
        state.waiters.push(Arc::clone(signal));
        if let Some(watchers) = &state.watchers {
            watchers.come();
        }
        Joined::Waits
    }

    /// Takes back who stopped waiting.
    pub(crate) fn leave(&self, signal: &Arc<Signal>) {
        let mut state = self.lock();
        let Some(at) = state.waiters.iter().position(|other| Arc::ptr_eq(other, signal)) else {
            return;
        };
        state.waiters.swap_remove(at);
        let watchers = state.watchers.clone();
        drop(state);
        if let Some(watchers) = watchers {
            watchers.go();
        }
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

    const HERE: Arrival = Arrival {
        source: Source::Origin,
        lifetime: Lifetime::fresh_for(Duration::ZERO),
        degraded: false,
        superseded: false,
    };

    #[test]
    fn who_waits_is_told_of_the_end_and_as_many_wait_as_may() {
        let flight = Flight::<u32>::bounded(2, 0);
        let signals = [(); 3].map(|()| Arc::new(Signal::new()));
        let joined = signals.each_ref().map(|signal| flight.join(signal));
        assert_eq!(joined, [Joined::Waits, Joined::Waits, Joined::Full]);
        flight.leave(&signals[1]);
        assert_eq!(flight.join(&signals[2]), Joined::Waits);
        flight.finish(End::Value(7, HERE));
        assert_eq!(signals.each_ref().map(|signal| signal.is_set()), [true, false, true]);
        assert!(matches!(flight.end(), Some(End::Value(7, _))));
        assert_eq!(flight.join(&signals[1]), Joined::Ended);
    }

    /// Between the grant of a flight and its place in a queue, others may find it.
    #[test]
    fn who_has_joined_before_a_load_was_queued_needs_it_all_the_same() {
        let (flight, turn) = (Flight::<u32>::new(), Arc::new(Signal::new()));
        assert!(!flight.queue(Box::new(|| {})), "nobody waits");
        flight.nudge(&turn);
        assert!(!turn.is_set() && flight.take_nudge().is_some());
        let (early, over) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
        assert_eq!(flight.join(&early), Joined::Waits);
        assert!(flight.queue(Box::new(|| {})));
        flight.nudge(&turn);
        assert!(turn.is_set() && flight.take_nudge().is_none());
        let watchers = Watchers::new(&over);
        flight.count_in(&watchers);
        drop(watchers.watcher());
        assert!(!over.is_set(), "one was there already");
        flight.leave(&early);
        assert!(over.is_set());
    }

    #[test]
    fn a_loader_that_is_polled_here_would_wait_for_itself() {
        let flights = [Flight::<u32>::new(), Flight::new(), Flight::new()];
        let mine = || flights.each_ref().map(|flight| flight.is_mine());
        Flight::polling(&flights[..1], || {
            assert_eq!(mine(), [true, false, false]);
            Flight::polling(&flights[1..], || assert_eq!(mine(), [true, true, true]));
            assert_eq!(mine(), [true, false, false]);
        });
        assert_eq!(mine(), [false, false, false]);
    }

    #[test]
    fn the_last_who_leaves_ends_what_is_not_to_go_on_unwatched() {
        let (flights, over) = ([Flight::<u32>::new(), Flight::new()], Arc::new(Signal::new()));
        let watchers = Watchers::new(&over);
        flights.iter().for_each(|flight| flight.count_in(&watchers));
        let signals = [(); 2].map(|()| Arc::new(Signal::new()));
        let watcher = watchers.watcher();
        for (flight, signal) in flights.iter().zip(&signals) {
            assert_eq!(flight.join(signal), Joined::Waits);
        }
        flights[0].leave(&signals[0]);
        flights[0].leave(&signals[0]);
        drop(watcher);
        assert!(!over.is_set(), "one waits for the other key");
        flights[1].leave(&signals[1]);
        assert!(over.is_set());
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
        assert_eq!(flight.join(&signal), Joined::Waits);
        flight.leave(&signal);
        flight.finish(End::Missing);
        assert!(!signal.is_set());
    }
}

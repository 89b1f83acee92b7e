//! A clock that one thread of the process reads for all: hits read a number instead of the time.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;

use cache_core::{Clock, Instant, Policy};

use super::{MonotonicTime, Signal, Time};

/// The latest reading, in nanoseconds of [`PRECISE`]; it never goes back.
static LATEST: AtomicU64 = AtomicU64::new(0);
/// The clock whose readings are shared.
static PRECISE: LazyLock<MonotonicTime> = LazyLock::new(MonotonicTime::new);
static TICKER: Ticker = Ticker { state: Mutex::new(State::new()), changed: Condvar::new() };

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(10);

/// The system's monotonic clock, read by one thread of the process every so often. Reading it costs
/// less than a nanosecond; it lags by up to one step.
///
/// The step is the shortest that any holder asked for, 1 to 10 ms. The thread (`cache-ticks`) lives
/// while anybody holds such a clock. On a machine that gives it no core for longer than a step, the
/// clock lags by as much; whoever waits on it reads the precise time and shares that.
///
/// A child made by `fork` without `exec` has no such thread: give its caches
/// [`MonotonicTime`].
#[derive(Debug)]
pub struct TickTime {
    step: Duration,
}

impl TickTime {
    /// A clock with steps of at most `step`, rounded to 1 to 10 ms. `None` if no thread could be
    /// started for it.
    pub fn with_step(step: Duration) -> Option<Self> {
        let step = step.clamp(SHORTEST, LONGEST);
        TICKER.hold(step).then_some(Self { step })
    }

    /// One with steps of half a percent of a policy's shortest window.
    pub(crate) fn for_policy(policy: &Policy) -> Option<Self> {
        Self::with_step(policy.shortest_window() / 200)
    }

    /// How far the clock may lag, on a machine that is not overloaded.
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// The latest tick.
    #[inline]
    pub(crate) fn latest() -> Instant {
        Instant::from_nanos(LATEST.load(Ordering::Relaxed))
    }

    /// Reads the precise time and shares it.
    fn refresh() -> Instant {
        let now = PRECISE.now();
        LATEST.fetch_max(now.as_nanos(), Ordering::Relaxed);
        now
    }
}

impl Drop for TickTime {
    fn drop(&mut self) {
        TICKER.release(self.step);
    }
}

impl Clock for TickTime {
    fn now(&self) -> Instant {
        Self::latest()
    }
}

impl Time for TickTime {
    /// Waits by the precise clock, and shares what it said, so that who has waited until an instant
    /// finds that this clock has reached it.
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        let set = PRECISE.wait(signal, until);
        Self::refresh();
        set
    }

    fn now_precisely(&self) -> Instant {
        Self::refresh()
    }
}

/// Who reads the time, and for whom.
struct Ticker {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// How many holders asked for each step.
    steps: BTreeMap<Duration, usize>,
    runs: bool,
}

impl State {
    const fn new() -> Self {
        Self { steps: BTreeMap::new(), runs: false }
    }
}

impl Ticker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a holder; whether there is a thread that ticks for it.
    fn hold(&'static self, step: Duration) -> bool {
        let mut state = self.lock();
        TickTime::refresh();
        if !state.runs {
            let thread = thread::Builder::new().name("cache-ticks".into()).spawn(|| self.run());
            if thread.is_err() {
                return false;
            }
            state.runs = true;
        }
        *state.steps.entry(step).or_default() += 1;
        drop(state);
        self.changed.notify_all();
        true
    }

    fn release(&self, step: Duration) {
        let mut state = self.lock();
        if let Some(holders) = state.steps.get_mut(&step) {
            *holders -= 1;
            if *holders == 0 {
                state.steps.remove(&step);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Ticks until nobody holds a clock any more.
    fn run(&self) {
        let mut state = self.lock();
        while let Some(step) = state.steps.keys().next().copied() {
            let waited = self.changed.wait_timeout(state, step);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            TickTime::refresh();
        }
        state.runs = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for the ticks themselves, however late the machine lets them come.
    fn until(mut done: impl FnMut() -> bool) {
        while !done() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_clock_goes_on_by_itself_and_never_ahead_of_the_time() {
        let clock = TickTime::with_step(Duration::ZERO).unwrap();
        assert_eq!(clock.step(), SHORTEST);
        let first = clock.now();
        until(|| clock.now() > first);
        for _ in 0..1_000 {
            let seen = clock.now();
            assert!(seen <= PRECISE.now() && seen <= clock.now());
        }
    }

    #[test]
    fn who_waited_until_an_instant_finds_it_reached() {
        let clock = TickTime::with_step(Duration::MAX).unwrap();
        assert_eq!(clock.step(), LONGEST);
        for _ in 0..5 {
            let at = clock.now() + Duration::from_millis(2);
            clock.sleep_until(at);
            assert!(clock.now().has_reached(at));
        }
    }

    #[test]
    fn the_shortest_step_counts_and_leaves_with_its_holder() {
        let odd = Duration::from_micros(7_654);
        let holders = |step| TICKER.lock().steps.get(&step).copied();
        let (first, second) = (TickTime::with_step(odd), TickTime::with_step(odd));
        assert_eq!(holders(odd), Some(2));
        drop(first);
        assert_eq!(holders(odd), Some(1));
        drop(second);
        assert_eq!(holders(odd), None);
    }
}

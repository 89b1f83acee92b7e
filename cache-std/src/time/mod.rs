//! Time as threads need it: to read and to wait for.

use std::sync::Arc;
use std::time::Instant as StdInstant;

use cache_core::{Clock, Instant};

use crate::primitives::{Mutex, MutexGuard, PoisonError};

#[cfg(all(feature = "coarse-clock", target_os = "linux"))]
mod coarse;
mod leaping;
#[cfg(all(test, shuttle))]
mod models;
mod signal;
mod ticks;

#[cfg(all(feature = "coarse-clock", target_os = "linux"))]
pub use coarse::CoarseTime;
pub use leaping::LeapingTime;
pub use signal::Signal;
pub use ticks::TickTime;

/// A clock that threads can wait on. All waiting in this crate goes through it, so that with
/// [`ManualTime`] time-outs, schedulers and sleeps are virtual, too.
pub trait Time: Clock + Send + Sync + 'static {
    /// Blocks until `signal` is set or the clock has reached `until`. Returns whether it was set.
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool;

    /// Blocks until the clock has reached `until`.
    fn sleep_until(&self, until: Instant) {
        self.wait(&Arc::new(Signal::new()), until);
    }

    /// The time, read anew where [`now`](Clock::now) may lag.
    fn now_precisely(&self) -> Instant {
        self.now()
    }

    /// Has `signal` [poked](Signal::poke) when the clock reaches `until`, unless what is returned is
    /// dropped before. For tasks, which cannot block. `None` where nobody is there to do so, as with
    /// real time: then the task's runtime is asked to wait.
    fn alarm(&self, signal: &Arc<Signal>, until: Instant) -> Option<Alarm> {
        let _ = (signal, until);
        None
    }
}

impl<T: Time + ?Sized> Time for Arc<T> {
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        (**self).wait(signal, until)
    }

    fn now_precisely(&self) -> Instant {
        (**self).now_precisely()
    }

    fn alarm(&self, signal: &Arc<Signal>, until: Instant) -> Option<Alarm> {
        (**self).alarm(signal, until)
    }
}

/// A signal is to be poked at some time; dropped, it is not. Made by [`Time::alarm`].
pub struct Alarm(Option<Box<dyn FnOnce() + Send>>);

impl Alarm {
    /// One that calls `cancel` when it is dropped.
    pub fn new(cancel: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(cancel)))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(cancel) = self.0.take() {
            cancel();
        }
    }
}

impl core::fmt::Debug for Alarm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Alarm")
    }
}

/// The system's monotonic clock.
///
/// Its origin lies 36 years before the clock was made, so that entries that arrive with an age (from
/// a store, say) keep it.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicTime {
    origin: StdInstant,
}

const HEAD_START: core::time::Duration = core::time::Duration::from_nanos(1 << 60);

impl MonotonicTime {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { origin: StdInstant::now() }
    }
}

impl Default for MonotonicTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicTime {
    fn now(&self) -> Instant {
        Instant::ORIGIN + HEAD_START + self.origin.elapsed()
    }
}

impl Time for MonotonicTime {
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        while !signal.is_set() {
            let now = self.now();
            if now.has_reached(until) {
                return false;
            }
            let left = until.remaining_at(now).min(core::time::Duration::from_secs(3_600));
            signal.block_for(left);
        }
        true
    }
}

/// A clock that moves only when told to, and wakes those who wait on it when it does.
///
/// Clones share the clock. Give one to a cache's builder, do something that waits, and move the
/// clock when [`parked`](Self::parked) says that all who should wait do:
///
/// ```
/// use std::time::Duration;
/// use cache_std::sync::Cache;
/// use cache_std::ManualTime;
///
/// let minute = Duration::from_secs(60);
/// let time = ManualTime::new();
/// let cache = Cache::builder().ttl(minute).time(time.clone()).build()?;
/// cache.put(1, "a");
/// time.advance(minute);
/// assert_eq!(cache.get(&1), None); // jitter only ever shortens
/// # Ok::<(), cache_std::sync::BuildError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualTime {
    inner: Arc<Mutex<Manual>>,
}

#[derive(Debug)]
struct Manual {
    now: Instant,
    next: u64,
    sleepers: Vec<Sleeper>,
}

impl Default for Manual {
    fn default() -> Self {
        Self { now: Instant::from_secs(1_000_000_000), next: 0, sleepers: Vec::new() }
    }
}

#[derive(Debug)]
struct Sleeper {
    id: u64,
    until: Instant,
    signal: Arc<Signal>,
}

impl ManualTime {
    /// A clock that stands still, far from its origin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forwards and wakes who was to be woken by then.
    pub fn advance(&self, span: core::time::Duration) {
        self.change(|now| now + span);
    }

    /// Sets the clock, backwards too, and wakes who was to be woken by then.
    pub fn set(&self, now: Instant) {
        self.change(|_| now);
    }

    fn change(&self, to: impl FnOnce(Instant) -> Instant) {
        let mut manual = self.lock();
        let now = to(manual.now);
        manual.now = now;
        let due = manual.sleepers.iter().filter(|sleeper| now.has_reached(sleeper.until));
        let due: Vec<_> = due.map(|sleeper| Arc::clone(&sleeper.signal)).collect();
        drop(manual);
        due.iter().for_each(|signal| signal.poke());
    }

    /// How many threads wait on this clock and have nothing to do until it moves or somebody else
    /// wakes them.
    pub fn parked(&self) -> usize {
        let manual = self.lock();
        let quiet = |sleeper: &&Sleeper| {
            sleeper.signal.is_quiet() && !manual.now.has_reached(sleeper.until)
        };
        manual.sleepers.iter().filter(quiet).count()
    }

    /// Blocks until exactly `n` threads are [`parked`](Self::parked). For tests: it polls.
    pub fn until_parked(&self, n: usize) {
        while self.parked() != n {
            std::thread::yield_now();
        }
    }

    fn register(&self, signal: &Arc<Signal>, until: Instant) -> Option<u64> {
        let mut manual = self.lock();
        if manual.now.has_reached(until) {
            return None;
        }
        manual.next += 1;
        let id = manual.next;
        manual.sleepers.push(Sleeper { id, until, signal: Arc::clone(signal) });
        Some(id)
    }

    fn unregister(&self, id: u64) {
        self.lock().sleepers.retain(|sleeper| sleeper.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualTime {
    fn now(&self) -> Instant {
        self.lock().now
    }
}

impl Time for ManualTime {
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        let Some(id) = self.register(signal, until) else { return signal.is_set() };
        let set = loop {
            if signal.block() {
                break true;
            }
            if self.now().has_reached(until) {
                break signal.is_set();
            }
        };
        self.unregister(id);
        set
    }

    fn alarm(&self, signal: &Arc<Signal>, until: Instant) -> Option<Alarm> {
        let Some(id) = self.register(signal, until) else {
            signal.poke();
            return Some(Alarm::new(|| {}));
        };
        let time = self.clone();
        Some(Alarm::new(move || time.unregister(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::thread;

    #[test]
    fn a_sleeper_wakes_when_the_clock_is_moved() {
        let time = ManualTime::new();
        let (sleeper, until) = (time.clone(), time.now() + Duration::from_secs(5));
        let thread = thread::spawn(move || sleeper.sleep_until(until));
        time.until_parked(1);
        time.advance(Duration::from_secs(4));
        assert_eq!(time.parked(), 1);
        time.advance(Duration::from_secs(1));
        thread.join().unwrap();
        assert_eq!(time.parked(), 0);
    }

    #[test]
    fn a_signal_ends_a_wait_before_its_time() {
        let time = ManualTime::new();
        let signal = Arc::new(Signal::new());
        let (waiter, waited) = (time.clone(), Arc::clone(&signal));
        let thread = thread::spawn(move || waiter.wait(&waited, Instant::FAR_FUTURE));
        time.until_parked(1);
        signal.set();
        assert!(thread.join().unwrap());
        assert!(signal.take() && !signal.is_set());
    }

    #[test]
    fn a_clock_that_is_shared_is_a_clock() {
        let time = ManualTime::new();
        let shared: Arc<dyn Time> = Arc::new(time.clone());
        let cache = crate::sync::Cache::builder().ttl(Duration::from_secs(1)).time(shared);
        let cache = cache.build().unwrap();
        cache.put(1, "a");
        time.advance(Duration::from_secs(1));
        assert_eq!((cache.get(&1), Arc::clone(cache.time()).now()), (None, time.now()));
    }

    #[test]
    fn the_monotonic_clock_waits_in_real_time_and_no_longer_than_told() {
        let time = MonotonicTime::new();
        let until = time.now() + Duration::from_millis(5);
        assert!(!time.wait(&Arc::new(Signal::new()), until));
        assert!(time.now().has_reached(until));
    }
}

//! Trouble on purpose: stores, loaders and clocks that fail, are late, panic and go wrong by a
//! seeded plan. For tests.
//!
//! ```
//! use std::time::Duration;
//! use cache_std::chaos::Chaos;
//! use cache_std::sync::Cache;
//! use cache_std::{ManualTime, MemoryStore};
//!
//! let (second, time) = (Duration::from_secs(1), ManualTime::new());
//! let database = Chaos::seeded(7).errors(20).delays(20, 3 * second, time.leaping());
//! let files = Chaos::seeded(8).errors(30).corrupt(10);
//! let cache: Cache<u64, u64> = Cache::builder()
//!     .ttl(second)
//!     .stale_if_error(60 * second)
//!     .l2(files.store(MemoryStore::new(100)))
//!     .time(time.clone())
//!     .build()?;
//!
//! cache.put(1, 0);
//! for n in 1..50 {
//!     time.advance(second);
//!     let answer = cache.get_or_load(&1, database.loader(move || Ok::<_, String>(n)));
//!     assert!(answer.is_ok(), "there is an old value: nobody is told of an error");
//! }
//! assert!(database.counts().errors > 0 && database.counts().delays > 0);
//! # Ok::<(), cache_std::sync::BuildError>(())
//! ```

use core::fmt;
use core::time::Duration;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

mod clock;
mod counts;
mod dice;
mod fault;
mod store;

use crate::time::Time;
pub use clock::ChaosTime;
pub use counts::Counts;
use counts::{Kind, Tally};
use dice::{Calls, Dice};
pub use fault::Fault;
pub use store::ChaosStore;

/// A seeded plan of faults, and the count of those that were met.
///
/// All rates are percentages of calls, 0 unless set; above 100 counts as 100. The n-th call of a
/// loader, store or clock meets the same faults in every run with the same seed, whatever other
/// rates are set and whatever the others do; loaders and stores are told apart by the order in which
/// this plan made them. Clones share the seed and the counts.
///
/// What a fault is to a store stays within what [`Store`](crate::store::Store) allows, and what it is
/// to a clock goes beyond what [`Clock`](crate::Clock) does.
#[derive(Clone)]
pub struct Chaos {
    rates: Rates,
    /// How long a delay is at most, and where it is waited.
    delays: Option<(Duration, Arc<dyn Time>)>,
    shared: Arc<Shared>,
    calls: Arc<Calls>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    errors: u8,
    unsupported: u8,
    delays: u8,
    panics: u8,
    lost: u8,
    corrupt: u8,
    jumps: (u8, Duration),
    stalls: (u8, Duration),
    setbacks: (u8, Duration),
}

struct Shared {
    seed: u64,
    /// How many have calls of their own.
    made: AtomicU64,
    down: AtomicBool,
    tally: Tally,
}

/// What one call will meet.
struct Plan {
    delay: Option<Duration>,
    panics: bool,
    fails: bool,
    /// Fails after it was done: the answer was lost.
    late: bool,
    unsupported: bool,
    lost: bool,
    dice: Dice,
}

impl Chaos {
    /// A plan that does nothing yet.
    pub fn seeded(seed: u64) -> Self {
        let (made, down) = (AtomicU64::new(0), AtomicBool::new(false));
        Self {
            rates: Rates::default(),
            delays: None,
            shared: Arc::new(Shared { seed, made, down, tally: Tally::default() }),
            calls: Arc::new(Calls::new(seed, 0)),
        }
    }

    /// Calls that fail. Half of a store's fail after they were done, as when an answer is lost.
    pub const fn errors(mut self, percent: u8) -> Self {
        self.rates.errors = percent;
        self
    }

    /// Calls of a store that it says it does not support.
    pub const fn unsupported(mut self, percent: u8) -> Self {
        self.rates.unsupported = percent;
        self
    }

    /// Calls that take longer, by up to `most` of `time`. On a [`ManualTime`](crate::ManualTime)
    /// they wait until somebody moves it; on its [`leaping`](crate::ManualTime::leaping) form they
    /// move it themselves, which is what tests on one thread want.
    pub fn delays(mut self, percent: u8, most: Duration, time: impl Time) -> Self {
        self.rates.delays = percent;
        self.delays = Some((most, Arc::new(time)));
        self
    }

    /// Calls that panic, without a report on the standard error.
    pub const fn panics(mut self, percent: u8) -> Self {
        self.rates.panics = percent;
        self
    }

    /// Writes to a store after which the entry is gone, though they were said to be done.
    pub const fn lost(mut self, percent: u8) -> Self {
        self.rates.lost = percent;
        self
    }

    /// Entries of a store that cannot be read.
    pub const fn corrupt(mut self, percent: u8) -> Self {
        self.rates.corrupt = percent;
        self
    }

    /// Readings of a clock before which it leaps ahead, by up to `most`.
    pub const fn jumps(mut self, percent: u8, most: Duration) -> Self {
        self.rates.jumps = (percent, most);
        self
    }

    /// Readings of a clock from which on it stands still, for up to `most` of the true time.
    pub const fn stalls(mut self, percent: u8, most: Duration) -> Self {
        self.rates.stalls = (percent, most);
        self
    }

    /// Readings of a clock before which it is set back, by up to `most`.
    pub const fn setbacks(mut self, percent: u8, most: Duration) -> Self {
        self.rates.setbacks = (percent, most);
        self
    }

    /// With `true`, every call of a loader or store fails, until `false` is said.
    pub fn outage(&self, on: bool) {
        self.shared.down.store(on, Ordering::Relaxed);
    }

    /// What was met so far.
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }

    /// Makes a call, or has it fail.
    ///
    /// # Errors
    /// The call's own, or a [`Fault`].
    ///
    /// # Panics
    /// As the plan says.
    pub fn call<T, E: From<Fault>>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.meet(self.plan(), call)
    }

    /// A loader as [`get_or_load`](crate::sync::Cache::get_or_load) wants it, that may fail. What it
    /// meets is settled now, so it does not depend on which thread runs it when.
    ///
    /// Other loaders call [`call`](Self::call): `move |id: &u64| chaos.call(|| db.user(*id))`.
    pub fn loader<T, E, F>(&self, load: F) -> impl FnOnce() -> Result<T, E> + use<T, E, F>
    where
        E: From<Fault>,
        F: FnOnce() -> Result<T, E>,
    {
        let (chaos, plan) = (self.clone(), self.plan());
        move || chaos.meet(plan, load)
    }

    /// A store that may fail.
    pub fn store<S>(&self, store: S) -> ChaosStore<S> {
        ChaosStore::new(store, self.apart())
    }

    /// A clock that goes wrong.
    pub fn clock<T: Time>(&self, time: T) -> ChaosTime<T> {
        ChaosTime::new(time, self.apart())
    }

    /// The same plan, for another who counts calls of its own.
    fn apart(&self) -> Self {
        let number = 1 + self.shared.made.fetch_add(1, Ordering::Relaxed);
        Self { calls: Arc::new(Calls::new(self.shared.seed, number)), ..self.clone() }
    }

    /// What the next call will meet. Everything is drawn whether it is wanted or not, so that no
    /// rate changes what another one does.
    fn plan(&self) -> Plan {
        let (rates, mut dice) = (&self.rates, self.calls.next());
        let most = self.delays.as_ref().map_or(Duration::ZERO, |(most, _)| *most);
        let (late, span) = (dice.chance(rates.delays), dice.span(most));
        Plan {
            delay: late.then_some(span),
            panics: dice.chance(rates.panics),
            fails: dice.chance(rates.errors),
            late: dice.chance(50),
            unsupported: dice.chance(rates.unsupported),
            lost: dice.chance(rates.lost),
            dice,
        }
    }

    fn meet<T, E: From<Fault>>(
        &self,
        plan: Plan,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.begin(&plan);
        if self.fails(&plan) { Err(Fault.into()) } else { call() }
    }

    /// What comes before anything is done.
    fn begin(&self, plan: &Plan) {
        self.note(Kind::Call);
        if let Some((delay, (_, time))) = plan.delay.zip(self.delays.as_ref()) {
            self.note(Kind::Delay);
            time.sleep_until(time.now() + delay);
        }
        if plan.panics {
            self.note(Kind::Panic);
            resume_unwind(Box::new("a panic on purpose"));
        }
    }

    fn fails(&self, plan: &Plan) -> bool {
        let fails = plan.fails || self.shared.down.load(Ordering::Relaxed);
        if fails {
            self.note(Kind::Error);
        }
        fails
    }

    fn note(&self, kind: Kind) {
        self.shared.tally.note(kind);
    }
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos")
            .field("seed", &self.shared.seed)
            .field("rates", &self.rates)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

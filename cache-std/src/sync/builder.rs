//! Builds a cache.

use core::any::Any;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use cache_core::shard::Limits;
use cache_core::store::Backplane;
use cache_core::{Policy, PolicyBuilder, PolicyError};

use super::audience::Audience;
use super::cache::{Cache, Inner};
use super::chore::{mend_by_jobs, renew_by_jobs, sweep};
use super::ear::listen;
use super::listener::{Event, Listener};
use super::loading::LoadingBuilder;
use super::place::Places;
use super::tables::{Plain, Tables, Waiting};
use crate::background::{Scheduler, StartError};
use crate::second::{Behind, Second, Terms};
use crate::time::{MonotonicTime, TickTime, Time};

mod behind;
mod bounds;
mod policy;

/// The hasher of a cache that was given no other: fast, and seeded anew for each cache. Which one
/// it is may change between versions. Where keys come from an adversary who can time answers, give
/// the builder a keyed hash such as the standard library's `RandomState`.
#[derive(Clone, Debug, Default)]
pub struct DefaultHasher(foldhash::fast::RandomState);

impl BuildHasher for DefaultHasher {
    type Hasher = foldhash::fast::FoldHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

pub(crate) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;
/// Whether an error (of the type that the predicate was made for) lets the old value serve.
pub(crate) type ServeOld = Arc<dyn Fn(&(dyn Any + Send + Sync)) -> bool + Send + Sync>;

/// Most keys of one table of records that are in flight at a time: batches count as one load, but
/// not for ever.
const BATCHED: usize = 65_536;

/// Why a cache could not be built; names the setting and the mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting of the policy.
    Policy(PolicyError),
    /// A setting of the cache: its name, and what to do about it.
    Setting {
        /// The builder's method.
        field: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// The job of [`sweep_every`](Builder::sweep_every).
    Sweep(StartError),
}

impl BuildError {
    /// The setting that is wrong, by the name of its builder method.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Policy(error) => error.field(),
            Self::Setting { field, .. } => field,
            Self::Sweep(_) => "sweep_every",
        }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::Setting { field, mend } => write!(f, "{field} cannot be: {mend}"),
            Self::Sweep(error) => write!(f, "sweep_every: {error}"),
        }
    }
}

impl core::error::Error for BuildError {}

impl From<PolicyError> for BuildError {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

/// Builds a [`Cache`].
///
/// | setting | default |
/// |---|---|
/// | `capacity` or `weight_limit` | 10,000 entries |
/// | `max_capacity` | the capacity |
/// | `max_loads` | 1,024 at a time |
/// | `max_waiters` | 65,536 |
/// | `max_waiters_per_key` | as many |
/// | `hasher` | [`DefaultHasher`] |
/// | `waiting` | [`Waiting::Spin`] |
/// | `time` | [`TickTime`] in steps of half a percent of the shortest window, 1 to 10 ms |
///
/// and those of [`PolicyBuilder`]: the ttl must be said.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder<K, V, S = DefaultHasher, D = Threads> {
    policy: PolicyBuilder,
    capacity: Option<usize>,
    max_capacity: Option<usize>,
    weight_limit: Option<u64>,
    weigher: Option<Weigher<K, V>>,
    serve_old: Option<ServeOld>,
    listener: Option<Listener<K, V>>,
    sweep: Option<(Duration, Option<Scheduler>)>,
    pub(crate) second: Option<Box<dyn Behind<K, V>>>,
    backplane: Option<Arc<dyn Backplane<K> + Send + Sync>>,
    terms: Terms,
    pub(crate) max_loads: usize,
    max_waiters: usize,
    max_waiters_per_key: usize,
    hasher: S,
    waiting: Waiting,
    time: Option<Arc<dyn Time>>,
    /// Who waits for loads, and where these run.
    pub(crate) driver: D,
    values: PhantomData<fn(K) -> V>,
}

/// Callers wait as threads, and loads run on worker threads.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Threads;

impl<K, V, D> Builder<K, V, DefaultHasher, D> {
    pub(crate) fn new(driver: D) -> Self {
        Self {
            driver,
            policy: PolicyBuilder::new(),
            capacity: None,
            max_capacity: None,
            weight_limit: None,
            weigher: None,
            serve_old: None,
            listener: None,
            sweep: None,
            second: None,
            backplane: None,
            terms: Terms::DEFAULT,
            max_loads: 1_024,
            max_waiters: 65_536,
            max_waiters_per_key: usize::MAX,
            hasher: DefaultHasher::default(),
            waiting: Waiting::default(),
            time: None,
            values: PhantomData,
        }
    }
}

impl<K, V, S, D> Builder<K, V, S, D> {
    /// Says for which errors of type `E` an old value may serve. An error for which it answers
    /// `false` ("permission revoked", say) goes to the caller and removes the old value. Errors of
    /// other types let the old value serve.
    pub fn stale_if_error_when<E: Send + Sync + 'static>(
        mut self,
        serve_old: impl Fn(&E) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.serve_old =
            Some(Arc::new(move |error| error.downcast_ref::<E>().is_none_or(&serve_old)));
        self
    }

    /// Most loads of this cache at a time, where a batch counts as one; beyond it, callers without an
    /// old value are told that the cache is busy.
    pub const fn max_loads(mut self, loads: usize) -> Self {
        self.max_loads = loads;
        self
    }

    /// Most who wait for loads of this cache at a time.
    pub const fn max_waiters(mut self, waiters: usize) -> Self {
        self.max_waiters = waiters;
        self
    }

    /// Most who wait for one load at a time; by default, as many as for all.
    pub const fn max_waiters_per_key(mut self, waiters: usize) -> Self {
        self.max_waiters_per_key = waiters;
        self
    }

    /// Hashes keys by `hasher`.
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> Builder<K, V, H, D> {
        Builder {
            driver: self.driver,
            policy: self.policy,
            capacity: self.capacity,
            max_capacity: self.max_capacity,
            weight_limit: self.weight_limit,
            weigher: self.weigher,
            serve_old: self.serve_old,
            listener: self.listener,
            sweep: self.sweep,
            second: self.second,
            backplane: self.backplane,
            terms: self.terms,
            max_loads: self.max_loads,
            max_waiters: self.max_waiters,
            max_waiters_per_key: self.max_waiters_per_key,
            hasher,
            waiting: self.waiting,
            time: self.time,
            values: PhantomData,
        }
    }

    /// Has `listener` told of every value that leaves the cache: expired, evicted, replaced,
    /// invalidated or cleared.
    ///
    /// It runs on a thread of its own, which starts with the first event and ends, after what waits,
    /// when the cache is dropped. The cache never waits for it: when 1,024 events wait, more are
    /// dropped and counted in [`Stats::lost_events`](cache_core::Stats::lost_events). It may call
    /// the cache. If it owns a clone of it, the cache is never dropped. Panics in it are caught.
    /// Events of one key that come from several threads may arrive in another order than they
    /// happened in. A value that expires is told of when it is removed: see
    /// [`maintain`](super::Cache::maintain).
    ///
    /// ```
    /// use std::sync::mpsc::channel;
    /// use cache_std::sync::Cache;
    /// use cache_core::Cause;
    ///
    /// let (tell, told) = channel();
    /// let cache: Cache<u8, &str> = Cache::builder()
    ///     .forever()
    ///     .listener(move |event| drop(tell.send((event.key, event.value, event.cause))))
    ///     .build()?;
    /// cache.put(1, "old");
    /// cache.put(1, "new");
    /// assert_eq!(told.recv()?, (1, "old", Cause::Replaced));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listener(mut self, listener: impl FnMut(Event<K, V>) + Send + 'static) -> Self
    where
        K: Send + 'static,
        V: Send + 'static,
    {
        self.listener = Some(Listener::new(listener));
        self
    }

    /// Removes what has passed at least this often, whether anybody reads or writes or not, by a job
    /// of the process's own scheduler. Without it, writes remove what has passed, and
    /// [`maintain`](super::Cache::maintain) does.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.sweep = Some((interval, None));
        self
    }

    /// The same, by a job of this scheduler.
    pub fn sweep_every_by(mut self, interval: Duration, scheduler: &Scheduler) -> Self {
        self.sweep = Some((interval, Some(scheduler.clone())));
        self
    }

    /// Says how threads wait for a cache's small locks.
    pub const fn waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }

    /// Takes the time from `time`: a [`ManualTime`](crate::ManualTime) in tests, or
    /// [`MonotonicTime`] where a millisecond is too coarse, which makes a hit cost several times as
    /// much.
    pub fn time(mut self, time: impl Time) -> Self {
        self.time = Some(Arc::new(time));
        self
    }

    fn check(&self) -> Result<(), BuildError> {
        self.check_bounds()?;
        self.check_behind()?;
        let wrong = |field, mend| Err(BuildError::Setting { field, mend });
        if self.max_loads == 0 {
            return wrong("max_loads", "give at least 1");
        }
        if self.max_waiters_per_key == 0 {
            return wrong("max_waiters_per_key", "give at least 1");
        }
        if self.max_waiters == 0 {
            return wrong("max_waiters", "give at least 1");
        }
        Ok(())
    }
}

impl<K, V, S> Builder<K, V, S> {
    /// Gives the cache one loader for all keys, and with it
    /// [`load`](super::LoadingCache::load).
    pub fn loader<F, R, E>(self, loader: F) -> LoadingBuilder<K, V, S, E>
    where
        F: Fn(&K) -> Result<R, E> + Send + Sync + 'static,
        R: Into<cache_core::Loaded<V>>,
    {
        LoadingBuilder::new(self, move |key, _| loader(key).map(Into::into))
    }
}

impl<K, V, S> Builder<K, V, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The cache.
    ///
    /// # Errors
    /// A setting that is zero, contradicts another, or is not said: the error names the field and
    /// how to mend it.
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError> {
        let (cache, Threads) = self.assemble()?;
        mend_by_jobs(&cache.inner);
        Ok(cache)
    }
}

impl<K, V, S, D> Builder<K, V, S, D>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// The memory, and who drives it.
    pub(crate) fn assemble(self) -> Result<(Cache<K, V, S>, D), BuildError> {
        self.check()?;
        let bound = self.bound();
        let policy = self.policy.build()?;
        let seed = self.hasher.hash_one("the seed of this cache's jitter");
        let (time, ticks) = time_for(self.time, &policy);
        let mut limits = Limits::default();
        limits.flights = self.max_loads.max(BATCHED);
        let plain = (Plain::prove(), ticks);
        let mut tables = Tables::new(bound, self.waiting, policy.clone(), limits, seed, plain);
        self.listener.into_iter().for_each(|listener| tables.tell(listener));
        let cache = Cache::from(Inner {
            tables,
            policy: ArcSwap::from_pointee(policy),
            finer: Mutex::new(None),
            hasher: self.hasher,
            ticks,
            bypassed: AtomicBool::new(false),
            ticks_unbypassed: AtomicBool::new(ticks),
            time,
            weigher: self.weigher,
            serve_old: self.serve_old,
            places: Places::new(self.max_loads),
            max_waiters: self.max_waiters,
            max_waiters_per_key: self.max_waiters_per_key,
            waiters: AtomicUsize::new(0),
            not_kept: AtomicU64::new(0),
            pool: OnceLock::new(),
            sweeper: OnceLock::new(),
            mender: OnceLock::new(),
            renewer: OnceLock::new(),
            second: self.second.map(|store| Box::new(Second::new(store, self.terms))),
            tasks: Audience::default(),
        });
        if cache.inner.second.as_ref().is_some_and(|second| second.is_shared) {
            let renewer = renew_by_jobs(&cache.inner);
            cache.inner.renewer.get_or_init(|| renewer);
        }
        if let Some(backplane) = self.backplane {
            listen(&cache.inner, &*backplane);
        }
        if let Some((every, scheduler)) = self.sweep {
            let scheduler = scheduler.unwrap_or_else(Scheduler::shared);
            let sweeper =
                sweep(Arc::downgrade(&cache.inner), every, scheduler).map_err(BuildError::Sweep)?;
            cache.inner.sweeper.get_or_init(|| sweeper);
        }
        Ok((cache, self.driver))
    }
}

/// The time that was given, or else the shared tick; whether it is that.
fn time_for(given: Option<Arc<dyn Time>>, policy: &Policy) -> (Arc<dyn Time>, bool) {
    if let Some(time) = given {
        return (time, false);
    }
    match TickTime::for_policy(policy) {
        Some(ticks) => (Arc::new(ticks), true),
        None => (Arc::new(MonotonicTime::new()), false),
    }
}

impl<K, V, S, D> fmt::Debug for Builder<K, V, S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("policy", &self.policy).finish_non_exhaustive()
    }
}

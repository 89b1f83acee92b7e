//! Values loaded before anybody asks for them.

use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ops::ControlFlow;
use core::time::Duration;

use cache_core::Loaded;

use super::builder::DefaultHasher;
use super::cache::Cache;
use super::lead::Previous;

mod report;
pub(crate) mod tally;
mod work;

pub use report::{Progress, WarmUpEnd, WarmedUp};
use work::Work;

pub(crate) type Keys<'a, K> = Box<dyn Iterator<Item = K> + Send + 'a>;
pub(super) type Loader<'a, K, V, E> =
    Box<dyn Fn(&K, &Previous<V>) -> Result<Loaded<V>, E> + Send + Sync + 'a>;
pub(crate) type OnProgress<'a> = Box<dyn FnMut(Progress) -> ControlFlow<()> + Send + 'a>;

/// Loads the values of many keys ahead of their readers; made by [`Cache::warm_up`] and
/// [`LoadingCache::warm_up`](super::LoadingCache::warm_up).
///
/// If not said otherwise, one load follows the other, as fast as the origin answers.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::time::Duration;
/// use cache_std::sync::{Cache, WarmUpEnd};
///
/// let squares = Cache::builder()
///     .ttl(Duration::from_secs(60))
///     .loader(|n: &u64| Ok::<u64, std::io::Error>(n * n))
///     .build()?;
/// squares.put(2, 4);
///
/// let warmed = squares
///     .warm_up(1..=5)
///     .rate(1_000)
///     .at_most_at_once(2)
///     .on_progress(|now| {
///         println!("{} of {:?}", now.done, now.total);
///         if now.failed < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
///     })
///     .run();
/// assert_eq!((warmed.progress.loaded, warmed.progress.present), (4, 1));
/// assert_eq!(warmed.end, WarmUpEnd::Finished);
/// assert_eq!(squares.get(&5), Some(25));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a warm-up does nothing until `run`"]
pub struct WarmUp<'a, K, V, E, S = DefaultHasher> {
    cache: &'a Cache<K, V, S>,
    keys: Keys<'a, K>,
    loader: Loader<'a, K, V, E>,
    /// The loader sees the old value.
    pins: bool,
    every: Duration,
    at_once: usize,
    on_progress: Option<OnProgress<'a>>,
}

impl<K, V, S> Cache<K, V, S> {
    /// Loads what is not fresh of these keys, each by a call of `loader`, which answers a value or a
    /// [`Loaded`]. It may borrow, and is called by several threads only if
    /// [`at_most_at_once`](WarmUp::at_most_at_once) says so.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cache_std::sync::Cache;
    ///
    /// let origin = ["zero", "one", "two"];
    /// let names: Cache<usize, &str> = Cache::builder().ttl(Duration::from_secs(60)).build()?;
    /// let warmed = names.warm_up(0..4, |n| origin.get(*n).copied().ok_or("no such number")).run();
    /// assert_eq!((warmed.progress.loaded, warmed.progress.failed), (3, 1));
    /// assert_eq!(warmed.error.unwrap().to_string(), "no such number");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm_up<'a, F, R, E>(
        &'a self,
        keys: impl IntoIterator<Item = K, IntoIter: Send + 'a>,
        loader: F,
    ) -> WarmUp<'a, K, V, E, S>
    where
        F: Fn(&K) -> Result<R, E> + Send + Sync + 'a,
        R: Into<Loaded<V>>,
    {
        let loader = move |key: &K, _: &Previous<V>| loader(key).map(Into::into);
        WarmUp::new(self, keys, Box::new(loader), false)
    }
}

impl<'a, K, V, E, S> WarmUp<'a, K, V, E, S> {
    pub(super) fn new(
        cache: &'a Cache<K, V, S>,
        keys: impl IntoIterator<Item = K, IntoIter: Send + 'a>,
        loader: Loader<'a, K, V, E>,
        pins: bool,
    ) -> Self {
        let keys = Box::new(keys.into_iter());
        Self { cache, keys, loader, pins, every: Duration::ZERO, at_once: 1, on_progress: None }
    }

    /// Begins at most so many loads in a second, evenly spread. 0 counts as 1.
    pub fn rate(self, per_second: u32) -> Self {
        // Rounded up, so that there is never one more.
        let nanos = 1_000_000_000_u64.div_ceil(u64::from(per_second.max(1)));
        self.every(Duration::from_nanos(nanos))
    }

    /// Waits at least so long between the beginnings of two loads.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// Most loads at a time, each on a thread of its own: the caller's, and as many more as that
    /// takes. 0 counts as 1, and more than 512 as that.
    pub const fn at_most_at_once(mut self, loads: usize) -> Self {
        self.at_once = loads;
        self
    }

    /// Tells `listener` of each key that is done, one after another. [`ControlFlow::Break`] ends the
    /// warm-up after the loads that are under way, and then it is told no more.
    pub fn on_progress(
        mut self,
        listener: impl FnMut(Progress) -> ControlFlow<()> + Send + 'a,
    ) -> Self {
        self.on_progress = Some(Box::new(listener));
        self
    }
}

impl<K, V, E, S> WarmUp<'_, K, V, E, S>
where
    K: Clone + Eq + Hash + Send + Sync,
    V: Clone + Send + Sync,
    S: BuildHasher + Send + Sync,
    E: fmt::Display + Send + Sync + 'static,
{
    /// Goes through the keys, and returns when all are done or something has ended it before.
    ///
    /// A key that is fresh, or known to be missing, is passed over; a stale one is loaded anew. Who
    /// reads a key meanwhile shares its load, and a load of others is waited for and not repeated,
    /// for as long as the hard time-out says. A load that fails or panics is counted. The loader runs
    /// on this warm-up's threads, so no time-out ends it: a loader that does not come back holds this
    /// call up, and nobody else.
    ///
    /// [`shutdown`](super::Control::shutdown) ends it as well, also while it waits for the next
    /// load's time. A panic of the keys or of the listener ends it, too, and goes on in this thread.
    pub fn run(self) -> WarmedUp<E> {
        Work::new(self).run()
    }
}

impl<K, V, E, S> fmt::Debug for WarmUp<'_, K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmUp")
            .field("every", &self.every)
            .field("at_once", &self.at_once)
            .finish_non_exhaustive()
    }
}

//! What is done to a cache as a whole while it is in use.

use core::fmt;
use core::time::Duration;

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use cache_core::{Policy, PolicyBuilder, PolicyError};

use super::builder::DefaultHasher;
use super::cache::Cache;
use crate::time::TickTime;

mod capacity;

pub use capacity::CapacityError;

/// A cache as a whole; made by [`Cache::control`].
pub struct Control<'a, K, V, S = DefaultHasher> {
    cache: &'a Cache<K, V, S>,
}

/// Loads that had not ended when a shutdown's time was over. They go on, and may still land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StillLoading {
    /// How many; a batch counts as one.
    pub loads: usize,
}

impl fmt::Display for StillLoading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} loads are still under way", self.loads)
    }
}

impl core::error::Error for StillLoading {}

impl<K, V, S> Cache<K, V, S> {
    /// The cache as a whole, to be changed while it is in use.
    pub const fn control(&self) -> Control<'_, K, V, S> {
        Control { cache: self }
    }
}

impl<K: Eq, V, S> Control<'_, K, V, S> {
    /// Changes the policy: `change` gets it as it was given, and says what is to be otherwise; once
    /// more, if somebody else has changed it meanwhile. O(entries), the lock of one table at a time: reads
    /// and writes of others go on meanwhile, and when this returns, the new policy holds for all of them.
    ///
    /// What was stored by the cache's own ttl (or, with tags or an etag, by one that is the same) gets the new windows, counted from when it was stored:
    /// it may be stale at once, or fresh again. What has a ttl of its own, or came from a snapshot or
    /// from a store behind the cache, keeps its ttl, and takes the cache's new windows after it unless
    /// it has its own of those, too. Loads under way keep their time-outs; what they bring is kept by
    /// the new policy. Under one that keeps nothing, `|_| Policy::no_store()`, everything is removed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cache_std::{ManualTime, sync::Cache};
    ///
    /// let (minute, time) = (Duration::from_secs(60), ManualTime::new());
    /// let prices: Cache<u32, u64> =
    ///     Cache::builder().ttl(minute).stale_if_error(60 * minute).time(time.clone()).build()?;
    /// prices.put(7, 990);
    /// time.advance(2 * minute);
    /// assert_eq!(prices.get(&7), None);
    /// // The database is under repair, and old prices are better than none.
    /// prices.control().change_policy(|policy| policy.ttl(30 * minute))?;
    /// assert_eq!(prices.get(&7), Some(990));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A setting that is zero or contradicts another; then nothing has changed.
    pub fn change_policy(
        &self,
        change: impl Fn(PolicyBuilder) -> PolicyBuilder,
    ) -> Result<(), PolicyError> {
        let inner = &self.cache.inner;
        loop {
            let old = inner.policy.load_full();
            let policy = Arc::new(change(PolicyBuilder::from(Policy::clone(&old))).build()?);
            let mut finer = inner.finer.lock().unwrap_or_else(PoisonError::into_inner);
            if !Arc::ptr_eq(&old, &inner.policy.load()) {
                continue; // somebody else has changed it meanwhile
            }
            if inner.ticks {
                *finer = TickTime::for_policy(&policy);
            }
            let leaving = inner.tables.change_policy(&policy);
            inner.policy.store(policy);
            drop(finer);
            drop(leaving); // may run any code of values and keys
            return Ok(());
        }
    }

    /// With `true`, reads take nothing from the cache: [`get`](Cache::get) finds nothing, and reads
    /// that may load ask the origin each time, past a store behind the cache, too. Those who ask for
    /// one key at the same time still share a load. No old value serves when it fails. (A warm-up still
    /// passes over what is fresh.)
    ///
    /// Everything else goes on: what is loaded or put is kept, and what is invalidated goes, so that
    /// nothing outdated is there once this is called with `false`. `peek`, `entry` and the like show
    /// what is kept. A read that overlaps the call may still be answered as before it.
    pub fn bypass(&self, bypass: bool) {
        let inner = &self.cache.inner;
        // One at a time, so that all of it says the same.
        let _turn = inner.finer.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bypassed.store(bypass, Ordering::Relaxed);
        inner.ticks_unbypassed.store(inner.ticks && !bypass, Ordering::Relaxed);
        inner.tables.bypass(bypass);
    }

    /// Whether reads take nothing from the cache.
    pub fn is_bypassed(&self) -> bool {
        self.cache.inner.is_bypassed()
    }
}

impl<K, V, S> Control<'_, K, V, S> {
    /// Starts no more loads, and waits up to `patience` for those under way or queued, and for what
    /// they write to a store behind the cache.
    ///
    /// From then on, reads serve what is there, stale values too as their windows allow, and those
    /// that find nothing end with [`LoadError::ShutDown`](super::LoadError::ShutDown). A cache that is
    /// dropped without this waits for nothing. Called from inside a loader, this waits for itself, to
    /// the end of its patience.
    ///
    /// # Errors
    /// Says how many loads were still under way when the time was over.
    pub fn shutdown(&self, patience: Duration) -> Result<(), StillLoading> {
        let inner = &self.cache.inner;
        let until = inner.time.now() + patience;
        inner.places.close();
        if inner.time.wait(&inner.places.watch(), until) {
            return Ok(());
        }
        match inner.places.taken() {
            0 => Ok(()),
            loads => Err(StillLoading { loads }),
        }
    }
}

impl<K, V, S> fmt::Debug for Control<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.cache).finish()
    }
}

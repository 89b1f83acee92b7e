//! A cache for several cores without an operating system.

use core::fmt;
use core::hash::Hash;

use super::Cache;
use crate::table::LocalTable;
use crate::time::Instant;

/// A [`Cache`] behind a spin lock.
///
/// For several cores, or threads in WebAssembly. Not for interrupts on one core: a handler that
/// spins for a lock that its own core holds never ends. Put the cache into a critical-section
/// mutex there.
///
/// The lock is held while a closure runs: look up, leave, load, and come back to complete.
pub struct Shared<K, V, T: LocalTable<K, V>> {
    cache: spin::Mutex<Cache<K, V, T>>,
}

impl<K: Clone + Eq + Hash, V, T: LocalTable<K, V>> Shared<K, V, T> {
    /// Shares `cache`.
    pub const fn new(cache: Cache<K, V, T>) -> Self {
        Self { cache: spin::Mutex::new(cache) }
    }

    /// Runs `work` on the cache. Must not be called from within itself.
    pub fn with<R>(&self, work: impl FnOnce(&mut Cache<K, V, T>) -> R) -> R {
        work(&mut self.cache.lock())
    }

    /// A copy of the fresh value.
    pub fn get(&self, key: &K, now: Instant) -> Option<V>
    where
        V: Clone,
    {
        self.with(|cache| cache.get(key, now).cloned())
    }

    /// The cache itself, when nobody shares it any more.
    pub fn into_inner(self) -> Cache<K, V, T> {
        self.cache.into_inner()
    }
}

impl<K, V, T: LocalTable<K, V>> fmt::Debug for Shared<K, V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

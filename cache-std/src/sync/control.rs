//! What is done to a cache as a whole while it is in use.

use core::fmt;
use core::time::Duration;

use super::builder::DefaultHasher;
use super::cache::Cache;

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

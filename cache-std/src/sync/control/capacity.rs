//! How much a cache may hold, changed while it is in use.

use core::fmt;

use cache_core::table::Bound;

use super::Control;

/// Why a cache cannot be given this bound; says how to mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CapacityError {
    /// It is less than the cache can be cut to: one entry for each of its tables, or a weight of 1.
    TooSmall {
        /// The least that it can be.
        least: usize,
    },
    /// It is more than the cache was built for.
    TooLarge {
        /// The most that it can be.
        most: usize,
    },
    /// The cache is bounded by weight and not by entries, or the other way round.
    OtherBound {
        /// What bounds it now.
        bound: Bound,
    },
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { least } => write!(
                f,
                "less than this cache can be cut to: give at least {least}, or build it with a \
                 smaller max_capacity(..)"
            ),
            Self::TooLarge { most } => write!(
                f,
                "more than this cache was built for: give at most {most}, or build it with a larger \
                 max_capacity(..)"
            ),
            Self::OtherBound { bound: Bound::Weight(_) } => {
                f.write_str("this cache is bounded by weight: call set_weight_limit(..)")
            }
            Self::OtherBound { .. } => {
                f.write_str("this cache is bounded by entries: call set_capacity(..)")
            }
        }
    }
}

impl core::error::Error for CapacityError {}

impl<K: Eq, V, S> Control<'_, K, V, S> {
    /// What bounds the cache now.
    pub fn bound(&self) -> Bound {
        self.cache.inner.tables.bound()
    }

    /// Changes how many entries the cache may hold, up to the
    /// [`max_capacity`](crate::sync::Builder::max_capacity) that it was built with.
    ///
    /// What is too much is evicted before this returns, table by table: what was used least goes, is
    /// told to the listener as [`Cause::Capacity`](cache_core::Cause::Capacity), and counted in
    /// `Stats::evictions`. A listener that is slower than this misses some of it, as
    /// [`Builder::listener`](crate::sync::Builder::listener) says. Reads, writes and loads go on
    /// meanwhile: no lock is held for more than 256 evictions. Where several threads change the
    /// capacity, the last has it. O(entries).
    ///
    /// A cache that was built for 1,024 entries or more is made of sets of 28, each of which keeps one
    /// entry at least. Cut to a few entries a set, it chooses less well who stays, and sets of numbers
    /// keep their memory.
    ///
    /// ```
    /// use cache_std::sync::Cache;
    ///
    /// let cache: Cache<u32, u32> =
    ///     Cache::builder().forever().capacity(5_000).max_capacity(10_000).build()?;
    /// (0..5_000).for_each(|n| drop(cache.put(n, n)));
    ///
    /// cache.control().set_capacity(1_000)?; // memory is short
    /// assert!(cache.len() <= 1_000);
    ///
    /// cache.control().set_capacity(10_000)?; // and it is not any more
    /// (0..5_000).for_each(|n| drop(cache.put(n, n)));
    /// assert!(cache.len() > 4_900);
    ///
    /// let error = cache.control().set_capacity(20_000).unwrap_err();
    /// assert!(error.to_string().contains("give at most 10000"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// It is more than the maximum or less than one entry a set, or the cache is bounded by weight.
    /// Nothing has changed then.
    pub fn set_capacity(&self, entries: usize) -> Result<(), CapacityError> {
        self.cache.inner.tables.set_bound(Bound::Entries(entries))
    }

    /// Changes how much weight the cache may hold, to any that is not zero. What is too much is evicted
    /// as by [`set_capacity`](Self::set_capacity).
    ///
    /// How many tables share the limit was decided when the cache was built: one, if the limit was less
    /// than 2^27 then.
    ///
    /// ```
    /// use cache_std::sync::Cache;
    ///
    /// let cache = Cache::builder()
    ///     .forever()
    ///     .weight_limit(1_000_000)
    ///     .weigher(|_: &u32, page: &String| page.len() as u32)
    ///     .build()?;
    /// (0..100).for_each(|n| drop(cache.put(n, "x".repeat(1_000))));
    ///
    /// cache.control().set_weight_limit(50_000)?;
    /// assert_eq!((cache.len(), cache.weight()), (50, 50_000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// It is zero, or the cache is bounded by entries. Nothing has changed then.
    pub fn set_weight_limit(&self, weight: u64) -> Result<(), CapacityError> {
        self.cache.inner.tables.set_bound(Bound::Weight(weight))
    }
}

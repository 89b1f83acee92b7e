//! What a driver hands to an operation.

use crate::loaded::Loaded;
use crate::time::Instant;

/// How much a shard remembers besides its entries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Most flights at a time.
    pub flights: usize,
    /// Most failures and missing keys that are remembered.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { flights: 1_024, remembered: 1_024 }
    }
}

/// Which key an operation is about, and when it happens.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs)] // the seam's three plain arguments, always together
pub struct At<'a, Q: ?Sized> {
    /// The key's hash, always from the same hasher.
    pub hash: u64,
    /// The key.
    pub key: &'a Q,
    /// The time.
    pub now: Instant,
}

impl<Q: ?Sized> Clone for At<'_, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q: ?Sized> Copy for At<'_, Q> {}

/// Owned keys that an operation may use up, two at most, with a place for one more that it gives back: made before
/// it, dropped after it, outside any lock.
#[derive(Debug)]
pub struct Spare<K>([Option<K>; 3]);

impl<K> Spare<K> {
    /// No key: for operations on keys that have an entry or a record.
    pub const fn none() -> Self {
        Self([const { None }; 3])
    }

    /// One key: enough for a read, and for a value with the cache's own windows.
    pub const fn one(key: K) -> Self {
        Self([Some(key), None, None])
    }

    /// Two keys: for a value with windows or labels of its own.
    pub const fn two(first: K, second: K) -> Self {
        Self([Some(first), Some(second), None])
    }

    /// The keys that storing `loaded` under `key` may use up.
    pub fn storing<V>(key: K, loaded: &Loaded<V>) -> Self
    where
        K: Clone,
    {
        if loaded.is_plain() { Self::one(key) } else { Self::two(key.clone(), key) }
    }

    pub(super) fn take(&mut self) -> Option<K> {
        self.0.iter_mut().find_map(Option::take)
    }

    /// Keeps a key that was in a record or a table. (An operation gives back one more than it takes at most: there is
    /// always a place.)
    pub(super) fn give(&mut self, key: K) {
        if let Some(place) = self.0.iter_mut().find(|place| place.is_none()) {
            *place = Some(key);
        }
    }
}

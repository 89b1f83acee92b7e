//! Tables of fixed capacity without a heap, over heapless.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};

use super::{Bound, Fnv1a, Places, Table, WhenFull, clock};
use crate::record::Record;
use crate::resting::Resting;

struct Place<K, T> {
    hash: u64,
    key: K,
    item: T,
}

/// At most `N` items, found by comparing hashes and keys one after another.
pub struct LinearPlaces<K, T, const N: usize> {
    items: heapless::Vec<Place<K, T>, N>,
}

impl<K, T, const N: usize> LinearPlaces<K, T, N> {
    /// No items yet.
    pub const fn new() -> Self {
        Self { items: heapless::Vec::new() }
    }
}

impl<K, T, const N: usize> Default for LinearPlaces<K, T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T, const N: usize> fmt::Debug for LinearPlaces<K, T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearPlaces").field("len", &self.items.len()).finish_non_exhaustive()
    }
}

impl<K, T, const N: usize> Places<K, T> for LinearPlaces<K, T, N> {
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.items.iter().position(|place| place.hash == hash && place.key.borrow() == key)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &T)> {
        let place = self.items.get(at)?;
        Some((place.hash, &place.key, &place.item))
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        Some(&mut self.items.get_mut(at)?.item)
    }

    fn insert(&mut self, hash: u64, key: K, item: T) -> Result<usize, (K, T)> {
        let place = Place { hash, key, item };
        self.items.push(place).map_err(|place| (place.key, place.item))?;
        Ok(self.items.len() - 1)
    }

    fn remove(&mut self, at: usize) -> Option<(K, T)> {
        if at >= self.items.len() {
            return None;
        }
        let place = self.items.swap_remove(at);
        Some((place.key, place.item))
    }

    fn slots(&self) -> usize {
        self.items.len()
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn capacity(&self) -> usize {
        N
    }
}

/// A table of at most `N` entries and `R` records (as many, if not said) in place, without a heap.
///
/// A full table evicts by CLOCK, or hands the new item back if so told. Every operation is O(N):
/// meant for tens of entries. The hash is FNV-1a and serves jitter; keys are compared.
///
/// An entry with windows or labels of its own takes one of the records until it goes, and an
/// expired one goes with the next tick or write that meets it: with fewer records than entries,
/// tick the cache, or reads of cold keys may be told that it is busy.
pub struct LinearTable<K, V, const N: usize, const R: usize = N> {
    places: LinearPlaces<K, Resting<V>, N>,
    when_full: WhenFull,
    hand: usize,
}

impl<K, V, const N: usize, const R: usize> LinearTable<K, V, N, R> {
    /// An empty table that evicts when full.
    pub const fn new() -> Self {
        Self { places: LinearPlaces::new(), when_full: WhenFull::Evict, hand: 0 }
    }

    /// Says what happens to a new key when the table is full.
    #[must_use]
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    fn evict_one(&mut self) -> Option<(u64, K, Resting<V>)> {
        let items = &mut self.places.items;
        let at = clock::victim(&mut self.hand, items.len(), |at| {
            let entry = &mut items.get_mut(at)?.item;
            let uses = entry.uses();
            entry.forget_a_use();
            Some(uses)
        })?;
        let place = items.swap_remove(at);
        Some((place.hash, place.key, place.item))
    }
}

impl<K, V, const N: usize, const R: usize> Default for LinearTable<K, V, N, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, const N: usize, const R: usize> fmt::Debug for LinearTable<K, V, N, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinearTable").field("places", &self.places).finish_non_exhaustive()
    }
}

impl<K, V, const N: usize, const R: usize> Table<K, V> for LinearTable<K, V, N, R> {
    type Records = LinearPlaces<K, Record, R>;

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let mut hasher = Fnv1a::default();
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn records(&self) -> Self::Records {
        LinearPlaces::new()
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.places.find(hash, key)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)> {
        self.places.get(at)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>> {
        self.places.get_mut(at)
    }

    fn weight_at(&self, _at: usize) -> u32 {
        1
    }

    fn insert(
        &mut self,
        hash: u64,
        key: K,
        entry: Resting<V>,
        _weight: u32,
        evicted: &mut dyn FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)> {
        if self.places.items.is_full()
            && self.when_full == WhenFull::Evict
            && let Some((hash, key, entry)) = self.evict_one()
        {
            evicted(hash, key, entry);
        }
        self.places.insert(hash, key, entry)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        self.places.remove(at)
    }

    fn slots(&self) -> usize {
        self.places.slots()
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn weight(&self) -> u64 {
        self.places.len() as u64
    }

    fn bound(&self) -> Bound {
        Bound::Entries(N)
    }
}

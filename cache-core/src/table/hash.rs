//! Tables on the heap, over hashbrown.

use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};

use super::{Bound, Places, Table, WhenFull, clock};
use crate::record::Record;
use crate::resting::Resting;

struct Place<K, T> {
    hash: u64,
    key: K,
    item: T,
}

/// Items by key on the heap. Growing uses the stored hashes, never the key's `Hash`.
pub struct HashPlaces<K, T> {
    map: hashbrown::HashTable<Place<K, T>>,
    capacity: usize,
}

impl<K, T> HashPlaces<K, T> {
    /// Room for `capacity` items; memory is taken as they come.
    pub const fn new(capacity: usize) -> Self {
        Self { map: hashbrown::HashTable::new(), capacity }
    }
}

impl<K, T> fmt::Debug for HashPlaces<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashPlaces").field("len", &self.map.len()).finish_non_exhaustive()
    }
}

impl<K, T> Places<K, T> for HashPlaces<K, T> {
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.map.find_bucket_index(hash, |place| place.hash == hash && place.key.borrow() == key)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &T)> {
        let place = self.map.get_bucket(at)?;
        Some((place.hash, &place.key, &place.item))
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        Some(&mut self.map.get_bucket_mut(at)?.item)
    }

    fn insert(&mut self, hash: u64, key: K, item: T) -> Result<usize, (K, T)> {
        if self.map.len() >= self.capacity {
            return Err((key, item));
        }
        let place = Place { hash, key, item };
        Ok(self.map.insert_unique(hash, place, |place| place.hash).bucket_index())
    }

    fn remove(&mut self, at: usize) -> Option<(K, T)> {
        let (place, _) = self.map.get_bucket_entry(at).ok()?.remove();
        Some((place.key, place.item))
    }

    fn slots(&self) -> usize {
        self.map.num_buckets()
    }

    fn len(&self) -> usize {
        self.map.len()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

/// A bounded table on the heap with CLOCK eviction.
///
/// Finding is O(1); an insertion evicts at most 256 entries and passes at most 256 positions for
/// each. Entries cost their key, value, deadline, hash and weight, and hashbrown's byte.
pub struct HashTable<K, V, S> {
    places: HashPlaces<K, Weighed<V>>,
    hasher: S,
    bound: Bound,
    when_full: WhenFull,
    hand: usize,
    weight: u64,
}

struct Weighed<V> {
    entry: Resting<V>,
    weight: u32,
}

impl<K, V, S> HashTable<K, V, S> {
    /// An empty table that evicts when full. Choose a keyed `hasher` where keys come from outside.
    pub const fn new(bound: Bound, hasher: S) -> Self {
        let capacity = match bound {
            Bound::Entries(entries) => entries,
            Bound::Weight(_) => usize::MAX,
        };
        let places = HashPlaces::new(capacity);
        Self { places, hasher, bound, when_full: WhenFull::Evict, hand: 0, weight: 0 }
    }

    /// Says what happens to a new key when the table is full.
    #[must_use]
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    fn fits(&self, weight: u32) -> bool
    where
        K: Sized,
    {
        match self.bound {
            Bound::Entries(entries) => self.places.map.len() < entries,
            Bound::Weight(most) => self.weight.saturating_add(u64::from(weight)) <= most,
        }
    }

    fn can_ever_fit(&self, weight: u32) -> bool {
        match self.bound {
            Bound::Entries(entries) => entries > 0,
            Bound::Weight(most) => u64::from(weight) <= most,
        }
    }

    fn evict_one(&mut self) -> Option<(u64, K, Resting<V>)> {
        let map = &mut self.places.map;
        let at = clock::victim(&mut self.hand, map.num_buckets(), |at| {
            let entry = &mut map.get_bucket_mut(at)?.item.entry;
            let uses = entry.uses();
            entry.forget_a_use();
            Some(uses)
        })?;
        let (place, _) = map.get_bucket_entry(at).ok()?.remove();
        self.weight = self.weight.saturating_sub(u64::from(place.item.weight));
        Some((place.hash, place.key, place.item.entry))
    }
}

impl<K, V, S> fmt::Debug for HashTable<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashTable")
            .field("len", &self.places.map.len())
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl<K, V, S: BuildHasher> Table<K, V> for HashTable<K, V, S> {
    type Records = HashPlaces<K, Record>;

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    fn records(&self) -> Self::Records {
        HashPlaces::new(usize::MAX)
    }

    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.places.find(hash, key)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)> {
        let (hash, key, weighed) = self.places.get(at)?;
        Some((hash, key, &weighed.entry))
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>> {
        Some(&mut self.places.get_mut(at)?.entry)
    }

    fn weight_at(&self, at: usize) -> u32 {
        self.places.get(at).map_or(0, |(_, _, weighed)| weighed.weight)
    }

    fn insert(
        &mut self,
        hash: u64,
        key: K,
        entry: Resting<V>,
        weight: u32,
        evicted: &mut dyn FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)> {
        if !self.can_ever_fit(weight) {
            return Err((key, entry));
        }
        let victims = if self.when_full == WhenFull::Evict { clock::VICTIMS } else { 0 };
        for _ in 0..victims {
            if self.fits(weight) {
                break;
            }
            let Some((hash, key, entry)) = self.evict_one() else { break };
            evicted(hash, key, entry);
        }
        if !self.fits(weight) {
            return Err((key, entry));
        }
        let inserted = self.places.insert(hash, key, Weighed { entry, weight });
        self.weight += u64::from(weight) * u64::from(inserted.is_ok());
        inserted.map_err(|(key, weighed)| (key, weighed.entry))
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        let (key, weighed) = self.places.remove(at)?;
        self.weight = self.weight.saturating_sub(u64::from(weighed.weight));
        Some((key, weighed.entry))
    }

    fn slots(&self) -> usize {
        self.places.slots()
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn weight(&self) -> u64 {
        self.weight
    }

    fn bound(&self) -> Bound {
        self.bound
    }
}

impl<K, V, S> HashTable<K, V, S> {
    /// All keys, in no order. O(positions).
    pub fn keys(&self) -> Vec<&K> {
        self.places.map.iter().map(|place| &place.key).collect()
    }
}

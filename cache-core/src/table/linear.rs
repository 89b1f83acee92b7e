//! Tables of fixed capacity without a heap, over heapless.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};

use super::s3fifo::{Link, Marks, Ranks, Room};
use super::{Bound, Fnv1a, House, LocalTable, Places, Table, WhenFull};
use crate::record::Record;
use crate::resting::{Mark, Resting};

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
/// A full table evicts by S3-FIFO, or hands the new item back if so told. Every operation is O(N):
/// meant for tens of entries. The hash is FNV-1a and serves jitter; keys are compared.
///
/// An entry with windows or labels of its own takes one of the records until it goes, and an
/// expired one goes with the next tick or write that meets it: with fewer records than entries,
/// tick the cache, or reads of cold keys may be told that it is busy.
pub struct LinearTable<K, V, const N: usize, const R: usize = N> {
    places: LinearPlaces<K, Resting<V>, N>,
    ranks: Ranks<u16, [Link<u16>; N], [u8; N]>,
    when_full: WhenFull,
    house: House,
}

/// The marks of a table's entries.
struct Rows<'a, K, V>(&'a mut [Place<K, Resting<V>>]);

impl<K, V> Marks for Rows<'_, K, V> {
    fn mark(&mut self, at: usize) -> &mut Mark {
        &mut self.0[at].item.mark
    }
}

/// One entry of this many waits in the small queue.
const SMALL_SHARE: usize = 10;

impl<K, V, const N: usize, const R: usize> LinearTable<K, V, N, R> {
    /// An empty table that evicts when full.
    pub fn new() -> Self {
        const { assert!(N < u16::MAX as usize, "a linear table of so many entries is too slow") };
        Self {
            places: LinearPlaces::new(),
            ranks: Ranks::new([Link::LOOSE; N], [0; N]),
            when_full: WhenFull::Evict,
            house: House::default(),
        }
    }

    /// Says what happens to a new key when the table is full.
    #[must_use]
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    fn room(&self) -> Room {
        Room { small: N / SMALL_SHARE, full: self.places.items.len() >= N, tries: 0 }
    }

    fn evict_one(&mut self) -> Option<Place<K, Resting<V>>> {
        let victim = self.ranks.victim(&mut Rows(&mut self.places.items), N / SMALL_SHARE)?;
        self.ranks.remember(victim, self.places.items[victim.at].hash);
        self.take(victim.at)
    }

    /// Takes a place out and closes the gap with the last one.
    fn take(&mut self, at: usize) -> Option<Place<K, Resting<V>>> {
        let items = &mut self.places.items;
        self.ranks.release(items.get(at)?.item.mark, at);
        let last = items.len() - 1;
        if at != last {
            self.house.moved(last, at);
            self.ranks.moved(items[last].item.mark, last, at);
        }
        Some(items.swap_remove(at))
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

impl<K, V, const N: usize, const R: usize> LocalTable<K, V> for LinearTable<K, V, N, R> {
    type Records = LinearPlaces<K, Record, R>;

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let mut hasher = Fnv1a::default();
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn records(&self) -> Self::Records {
        LinearPlaces::new()
    }
}

impl<K, V, const N: usize, const R: usize> Table<K, V> for LinearTable<K, V, N, R> {
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

    fn entry(&self, at: usize) -> Option<&Resting<V>> {
        Some(&self.places.items.get(at)?.item)
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
        evicted: &mut impl FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)> {
        let room = self.room();
        if room.full && (self.when_full == WhenFull::HandBack || N == 0) {
            return Err((key, entry));
        }
        let main = self.ranks.is_welcome(hash, &mut Rows(&mut self.places.items), room)
            || self.ranks.is_filling(room);
        if room.full
            && let Some(Place { hash, key, item }) = self.evict_one()
        {
            self.house.tally.evictions += 1;
            evicted(hash, key, item);
        }
        let at = self.places.insert(hash, key, entry)?;
        self.ranks.admit(&mut self.places.items[at].item.mark, at, main);
        Ok(at)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        let Place { key, item, .. } = self.take(at)?;
        Some((key, item))
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

    fn house(&self) -> &House {
        &self.house
    }

    fn house_mut(&mut self) -> &mut House {
        &mut self.house
    }
}

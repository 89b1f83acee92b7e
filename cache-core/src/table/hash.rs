//! Tables on the heap, over hashbrown.

use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};

use super::s3fifo::{Index, Link, Marks, Ranks, Room};
use super::{Bound, House, LocalTable, Places, Table, WhenFull};
use crate::record::Record;
use crate::resting::{Mark, Resting, Times};

struct Place<K, T> {
    hash: u64,
    key: K,
    item: T,
}

/// Spreads hashes of which only low bits differ over all bits: the map below looks at the highest,
/// too. (The multiplier is 2^64 divided by the golden ratio; Knuth, TAOCP 3, 6.4.)
const fn spread(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
        let is = |place: &Place<K, T>| place.hash == hash && place.key.borrow() == key;
        self.map.find_bucket_index(spread(hash), is)
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
        Ok(self.map.insert_unique(spread(hash), place, |place| spread(place.hash)).bucket_index())
    }

    fn remove(&mut self, at: usize) -> Option<(K, T)> {
        let (place, _) = self.map.get_bucket_entry(at).ok()?.remove();
        // Memory that has not been needed for a while goes back, and others move.
        if self.map.num_buckets() > 64 && self.map.len() * 8 < self.map.num_buckets() {
            self.map.shrink_to(self.map.len() * 2, |place| spread(place.hash));
        }
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

/// A bounded table on the heap with S3-FIFO eviction over all its entries.
///
/// Finding is O(1); an insertion evicts at most 256 entries and passes over at most 128 for each.
/// Entries cost their key, value, deadline, hash and weight, and about 14 bytes for index, queues
/// and ghosts.
pub struct HashTable<K, V, S> {
    rows: Vec<Row<K, V>>,
    index: hashbrown::HashTable<u32>,
    ranks: Ranks<u32, Vec<Link<u32>>, Vec<u8>>,
    /// Times of entries that have their own: as long as the rows, or empty while none has.
    times: Vec<Times>,
    hasher: S,
    bound: Bound,
    when_full: WhenFull,
    weight: u64,
    house: House,
}

struct Row<K, V> {
    hash: u64,
    key: K,
    entry: Resting<V>,
    weight: u32,
}

/// The marks of a table's entries.
struct Rows<'a, K, V>(&'a mut [Row<K, V>]);

impl<K, V> Marks for Rows<'_, K, V> {
    fn mark(&mut self, at: usize) -> &mut Mark {
        &mut self.0[at].entry.mark
    }
}

/// Most victims of one insertion. What needs more room is handed back, and finds more next time; where
/// a bound was lowered, it is room enough that the table gets no fuller.
const VICTIMS: usize = 256;
/// One entry of this many waits in the small queue.
const SMALL_SHARE: usize = 10;

impl<K, V, S> HashTable<K, V, S> {
    /// An empty table that evicts when full. Choose a keyed `hasher` where keys come from outside.
    pub fn new(bound: Bound, hasher: S) -> Self {
        Self {
            rows: Vec::new(),
            index: hashbrown::HashTable::new(),
            ranks: Ranks::new(Vec::new(), Vec::new()),
            times: Vec::new(),
            hasher,
            bound,
            when_full: WhenFull::Evict,
            weight: 0,
            house: House::default(),
        }
    }

    /// Says what happens to a new key when the table is full.
    #[must_use]
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    fn fits(&self, weight: u32) -> bool {
        // Positions are 32 bits wide.
        let most = match self.bound {
            Bound::Entries(entries) => entries,
            Bound::Weight(_) => usize::MAX,
        };
        let light = match self.bound {
            Bound::Entries(_) => true,
            Bound::Weight(most) => self.weight.saturating_add(u64::from(weight)) <= most,
        };
        light && self.rows.len() < most.min(u32::MAX as usize)
    }

    fn is_over(&self) -> bool {
        match self.bound {
            Bound::Entries(entries) => self.rows.len() > entries,
            Bound::Weight(most) => self.weight > most,
        }
    }

    /// Whether a newcomer would leave the table no fuller than it was: enough, where it was over a
    /// bound that has been lowered.
    fn is_no_fuller(&self, newcomer: u32, (len, weight): (usize, u64)) -> bool {
        let no_heavier = match self.bound {
            Bound::Entries(_) => true,
            Bound::Weight(_) => self.weight.saturating_add(u64::from(newcomer)) <= weight,
        };
        no_heavier && self.rows.len() < len
    }

    fn can_ever_fit(&self, weight: u32) -> bool {
        match self.bound {
            Bound::Entries(entries) => entries > 0,
            Bound::Weight(most) => u64::from(weight) <= most,
        }
    }

    fn room(&self, weight: u32) -> Room {
        let len = self.rows.len();
        let whole = match self.bound {
            Bound::Entries(entries) => entries,
            Bound::Weight(_) => len,
        };
        Room { small: whole / SMALL_SHARE, full: !self.fits(weight), tries: 0 }
    }

    /// Evicts up to `budget` entries, until it is enough; returns how many went.
    #[inline]
    fn evict_until(
        &mut self,
        budget: usize,
        small: usize,
        enough: impl Fn(&Self) -> bool,
        evicted: &mut impl FnMut(u64, K, Resting<V>),
    ) -> usize {
        for went in 0..budget {
            if enough(self) {
                return went;
            }
            let Some(row) = self.evict_one(small) else { return went };
            self.house.tally.evictions += 1;
            evicted(row.hash, row.key, row.entry);
        }
        budget
    }

    fn evict_one(&mut self, small: usize) -> Option<Row<K, V>> {
        let at = self.victim(small)?;
        self.take(at)
    }

    /// The position of an entry that has to go, and leaves a ghost if it should.
    #[inline]
    fn victim(&mut self, small: usize) -> Option<usize> {
        let victim = self.ranks.victim(&mut Rows(&mut self.rows), small)?;
        if self.ranks.ghosts.len() < self.rows.len() {
            self.ranks.ghosts.resize(self.rows.len(), 0);
        }
        self.ranks.remember(victim, self.rows[victim.at].hash);
        Some(victim.at)
    }

    /// Puts a newcomer in the place of the one entry that has to go: nothing moves. Gives it back where
    /// none can be found.
    fn supplant(
        &mut self,
        newcomer: Row<K, V>,
        small: usize,
    ) -> Result<(usize, Row<K, V>), Row<K, V>> {
        let Some(at) = self.victim(small) else { return Err(newcomer) };
        let old = core::mem::replace(&mut self.rows[at], newcomer);
        self.ranks.release(old.entry.mark, at);
        if let Ok(place) = self.index.find_entry(old.hash, |n| *n as usize == at) {
            place.remove();
        }
        let Row { hash, weight, .. } = self.rows[at];
        self.index.insert_unique(hash, u32::of(at), |at| self.rows[*at as usize].hash);
        self.weight = self.weight - u64::from(old.weight) + u64::from(weight);
        if let Some(times) = self.times.get_mut(at) {
            *times = Times::UNSET;
        }
        Ok((at, old))
    }

    /// Takes a row out and closes the gap with the last one.
    fn take(&mut self, at: usize) -> Option<Row<K, V>> {
        let (hash, mark) = self.rows.get(at).map(|row| (row.hash, row.entry.mark))?;
        let is = |n: usize| move |position: &u32| *position as usize == n;
        if let Ok(place) = self.index.find_entry(hash, is(at)) {
            place.remove();
        }
        self.ranks.release(mark, at);
        let last = self.rows.len() - 1;
        if at != last {
            self.house.moved(last, at);
            let moved = &self.rows[last];
            if let Some(position) = self.index.find_mut(moved.hash, is(last)) {
                *position = u32::of(at);
            }
            self.ranks.moved(moved.entry.mark, last, at);
        }
        self.ranks.links.truncate(last);
        if !self.times.is_empty() {
            self.times.swap_remove(at);
        }
        let row = self.rows.swap_remove(at);
        self.weight = self.weight.saturating_sub(u64::from(row.weight));
        Some(row)
    }

    /// Gives back what has not been needed for a while.
    fn shrink(&mut self) {
        let len = self.rows.len();
        if len * 4 <= self.rows.capacity() && self.rows.capacity() > 64 {
            self.rows.shrink_to(len * 2);
            self.ranks.links.shrink_to(len * 2);
            self.times.shrink_to(len * 2);
            self.index.shrink_to(len * 2, |at| self.rows[*at as usize].hash);
        }
    }
}

impl<K, V, S> fmt::Debug for HashTable<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashTable")
            .field("len", &self.rows.len())
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}

impl<K, V, S: BuildHasher> LocalTable<K, V> for HashTable<K, V, S> {
    type Records = HashPlaces<K, Record>;

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    fn records(&self) -> Self::Records {
        HashPlaces::new(usize::MAX)
    }
}

impl<K, V, S> Table<K, V> for HashTable<K, V, S> {
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let is = |at: &u32| {
            let row = &self.rows[*at as usize];
            row.hash == hash && row.key.borrow() == key
        };
        self.index.find(hash, is).map(|at| *at as usize)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)> {
        let row = self.rows.get(at)?;
        Some((row.hash, &row.key, &row.entry))
    }

    fn entry(&self, at: usize) -> Option<&Resting<V>> {
        Some(&self.rows.get(at)?.entry)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>> {
        Some(&mut self.rows.get_mut(at)?.entry)
    }

    #[inline(always)]
    fn serve(&mut self, at: usize, serves: impl FnOnce(Mark) -> bool) -> Option<&mut Resting<V>> {
        let entry = &mut self.rows.get_mut(at)?.entry;
        if !serves(entry.mark) {
            return None;
        }
        entry.note_use();
        if entry.mark.is_stale() {
            self.house.tally.stale_hits += 1;
        } else {
            self.house.tally.hits += 1;
        }
        Some(entry)
    }

    fn weight_at(&self, at: usize) -> u32 {
        self.rows.get(at).map_or(0, |row| row.weight)
    }

    fn insert(
        &mut self,
        hash: u64,
        key: K,
        entry: Resting<V>,
        weight: u32,
        evicted: &mut impl FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)> {
        let room = self.room(weight);
        let may_evict = self.when_full == WhenFull::Evict;
        if !self.can_ever_fit(weight) || (room.full && !may_evict) {
            return Err((key, entry));
        }
        let main = self.ranks.is_welcome(hash, &mut Rows(&mut self.rows), room)
            || self.ranks.is_filling(room);
        if matches!(self.bound, Bound::Entries(most) if most == self.rows.len()) {
            let newcomer = Row { hash, key, entry, weight };
            let (at, old) =
                self.supplant(newcomer, room.small).map_err(|back| (back.key, back.entry))?;
            self.ranks.admit(&mut self.rows[at].entry.mark, at, main);
            self.house.tally.evictions += 1;
            evicted(old.hash, old.key, old.entry);
            return Ok(at);
        }
        let before = (self.rows.len(), self.weight);
        self.evict_until(VICTIMS, room.small, |table| table.fits(weight), evicted);
        if !self.fits(weight) && !self.is_no_fuller(weight, before) {
            return Err((key, entry));
        }
        let at = self.rows.len();
        let Self { index, rows, .. } = self;
        index.insert_unique(hash, u32::of(at), |at| rows[*at as usize].hash);
        self.rows.push(Row { hash, key, entry, weight });
        if !self.times.is_empty() {
            self.times.push(Times::UNSET);
        }
        self.ranks.links.push(Link::LOOSE);
        self.ranks.admit(&mut self.rows[at].entry.mark, at, main);
        self.weight += u64::from(weight);
        Ok(at)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        let Row { key, entry, .. } = self.take(at)?;
        self.shrink();
        Some((key, entry))
    }

    fn slots(&self) -> usize {
        self.rows.len()
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn weight(&self) -> u64 {
        self.weight
    }

    fn set_bound(&mut self, bound: Bound) {
        self.bound = bound;
    }

    fn evict(&mut self, budget: usize, evicted: &mut impl FnMut(u64, K, Resting<V>)) -> usize {
        let small = self.room(0).small;
        let went = self.evict_until(budget, small, |table| !table.is_over(), evicted);
        if went > 0 {
            self.shrink();
        }
        went
    }

    fn bound(&self) -> Bound {
        self.bound
    }

    fn times(&self, at: usize) -> Option<Times> {
        self.times.get(at).copied()
    }

    fn set_times(&mut self, at: usize, times: Times) -> bool {
        if self.times.is_empty() {
            self.times.resize(self.rows.len(), Times::UNSET);
        }
        self.times.get_mut(at).map(|place| *place = times).is_some()
    }

    fn house(&self) -> &House {
        &self.house
    }

    fn house_mut(&mut self) -> &mut House {
        &mut self.house
    }
}

impl<K, V, S> HashTable<K, V, S> {
    /// All keys, in no order. O(entries).
    pub fn keys(&self) -> Vec<&K> {
        self.rows.iter().map(|row| &row.key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use core::hash::BuildHasherDefault;

    type Hashing = BuildHasherDefault<std::hash::DefaultHasher>;

    #[test]
    fn who_takes_a_victims_place_leaves_nothing_of_it() {
        let mut table: HashTable<u64, u64, Hashing> =
            HashTable::new(Bound::Entries(10), Hashing::default());
        let mut gone = std::collections::HashSet::new();
        for key in 0..1_000_u64 {
            let entry = Resting::new(key, Mark::new(Instant::FAR_FUTURE));
            let weight = key as u32 % 7 + 1;
            let hash = table.hash(&key);
            let out = &mut |_, key, _| assert!(gone.insert(key), "{key} goes once");
            let at = table.insert(hash, key, entry, weight, out).map_err(drop).unwrap();
            assert_eq!(table.find(hash, &key), Some(at));
        }
        assert_eq!((table.len(), table.index.len(), gone.len()), (10, 10, 990));
        let held: u64 = (0..10).map(|at| u64::from(table.weight_at(at))).sum();
        assert_eq!(table.weight(), held);
        let found = |key: &u64| table.find(table.hash(key), key).is_some();
        assert!((0..1_000).all(|key| found(&key) != gone.contains(&key)));
        assert_eq!(table.house().tally.evictions, 990);
    }
}

//! One set of a set-associative table: a few entries under one small lock.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::DerefMut;

use wide::u8x16;

use super::s3fifo::{Link, Marks, Ranks, Room};
use super::{Bound, House, Table, Tally};
use crate::resting::{Mark, Resting, Times};

/// Most entries of a set: as many as leave room in one cache line for what a hit reads and writes.
pub const WAYS: usize = 27;

/// Entries that the small queue keeps of a full set of [`WAYS`].
const SMALL: usize = 2;
/// In a set, a returning entry has to find one of the next two main entries unused. On skewed
/// traffic this saves a set's few places for what is read often.
const TRIES: usize = 2;

/// An entry of a [`Set`]; opaque. Its offsets are for readers who do not take the set's lock.
#[derive(Debug)]
pub struct Place<K, V> {
    key: K,
    entry: Resting<V>,
}

impl<K, V> Place<K, V> {
    /// Where the key is.
    pub const KEY: usize = offset_of!(Self, key);
    /// Where the value is.
    pub const VALUE: usize = offset_of!(Self, entry.value);
    /// Where the [`Mark`] is.
    pub const MARK: usize = offset_of!(Self, entry.mark);
}

/// Where a [`Set`] keeps its entries: one after the other, at most [`WAYS`].
pub trait Rows<P>: DerefMut<Target = [P]> {
    /// Makes room for one more; the set will hold `most` in the end.
    fn make_room(&mut self, most: usize);
    /// Appends one, for which there is room.
    fn push(&mut self, place: P);
    /// Takes the one at a position out, and puts the last one there.
    fn swap_remove(&mut self, at: usize) -> P;
    /// Gives back what has not been needed for a while.
    fn shrink(&mut self);
}

/// What is held doubles with the entries, and halves with them.
impl<P> Rows<P> for Vec<P> {
    fn make_room(&mut self, most: usize) {
        if self.len() == self.capacity() {
            let wanted = (self.len() * 2).clamp(4, most.max(4)).min(most);
            self.reserve_exact(wanted - self.len());
        }
    }

    fn push(&mut self, place: P) {
        Self::push(self, place);
    }

    fn swap_remove(&mut self, at: usize) -> P {
        Self::swap_remove(self, at)
    }

    fn shrink(&mut self) {
        if self.len() * 4 <= self.capacity() {
            self.shrink_to(self.len() * 2);
        }
    }
}

/// Up to [`WAYS`] entries, found by comparing one byte of their hashes, sixteen at a time.
///
/// A cache of many sets chooses the set by the hash and gives each set its number. A set keeps 16
/// bits of each hash; with its number they are the hash that the algorithm works with, so `hash`
/// arguments are made by [`Set::hash`]. Memory for entries is taken as they come and given back as
/// they go, unless the rows `R` do otherwise.
///
/// Every operation is O(`WAYS`).
#[repr(C)] // what a hit reads comes first, and fits in one cache line with a lock before it
pub struct Set<K, V, R = Vec<Place<K, V>>> {
    rows: R,
    tags: [u8; WAYS],
    capacity: u8,
    /// Hits that the tally does not count yet.
    hits: u32,
    house: House,
    more: [u8; WAYS],
    ranks: Ranks<u8, [Link<u8>; WAYS], [u8; WAYS]>,
    number: u32,
    /// Times of entries that have their own; made with the first of them.
    times: Option<Box<[Times; WAYS]>>,
    _entries: PhantomData<Place<K, V>>,
}

/// The marks of a set's entries.
struct MarksOf<'a, K, V>(&'a mut [Place<K, V>]);

impl<K, V> Marks for MarksOf<'_, K, V> {
    fn mark(&mut self, at: usize) -> &mut Mark {
        &mut self.0[at].entry.mark
    }
}

impl<K, V> Set<K, V> {
    /// An empty set of at most `capacity` entries, 1 to [`WAYS`].
    pub fn new(number: u32, capacity: usize) -> Self {
        Self::with_rows(number, capacity, Vec::new())
    }
}

impl<K, V, R> Set<K, V, R> {
    /// Where the rows are. This and [`TAGS`](Self::TAGS) are for readers who do not take the lock.
    pub const ROWS: usize = offset_of!(Self, rows);
    /// Where the tags are: for each row the lowest byte of its hash. Those of rows that have left
    /// stay.
    pub const TAGS: usize = offset_of!(Self, tags);

    /// An empty set of at most `capacity` entries, 1 to [`WAYS`], in rows of the caller's choice.
    pub fn with_rows(number: u32, capacity: usize, rows: R) -> Self {
        #[allow(clippy::cast_possible_truncation)] // at most `WAYS`
        let capacity = capacity.clamp(1, WAYS) as u8;
        Self {
            rows,
            tags: [0; WAYS],
            hits: 0,
            house: House::default(),
            more: [0; WAYS],
            ranks: Ranks::new([Link::LOOSE; WAYS], [0; WAYS]),
            times: None,
            number,
            capacity,
            _entries: PhantomData,
        }
    }

    /// The hash by which set `number` knows a key: its number, and 16 bits of the key's hash from
    /// above the lowest 32. The caller has chosen the set by higher ones.
    #[inline]
    pub const fn hash(number: u32, hash: u64) -> u64 {
        ((number as u64) << 16) | ((hash >> 32) & 0xffff)
    }

    fn hash_at(&self, at: usize) -> u64 {
        let low = u16::from_le_bytes([self.tags[at], self.more[at]]);
        (u64::from(self.number) << 16) | u64::from(low)
    }
}

impl<K, V, R: Rows<Place<K, V>>> Set<K, V, R> {
    fn room(&self) -> Room {
        Room { small: SMALL, full: self.rows.len() >= usize::from(self.capacity), tries: TRIES }
    }

    /// Puts a new row in the place of one that has to go. Returns where, or the row if none can.
    fn supplant(
        &mut self,
        hash: u64,
        row: Place<K, V>,
        main: bool,
        evicted: &mut dyn FnMut(u64, K, Resting<V>),
    ) -> Result<usize, Place<K, V>> {
        let Some(victim) = self.ranks.victim(&mut MarksOf(&mut self.rows), SMALL) else {
            return Err(row);
        };
        let (at, old_hash) = (victim.at, self.hash_at(victim.at));
        self.ranks.remember(victim, old_hash);
        self.ranks.release(self.rows[at].entry.mark, at);
        [self.tags[at], self.more[at], ..] = hash.to_le_bytes();
        let old = core::mem::replace(&mut self.rows[at], row);
        self.ranks.admit(&mut self.rows[at].entry.mark, at, main);
        self.house.tally.evictions += 1;
        evicted(old_hash, old.key, old.entry);
        Ok(at)
    }

    /// Takes a row out and closes the gap with the last one.
    fn take(&mut self, at: usize) -> Option<Place<K, V>> {
        let mark = self.rows.get(at)?.entry.mark;
        self.ranks.release(mark, at);
        let last = self.rows.len() - 1;
        if at != last {
            self.house.moved(last, at);
            self.ranks.moved(self.rows[last].entry.mark, last, at);
            (self.tags[at], self.more[at]) = (self.tags[last], self.more[last]);
            if let Some(times) = &mut self.times {
                times[at] = times[last];
            }
        }
        Some(self.rows.swap_remove(at))
    }

    /// Gives back what has not been needed for a while.
    fn shrink(&mut self) {
        self.rows.shrink();
        if self.rows.is_empty() {
            self.times = None;
        }
    }
}

/// One bit for each of `tags` that equals `tag`.
#[inline]
fn equal(tags: &[u8; WAYS], tag: u8) -> u32 {
    const APART: usize = WAYS - 16;
    let (Some(low), Some(high)) = (tags.first_chunk(), tags.last_chunk()) else { return 0 };
    let wanted = u8x16::splat(tag);
    let mask = |part: &[u8; 16]| u8x16::new(*part).simd_eq(wanted).to_bitmask();
    // The two parts overlap, and say the same of what they share.
    mask(low) | (mask(high) << APART)
}

impl<K, V, R: Rows<Place<K, V>>> Table<K, V> for Set<K, V, R> {
    #[inline]
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let [tag, ..] = hash.to_le_bytes();
        let mut equal = equal(&self.tags, tag);
        while equal != 0 {
            let at = equal.trailing_zeros() as usize;
            // Tags of rows that have left stay, and find no row.
            if self.rows.get(at).is_some_and(|row| row.key.borrow() == key) {
                return Some(at);
            }
            equal &= equal - 1;
        }
        None
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)> {
        let row = self.rows.get(at)?;
        Some((self.hash_at(at), &row.key, &row.entry))
    }

    #[inline]
    fn entry(&self, at: usize) -> Option<&Resting<V>> {
        Some(&self.rows.get(at)?.entry)
    }

    #[inline]
    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>> {
        Some(&mut self.rows.get_mut(at)?.entry)
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
        let room = self.room();
        let main = self.ranks.is_welcome(hash, &mut MarksOf(&mut self.rows), room);
        let row = Place { key, entry };
        if room.full {
            return self
                .supplant(hash, row, main, evicted)
                .map_err(|Place { key, entry }| (key, entry));
        }
        self.rows.make_room(usize::from(self.capacity));
        let at = self.rows.len();
        [self.tags[at], self.more[at], ..] = hash.to_le_bytes();
        self.rows.push(row);
        self.ranks.admit(&mut self.rows[at].entry.mark, at, main);
        Ok(at)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        let Place { key, entry } = self.take(at)?;
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
        self.rows.len() as u64
    }

    fn bound(&self) -> Bound {
        Bound::Entries(usize::from(self.capacity))
    }

    fn times(&self, at: usize) -> Option<Times> {
        self.times.as_ref()?.get(at).copied()
    }

    fn set_times(&mut self, at: usize, times: Times) -> bool {
        let all = self.times.get_or_insert_with(|| Box::new([Times::UNSET; WAYS]));
        all.get_mut(at).map(|place| *place = times).is_some()
    }

    fn house(&self) -> &House {
        &self.house
    }

    fn house_mut(&mut self) -> &mut House {
        &mut self.house
    }

    #[inline]
    fn count_hit(&mut self) {
        self.hits = self.hits.wrapping_add(1);
        if self.hits == 0 {
            self.house.tally.hits += 1 << u32::BITS;
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = self.house.tally;
        tally.hits += u64::from(self.hits);
        tally
    }

    fn owns(&self, hash: u64) -> bool {
        hash >> 16 == u64::from(self.number)
    }
}

impl<K, V, R: Rows<Place<K, V>>> fmt::Debug for Set<K, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set")
            .field("number", &self.number)
            .field("len", &self.rows.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// With a lock of eight bytes before it, a set takes four cache lines, and what a hit reads and
    /// writes of it takes the first.
    #[test]
    fn a_set_fills_four_lines_and_a_hit_reads_one() {
        assert_eq!(size_of::<Set<u64, u64>>() + 8, 4 * 64);
        assert!(core::mem::offset_of!(Set<u64, u64>, house) + 8 <= 64);
    }

    #[test]
    fn times_follow_their_entries() {
        let at = |secs| crate::time::Instant::from_secs(secs);
        let times = |secs| Times { stored_at: at(secs), fresh_until: at(secs + 1) };
        let mut set = Set::new(3, 9);
        for key in 0..3_u8 {
            let entry = Resting::new((), Mark::new(at(9)));
            let place = set.insert(Set::<u8, ()>::hash(3, 0), key, entry, 1, &mut |_, _, _| {});
            assert!(set.set_times(place.unwrap(), times(key.into())));
        }
        assert_eq!(set.remove(0).unwrap().0, 0);
        for key in 1..3_u8 {
            let place = set.find(Set::<u8, ()>::hash(3, 0), &key).unwrap();
            assert_eq!(set.times(place), Some(times(key.into())));
        }
    }
}

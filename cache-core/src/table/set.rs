//! One set of a set-associative table: a few entries under one small lock.

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;
use core::mem::offset_of;

use super::hands::{Ghosts, Hands, Uses};
#[cfg(feature = "alloc")]
use super::rows::Boxed;
#[cfg(feature = "heapless")]
use super::rows::Inline;
use super::rows::{OwnTimes, Rows};
use super::tags::{equal, in_turn};
use super::{Bound, House, Table, Tally};
use crate::resting::{Mark, Resting, Times};

/// Most entries of a set: as many as leave room in one cache line for what a hit reads and writes.
pub const WAYS: usize = 28;

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

/// Up to [`WAYS`] entries, found by comparing one byte of their hashes, sixteen at a time.
///
/// A cache of many sets chooses the set by the hash and gives each set its number. A set keeps 16
/// bits of each hash; with its number they are the hash that the algorithm works with, so `hash`
/// arguments are made by [`Set::hash`]. Memory for entries is taken as they come and given back as
/// they go, unless the rows `R` do otherwise.
///
/// Every operation is O(`WAYS`).
#[repr(C)] // what a hit reads comes first, and fits in one cache line with a lock before it
pub struct Set<K, V, R: Rows<Place<K, V>>> {
    rows: R,
    tags: [u8; WAYS],
    /// Hits that the tally does not count.
    hits: u32,
    house: House,
    number: u32,
    /// The positions that are in use, and how many.
    live: u32,
    hands: Hands,
    /// As `hits`; here, a miss brings up what is needed to store what was missed.
    misses: u32,
    evictions: u32,
    len: u8,
    capacity: u8,
    ghosts: Ghosts,
    more: [u8; WAYS],
    times: R::Times,
    far: R::Far,
    _entries: PhantomData<Place<K, V>>,
}

/// A set on the heap.
#[cfg(feature = "alloc")]
pub type HeapSet<K, V> = Set<K, V, Boxed<Place<K, V>>>;

#[cfg(feature = "alloc")]
impl<K, V> HeapSet<K, V> {
    /// An empty set of at most `capacity` entries, 1 to [`WAYS`].
    pub fn new(number: u32, capacity: usize) -> Self {
        Self::with_rows(number, capacity, Boxed::default(), ())
    }
}

/// A set that holds its entries itself.
#[cfg(feature = "heapless")]
pub(super) type InlineSet<K, V> = Set<K, V, Inline>;

#[cfg(feature = "heapless")]
impl<K, V> InlineSet<K, V> {
    /// An empty set of at most [`WAYS`] entries.
    pub(super) fn inline(number: u32) -> Self {
        Self::with_rows(number, WAYS, Inline::default(), [const { None }; WAYS])
    }
}

impl<K, V, R: Rows<Place<K, V>>> Set<K, V, R> {
    /// Where the near part of the rows is. This, [`FAR`](Self::FAR) and [`TAGS`](Self::TAGS) are for
    /// readers who do not take the lock.
    pub const NEAR: usize = offset_of!(Self, rows);
    /// Where their far part is.
    pub const FAR: usize = offset_of!(Self, far);
    /// Where the tags are: for each row one of the two lowest bytes of its hash, the lower at even
    /// positions. Those of rows that have left stay.
    pub const TAGS: usize = offset_of!(Self, tags);

    /// An empty set of at most `capacity` entries, 1 to [`WAYS`], in rows of the caller's choice.
    pub fn with_rows(number: u32, capacity: usize, rows: R, far: R::Far) -> Self {
        Self {
            rows,
            tags: [0; WAYS],
            hits: 0,
            house: House::default(),
            number,
            live: 0,
            hands: Hands::new(),
            misses: 0,
            evictions: 0,
            len: 0,
            capacity: capacity_of(capacity),
            ghosts: Ghosts::new(),
            more: [0; WAYS],
            times: R::Times::default(),
            far,
            _entries: PhantomData,
        }
    }

    /// The hash by which set `number` knows a key: its number, and 16 bits of the key's hash from
    /// above the lowest [`UNASKED`](Self::UNASKED). The caller has chosen the set by higher ones.
    #[inline]
    pub const fn hash(number: u32, hash: u64) -> u64 {
        ((number as u64) << 16) | ((hash >> Self::UNASKED) & 0xffff)
    }

    /// So many of the lowest bits of a key's hash play no part.
    pub const UNASKED: u32 = 16;

    fn hash_at(&self, at: usize) -> u64 {
        let low = u16::from_le_bytes(in_turn(at, [self.tags[at], self.more[at]]));
        (u64::from(self.number) << 16) | u64::from(low)
    }

    /// The first of these positions that has the key.
    #[inline(always)]
    fn first_with<Q>(&self, mut positions: u32, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        while positions != 0 {
            let at = positions.trailing_zeros() as usize;
            // Tags of rows that have left stay, and find no row.
            if self.rows.get(&self.far, at).is_some_and(|row| row.key.borrow() == key) {
                return Some(at);
            }
            positions &= positions - 1;
        }
        None
    }

    /// Where a newcomer goes, and whether to the main queue: to a free position, or to that of an
    /// entry that has to go. `None` if neither can be had.
    fn position_for(&mut self, hash: u64) -> Option<(usize, bool)> {
        let known = self.ghosts.recall(hash);
        let mut uses = self.rows.uses();
        if self.len < self.capacity {
            self.len += 1;
            let at = (!self.live).trailing_zeros() as usize;
            uses.clear(at); // of who had it before and was counted late
            self.rows.set_uses(uses);
            return Some((at, known));
        }
        let main = known && self.hands.is_welcome(self.live, &mut uses);
        Some((self.depose(uses)?, main))
    }

    /// The position of an entry that has to go, which is in no queue any more.
    #[inline(always)]
    fn depose(&mut self, mut uses: Uses) -> Option<usize> {
        let victim = self.hands.victim(self.live, &mut uses)?;
        uses.clear(victim.at);
        self.rows.set_uses(uses);
        if victim.leaves_ghost {
            self.ghosts.remember(self.hash_at(victim.at));
        }
        self.hands.supplant(victim.at);
        count(&mut self.evictions, &mut self.house.tally.evictions);
        Some(victim.at)
    }

    /// Takes out an entry that has to go.
    fn evict_one(&mut self) -> Option<(u64, Place<K, V>)> {
        let at = self.depose(self.rows.uses())?;
        Some((self.hash_at(at), self.take(at)?))
    }

    /// Takes the row at a position out.
    fn take(&mut self, at: usize) -> Option<Place<K, V>> {
        let place = self.rows.take(&mut self.far, at)?;
        self.live &= !(1 << at);
        self.len -= 1;
        self.hands.release(at);
        let mut uses = self.rows.uses();
        uses.clear(at);
        self.rows.set_uses(uses);
        Some(place)
    }

    /// Lends the entry at a position if it may be served, and counts a hit.
    #[inline(always)]
    fn lend(&mut self, at: usize, serves: impl FnOnce(Mark) -> bool) -> Option<&mut Resting<V>> {
        let entry = &mut self.rows.get_mut(&mut self.far, at)?.entry;
        if !serves(entry.mark) {
            return None;
        }
        if entry.mark.is_stale() {
            self.house.tally.stale_hits += 1;
        } else {
            count(&mut self.hits, &mut self.house.tally.hits);
        }
        Some(entry)
    }

    /// The same, and a use that counts: out of the way of what is hot.
    #[cold]
    #[inline(never)]
    fn lend_and_note(
        &mut self,
        at: usize,
        serves: impl FnOnce(Mark) -> bool,
    ) -> Option<&mut Resting<V>> {
        self.lend(at, serves)?;
        note_use(&self.rows, at);
        self.get_mut(at)
    }

    /// All positions in use are below this one.
    const fn end(&self) -> usize {
        (u32::BITS - self.live.leading_zeros()) as usize
    }
}

/// So many entries, as far as a set can hold them.
#[allow(clippy::cast_possible_truncation)] // at most `WAYS`
fn capacity_of(entries: usize) -> u8 {
    entries.clamp(1, WAYS) as u8
}

/// Counts a use of what is at a position, unless no further one counts.
#[inline(always)]
fn note_use<P>(rows: &impl Rows<P>, at: usize) {
    let uses = rows.uses();
    if uses.full() >> at & 1 == 0 {
        note_one(rows, uses, at);
    }
}

/// Out of the way of what is hot.
#[cold]
#[inline(never)]
fn note_one<P>(rows: &impl Rows<P>, uses: Uses, at: usize) {
    rows.set_uses(uses.noted(at));
}

/// Counts near to what is read anyway, and in the tally what does not fit there.
#[inline(always)]
fn count(near: &mut u32, tally: &mut u64) {
    *near = near.wrapping_add(1);
    if *near == 0 {
        *tally += 1 << u32::BITS;
    }
}

impl<K, V, R: Rows<Place<K, V>>> Table<K, V> for Set<K, V, R> {
    #[inline]
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let [low, high, ..] = hash.to_le_bytes();
        self.first_with(equal(&self.tags, [low, high]), key)
    }

    /// Strangers with the same tag are in one of ten sets; their entries and keys would be waited for.
    #[inline]
    fn find_to_put<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let [low, high, ..] = hash.to_le_bytes();
        let alike = equal(&self.tags, [low, high]) & equal(&self.more, [high, low]);
        self.first_with(alike, key)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Resting<V>)> {
        let row = self.rows.get(&self.far, at)?;
        Some((self.hash_at(at), &row.key, &row.entry))
    }

    #[inline]
    fn entry(&self, at: usize) -> Option<&Resting<V>> {
        Some(&self.rows.get(&self.far, at)?.entry)
    }

    #[inline]
    fn get_mut(&mut self, at: usize) -> Option<&mut Resting<V>> {
        Some(&mut self.rows.get_mut(&mut self.far, at)?.entry)
    }

    #[inline]
    fn note_use(&mut self, at: usize) {
        note_use(&self.rows, at);
    }

    #[inline(always)]
    fn serve(&mut self, at: usize, serves: impl FnOnce(Mark) -> bool) -> Option<&mut Resting<V>> {
        if self.rows.uses().full() >> at & 1 == 0 {
            return self.lend_and_note(at, serves);
        }
        self.lend(at, serves)
    }

    fn weight_at(&self, _at: usize) -> u32 {
        1
    }

    #[inline]
    fn insert(
        &mut self,
        hash: u64,
        key: K,
        entry: Resting<V>,
        _weight: u32,
        evicted: &mut impl FnMut(u64, K, Resting<V>),
    ) -> Result<usize, (K, Resting<V>)> {
        let Some((at, main)) = self.position_for(hash) else { return Err((key, entry)) };
        self.rows.make_room(at, usize::from(self.capacity));
        self.live |= 1 << at;
        self.hands.admit(at, main);
        let old_hash = self.hash_at(at);
        let [low, high, ..] = hash.to_le_bytes();
        [self.tags[at], self.more[at]] = in_turn(at, [low, high]);
        if let Some(old) = self.rows.put(&mut self.far, at, Place { key, entry }) {
            evicted(old_hash, old.key, old.entry);
        }
        Ok(at)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Resting<V>)> {
        let Place { key, entry } = self.take(at)?;
        self.rows.shrink(usize::from(self.len), self.end());
        if self.len == 0 {
            self.times = R::Times::default();
        }
        Some((key, entry))
    }

    fn slots(&self) -> usize {
        self.end()
    }

    fn len(&self) -> usize {
        usize::from(self.len)
    }

    fn weight(&self) -> u64 {
        u64::from(self.len)
    }

    fn bound(&self) -> Bound {
        Bound::Entries(usize::from(self.capacity))
    }

    fn set_bound(&mut self, bound: Bound) {
        if let Bound::Entries(entries) = bound {
            self.capacity = capacity_of(entries);
        }
    }

    fn evict(&mut self, budget: usize, evicted: &mut impl FnMut(u64, K, Resting<V>)) -> usize {
        let mut went = 0;
        while went < budget && self.len > self.capacity {
            let Some((hash, Place { key, entry })) = self.evict_one() else { break };
            went += 1;
            evicted(hash, key, entry);
        }
        if went > 0 {
            self.rows.shrink(usize::from(self.len), self.end());
        }
        went
    }

    fn times(&self, at: usize) -> Option<Times> {
        self.times.get(at)
    }

    fn set_times(&mut self, at: usize, times: Times) -> bool {
        self.times.set(at, times)
    }

    fn house(&self) -> &House {
        &self.house
    }

    fn house_mut(&mut self) -> &mut House {
        &mut self.house
    }

    #[inline]
    fn count_hit(&mut self) {
        count(&mut self.hits, &mut self.house.tally.hits);
    }

    #[inline]
    fn count_miss(&mut self) {
        count(&mut self.misses, &mut self.house.tally.misses);
    }

    fn tally(&self) -> Tally {
        let mut tally = self.house.tally;
        tally.hits += u64::from(self.hits);
        tally.misses += u64::from(self.misses);
        tally.evictions += u64::from(self.evictions);
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
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "alloc", target_pointer_width = "64"))]
mod tests {
    use super::*;

    /// With a lock of eight bytes before it, a set takes four cache lines, and what a hit reads and
    /// writes of it takes the first.
    #[test]
    fn a_set_takes_four_lines_a_hit_reads_one_and_a_victim_is_found_in_one() {
        assert!(size_of::<HeapSet<u64, u64>>() + 8 <= 4 * 64);
        assert_eq!(offset_of!(HeapSet<u64, u64>, house) + 8, 64);
        let third = 2 * 64..3 * 64;
        assert!(third.contains(&(offset_of!(HeapSet<u64, u64>, number) + 8)));
        assert!(third.contains(&(offset_of!(HeapSet<u64, u64>, ghosts) + size_of::<Ghosts>() + 7)));
    }

    #[test]
    fn what_is_counted_near_is_carried_into_the_tally() {
        let mut set = HeapSet::<u8, ()>::new(3, 9);
        (set.misses, set.hits, set.evictions) = (u32::MAX, u32::MAX, 7);
        for _ in 0..3 {
            Table::<u8, ()>::count_miss(&mut set);
            Table::<u8, ()>::count_hit(&mut set);
        }
        let tally = Table::<u8, ()>::tally(&set);
        let carried = (1 << 32) + 2;
        assert_eq!((tally.misses, tally.hits, tally.evictions), (carried, carried, 7));
    }

    #[test]
    fn times_follow_their_entries() {
        let at = |secs| crate::time::Instant::from_secs(secs);
        let times = |secs| Times { stored_at: at(secs), fresh_until: at(secs + 1) };
        let mut set = HeapSet::new(3, 9);
        for key in 0..3_u8 {
            let entry = Resting::new((), Mark::new(at(9)));
            let place = set.insert(HeapSet::<u8, ()>::hash(3, 0), key, entry, 1, &mut |_, _, _| {});
            assert!(set.set_times(place.unwrap(), times(key.into())));
        }
        assert_eq!(set.remove(0).unwrap().0, 0);
        for key in 1..3_u8 {
            let place = set.find(HeapSet::<u8, ()>::hash(3, 0), &key).unwrap();
            assert_eq!(set.times(place), Some(times(key.into())));
        }
    }
}

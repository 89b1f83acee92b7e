//! Hits that take no lock and write to no shared line, where keys and values are plain.
//!
//! A reader copies what it needs of a set while a writer may be changing it, then asks the set's
//! [`Seq`] whether one was, and only then looks at the copies. Nothing is interpreted that is not
//! known to be whole: a torn key is never compared, a torn value never given away.
//!
//! The copies are volatile reads. Rust's memory model has no word yet for a read that races and is
//! thrown away (RFC 3301 would give it one); this is what the fallback of crossbeam's `AtomicCell`
//! does as well. Nor has it one yet for atomics that are shared while they lie in what a writer has
//! borrowed exclusively, as a set's counts of uses do (RFC 3467 would). With `--cfg cache_locked_reads` all hits take the lock: for tools that report every
//! race, and to measure what this gains.

use core::borrow::Borrow;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};

use cache_core::shard::Limits;
use cache_core::shard::plain::Look;
use cache_core::table::{Place, Set, WAYS};
use cache_core::{Instant, Mark, Policy, Stats};
use wide::{bytemuck, u8x16, u16x8};

use super::cells::Cells;
use super::stripes::Stripes;

#[cfg(all(test, loom))]
mod models;
mod plain;
mod seq;
mod slab;
#[cfg(all(test, not(loom), not(shuttle), not(cache_locked_reads)))]
mod tests;

pub(crate) use plain::Plain;
pub(crate) use seq::Seq;
use slab::{Slab, Used};

/// A set of plain keys and values.
pub(crate) type PlainSet<K, V> = Set<K, V, Slab<K, V>>;

/// One with its lock: four cache lines, and the entries.
pub(crate) type SeqSet<K, V> = Seq<PlainSet<K, V>>;

/// Sets of plain keys and values, and the reads that no set has counted.
pub(crate) struct PlainSets<K, V> {
    cells: Cells<K, V, SeqSet<K, V>>,
    counts: Stripes<3>,
}

/// So many of the lowest bits of a hash that was spread play no part in tags.
const UNASKED: u32 = PlainSet::<(), ()>::UNASKED;

/// All hits take the lock: if told so, and in models, whose atomics are larger than they should be.
const LOCKED: bool = cfg!(any(cache_locked_reads, all(test, any(loom, shuttle))));

const HITS: usize = 0;
const MISSES: usize = 1;
const STALE_HITS: usize = 2;

impl<K, V> Deref for PlainSets<K, V> {
    type Target = Cells<K, V, SeqSet<K, V>>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.cells
    }
}

impl<K, V> DerefMut for PlainSets<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.cells
    }
}

impl<K: Eq, V> PlainSets<K, V> {
    /// Sets of so many entries each, with their numbers.
    pub(in super::super) fn new(
        shares: impl ExactSizeIterator<Item = (usize, u64)>,
        plain: Plain<K, V>,
        policy: Policy,
        limits: Limits,
        seed: u64,
    ) -> Self {
        let set = |(number, share)| {
            let (slab, entries) = Slab::new(plain);
            Set::with_rows(number as u32, share as usize, slab, entries)
        };
        let cells = Cells::new(shares.map(set), policy, limits, seed);
        Self { cells, counts: Stripes::new() }
    }

    /// The fastest way to a fresh value: no lock, one comparison of time, and nothing is called but the
    /// key's `Eq`. `None` says nothing.
    #[inline(always)]
    pub(in super::super) fn hot<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let own = self.counts.own()?;
        let (value, _) = self.find_hot(hash, key, |mark| mark.answers(now))?;
        self.counts.increment_own::<HITS>(own);
        Some(value)
    }

    /// The same for a read that may load: a stale value, under refresh, will do as well.
    #[inline(always)]
    pub(in super::super) fn hot_or_stale<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let own = self.counts.own()?;
        let (value, mark) = self.find_hot(hash, key, |mark| mark.answers_even_stale(now))?;
        match mark.is_stale() {
            true => self.counts.increment_own::<STALE_HITS>(own),
            false => self.counts.increment_own::<HITS>(own),
        }
        Some(value)
    }

    /// The value of an entry of which no further use counts.
    #[inline(always)]
    fn find_hot<Q>(&self, hash: u64, key: &Q, serves: impl Fn(Mark) -> bool) -> Option<(V, Mark)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (cell, spread) = self.cell(hash);
        match peek(cell, spread, key, Used::full, serves)? {
            Look::Fresh(Found { value, mark, .. }) => Some((value, mark)),
            _ => None,
        }
    }

    /// A fresh value, hot or not, or that there is none. Counts a hit or a miss.
    pub(in super::super) fn look_unlocked<Q>(&self, hash: u64, key: &Q, now: Instant) -> Look<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (cell, spread) = self.cell(hash);
        match peek(cell, spread, key, Used::live, |mark| mark.answers(now)) {
            Some(Look::Fresh(found)) => Look::Fresh(self.count::<HITS>(found)),
            Some(Look::Absent) => {
                self.counts.increment::<MISSES>();
                Look::Absent
            }
            _ => Look::Ask,
        }
    }

    /// A value, hot or not, and stale or not as the caller takes it. `None` says nothing, and counts
    /// nothing.
    pub(in super::super) fn hit_unlocked<Q>(
        &self,
        hash: u64,
        key: &Q,
        now: Instant,
        even_stale: bool,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (cell, spread) = self.cell(hash);
        let serves = |mark: Mark| {
            if even_stale { mark.answers_even_stale(now) } else { mark.answers(now) }
        };
        let Look::Fresh(found) = peek(cell, spread, key, Used::live, serves)? else { return None };
        Some(match found.mark.is_stale() {
            true => self.count::<STALE_HITS>(found),
            false => self.count::<HITS>(found),
        })
    }

    fn count<const WHICH: usize>(&self, found: Found<'_, V>) -> V {
        found.used.note(found.at);
        self.counts.increment::<WHICH>();
        found.value
    }

    /// The set of a key, and the hash that was spread for it.
    #[inline(always)]
    fn cell(&self, hash: u64) -> (&SeqSet<K, V>, u64) {
        self.cells.locate_only::<PlainSet<K, V>>(hash)
    }

    /// Lets [`hot`](Self::hot) and [`hot_or_stale`](Self::hot_or_stale) answer nothing, or something
    /// again. That costs them no instruction.
    pub(in super::super) fn bypass(&self, bypass: bool) {
        self.counts.lend(!bypass);
    }

    /// Adds the reads that no set has counted.
    pub(in super::super) fn add_counts(&self, stats: &mut Stats) {
        stats.hits += self.counts.sum::<HITS>();
        stats.misses += self.counts.sum::<MISSES>();
        stats.stale_hits += self.counts.sum::<STALE_HITS>();
    }
}

/// A value that a reader has found, and where it counts that it was used.
struct Found<'a, V> {
    value: V,
    mark: Mark,
    at: usize,
    used: &'a Used,
}

/// The value of a key, if it is among these rows and its mark says that it serves, or that none of
/// them is the key's. `None` where somebody was writing.
#[inline(always)]
fn peek<'a, K, V, Q>(
    cell: &'a SeqSet<K, V>,
    spread: u64,
    key: &Q,
    among: impl Fn(&Used) -> u32,
    serves: impl Fn(Mark) -> bool,
) -> Option<Look<Found<'a, V>>>
where
    K: Borrow<Q>,
    Q: Eq + ?Sized,
{
    if LOCKED || !Plain::<K, V>::MAY_BE {
        return None; // of the latter there is no slab, so this is never asked
    }
    let seen = cell.begin();
    // SAFETY: the cell lives as long as its borrow.
    let rows = unsafe { PlainRows::of(cell.as_ptr(), among) };
    let mut candidates = rows.matches(spread);
    while candidates != 0 {
        let at = candidates.trailing_zeros() as usize;
        // SAFETY: `rows` was read from the cell, and says that a row is or was there.
        let (found, mark, value) = unsafe { rows.copy(at) };
        if !cell.is_unchanged(seen) {
            return None;
        }
        // SAFETY: nobody has written since before the rows were read, so what is in this row, or was
        // in it before it was taken out, has been copied whole. The types are plain (there are no other slabs), so copies are as good as
        // the originals.
        let (found, mark) = unsafe { (found.assume_init_ref(), mark.assume_init()) };
        if found.borrow() == key {
            if !serves(mark) {
                return None;
            }
            // SAFETY: as above.
            let value = unsafe { value.assume_init() };
            return Some(Look::Fresh(rows.found(at, mark, value)));
        }
        candidates &= candidates - 1;
    }
    cell.is_unchanged(seen).then_some(Look::Absent)
}

/// What a reader has copied of a set's head, and where it counts uses.
struct PlainRows<'a, K, V> {
    set: *const PlainSet<K, V>,
    among: u32,
    tags: [u8x16; 2],
    used: &'a Used,
}

type Copies<K, V> = (MaybeUninit<K>, MaybeUninit<Mark>, MaybeUninit<V>);

impl<'a, K, V> PlainRows<'a, K, V> {
    /// # Safety
    /// `set` points to a set in a [`Seq`] that lives.
    #[inline(always)]
    unsafe fn of(set: *const PlainSet<K, V>, among: impl Fn(&Used) -> u32) -> Self {
        const {
            let tags = SeqSet::<K, V>::VALUE + PlainSet::<K, V>::TAGS;
            let asked = !LOCKED && Plain::<K, V>::MAY_BE;
            assert!(!asked || tags.is_multiple_of(16), "tags are read sixteen at a time");
            assert!(PlainSet::<K, V>::TAGS + 32 <= size_of::<PlainSet<K, V>>());
        }
        // SAFETY: all of this is inside the set, which lies in a cell that is aligned to 64 bytes, at
        // offsets that are right for it, and of types of which every bit pattern is valid. What is
        // borrowed is atomic.
        unsafe {
            let tags = set.byte_add(PlainSet::<K, V>::TAGS).cast::<u8x16>();
            let used = &*set.byte_add(PlainSet::<K, V>::NEAR).cast::<Used>();
            Self {
                among: among(used),
                set,
                tags: [tags.read_volatile(), tags.add(1).read_volatile()],
                used,
            }
        }
    }

    /// One bit for each row whose tag is that of a hash that was spread.
    #[inline(always)]
    fn matches(&self, spread: u64) -> u32 {
        let wanted = pairs(spread);
        let [low, high] = self.tags.map(|tags| tags.simd_eq(wanted).to_bitmask());
        (low | (high << 16)) & self.among
    }

    /// Copies of what is in a row.
    ///
    /// # Safety
    /// `self` was read from a set that lives, and `at` is the position of a row that is or was in use.
    #[inline(always)]
    unsafe fn copy(&self, at: usize) -> Copies<K, V> {
        debug_assert!(at < WAYS);
        // SAFETY: there is room for `WAYS` rows in the set, and this one was initialised. The copies may be
        // of anything: they are not looked at.
        unsafe {
            // From the set on, which is at hand: an address of the rows' own would have to be made.
            let row = self.set.byte_add(at * size_of::<Place<K, V>>());
            let rows = PlainSet::<K, V>::FAR;
            let key = row.byte_add(rows + Place::<K, V>::KEY).cast::<MaybeUninit<K>>();
            let mark = row.byte_add(rows + Place::<K, V>::MARK).cast::<MaybeUninit<Mark>>();
            let value = row.byte_add(rows + Place::<K, V>::VALUE).cast::<MaybeUninit<V>>();
            (key.read_volatile(), mark.read_volatile(), value.read_volatile())
        }
    }

    #[inline(always)]
    const fn found(&self, at: usize, mark: Mark, value: V) -> Found<'a, V> {
        Found { value, mark, at, used: self.used }
    }
}

/// The two bytes of a hash of which rows have one as their tag, eight times.
#[inline(always)]
fn pairs(spread: u64) -> u8x16 {
    let pair = (spread >> UNASKED) as u16;
    bytemuck::cast(u16x8::splat(pair.to_le()))
}

//! Where a cache's entries and records are, in one of a few arrangements.
//!
//! A counted cache of some size is made of many small sets, each under its own spin lock; where keys
//! and values are plain numbers, hits take not even that. A small
//! one is a single table, in which every entry competes with every other: that gives better hit
//! ratios than sets where sets would be few. One that is bounded by weight is made of tables that
//! grow, under mutexes.

use core::borrow::Borrow;
use core::hash::BuildHasherDefault;
use std::hash::DefaultHasher;

pub(super) use cache_core::shard::plain::Look;
use cache_core::shard::{At, Limits};
use cache_core::table::{Bound, HashTable, HeapSet, Table, WAYS};
use cache_core::{Entry, Instant, Policy, Stats};

use super::control::CapacityError;
use super::listener::Listener;

/// The same expression for whichever arrangement it is.
macro_rules! each {
    ($tables:expr, $name:ident => $work:expr) => {
        match $tables {
            Self::Plain($name) | Self::Clocked($name) => $work,
            Self::Sets($name) => $work,
            Self::ParkedSets($name) => $work,
            Self::One($name) => $work,
            Self::Growing($name) => $work,
        }
    };
}

mod cells;
mod counted;
mod desk;
mod due;
mod leaving;
mod limit;
mod live;
mod lock;
mod primitives;
mod reads;
#[allow(unsafe_code)] // see there
mod room;
mod shares;
mod stripes;
#[allow(unsafe_code)] // see there
mod unlocked;

use cells::{AskBook, Cells};
pub(super) use desk::Desk;
pub(super) use leaving::Leaving;
use limit::part;
pub(super) use lock::Lent;
use lock::{Park, Spin};
pub(super) use unlocked::Plain;
use unlocked::PlainSets;

/// A table that is never asked to hash: hashes come in from outside its lock.
type Growing<K, V> = HashTable<K, V, BuildHasherDefault<DefaultHasher>>;

/// How threads wait for the small lock around a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Spin a bounded number of times, then give the core away until the lock is free: one locked
    /// instruction for each operation. The default.
    #[default]
    Spin,
    /// Sleep, as with the standard library's mutex: two locked instructions. For systems whose
    /// threads have priorities, where a spinning thread can keep the holder from running.
    Park,
}

type SpinSet<K, V> = Spin<HeapSet<K, V>>;
type ParkSet<K, V> = Park<HeapSet<K, V>>;
type SpinGrowing<K, V> = Spin<Growing<K, V>>;
type ParkGrowing<K, V> = Park<Growing<K, V>>;

#[repr(u8)] // a tag of its own is faster to test than one in a niche
pub(super) enum Tables<K, V> {
    /// Numbers, in a cache whose time is the shared tick: one test says both.
    Plain(PlainSets<K, V>),
    /// Numbers, by another clock.
    Clocked(PlainSets<K, V>),
    Sets(Cells<K, V, SpinSet<K, V>>),
    ParkedSets(Cells<K, V, ParkSet<K, V>>),
    One(Cells<K, V, SpinGrowing<K, V>>),
    Growing(Cells<K, V, ParkGrowing<K, V>>),
}

/// Fewer entries than this are kept in one table.
const SETS_FROM: usize = 1_024;

/// How many tables hold so many entries: of a cache bounded by their number.
pub(super) const fn tables_for(entries: usize) -> usize {
    if entries < SETS_FROM { 1 } else { entries.div_ceil(WAYS) }
}

/// Least weight of a table: a value that is heavier than its table's share makes all others smaller,
/// so only large caches are cut.
const TABLE_WEIGHT: u64 = 1 << 26;

impl<K, V> Tables<K, V> {
    /// How many tables there are.
    pub(super) fn count(&self) -> usize {
        each!(self, cells => cells.count())
    }
}

impl<K: Eq, V> Tables<K, V> {
    /// Tables under a bound; one of entries may be raised to `most`.
    pub(super) fn new(
        (bound, most): (Bound, usize),
        waiting: Waiting,
        policy: Policy,
        mut limits: Limits,
        seed: u64,
        (plain, ticks): (Option<Plain<K, V>>, bool),
    ) -> Self {
        let mut tables = match (bound, waiting) {
            (Bound::Entries(entries), _) if most >= SETS_FROM => {
                let count = tables_for(most);
                limits.remembered = (most / count.min(64)).max(64);
                let shares = shares(entries as u64, count).enumerate();
                let sets = shares.clone().map(|(n, share)| HeapSet::new(n as u32, share as usize));
                match (waiting, plain) {
                    (Waiting::Spin, Some(plain)) => {
                        let sets = PlainSets::new(shares, plain, policy, limits, seed);
                        if ticks { Self::Plain(sets) } else { Self::Clocked(sets) }
                    }
                    (Waiting::Spin, None) => Self::Sets(Cells::new(sets, policy, limits, seed)),
                    (Waiting::Park, _) => Self::ParkedSets(Cells::new(sets, policy, limits, seed)),
                }
            }
            (Bound::Entries(_), Waiting::Spin) => {
                limits.remembered = most.max(64);
                let table = HashTable::new(bound, BuildHasherDefault::new());
                Self::One(Cells::new([table].into_iter(), policy, limits, seed))
            }
            (bound, _) => {
                let tables =
                    split(bound).map(|bound| HashTable::new(bound, BuildHasherDefault::new()));
                limits.remembered = (10_000 / tables.len()).max(64);
                Self::Growing(Cells::new(tables, policy, limits, seed))
            }
        };
        each!(&mut tables, cells => cells.limit_to(bound, most));
        tables
    }

    pub(super) fn bound(&self) -> Bound {
        each!(self, cells => cells.bound())
    }

    /// Bounds the cache otherwise, and evicts what is too much, table by table.
    pub(super) fn set_bound(&self, bound: Bound) -> Result<(), CapacityError> {
        each!(self, cells => cells.set_bound(bound))
    }

    /// Lets the tables that [`quick`](Self::quick) gives answer no hot hits, or some again.
    pub(super) fn bypass(&self, bypass: bool) {
        if let Self::Plain(cells) = self {
            cells.bypass(bypass);
        }
    }

    /// Stores a plain value that is not weighed under one lock, and hands it out if there was no room
    /// for it. Or gives both back: then [`put_elsewhere`](Self::put_elsewhere) is to be asked, and then
    /// the book.
    #[inline(always)]
    pub(super) fn put(&self, key: (u64, K), value: V, now: Instant) -> Result<Option<V>, (K, V)> {
        match self {
            Self::Plain(cells) if Plain::<K, V>::MAY_BE => cells.put(key, (value, 1), now),
            Self::Sets(cells) if !Plain::<K, V>::MAY_BE => cells.put(key, (value, 1), now),
            _ => Err((key.1, value)),
        }
    }

    /// The same for what [`put`](Self::put) gave back: out of the way of what it did not.
    pub(super) fn put_elsewhere(
        &self,
        key: (u64, K),
        (value, weight): (V, u32),
        now: Instant,
    ) -> Result<Option<V>, (K, V)> {
        match self {
            // These have been asked just now.
            Self::Plain(_) if Plain::<K, V>::MAY_BE => Err((key.1, value)),
            Self::Sets(_) if !Plain::<K, V>::MAY_BE => Err((key.1, value)),
            _ => each!(self, cells => cells.put(key, (value, weight), now)),
        }
    }

    /// Sweeps another table, if that may find something.
    #[cold]
    pub(super) fn sweep_next(&self, now: Instant) {
        let mut leaving = self.leaving();
        each!(self, cells => if cells.is_due(now) {
            cells.sweep_next(now, &mut leaving);
        });
    }

    pub(super) fn invalidate<Q>(&self, hash: u64, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let mut leaving = self.leaving();
        let here = At { hash, key, now };
        let done = each!(self, cells => cells.invalidate(here, &mut leaving));
        done.unwrap_or_else(|AskBook| {
            let mut desk = self.desk(hash);
            let found = desk.invalidate(key, now, &mut leaving);
            desk.close(&mut leaving);
            found
        })
    }

    /// Has what leaves told to a listener.
    pub(super) fn tell(&mut self, listener: Listener<K, V>) {
        each!(self, cells => cells.tell(listener));
    }

    pub(super) fn listener(&self) -> Option<&Listener<K, V>> {
        each!(self, cells => cells.listener())
    }

    /// For what an operation that replaces nothing lets go of.
    pub(super) fn leaving(&self) -> Leaving<'_, K, V> {
        Leaving::new(self.listener())
    }

    /// For what an operation on this key lets go of.
    pub(super) fn leaving_of(&self, key: &K) -> Leaving<'_, K, V>
    where
        K: Clone,
    {
        Leaving::of(self.listener(), key)
    }

    /// Takes both locks of a key.
    pub(super) fn desk(&self, hash: u64) -> Desk<'_, K, V> {
        match self {
            Self::Plain(cells) | Self::Clocked(cells) => Desk::Plain(cells.desk(hash)),
            Self::Sets(cells) => Desk::Sets(cells.desk(hash)),
            Self::ParkedSets(cells) => Desk::ParkedSets(cells.desk(hash)),
            Self::One(cells) => Desk::One(cells.desk(hash)),
            Self::Growing(cells) => Desk::Growing(cells.desk(hash)),
        }
    }

    pub(super) fn purge(&self, now: Instant) -> usize {
        each!(self, cells => cells.purge(now))
    }

    /// The same, if anything may have passed.
    pub(super) fn purge_if_due(&self, now: Instant) {
        if each!(self, cells => cells.is_due(now)) {
            self.purge(now);
        }
    }

    /// Copies of all entries of one table that may still be served.
    pub(super) fn entries(&self, table: usize, now: Instant) -> Vec<(K, Entry<V>)>
    where
        K: Clone,
        V: Clone,
    {
        each!(self, cells => cells.entries(table, now))
    }

    pub(super) fn maintain(&self, now: Instant, budget: usize) -> usize {
        each!(self, cells => cells.maintain(now, budget))
    }

    pub(super) fn clear(&self) {
        each!(self, cells => cells.clear());
    }

    pub(super) fn expire_tag(&self, tag: &str, now: Instant) {
        each!(self, cells => cells.change_every_book(|book| book.expire_tag(tag, now)));
    }

    pub(super) fn invalidate_tag(&self, tag: &str) {
        each!(self, cells => cells.change_every_book(|book| book.invalidate_tag(tag)));
    }

    /// Goes by another policy; one caller at a time. Returns what leaves, to be dropped without a lock.
    pub(super) fn change_policy(&self, policy: &Policy) -> Vec<Leaving<'_, K, V>> {
        each!(self, cells => cells.change_policy(policy))
    }

    /// Makes all that is there stale, and voids all flights. Returns what leaves, to be dropped without
    /// a lock.
    pub(super) fn expire_all(&self, now: Instant) -> Vec<Leaving<'_, K, V>> {
        each!(self, cells => cells.expire_all(now))
    }

    pub(super) fn len(&self) -> usize {
        each!(self, cells => cells.sum(|table| Table::<K, V>::len(table) as u64) as usize)
    }

    pub(super) fn weight(&self) -> u64 {
        each!(self, cells => cells.sum(|table| Table::<K, V>::weight(table)))
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = each!(self, cells => cells.stats());
        if let Self::Plain(cells) | Self::Clocked(cells) = self {
            cells.add_counts(&mut stats);
        }
        stats
    }
}

/// `whole` in so many parts that differ by one at most.
fn shares(whole: u64, parts: usize) -> impl ExactSizeIterator<Item = u64> + Clone {
    (0..parts).map(move |number| part(whole, parts, number))
}

/// Splits a bound over tables, without losing any of it.
fn split(bound: Bound) -> impl ExactSizeIterator<Item = Bound> {
    let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get) as u64;
    let (whole, tables) = match bound {
        Bound::Weight(weight) => (weight, (weight / TABLE_WEIGHT).clamp(1, 8 * cores)),
        Bound::Entries(entries) => (entries as u64, 1),
        _ => (u64::MAX, 1),
    };
    shares(whole, tables as usize).map(move |share| match bound {
        Bound::Weight(_) => Bound::Weight(share),
        _ => Bound::Entries(share as usize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_share_the_bound_exactly() {
        for weight in [1, 100, 1 << 26, (1 << 28) + 3] {
            let sum: u64 = split(Bound::Weight(weight))
                .map(|bound| match bound {
                    Bound::Weight(weight) => weight,
                    _ => panic!("weight stays weight"),
                })
                .sum();
            assert_eq!(sum, weight);
        }
        assert_eq!(split(Bound::Weight((1 << 27) - 1)).count(), 1);
        assert!(shares(1_000_003, 35_715).all(|share| (27..=28).contains(&share)));
    }
}

//! Reads of whichever arrangement it is.

use core::borrow::Borrow;

use cache_core::shard::Spare;
use cache_core::shard::plain::Look;
use cache_core::{Contract, Instant};

use super::cells::Cells;
use super::unlocked::{Plain, PlainSets};
use super::{SpinGrowing, SpinSet, Tables};

impl<K: Eq, V> Tables<K, V> {
    /// The tables, if they are of numbers and the time is the shared tick: then a hit takes no lock
    /// and calls nothing.
    #[inline(always)]
    pub(in super::super) fn quick(&self) -> Option<&PlainSets<K, V>> {
        match self {
            Self::Plain(cells) if Plain::<K, V>::MAY_BE => Some(cells),
            _ => None,
        }
    }

    /// The usual arrangement of what is not plain numbers, if it is that.
    #[inline(always)]
    pub(in super::super) const fn sets(&self) -> Option<&Cells<K, V, SpinSet<K, V>>> {
        match self {
            Self::Sets(cells) => Some(cells),
            _ => None,
        }
    }

    /// The one table, if it is that.
    #[inline(always)]
    pub(in super::super) const fn one(&self) -> Option<&Cells<K, V, SpinGrowing<K, V>>> {
        match self {
            Self::One(cells) => Some(cells),
            _ => None,
        }
    }

    /// The fast way to a value: one lock, one comparison of time.
    #[inline(always)]
    pub(in super::super) fn hit<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        match self {
            Self::Sets(cells) => cells.hit(hash, key, now),
            Self::One(cells) => Self::hit_of_one(cells, hash, key, now),
            _ => self.hit_elsewhere(hash, key, now),
        }
    }

    #[inline(never)]
    fn hit_of_one<Q>(
        cells: &Cells<K, V, SpinGrowing<K, V>>,
        hash: u64,
        key: &Q,
        now: Instant,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        cells.hit(hash, key, now)
    }

    /// The arrangements that are not the usual one, out of the way of the one that is.
    #[inline(never)]
    fn hit_elsewhere<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        if let Self::Plain(cells) | Self::Clocked(cells) = self
            && let Some(value) = cells.hit_unlocked(hash, key, now, true)
        {
            return Some(value);
        }
        each!(self, cells => cells.hit(hash, key, now))
    }

    /// A copy of the fresh value.
    #[inline(always)]
    pub(in super::super) fn get<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        let looked = match self {
            Self::Sets(cells) => cells.look(hash, key, now),
            _ => Look::Ask,
        };
        match looked {
            Look::Fresh(value) => Some(value),
            Look::Absent => None,
            Look::Ask => self.get_slowly(hash, key, now),
        }
    }

    /// The same for all who are not told at once: out of the way of those who are.
    #[cold]
    #[inline(never)]
    pub(in super::super) fn get_slowly<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        let mut looked = match self {
            Self::Plain(cells) | Self::Clocked(cells) => cells.look_unlocked(hash, key, now),
            _ => Look::Ask,
        };
        // Sets have been asked just now.
        if matches!(looked, Look::Ask) && !matches!(self, Self::Sets(_)) {
            looked = each!(self, cells => cells.look(hash, key, now));
        }
        match looked {
            Look::Fresh(value) => Some(value),
            Look::Absent => None,
            Look::Ask => self.look_within(hash, key, now, &Contract::new()),
        }
    }

    /// A copy of the value, if one is there that the contract accepts.
    pub(in super::super) fn look_within<Q>(
        &self,
        hash: u64,
        key: &Q,
        now: Instant,
        contract: &Contract,
    ) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        let mut leaving = self.leaving();
        let mut desk = self.desk(hash);
        let value = if contract.only_if_cached {
            // Grants nothing, and so needs no key to keep.
            let action = desk.lookup(key, now, &mut Spare::none(), contract, &mut leaving);
            action.value().cloned()
        } else {
            desk.get(key, now, contract, &mut leaving).cloned()
        };
        desk.close(&mut leaving);
        value
    }

    /// A copy of a value that is fresh for certain. `None` says nothing.
    pub(in super::super) fn fresh_hit<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        if let Self::Plain(cells) | Self::Clocked(cells) = self
            && let Some(value) = cells.hit_unlocked(hash, key, now, false)
        {
            return Some(value);
        }
        each!(self, cells => cells.fresh_hit(hash, key, now))
    }
}

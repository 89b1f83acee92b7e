//! Reads that a table answers alone.

use core::borrow::Borrow;

use cache_core::Instant;
use cache_core::shard::At;
use cache_core::shard::plain::{self, Look};
use cache_core::table::Table;

use super::super::lock::{Lent, Lock, Spin};
use super::{Cells, Numbered};

impl<K: Eq, V, L> Cells<K, V, L> {
    /// The fast way to a value: one lock, one comparison of time.
    #[inline(always)]
    pub(in super::super) fn hit<T, Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (table, _, hash) = self.locate::<T>(hash);
        let mut table = table.lock();
        plain::hit(&mut *table, At { hash, key, now }).map(|hit| hit.value.clone())
    }

    /// The same for a value that is fresh.
    pub(in super::super) fn fresh_hit<T, Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (table, _, hash) = self.locate::<T>(hash);
        let mut table = table.lock();
        plain::fresh_hit(&mut *table, At { hash, key, now }).cloned()
    }

    /// A copy of the fresh value, or what else the table alone can tell.
    #[inline(always)]
    pub(in super::super) fn look<T, Q>(&self, hash: u64, key: &Q, now: Instant) -> Look<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (table, _, hash) = self.locate::<T>(hash);
        let mut table = table.lock();
        plain::look(&mut *table, At { hash, key, now }).cloned()
    }
}

impl<K: Eq, V, T: Table<K, V> + Numbered> Cells<K, V, Spin<T>> {
    /// Lends the fresh value under its table's lock, or tells what else the table knows. The time is
    /// asked for once the key is found.
    #[inline(always)]
    pub(crate) fn lend<Q>(
        &self,
        hash: u64,
        key: &Q,
        now: impl FnOnce() -> Instant,
    ) -> Look<Lent<'_, V>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let (table, _, hash) = self.locate::<T>(hash);
        let mut table = table.lock();
        let Some(at) = table.find(hash, key) else {
            table.count_miss();
            return Look::Absent;
        };
        Spin::lend(table, |table| plain::lend(table, at, now)).map_or(Look::Ask, Look::Fresh)
    }
}

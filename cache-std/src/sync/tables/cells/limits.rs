//! The bound of all tables, changed while they are in use.

use cache_core::table::Bound;

use super::super::limit::Limit;
use super::*;
use crate::sync::control::CapacityError;

/// Most entries that are evicted under one hold of a table's lock: sets have fewer.
const PIECE: usize = 256;

impl<K: Eq, V, L> Cells<K, V, L> {
    /// Says what bounds the tables that were made so, and how many entries they could hold.
    pub(in super::super) fn limit_to(&mut self, bound: Bound, most: usize) {
        self.limit = Limit::new(bound, most, self.tables.len());
    }

    pub(in super::super) fn bound(&self) -> Bound {
        self.limit.bound()
    }

    /// Makes a table ready for a value of this weight.
    #[inline]
    pub(super) fn fit<T: Table<K, V>>(&self, number: usize, table: &mut T, weight: u32) {
        self.limit.fit(number, table, weight);
    }

    /// Bounds the tables otherwise, and evicts what is too much.
    pub(in super::super) fn set_bound<T>(&self, bound: Bound) -> Result<(), CapacityError>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        self.limit.set(bound, self.tables.len())?;
        // First, so that no table is made smaller for a loan that cannot stay.
        for number in 0..self.tables.len() {
            if self.limit.is_lent_too_much(number) {
                let _table = self.table(number);
                self.limit.recall(number);
            }
        }
        for number in 0..self.tables.len() {
            while self.bound_table::<T>(number) == PIECE {}
        }
        Ok(())
    }

    /// Bounds a table by its part of what is the whole now, and evicts some of what is too much.
    /// Returns how many entries went.
    fn bound_table<T>(&self, number: usize) -> usize
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let mut leaving = Leaving::new(self.listener());
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let mut table = self.table(number);
        if self.counts.is_zero(number) {
            self.limit.apply(number, &mut *table, self.tables.len());
            return plain::evict(&mut *table, PIECE, out);
        }
        drop(table);
        let mut desk = self.desk_of::<T>(number, 0);
        self.limit.apply(number, &mut *desk.table, self.tables.len());
        let went = desk.shard().evict(PIECE, out);
        desk.close(&mut leaving);
        went
    }
}

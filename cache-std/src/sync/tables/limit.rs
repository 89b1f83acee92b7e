//! What bounds a cache as a whole, and how much of it each table may hold.

use cache_core::table::{Bound, Table};

use super::primitives::{AtomicU64, Ordering};
use super::shares::Shares;
use crate::sync::control::CapacityError;

/// The bound of a cache. A table takes its part under its own lock: who changed the whole last, and
/// then went through all tables, has the last word in each of them.
#[derive(Debug)]
pub(super) struct Limit {
    whole: AtomicU64,
    by_weight: bool,
    /// Most entries that there are tables for.
    most: usize,
    /// Where a limit of weight is shared by several tables.
    shares: Option<Shares>,
}

impl Limit {
    /// None yet: tables keep the bounds that they were made with.
    pub(super) fn none() -> Self {
        let whole = AtomicU64::new(u64::MAX);
        Self { whole, by_weight: false, most: usize::MAX, shares: None }
    }

    /// A bound over so many tables, which may be raised to `most` entries.
    pub(super) fn new(bound: Bound, most: usize, tables: usize) -> Self {
        let (whole, by_weight) = parts(bound);
        let shares = (by_weight && tables > 1).then(|| Shares::new(tables));
        Self { whole: AtomicU64::new(whole), by_weight, most, shares }
    }

    pub(super) fn bound(&self) -> Bound {
        let whole = self.whole.load(Ordering::Relaxed);
        if self.by_weight { Bound::Weight(whole) } else { Bound::Entries(entries(whole)) }
    }

    /// Another bound, of the same kind, for so many tables; they are yet to be told.
    pub(super) fn set(&self, bound: Bound, tables: usize) -> Result<(), CapacityError> {
        let (whole, by_weight) = parts(bound);
        if by_weight != self.by_weight {
            return Err(CapacityError::OtherBound { bound: self.bound() });
        }
        let least = if by_weight { 1 } else { tables };
        if whole < least as u64 {
            return Err(CapacityError::TooSmall { least });
        }
        if !by_weight && whole > self.most as u64 {
            return Err(CapacityError::TooLarge { most: self.most });
        }
        self.whole.store(whole, Ordering::Relaxed);
        Ok(())
    }

    /// Makes a table ready for a value of this weight.
    #[inline]
    pub(super) fn fit<K, V, T: Table<K, V>>(&self, number: usize, table: &mut T, weight: u32) {
        if let Some(shares) = &self.shares {
            shares.fit(self.whole.load(Ordering::Relaxed), (number, table), weight);
        }
    }

    /// Bounds one table, of so many, by its part of what is the whole now.
    pub(super) fn apply<K, V, T: Table<K, V>>(&self, number: usize, table: &mut T, tables: usize) {
        let whole = self.whole.load(Ordering::Relaxed);
        // A loan may have been made since it was looked for.
        self.recall(number);
        match &self.shares {
            Some(shares) => shares.fit(whole, (number, table), 0),
            None if self.by_weight => table.set_bound(Bound::Weight(whole)),
            None => table.set_bound(Bound::Entries(entries(part(whole, tables, number)))),
        }
    }

    /// Whether a table has borrowed weight while more is lent than there is. Asked without a lock, to
    /// be asked again by [`recall`](Self::recall).
    pub(super) fn is_lent_too_much(&self, number: usize) -> bool {
        let whole = self.whole.load(Ordering::Relaxed);
        self.shares.as_ref().is_some_and(|shares| shares.lends_too_much(whole, number))
    }

    /// Takes back what a table has borrowed, if more is lent than there is. Under the table's lock.
    pub(super) fn recall(&self, number: usize) {
        if let Some(shares) = self.shares.as_ref().filter(|_| self.is_lent_too_much(number)) {
            shares.recall(number);
        }
    }
}

const fn parts(bound: Bound) -> (u64, bool) {
    match bound {
        Bound::Weight(weight) => (weight, true),
        Bound::Entries(entries) => (entries as u64, false),
        _ => (u64::MAX, false),
    }
}

fn entries(whole: u64) -> usize {
    usize::try_from(whole).unwrap_or(usize::MAX)
}

/// The `number`th of so many parts of a whole, which differ by one at most.
pub(super) fn part(whole: u64, parts: usize, number: usize) -> u64 {
    let (least, more) = (whole / parts as u64, whole % parts as u64);
    least + u64::from((number as u64) < more)
}

#[cfg(all(test, not(shuttle), not(loom)))]
mod tests {
    use super::*;
    use cache_core::shard::Rules;
    use cache_core::shard::plain::{self, Newcomer, Placed};
    use cache_core::table::HashTable;
    use cache_core::{Instant, Policy};

    /// A put that has read the old limit may borrow after the loans were gone through.
    #[test]
    fn a_loan_that_was_made_meanwhile_is_taken_back() {
        type Plain = HashTable<u8, u8, std::hash::RandomState>;
        let limit = Limit::new(Bound::Weight(1_000), usize::MAX, 2);
        let mut table: Plain = HashTable::new(Bound::Weight(500), Default::default());
        limit.set(Bound::Weight(100), 2).unwrap();
        limit.shares.as_ref().unwrap().fit(1_000, (0, &mut table), 900);
        let rules = Rules::new(Policy::forever().build().unwrap(), 0);
        let rest = rules.timing().rest(Instant::from_secs(1), 7).unwrap();
        let heavy = Newcomer { hash: 7, key: 1, rest, value: 1, weight: 900 };
        assert!(matches!(plain::put(&mut table, heavy, &mut |_, _, _| {}), Placed::Stored));
        assert!(limit.is_lent_too_much(0));
        limit.apply(0, &mut table, 2);
        assert!(!limit.is_lent_too_much(0));
        assert_eq!(Table::<u8, u8>::bound(&table), Bound::Weight(50));
    }
}

//! One limit of weight over many tables, each of which has a share.
//!
//! A value that is heavier than a share, but not than the limit, borrows its weight from all shares
//! as long as it is held. The other tables learn of it with their next insertion.

use cache_core::table::{Bound, Table};

use super::primitives::{AtomicU64, Ordering};

/// The limit, and what of it is lent to which table. A table's loan changes under its lock.
#[derive(Debug)]
pub(super) struct Shares {
    whole: u64,
    lent: AtomicU64,
    loans: Box<[AtomicU64]>,
}

impl Shares {
    /// A limit over so many tables.
    pub(super) fn new(whole: u64, tables: usize) -> Self {
        let loans = (0..tables).map(|_| AtomicU64::new(0)).collect();
        Self { whole, lent: AtomicU64::new(0), loans }
    }

    /// Fits a table's bound to what is lent now, before a value of this weight comes in.
    pub(super) fn fit<K, V, T: Table<K, V>>(&self, number: usize, table: &mut T, weight: u32) {
        let loan = &self.loans[number];
        let own = loan.load(Ordering::Relaxed);
        // What would fit in the share without the loan needs none: its value has left. (In the share
        // beside the loan, what came since might never fit.)
        if own > 0 && table.weight() <= self.share(number, own) {
            self.lent.fetch_sub(loan.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        }
        if u64::from(weight) > self.share(number, 0) {
            self.lend(loan, weight.into());
        }
        let bound = self.share(number, 0).saturating_add(loan.load(Ordering::Relaxed));
        table.set_bound(Bound::Weight(bound));
    }

    /// A table's part of what is not lent, once so much more has been given back.
    fn share(&self, number: usize, back: u64) -> u64 {
        let lent = self.lent.load(Ordering::Relaxed).saturating_sub(back);
        let rest = self.whole.saturating_sub(lent);
        let tables = self.loans.len() as u64;
        rest / tables + u64::from((number as u64) < rest % tables)
    }

    /// Makes a loan as large as this, if so much is left.
    fn lend(&self, loan: &AtomicU64, weight: u64) {
        let more = weight.saturating_sub(loan.load(Ordering::Relaxed));
        let lend = |lent: u64| lent.checked_add(more).filter(|lent| *lent <= self.whole);
        if self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lend).is_ok() {
            loan.fetch_add(more, Ordering::Relaxed);
        }
    }
}

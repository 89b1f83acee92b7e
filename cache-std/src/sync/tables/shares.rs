//! One limit of weight over many tables, each of which has a share.
//!
//! A value that is heavier than a share, but not than the limit, borrows its weight from all shares
//! as long as it is held. The other tables learn of it with their next insertion.

use cache_core::table::{Bound, Table};

use super::limit::part;
use super::primitives::{AtomicU64, Ordering};

/// What of the limit is lent to which table. A table's loan changes under its lock.
#[derive(Debug)]
pub(super) struct Shares {
    lent: AtomicU64,
    loans: Box<[AtomicU64]>,
}

impl Shares {
    /// Of a limit over so many tables.
    pub(super) fn new(tables: usize) -> Self {
        let loans = (0..tables).map(|_| AtomicU64::new(0)).collect();
        Self { lent: AtomicU64::new(0), loans }
    }

    /// Fits a table's bound to the limit and to what is lent now, before a value of this weight comes
    /// in.
    pub(super) fn fit<K, V, T: Table<K, V>>(
        &self,
        whole: u64,
        (number, table): (usize, &mut T),
        weight: u32,
    ) {
        let loan = &self.loans[number];
        let own = loan.load(Ordering::Relaxed);
        // What would fit in the share without the loan needs none: its value has left. (In the share
        // beside the loan, what came since might never fit.)
        if own > 0 && table.weight() <= self.share(whole, number, own) {
            self.recall(number);
        }
        if u64::from(weight) > self.share(whole, number, 0) {
            self.lend(whole, loan, weight.into());
        }
        let bound = self.share(whole, number, 0).saturating_add(loan.load(Ordering::Relaxed));
        table.set_bound(Bound::Weight(bound));
    }

    /// A table's part of what is not lent, once so much more has been given back.
    fn share(&self, whole: u64, number: usize, back: u64) -> u64 {
        let lent = self.lent.load(Ordering::Relaxed).saturating_sub(back);
        part(whole.saturating_sub(lent), self.loans.len(), number)
    }

    /// Makes a loan as large as this, if so much is left.
    fn lend(&self, whole: u64, loan: &AtomicU64, weight: u64) {
        let more = weight.saturating_sub(loan.load(Ordering::Relaxed));
        let lend = |lent: u64| lent.checked_add(more).filter(|lent| *lent <= whole);
        if self.lent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, lend).is_ok() {
            loan.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Whether a table has a loan while more is lent than the limit, which has been lowered.
    pub(super) fn lends_too_much(&self, whole: u64, number: usize) -> bool {
        let has_loan = self.loans[number].load(Ordering::Relaxed) > 0;
        has_loan && self.lent.load(Ordering::Relaxed) > whole
    }

    /// Takes back what a table has borrowed.
    pub(super) fn recall(&self, number: usize) {
        let loan = self.loans[number].swap(0, Ordering::Relaxed);
        self.lent.fetch_sub(loan, Ordering::Relaxed);
    }
}

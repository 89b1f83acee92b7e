//! How much a cache may hold.

use cache_core::table::{Bound, WAYS};

use super::{Arc, BuildError, Builder};
use crate::sync::tables::tables_for;

/// Entries of a cache that was given no bound.
const CAPACITY: usize = 10_000;

impl<K, V, S, D> Builder<K, V, S, D> {
    /// Most entries held. From 1,024 on they lie in many small sets, which fill unevenly: a cache that
    /// is offered exactly as many keys as it may hold keeps about 92 % of them.
    ///
    /// Fewer lie in one table, where all of them compete: that finds more of what is asked for, by one or two
    /// in a hundred. But it has one lock. Where several threads do little but read, a
    /// [`max_capacity`](Self::max_capacity) of 1,024 has 37 entries or more in sets as well.
    ///
    /// Where keys and values are numbers or the like, `build` takes the memory of so many entries at
    /// once, and the cache keeps it; otherwise it grows with the entries, and shrinks with them.
    pub const fn capacity(mut self, entries: usize) -> Self {
        self.capacity = Some(entries);
        self
    }

    /// Most entries that [`set_capacity`](crate::sync::Control::set_capacity) may ever give the cache;
    /// without it, its capacity.
    ///
    /// From 1,024 on there are as many sets as so many entries need, 28 each, and every set keeps one
    /// entry at least: the capacity can be no less than a 28th of this. Many sets of few entries fill
    /// less evenly than few of many. Where keys and values are numbers or the like, `build` takes the
    /// memory of so many entries.
    pub const fn max_capacity(mut self, entries: usize) -> Self {
        self.max_capacity = Some(entries);
        self
    }

    /// Most weight held, as the [`weigher`](Self::weigher) counts it; a value that is heavier is not
    /// kept. Limits from 2^27 on are shared by several tables. A value that is heavier than a share
    /// makes the others smaller as they come to store something: until then, the cache may hold that
    /// value's weight more than the limit.
    pub const fn weight_limit(mut self, weight: u64) -> Self {
        self.weight_limit = Some(weight);
        self
    }

    /// Weighs each value once, outside any lock, when it is stored.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigher));
        self
    }

    pub(super) fn check_bounds(&self) -> Result<(), BuildError> {
        let wrong = |field, mend| Err(BuildError::Setting { field, mend });
        if self.capacity == Some(0) {
            return wrong("capacity", "give at least 1, or say no_store() to keep nothing");
        }
        if self.weight_limit == Some(0) {
            return wrong("weight_limit", "give at least 1, or say no_store() to keep nothing");
        }
        if self.capacity.is_some() && self.weight_limit.is_some() {
            return wrong("weight_limit", "leave out capacity(..): one of the two bounds a cache");
        }
        if self.weight_limit.is_some() != self.weigher.is_some() {
            return wrong("weigher", "say weight_limit(..) and weigher(..) together");
        }
        if self.weight_limit.is_some() && self.max_capacity.is_some() {
            return wrong("max_capacity", "leave it out: a limit of weight may be raised to any");
        }
        self.check_most()
    }

    fn check_most(&self) -> Result<(), BuildError> {
        const { assert!(WAYS == 28, "the text says so") };
        let (entries, most) = (self.entries(), self.most());
        let wrong = |mend| Err(BuildError::Setting { field: "max_capacity", mend });
        if most < entries {
            return wrong("give at least the capacity(..), which is 10,000 if not said");
        }
        if self.weight_limit.is_none() && entries < tables_for(most) {
            return wrong("give at most 28 times the capacity(..): each set of 28 keeps an entry");
        }
        Ok(())
    }

    fn entries(&self) -> usize {
        self.capacity.unwrap_or(CAPACITY)
    }

    fn most(&self) -> usize {
        self.max_capacity.unwrap_or_else(|| self.entries())
    }

    /// The bound, and the most entries that it may be raised to.
    pub(super) fn bound(&self) -> (Bound, usize) {
        let bound = match self.weight_limit {
            Some(weight) => Bound::Weight(weight),
            None => Bound::Entries(self.entries()),
        };
        (bound, self.most())
    }
}

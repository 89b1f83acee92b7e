//! Records that are counted for each table, so that who holds a table's lock knows without the
//! book whether any of its keys has one.

use core::borrow::Borrow;
use std::sync::Arc;

use cache_core::Record;
use cache_core::table::{HashPlaces, Places};

use super::primitives::{AtomicU32, Ordering};

/// How many records the keys of each table have.
///
/// A count goes up under both locks, before the table's is released: who then holds the table's
/// lock sees it. It goes down after the record is gone, under the book's lock alone: who sees it
/// late takes the longer way for nothing.
#[derive(Clone, Debug)]
pub(super) struct Counts(Arc<[AtomicU32]>);

impl Counts {
    pub(super) fn new(tables: usize) -> Self {
        Self((0..tables).map(|_| AtomicU32::new(0)).collect())
    }

    /// Whether no key of a table has a record. Asked under the table's lock.
    pub(super) fn is_zero(&self, table: usize) -> bool {
        self.0[table].load(Ordering::Acquire) == 0
    }

    /// One more. Under the table's lock.
    pub(super) fn add(&self, table: usize) {
        self.0[table].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, table: usize) {
        self.0[table].fetch_sub(1, Ordering::Release);
    }
}

/// The records of several tables.
pub(crate) struct Counted<K> {
    places: HashPlaces<K, Record>,
    counts: Counts,
    table_of: fn(hash: u64, tables: usize) -> usize,
}

impl<K> Counted<K> {
    pub(super) const fn new(counts: Counts, table_of: fn(u64, usize) -> usize) -> Self {
        Self { places: HashPlaces::new(usize::MAX), counts, table_of }
    }

    fn table_of(&self, hash: u64) -> usize {
        (self.table_of)(hash, self.counts.0.len())
    }
}

impl<K> Places<K, Record> for Counted<K> {
    fn find<Q>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.places.find(hash, key)
    }

    fn get(&self, at: usize) -> Option<(u64, &K, &Record)> {
        self.places.get(at)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut Record> {
        self.places.get_mut(at)
    }

    fn insert(&mut self, hash: u64, key: K, record: Record) -> Result<usize, (K, Record)> {
        let at = self.places.insert(hash, key, record)?;
        self.counts.add(self.table_of(hash));
        Ok(at)
    }

    fn remove(&mut self, at: usize) -> Option<(K, Record)> {
        let (hash, _, _) = self.places.get(at)?;
        let removed = self.places.remove(at)?;
        self.counts.subtract(self.table_of(hash));
        Some(removed)
    }

    fn slots(&self) -> usize {
        self.places.slots()
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn capacity(&self) -> usize {
        self.places.capacity()
    }
}

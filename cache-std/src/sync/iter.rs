//! All entries of a cache, a table at a time.

use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::iter::FusedIterator;

use cache_core::Entry;

use super::builder::DefaultHasher;
use super::cache::Cache;

/// Copies of the entries of a cache; made by [`Cache::iter`].
pub struct Iter<'a, K, V, S = DefaultHasher> {
    cache: &'a Cache<K, V, S>,
    /// The table that is copied next.
    table: usize,
    copied: std::vec::IntoIter<(K, Entry<V>)>,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// Copies of all entries that may still be served, fresh or not, with their windows, in no
    /// particular order. Counts as no use.
    ///
    /// Holds no lock between two calls. The entries are copied a table at a time, as they are at
    /// that moment: up to 27, or all of a cache that is bounded by weight or by less than 1,024
    /// entries. An entry that stays all the while is met exactly once; one that comes or goes
    /// meanwhile may be met.
    pub fn iter(&self) -> Iter<'_, K, V, S> {
        Iter { cache: self, table: 0, copied: Vec::new().into_iter() }
    }
}

impl<K, V, S> Iterator for Iter<'_, K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, Entry<V>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.copied.next() {
                return Some(entry);
            }
            let inner = &self.cache.inner;
            if self.table == inner.tables.count() {
                return None;
            }
            self.copied = inner.tables.entries(self.table, inner.now()).into_iter();
            self.table += 1;
        }
    }
}

impl<K, V, S> FusedIterator for Iter<'_, K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
}

impl<'a, K, V, S> IntoIterator for &'a Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, Entry<V>);
    type IntoIter = Iter<'a, K, V, S>;

    fn into_iter(self) -> Iter<'a, K, V, S> {
        self.iter()
    }
}

impl<K, V, S> fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("table", &self.table).finish_non_exhaustive()
    }
}

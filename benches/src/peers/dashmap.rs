//! dashmap: no bound, no ttl.

use super::Hasher;
use crate::keys::{Key, Value};
use crate::peer::{Peer, Table};

/// With as many shards as it thinks right.
pub type DashMap<K, V> = dashmap::DashMap<K, V, Hasher>;

impl<K: Key, V: Value> Peer<K, V> for DashMap<K, V> {
    const NAME: &'static str = "dashmap";
    type Got = V;

    fn new(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, Hasher::default())
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, key).map(|entry| entry.value().clone())
    }

    fn held(&self) -> usize {
        self.len()
    }
}

impl<K: Key, V: Value> Table<K, V> for DashMap<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
}

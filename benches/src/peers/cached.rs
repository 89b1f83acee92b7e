//! cached's sharded LRU, with a ttl. Its shards are chosen by our hasher; the maps within keep its
//! own, as their type lets none be chosen.

use std::time::Duration;

use cached::ShardedLruTtlCache;

use super::Hasher;
use crate::keys::{Key, Value};
use crate::ours::TTL;
use crate::peer::{Loads, Peer, Table};

/// With as many shards as it thinks right.
pub type Cached<K, V> = ShardedLruTtlCache<K, V, Hasher>;

/// With a ttl that is not the others'.
pub fn cached<K: Key, V: Value>(capacity: usize, ttl: Duration) -> Cached<K, V> {
    let builder = ShardedLruTtlCache::builder().max_size(capacity).ttl(ttl);
    builder.hasher(Hasher::default()).build().expect("the settings are right")
}

impl<K: Key, V: Value> Peer<K, V> for Cached<K, V> {
    const NAME: &'static str = "cached";
    type Got = V;

    fn new(capacity: usize) -> Self {
        cached(capacity, TTL)
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, key)
    }

    fn held(&self) -> usize {
        self.len()
    }
}

impl<K: Key, V: Value> Table<K, V> for Cached<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.set(key, value);
    }
}

impl Loads for Cached<u64, u64> {
    #[inline(always)]
    fn get_or_load(&self, key: u64) -> u64 {
        self.get_or_set_with(key, || key)
    }
}

//! moka, with a ttl.

use std::time::Duration;

use moka::sync::Cache;

use super::Hasher;
use crate::keys::{Key, Value};
use crate::ours::TTL;
use crate::peer::{Loads, Peer, Table};

/// The one for threads.
pub type Moka<K, V> = Cache<K, V, Hasher>;

/// With a ttl that is not the others'.
pub fn moka<K: Key, V: Value>(capacity: usize, ttl: Duration) -> Moka<K, V> {
    let builder = Cache::builder().max_capacity(capacity as u64).time_to_live(ttl);
    builder.build_with_hasher(Hasher::default())
}

impl<K: Key, V: Value> Peer<K, V> for Moka<K, V> {
    const NAME: &'static str = "moka";
    type Got = V;

    fn new(capacity: usize) -> Self {
        moka(capacity, TTL)
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, key)
    }

    fn held(&self) -> usize {
        self.entry_count() as usize
    }
}

impl<K: Key, V: Value> Table<K, V> for Moka<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
}

impl Loads for Moka<u64, u64> {
    #[inline(always)]
    fn get_or_load(&self, key: u64) -> u64 {
        self.get_with(key, || key)
    }
}

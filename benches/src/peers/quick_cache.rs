//! quick_cache: no ttl.

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::Hasher;
use crate::keys::{Key, Value};
use crate::peer::{Loads, Peer, Table};

/// With its own shards and ghosts.
pub type QuickCache<K, V> = Cache<K, V, UnitWeighter, Hasher>;

impl<K: Key, V: Value> Peer<K, V> for QuickCache<K, V> {
    const NAME: &'static str = "quick_cache";
    type Got = V;

    fn new(capacity: usize) -> Self {
        let lifecycle = DefaultLifecycle::default();
        Self::with(capacity, capacity as u64, UnitWeighter, Hasher::default(), lifecycle)
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

impl<K: Key, V: Value> Table<K, V> for QuickCache<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
}

impl Loads for QuickCache<u64, u64> {
    #[inline(always)]
    fn get_or_load(&self, key: u64) -> u64 {
        self.get_or_insert_with(&key, || Ok::<_, ()>(key)).unwrap_or_default()
    }
}

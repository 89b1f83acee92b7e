//! mini-moka, with a ttl.

use mini_moka::sync::{Cache, ConcurrentCacheExt};

use super::Hasher;
use crate::keys::{Key, Value};
use crate::ours::TTL;
use crate::peer::{Peer, Table};

/// The one for threads.
pub type MiniMoka<K, V> = Cache<K, V, Hasher>;

impl<K: Key, V: Value> Peer<K, V> for MiniMoka<K, V> {
    const NAME: &'static str = "mini_moka";
    type Got = V;

    fn new(capacity: usize) -> Self {
        let builder = Cache::builder().max_capacity(capacity as u64).time_to_live(TTL);
        builder.build_with_hasher(Hasher::default())
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    fn settle(&self) {
        self.sync();
    }

    /// It cannot look up a `String` by `&str`: who has only that must make a `String`, as here.
    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, &key.to_owned())
    }

    fn held(&self) -> usize {
        self.entry_count() as usize
    }
}

impl<K: Key, V: Value> Table<K, V> for MiniMoka<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
}

//! papaya's lock-free map: no bound, no ttl.

use papaya::HashMap;

use super::Hasher;
use crate::keys::{Key, Value};
use crate::peer::{Peer, Table};

/// Pinned for each operation, as a server would.
pub type Papaya<K, V> = HashMap<K, V, Hasher>;

impl<K: Key, V: Value> Peer<K, V> for Papaya<K, V> {
    const NAME: &'static str = "papaya";
    type Got = V;

    fn new(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, Hasher::default())
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        self.pin().get(key).cloned()
    }

    fn held(&self) -> usize {
        self.len()
    }
}

impl<K: Key, V: Value> Table<K, V> for Papaya<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.pin().insert(key, value);
    }
}

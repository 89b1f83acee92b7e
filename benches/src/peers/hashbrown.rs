//! The floor: a raw map, filled once and then shared by reference.

use hashbrown::HashMap;

use super::Hasher;
use crate::keys::{Key, Value};
use crate::peer::Peer;

/// Only to be read once it is shared.
pub type RawMap<K, V> = HashMap<K, V, Hasher>;

impl<K: Key, V: Value> Peer<K, V> for RawMap<K, V> {
    const NAME: &'static str = "hashbrown";
    type Got = V;

    fn new(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, Hasher::default())
    }

    fn fill(&mut self, key: K, value: V) {
        self.insert(key, value);
    }

    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, key).cloned()
    }

    fn held(&self) -> usize {
        self.len()
    }
}

//! The floor: a raw map, filled once and then shared by reference.

use hashbrown::HashMap;

use super::Hasher;
use crate::keys::{Key, SplitMix, Value};
use crate::peer::{Peer, Table};

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

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Self::get(self, key).cloned()
    }

    fn held(&self) -> usize {
        self.len()
    }
}

/// A map that was told which keys will be asked for most, and holds them for good: the floor of a
/// read-through. It has no lock, evicts nothing, and drops what is put.
#[derive(Debug)]
pub struct KnownMap<K, V>(RawMap<K, V>);

impl<K: Key, V: Value> Peer<K, V> for KnownMap<K, V> {
    const NAME: &'static str = <RawMap<K, V> as Peer<K, V>>::NAME;
    type Got = V;

    fn new(capacity: usize) -> Self {
        let mut map = RawMap::new(capacity);
        // In any order: neighbours in memory are to be as little alike as they are in a cache.
        let (mut keys, mut numbers) = ((0..capacity as u64).collect::<Vec<_>>(), SplitMix::new(5));
        while !keys.is_empty() {
            let n = keys.swap_remove(numbers.below(keys.len() as u64) as usize);
            map.fill(K::nth(n), V::of(n));
        }
        Self(map)
    }

    fn fill(&mut self, key: K, value: V) {
        self.0.fill(key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        Peer::get(&self.0, key)
    }

    fn held(&self) -> usize {
        self.0.len()
    }
}

impl<K: Key, V: Value> Table<K, V> for KnownMap<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        drop((key, value));
    }
}

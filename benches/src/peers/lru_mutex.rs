//! What many write themselves: the lru crate behind 64 mutexes. No ttl.

use core::hash::BuildHasher;
use core::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::Hasher;
use crate::keys::{Key, Value};
use crate::peer::{Loads, Peer, Table};

const SHARDS: usize = 64;

type Lru<K, V> = LruCache<K, V, Hasher>;

/// A shard on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<K: Key, V>(Mutex<Lru<K, V>>);

/// Least recently used out first, in each shard.
#[derive(Debug)]
pub struct LruMutex<K: Key, V> {
    shards: Box<[Shard<K, V>]>,
    hasher: Hasher,
}

impl<K: Key, V: Value> LruMutex<K, V> {
    fn lock(&self, key: &K::Asked) -> MutexGuard<'_, Lru<K, V>> {
        let shard = (self.hasher.hash_one(key) >> 40) as usize % SHARDS;
        self.shards[shard].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key, V: Value> Peer<K, V> for LruMutex<K, V> {
    const NAME: &'static str = "lru_mutex";
    type Got = V;

    fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::MIN.saturating_add(capacity.div_ceil(SHARDS) - 1);
        let shard = || Shard(Mutex::new(LruCache::with_hasher(capacity, Hasher::default())));
        Self { shards: (0..SHARDS).map(|_| shard()).collect(), hasher: Hasher::default() }
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<V> {
        self.lock(key).get(key).cloned()
    }

    fn held(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| shard.0.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }
}

impl<K: Key, V: Value> Table<K, V> for LruMutex<K, V> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        // What leaves is dropped after the lock.
        let _old = self.lock(key.borrow()).push(key, value);
    }
}

impl Loads for LruMutex<u64, u64> {
    #[inline(always)]
    fn get_or_load(&self, key: u64) -> u64 {
        *self.lock(&key).get_or_insert(key, || key)
    }
}

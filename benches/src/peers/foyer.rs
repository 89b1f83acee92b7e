//! foyer's cache in memory, with 64 shards: no ttl.

use foyer_memory::{
    Cache, CacheBuilder, CacheEntry, CacheProperties, EvictionConfig, LfuConfig, S3FifoConfig,
};

use super::Hasher;
use crate::keys::{Key, Value};
use crate::peer::{Peer, Table};

/// Which of its policies.
pub trait Policy: Send + Sync + 'static {
    /// The name in the report.
    const NAME: &'static str;

    /// The policy with its defaults.
    fn config() -> EvictionConfig;
}

/// S3-FIFO (Yang and others, 2023).
#[derive(Debug)]
#[non_exhaustive]
pub struct S3Fifo;

impl Policy for S3Fifo {
    const NAME: &'static str = "foyer_s3fifo";

    fn config() -> EvictionConfig {
        S3FifoConfig::default().into()
    }
}

/// W-TinyLFU (Einziger and others, 2017).
#[derive(Debug)]
#[non_exhaustive]
pub struct Lfu;

impl Policy for Lfu {
    const NAME: &'static str = "foyer_lfu";

    fn config() -> EvictionConfig {
        LfuConfig::default().into()
    }
}

/// A cache with the policy `P`.
#[derive(Debug)]
pub struct Foyer<K: Key, V: Value, P> {
    cache: Cache<K, V, Hasher, CacheProperties>,
    policy: core::marker::PhantomData<P>,
}

impl<K: Key, V: Value, P: Policy> Peer<K, V> for Foyer<K, V, P> {
    const NAME: &'static str = P::NAME;
    /// It gives out a counted handle, not a copy of the value.
    type Got = CacheEntry<K, V, Hasher, CacheProperties>;

    fn new(capacity: usize) -> Self {
        let builder = CacheBuilder::new(capacity).with_shards(64);
        let builder = builder.with_eviction_config(P::config());
        let cache = builder.with_hash_builder(Hasher::default()).build();
        Self { cache, policy: core::marker::PhantomData }
    }

    fn fill(&mut self, key: K, value: V) {
        self.put(key, value);
    }

    #[inline(always)]
    fn get(&self, key: &K::Asked) -> Option<Self::Got> {
        self.cache.get(key)
    }

    fn held(&self) -> usize {
        self.cache.entries()
    }
}

impl<K: Key, V: Value, P: Policy> Table<K, V> for Foyer<K, V, P> {
    #[inline(always)]
    fn put(&self, key: K, value: V) {
        self.cache.insert(key, value);
    }
}

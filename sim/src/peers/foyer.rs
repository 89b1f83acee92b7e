//! foyer's cache in memory with each of its eviction policies, in one shard.

use foyer_memory::{
    Cache, EvictionConfig, FifoConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig,
};

use super::{Peer, Value, size};
use crate::capacity::Bound;

pub(super) struct Foyer(Cache<u64, Value>);

impl Foyer {
    pub(super) fn fifo(bound: Bound) -> Self {
        Self::new(bound, FifoConfig::default())
    }

    pub(super) fn lru(bound: Bound) -> Self {
        Self::new(bound, LruConfig::default())
    }

    pub(super) fn lfu(bound: Bound) -> Self {
        Self::new(bound, LfuConfig::default())
    }

    pub(super) fn s3fifo(bound: Bound) -> Self {
        Self::new(bound, S3FifoConfig::default())
    }

    pub(super) fn sieve(bound: Bound) -> Self {
        Self::new(bound, SieveConfig)
    }

    fn new(bound: Bound, eviction: impl Into<EvictionConfig>) -> Self {
        let builder = Cache::builder(size(bound)).with_shards(1).with_eviction_config(eviction);
        Self(builder.with_weighter(|_: &u64, value: &Value| value.weight as usize).build())
    }
}

impl Peer for Foyer {
    fn get(&self, id: u64) -> Option<Value> {
        self.0.get(&id).map(|entry| *entry.value())
    }

    fn put(&self, id: u64, value: Value) {
        self.0.insert(id, value);
    }

    fn held(&self) -> u64 {
        self.0.usage() as u64
    }
}

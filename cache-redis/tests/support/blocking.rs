//! Async stores as the conformance suite wants them.

use std::sync::Arc;
use std::time::Duration;

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, HeldLease, Leases, Mutation, SharedStore, Station,
    Store, StoreError, Stored,
};
use cache_core::{Instant, Lifetime};
use tokio::runtime::Runtime;

/// An async store, driven by the calling thread.
pub(crate) struct Blocking<S> {
    pub(crate) store: S,
    pub(crate) runtime: Arc<Runtime>,
}

impl<K, V, S> Store<K, V> for Blocking<S>
where
    K: Sync + ?Sized,
    V: Send,
    S: AsyncStore<K, V> + Sync,
{
    fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
        self.runtime.block_on(self.store.get(key, now))
    }

    fn put(&self, key: &K, value: &V, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.put(key, value, life, now))
    }

    fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError> {
        self.runtime.block_on(self.store.remove(key, now))
    }

    fn get_many(
        &self,
        keys: &[&K],
        now: Instant,
        found: &mut dyn FnMut(usize, Stored<V>),
    ) -> Result<(), StoreError> {
        let mut all = vec![];
        let mut note = |position, stored| all.push((position, stored));
        let answer = self.runtime.block_on(self.store.get_many(keys, now, &mut note));
        all.into_iter().for_each(|(position, stored)| found(position, stored));
        answer
    }

    fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        life: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.runtime.block_on(self.store.put_if_absent(key, value, life, now))
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.clear(now))
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        self.runtime.block_on(self.store.purge(now, budget))
    }
}

impl<K: ?Sized, S: AsyncLeases<K>> Leases<K> for Blocking<S> {
    fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        self.runtime.block_on(self.store.acquire(key, ttl, now))
    }

    fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.runtime.block_on(self.store.renew(key, lease, ttl, now))
    }

    fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        self.runtime.block_on(self.store.release(key, lease, now))
    }
}

impl<K, V, S> SharedStore<K, V> for Blocking<S>
where
    K: ?Sized,
    S: AsyncSharedStore<K, V>,
{
    fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.runtime.block_on(self.store.mutate(key, mutation, by, now))
    }

    fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        self.runtime.block_on(self.store.clear_all(by, now))
    }
}

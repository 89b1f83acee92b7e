//! The right to load a key of a store, held across processes.

use core::time::Duration;

use cache_core::Instant;
use cache_core::store::{AsyncLeases, HeldLease, KeyBytes, StoreError};

use super::RedisStore;
use crate::desk::Desk;
use crate::key::Kind;

impl<V, C> RedisStore<V, C> {
    const fn desk(&self) -> Desk<'_> {
        let (right, fence) = (Kind::Lease, Kind::LeaseFence);
        Desk { server: &self.server, names: &self.names, right, fence }
    }
}

/// A lease is a string beside its entry, and does not end with a clear. One without end lasts ten years.
/// Fences grow even if the server forgets everything in between, unless its clock was set back meanwhile.
impl<K, V, C> AsyncLeases<K> for RedisStore<V, C>
where
    K: KeyBytes + Sync + ?Sized,
    C: Send + Sync,
{
    async fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        _: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        self.desk().acquire(&key.key_bytes(), ttl).await
    }

    async fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        _: Instant,
    ) -> Result<bool, StoreError> {
        self.desk().renew(&key.key_bytes(), lease.token(), ttl).await
    }

    async fn release(&self, key: &K, lease: HeldLease, _: Instant) -> Result<bool, StoreError> {
        self.desk().release(&key.key_bytes(), lease.token()).await
    }
}

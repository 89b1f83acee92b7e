//! The right to load a key of a store, held across processes.

use core::time::Duration;

use cache_core::Instant;
use cache_core::store::{AsyncLeases, HeldLease, KeyBytes, StoreError};

use super::version::Check;
use super::{RedisStore, Space};
use crate::desk::{Desk, Room};
use crate::error::ServerError;
use crate::key::Kind;
use crate::script::Script;

impl Room for Space {
    async fn run(
        &self,
        script: &'static Script,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> Result<redis::Value, StoreError> {
        let answers = self.on_version(Check::Always, |trip| {
            let lease = self.name(Kind::Lease(trip.version), key)?;
            let fence = self.name(Kind::LeaseFence, key)?;
            trip.script(script, &[&lease, &fence], arguments);
            Ok(())
        });
        Ok(answers.await?.pop().ok_or(ServerError::Protocol)?.value)
    }
}

/// A lease is a string beside its entry. Every change of the entry ends it, and so does a clear. One without
/// end lasts ten years. Fences grow even if the server forgets everything in between, unless its clock was set
/// back meanwhile.
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
        // Before the lease, and so before what is loaded under it. Without it, only what has tags is lost.
        let seen = self.space.last_tag_change().await.unwrap_or(0);
        let lease = Desk(&self.space).acquire(&key.key_bytes(), ttl).await?;
        Ok(lease.map(|lease| lease.after_tags(seen)))
    }

    async fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        _: Instant,
    ) -> Result<bool, StoreError> {
        Desk(&*self.space).renew(&key.key_bytes(), lease.token(), ttl).await
    }

    async fn release(&self, key: &K, lease: HeldLease, _: Instant) -> Result<bool, StoreError> {
        Desk(&*self.space).release(&key.key_bytes(), lease.token()).await
    }
}

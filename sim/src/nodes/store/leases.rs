//! The right to load a key.

use core::time::Duration;

use cache_std::store::{AsyncLeases, HeldLease, StoreError};
use cache_std::{Clock, Instant};

use super::{Key, Server};

impl AsyncLeases<Key> for Server {
    async fn acquire(
        &self,
        key: &Key,
        ttl: Duration,
        _: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        let key = *key;
        let acquire = move |server: &Self| {
            let now = server.world.now();
            let mut state = server.state();
            if state.leases.get(&key).is_some_and(|(_, until)| !now.has_reached(*until)) {
                return None;
            }
            state.last_fence += 1;
            let fence = state.last_fence;
            let token = u128::from(fence).to_be_bytes();
            state.leases.insert(key, (token, now + ttl));
            Some(HeldLease::new(token, fence).after_tags(state.tags.last()))
        };
        self.ask("acquire", acquire).await
    }

    async fn renew(
        &self,
        key: &Key,
        lease: &HeldLease,
        ttl: Duration,
        _: Instant,
    ) -> Result<bool, StoreError> {
        let (key, token) = (*key, *lease.token());
        let renew = move |server: &Self| {
            let now = server.world.now();
            let mut state = server.state();
            let held = state.is_held(key, &token, now);
            if held {
                state.leases.insert(key, (token, now + ttl));
            }
            held
        };
        self.ask("renew", renew).await
    }

    async fn release(&self, key: &Key, lease: HeldLease, _: Instant) -> Result<bool, StoreError> {
        let (key, token) = (*key, *lease.token());
        let release = move |server: &Self| {
            let now = server.world.now();
            let mut state = server.state();
            let held = state.is_held(key, &token, now);
            if held {
                state.leases.remove(&key);
            }
            held
        };
        self.ask("release", release).await
    }
}

//! Stores and locks for threads, which have no runtime.

use core::fmt;
use core::time::Duration;

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Codec, HeldLease, KeyBytes, Leases, Mutation,
    SharedStore, Station, Store, StoreError, Stored, TagChange,
};
use cache_core::{Instant, Lifetime};

use crate::{Inspection, RedisStore};

mod home;
mod locks;

use home::wait;

/// The same for threads: what is async there blocks its caller here. From
/// [`RedisStore::blocking`] and [`RedisLocks::blocking`](crate::RedisLocks::blocking).
///
/// Connections live on a runtime of this crate's own, one thread for the whole process, which begins with
/// the first operation and does not keep the process from ending. The caller's thread does the rest itself,
/// codecs included, and sleeps meanwhile. An operation takes as long as
/// [`operation_timeout`](crate::ServerBuilder::operation_timeout) says at most; `get_many` so long for every
/// 256 keys.
///
/// It may be called on a worker of a tokio runtime, which does nothing else meanwhile. There the connection may have
/// been begun by an async operation on that same runtime; if it has one thread, nobody drives the connection while
/// that thread waits, and the operation times out. Give the blocking store a [`Server`](crate::Server) of its own
/// where both are used.
///
/// Receivers of the backplane run on the thread of this crate's own: what they call of this is answered by
/// [`StoreError::Unavailable`] at once.
///
/// ```no_run
/// use std::time::Duration;
/// use cache_core::store::{Plain, Store};
/// use cache_core::{Instant, Lifetime};
/// use cache_redis::{RedisStore, Server};
///
/// let server = Server::open("redis://localhost")?;
/// let names = RedisStore::<String, _>::new(&server, "shop", Plain)?.namespace("names").blocking();
/// let hour = Lifetime::fresh_for(Duration::from_secs(3_600));
/// names.put(&42_u64, &"Ada".to_owned(), hour, Instant::ORIGIN)?;
/// assert_eq!(names.get(&42_u64, Instant::ORIGIN)?.unwrap().value, "Ada");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Blocking<T>(T);

impl<T> Blocking<T> {
    /// The async one, with which this shares everything.
    pub const fn as_async(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(&self.0).finish()
    }
}

impl<V, C> RedisStore<V, C> {
    /// The same store for threads. Both share what is counted and known, and the connection.
    pub fn blocking(&self) -> Blocking<Self> {
        Blocking(self.clone())
    }
}

impl<V: Sync, C: Sync> Blocking<RedisStore<V, C>> {
    /// As [`RedisStore::inspect`].
    ///
    /// # Errors
    /// As there.
    pub fn inspect<K>(&self, key: &K) -> Result<Inspection, StoreError>
    where
        K: KeyBytes + Sync + ?Sized,
    {
        wait(self.0.inspect(key))?
    }
}

impl<K, V, C> Store<K, V> for Blocking<RedisStore<V, C>>
where
    K: KeyBytes + Sync + ?Sized,
    V: Send + Sync,
    C: Codec<V> + Send + Sync,
{
    fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
        wait(self.0.get(key, now))?
    }

    fn put(&self, key: &K, value: &V, lifetime: Lifetime, now: Instant) -> Result<(), StoreError> {
        wait(self.0.put(key, value, lifetime, now))?
    }

    fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError> {
        wait(AsyncStore::<K, V>::remove(&self.0, key, now))?
    }

    fn get_many(
        &self,
        keys: &[&K],
        now: Instant,
        found: &mut dyn FnMut(usize, Stored<V>),
    ) -> Result<(), StoreError> {
        let mut all = vec![];
        let mut note = |position, stored| all.push((position, stored));
        let answer = wait(self.0.get_many(keys, now, &mut note));
        all.into_iter().for_each(|(position, stored)| found(position, stored));
        answer?
    }

    fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        wait(self.0.put_if_absent(key, value, lifetime, now))?
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        wait(AsyncStore::<K, V>::clear(&self.0, now))?
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        wait(AsyncStore::<K, V>::purge(&self.0, now, budget))?
    }

    fn shared(&self) -> Option<&(dyn SharedStore<K, V> + Sync)> {
        Some(self)
    }
}

impl<K, V, C> Leases<K> for Blocking<RedisStore<V, C>>
where
    K: KeyBytes + Sync + ?Sized,
    C: Send + Sync,
{
    fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        wait(self.0.acquire(key, ttl, now))?
    }

    fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        wait(self.0.renew(key, lease, ttl, now))?
    }

    fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        wait(self.0.release(key, lease, now))?
    }
}

impl<K, V, C> SharedStore<K, V> for Blocking<RedisStore<V, C>>
where
    K: KeyBytes + Sync + ?Sized,
    V: Send + Sync,
    C: Codec<V> + Send + Sync,
{
    fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        wait(self.0.mutate(key, mutation, by, now))?
    }

    fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        wait(AsyncSharedStore::<K, V>::clear_all(&self.0, by, now))?
    }

    fn keeps_tags(&self) -> bool {
        AsyncSharedStore::<K, V>::keeps_tags(&self.0)
    }

    fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        wait(AsyncSharedStore::<K, V>::change_tag(&self.0, tag, change, by, now))?
    }
}

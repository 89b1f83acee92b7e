//! Stores behind pointers, and blocking stores as async ones.

use core::marker::PhantomData;
use core::time::Duration;

use super::{
    AsyncLeases, AsyncSharedStore, AsyncStore, HeldLease, Leases, Mutation, SharedStore, Station,
    Store, StoreError, Stored, TagChange,
};
use crate::entry::Lifetime;
use crate::time::Instant;

/// A blocking store, or its leases, as an async one: each future is ready when first polled, and
/// blocks whoever polls it. For stores in memory, and for tests.
///
/// (Not a blanket implementation, so that a type may have its own of both kinds.)
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // a newtype, made by its name
pub struct Ready<S>(pub S);

impl<K, V, S> AsyncStore<K, V> for Ready<S>
where
    K: Sync + ?Sized,
    V: Send + Sync,
    S: Store<K, V> + Sync,
{
    async fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
        self.0.get(key, now)
    }

    async fn put(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.0.put(key, value, lifetime, now)
    }

    async fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError> {
        self.0.remove(key, now)
    }

    async fn get_many(
        &self,
        keys: &[&K],
        now: Instant,
        found: &mut (dyn FnMut(usize, Stored<V>) + Send),
    ) -> Result<(), StoreError> {
        self.0.get_many(keys, now, found)
    }

    async fn put_if_absent(
        &self,
        key: &K,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.0.put_if_absent(key, value, lifetime, now)
    }

    async fn clear(&self, now: Instant) -> Result<(), StoreError> {
        self.0.clear(now)
    }

    async fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        self.0.purge(now, budget)
    }

    fn shared(&self) -> Option<impl AsyncSharedStore<K, V> + Send + Sync> {
        self.0.shared().is_some().then_some(ReadyShared(&self.0, PhantomData))
    }
}

/// The shared store that a blocking one is.
struct ReadyShared<'a, V, S>(&'a S, PhantomData<fn() -> V>);

impl<V, S> ReadyShared<'_, V, S> {
    fn ask<K, T>(
        &self,
        ask: impl FnOnce(&(dyn SharedStore<K, V> + Sync)) -> Result<T, StoreError>,
    ) -> Result<T, StoreError>
    where
        K: ?Sized,
        S: Store<K, V>,
    {
        self.0.shared().map_or_else(|| Err(StoreError::unsupported("shared")), ask)
    }
}

impl<K, V, S> AsyncSharedStore<K, V> for ReadyShared<'_, V, S>
where
    K: Sync + ?Sized,
    V: Send + Sync,
    S: Store<K, V> + Sync,
{
    async fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.ask(|shared| shared.mutate(key, mutation, by, now))
    }

    async fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        self.ask(|shared| shared.clear_all(by, now))
    }

    fn keeps_tags(&self) -> bool {
        self.0.shared().is_some_and(SharedStore::keeps_tags)
    }

    async fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.ask(|shared| shared.change_tag(tag, change, by, now))
    }
}

impl<K, V, S> AsyncLeases<K> for ReadyShared<'_, V, S>
where
    K: Sync + ?Sized,
    S: Store<K, V> + Sync,
{
    async fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        self.ask(|shared| shared.acquire(key, ttl, now))
    }

    async fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.ask(|shared| shared.renew(key, lease, ttl, now))
    }

    async fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        self.ask(|shared| shared.release(key, lease, now))
    }
}

impl<K, V, S> AsyncSharedStore<K, V> for Ready<S>
where
    K: Sync + ?Sized,
    V: Send + Sync,
    S: SharedStore<K, V> + Sync,
{
    async fn mutate(
        &self,
        key: &K,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.0.mutate(key, mutation, by, now)
    }

    async fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        self.0.clear_all(by, now)
    }

    fn keeps_tags(&self) -> bool {
        self.0.keeps_tags()
    }

    async fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.0.change_tag(tag, change, by, now)
    }
}

impl<K: Sync + ?Sized, L: Leases<K> + Sync> AsyncLeases<K> for Ready<L> {
    async fn acquire(
        &self,
        key: &K,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        self.0.acquire(key, ttl, now)
    }

    async fn renew(
        &self,
        key: &K,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.0.renew(key, lease, ttl, now)
    }

    async fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        self.0.release(key, lease, now)
    }
}

/// Implements every trait of this module for a pointer to `S`.
macro_rules! forward_to_pointee {
    ($pointer:ty) => {
        impl<K: ?Sized, V, S: Store<K, V> + ?Sized> Store<K, V> for $pointer {
            fn get(&self, key: &K, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
                (**self).get(key, now)
            }

            fn put(
                &self,
                key: &K,
                value: &V,
                lifetime: Lifetime,
                now: Instant,
            ) -> Result<(), StoreError> {
                (**self).put(key, value, lifetime, now)
            }

            fn remove(&self, key: &K, now: Instant) -> Result<bool, StoreError> {
                (**self).remove(key, now)
            }

            fn get_many(
                &self,
                keys: &[&K],
                now: Instant,
                found: &mut dyn FnMut(usize, Stored<V>),
            ) -> Result<(), StoreError> {
                (**self).get_many(keys, now, found)
            }

            fn put_if_absent(
                &self,
                key: &K,
                value: &V,
                lifetime: Lifetime,
                now: Instant,
            ) -> Result<bool, StoreError> {
                (**self).put_if_absent(key, value, lifetime, now)
            }

            fn clear(&self, now: Instant) -> Result<(), StoreError> {
                (**self).clear(now)
            }

            fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
                (**self).purge(now, budget)
            }

            fn shared(&self) -> Option<&(dyn SharedStore<K, V> + Sync)> {
                (**self).shared()
            }
        }

        impl<K: ?Sized, V, S: AsyncStore<K, V> + Sync + ?Sized> AsyncStore<K, V> for $pointer {
            fn get(
                &self,
                key: &K,
                now: Instant,
            ) -> impl Future<Output = Result<Option<Stored<V>>, StoreError>> + Send {
                (**self).get(key, now)
            }

            fn put(
                &self,
                key: &K,
                value: &V,
                lifetime: Lifetime,
                now: Instant,
            ) -> impl Future<Output = Result<(), StoreError>> + Send {
                (**self).put(key, value, lifetime, now)
            }

            fn remove(
                &self,
                key: &K,
                now: Instant,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                (**self).remove(key, now)
            }

            fn get_many(
                &self,
                keys: &[&K],
                now: Instant,
                found: &mut (dyn FnMut(usize, Stored<V>) + Send),
            ) -> impl Future<Output = Result<(), StoreError>> + Send
            where
                K: Sync,
                V: Send,
            {
                (**self).get_many(keys, now, found)
            }

            fn put_if_absent(
                &self,
                key: &K,
                value: &V,
                lifetime: Lifetime,
                now: Instant,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                (**self).put_if_absent(key, value, lifetime, now)
            }

            fn clear(&self, now: Instant) -> impl Future<Output = Result<(), StoreError>> + Send {
                (**self).clear(now)
            }

            fn purge(
                &self,
                now: Instant,
                budget: usize,
            ) -> impl Future<Output = Result<usize, StoreError>> + Send {
                (**self).purge(now, budget)
            }

            fn shared(&self) -> Option<impl AsyncSharedStore<K, V> + Send + Sync> {
                (**self).shared()
            }
        }

        impl<K: ?Sized, V, S: SharedStore<K, V> + ?Sized> SharedStore<K, V> for $pointer {
            fn mutate(
                &self,
                key: &K,
                mutation: Mutation<'_, V>,
                by: Station,
                now: Instant,
            ) -> Result<bool, StoreError> {
                (**self).mutate(key, mutation, by, now)
            }

            fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
                (**self).clear_all(by, now)
            }

            fn keeps_tags(&self) -> bool {
                (**self).keeps_tags()
            }

            fn change_tag(
                &self,
                tag: &str,
                change: TagChange,
                by: Station,
                now: Instant,
            ) -> Result<(), StoreError> {
                (**self).change_tag(tag, change, by, now)
            }
        }

        impl<K: ?Sized, V, S: AsyncSharedStore<K, V> + ?Sized> AsyncSharedStore<K, V> for $pointer {
            fn mutate(
                &self,
                key: &K,
                mutation: Mutation<'_, V>,
                by: Station,
                now: Instant,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                (**self).mutate(key, mutation, by, now)
            }

            fn clear_all(
                &self,
                by: Station,
                now: Instant,
            ) -> impl Future<Output = Result<(), StoreError>> + Send {
                (**self).clear_all(by, now)
            }

            fn keeps_tags(&self) -> bool {
                (**self).keeps_tags()
            }

            fn change_tag(
                &self,
                tag: &str,
                change: TagChange,
                by: Station,
                now: Instant,
            ) -> impl Future<Output = Result<(), StoreError>> + Send {
                (**self).change_tag(tag, change, by, now)
            }
        }

        impl<K: ?Sized, S: Leases<K> + ?Sized> Leases<K> for $pointer {
            fn acquire(
                &self,
                key: &K,
                ttl: Duration,
                now: Instant,
            ) -> Result<Option<HeldLease>, StoreError> {
                (**self).acquire(key, ttl, now)
            }

            fn renew(
                &self,
                key: &K,
                lease: &HeldLease,
                ttl: Duration,
                now: Instant,
            ) -> Result<bool, StoreError> {
                (**self).renew(key, lease, ttl, now)
            }

            fn release(&self, key: &K, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
                (**self).release(key, lease, now)
            }
        }

        impl<K: ?Sized, S: AsyncLeases<K> + ?Sized> AsyncLeases<K> for $pointer {
            fn acquire(
                &self,
                key: &K,
                ttl: Duration,
                now: Instant,
            ) -> impl Future<Output = Result<Option<HeldLease>, StoreError>> + Send {
                (**self).acquire(key, ttl, now)
            }

            fn renew(
                &self,
                key: &K,
                lease: &HeldLease,
                ttl: Duration,
                now: Instant,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                (**self).renew(key, lease, ttl, now)
            }

            fn release(
                &self,
                key: &K,
                lease: HeldLease,
                now: Instant,
            ) -> impl Future<Output = Result<bool, StoreError>> + Send {
                (**self).release(key, lease, now)
            }
        }
    };
}

forward_to_pointee!(&S);

#[cfg(feature = "alloc")]
forward_to_pointee!(alloc::boxed::Box<S>);

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
forward_to_pointee!(alloc::sync::Arc<S>);

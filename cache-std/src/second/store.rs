//! Stores of all kinds behind one face.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cache_core::Instant;
use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, HeldLease, Mutation, Ready, Station, StoreError,
    Stored, TagChange,
};

/// What a store answers, later.
pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What is found for each of many keys.
pub(crate) type Finds<V> = Vec<Option<Stored<V>>>;

/// A store, blocking or not, shared or not. Nothing happens before what is answered is polled.
pub(crate) trait Behind<K, V>: Send + Sync {
    /// Whether others change it as well.
    fn is_shared(&self) -> bool;

    /// Whether who asks is blocked until it answers, however long that takes.
    fn blocks(&self) -> bool;

    fn get<'a>(&'a self, key: &'a K, now: Instant) -> Asking<'a, Option<Stored<V>>>;

    fn get_many<'a>(
        &'a self,
        keys: &'a [&'a K],
        now: Instant,
        finds: &'a mut Finds<V>,
    ) -> Asking<'a, ()>;

    /// A fill of a store that is not shared is a put.
    fn mutate<'a>(
        &'a self,
        key: &'a K,
        mutation: Mutation<'a, V>,
        by: Station,
        now: Instant,
    ) -> Asking<'a, bool>;

    fn clear(&self, by: Station, now: Instant) -> Asking<'_, ()>;

    /// Whether entries are kept with their tags.
    fn keeps_tags(&self) -> bool;

    fn change_tag<'a>(
        &'a self,
        tag: &'a str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Asking<'a, ()>;

    fn acquire<'a>(
        &'a self,
        key: &'a K,
        ttl: Duration,
        now: Instant,
    ) -> Asking<'a, Option<HeldLease>>;

    fn renew<'a>(
        &'a self,
        key: &'a K,
        lease: &'a HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Asking<'a, bool>;

    fn release<'a>(&'a self, key: &'a K, lease: HeldLease, now: Instant) -> Asking<'a, bool>;
}

fn unshared<T>() -> Result<T, StoreError> {
    Err(StoreError::unsupported("shared"))
}

fn finder<V>(finds: &mut Finds<V>) -> impl FnMut(usize, Stored<V>) {
    |at, stored| {
        if let Some(place) = finds.get_mut(at) {
            *place = Some(stored);
        }
    }
}

/// A store that answers later, or, as one that [`Ready`] makes of a blocking one, blocks who asks.
pub(crate) struct Later<S> {
    store: S,
    blocks: bool,
}

impl<S> Later<S> {
    pub(crate) const fn new(store: S) -> Self {
        Self { store, blocks: false }
    }
}

impl<S> Later<Ready<S>> {
    pub(crate) const fn blocking(store: S) -> Self {
        Self { store: Ready(store), blocks: true }
    }
}

impl<K, V, S> Behind<K, V> for Later<S>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
    S: AsyncStore<K, V> + Send + Sync,
{
    fn is_shared(&self) -> bool {
        self.store.shared().is_some()
    }

    fn blocks(&self) -> bool {
        self.blocks
    }

    fn get<'a>(&'a self, key: &'a K, now: Instant) -> Asking<'a, Option<Stored<V>>> {
        Box::pin(self.store.get(key, now))
    }

    fn get_many<'a>(
        &'a self,
        keys: &'a [&'a K],
        now: Instant,
        finds: &'a mut Finds<V>,
    ) -> Asking<'a, ()> {
        Box::pin(async move { self.store.get_many(keys, now, &mut finder(finds)).await })
    }

    fn mutate<'a>(
        &'a self,
        key: &'a K,
        mutation: Mutation<'a, V>,
        by: Station,
        now: Instant,
    ) -> Asking<'a, bool> {
        Box::pin(async move {
            if let Some(shared) = self.store.shared() {
                return shared.mutate(key, mutation, by, now).await;
            }
            match mutation {
                Mutation::Put { value, lifetime, .. } | Mutation::Fill { value, lifetime, .. } => {
                    self.store.put(key, value, lifetime, now).await.map(|()| true)
                }
                Mutation::Expire => match self.store.get(key, now).await? {
                    Some(Stored { value, lifetime, .. }) => self
                        .store
                        .put(key, &value, lifetime.stale_since(lifetime.age), now)
                        .await
                        .map(|()| true),
                    None => Ok(false),
                },
                Mutation::Remove | Mutation::Vacate { .. } => self.store.remove(key, now).await,
                _ => Err(StoreError::unsupported("mutate")),
            }
        })
    }

    fn clear(&self, by: Station, now: Instant) -> Asking<'_, ()> {
        Box::pin(async move {
            match self.store.shared() {
                Some(shared) => shared.clear_all(by, now).await,
                None => self.store.clear(now).await,
            }
        })
    }

    fn keeps_tags(&self) -> bool {
        self.store.shared().is_some_and(|shared| shared.keeps_tags())
    }

    fn change_tag<'a>(
        &'a self,
        tag: &'a str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Asking<'a, ()> {
        Box::pin(async move {
            match self.store.shared() {
                Some(shared) => shared.change_tag(tag, change, by, now).await,
                None => unshared(),
            }
        })
    }

    fn acquire<'a>(
        &'a self,
        key: &'a K,
        ttl: Duration,
        now: Instant,
    ) -> Asking<'a, Option<HeldLease>> {
        Box::pin(async move {
            match self.store.shared() {
                Some(shared) => shared.acquire(key, ttl, now).await,
                None => unshared(),
            }
        })
    }

    fn renew<'a>(
        &'a self,
        key: &'a K,
        lease: &'a HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Asking<'a, bool> {
        Box::pin(async move {
            match self.store.shared() {
                Some(shared) => shared.renew(key, lease, ttl, now).await,
                None => unshared(),
            }
        })
    }

    fn release<'a>(&'a self, key: &'a K, lease: HeldLease, now: Instant) -> Asking<'a, bool> {
        Box::pin(async move {
            match self.store.shared() {
                Some(shared) => shared.release(key, lease, now).await,
                None => unshared(),
            }
        })
    }
}

/// What a store answers; `None` where it panics.
pub(crate) async fn caught<T>(mut asking: Asking<'_, T>) -> Option<Result<T, StoreError>> {
    let answer =
        poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| asking.as_mut().poll(context))) {
            Ok(polled) => polled.map(Some),
            Err(_) => Poll::Ready(None),
        })
        .await;
    drop(catch_unwind(AssertUnwindSafe(|| drop(asking))));
    answer
}

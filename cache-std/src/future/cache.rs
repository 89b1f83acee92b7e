//! The cache for tasks: what starts no load.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::sync::Arc;

use cache_core::store::TagChange;
use cache_core::{Entry, Explanation, Freshness, Loaded, Policy, Put, Stats};

use super::builder::{Builder, Tasks};
use super::runtime::Runtime;
use super::task::Shared;
use crate::sync::{self, DefaultHasher, Iter, Mutated, Reach, Snapshot};
use crate::time::Time;

/// A bounded cache for tasks. Clones share it.
///
/// It is a [`sync::Cache`] whose loads are futures: the same memory, which
/// [`blocking`](Self::blocking) gives to threads. A hit is answered without a point of waiting, and
/// without touching the runtime.
///
/// What changes the cache is `async`, so that a store behind it can be told as well; without one it is
/// done at once.
pub struct Cache<K, V, R, S = DefaultHasher> {
    pub(super) cache: sync::Cache<K, V, S>,
    pub(super) tasks: Arc<Shared<R>>,
}

impl<K, V, R, S> Clone for Cache<K, V, R, S> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), tasks: Arc::clone(&self.tasks) }
    }
}

impl<K, V, R: Runtime + Default> Cache<K, V, R> {
    /// Starts building a cache.
    pub fn builder() -> Builder<K, V, R> {
        Builder::new(Tasks::on(R::default()))
    }
}

impl<K, V, R: Runtime> Cache<K, V, R> {
    /// Starts building a cache whose loads run by this handle.
    pub fn builder_on(runtime: R) -> Builder<K, V, R> {
        Builder::new(Tasks::on(runtime))
    }
}

impl<K, V, R, S> Cache<K, V, R, S> {
    /// The same cache for threads. Who blocks for a load that runs as a task, and is polled by the very
    /// thread that is to be blocked, is told so where the runtime can tell; see
    /// [`LoadError::WouldHang`](crate::sync::LoadError::WouldHang). On a worker of several, block within
    /// what the runtime has for that; a load in the worker's own queue is waited for to the hard time-out.
    /// With a store behind the cache, what changes it blocks as well, until the store has answered or its
    /// time-outs have passed.
    pub const fn blocking(&self) -> &sync::Cache<K, V, S> {
        &self.cache
    }
}

impl<K, V, R, S> Cache<K, V, R, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// A copy of the fresh value. Starts no load.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.get(key)
    }

    /// A copy of each fresh value, in the order of the keys. Starts no load.
    pub fn get_many<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized + 'q,
    {
        self.cache.get_many(keys)
    }

    /// Removes some of what has passed; see [`sync::Cache::maintain`].
    pub fn maintain(&self, budget: usize) -> usize {
        self.cache.maintain(budget)
    }

    /// Removes all that has passed; see [`sync::Cache::purge_expired`].
    pub fn purge_expired(&self) -> usize {
        self.cache.purge_expired()
    }

    /// Whether [`get`](Self::get) would answer. Counts as no use.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.contains(key)
    }

    /// A copy of the fresh value. Counts as no use.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.peek(key)
    }

    /// The entry while anything may serve it; see [`sync::Cache::entry`].
    pub fn entry<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.entry(key)
    }

    /// How fresh the entry is; `None` when nothing may serve. Counts as no use.
    pub fn freshness<Q>(&self, key: &Q) -> Option<Freshness>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.freshness(key)
    }

    /// What is known of the key, and what a read would do. Counts as no use.
    pub fn explain<Q>(&self, key: &Q) -> Explanation
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.cache.explain(key)
    }

    /// Entries held, whatever their freshness. O(capacity / 32).
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// Weight of all entries held. Costs what [`len`](Self::len) does.
    pub fn weight(&self) -> u64 {
        self.cache.weight()
    }

    /// The counters. Costs what [`len`](Self::len) does.
    pub fn stats(&self) -> Stats {
        self.cache.stats()
    }

    /// The entries, table by table; see [`sync::Cache::iter`].
    pub fn iter(&self) -> Iter<'_, K, V, S> {
        self.cache.iter()
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Arc<Policy> {
        self.cache.policy()
    }

    /// The clock.
    pub fn time(&self) -> &Arc<dyn Time> {
        self.cache.time()
    }
}

impl<K, V, R, S> Cache<K, V, R, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    R: Runtime,
    S: BuildHasher,
{
    /// Stores a value; see [`sync::Cache::put`].
    pub async fn put(&self, key: K, loaded: impl Into<Loaded<V>>) -> Put<V> {
        self.store(key, loaded.into(), false).await
    }

    /// Stores a value unless a fresh one is there.
    pub async fn put_if_absent(&self, key: K, loaded: impl Into<Loaded<V>>) -> Put<V> {
        self.store(key, loaded.into(), true).await
    }

    async fn store(&self, key: K, loaded: Loaded<V>, if_absent: bool) -> Put<V> {
        let inner = &self.cache.inner;
        match &inner.second {
            Some(second) => {
                let timer = self.tasks.timer(inner);
                self.cache.store_in_both((second, &timer), key, loaded, if_absent).await
            }
            None if if_absent => self.cache.put_if_absent(key, loaded),
            None => self.cache.put(key, loaded),
        }
    }

    /// Makes a value stale from now on and keeps it as fallback. Says whether there was one, and who
    /// knows of it.
    pub async fn expire<Q>(&self, key: &Q) -> Mutated
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &self.cache.inner;
        let Some(second) = &inner.second else { return self.cache.expire(key) };
        let (key, timer) = (key.to_owned(), self.tasks.timer(inner));
        self.cache.expire_in_both((second, &timer), &key).await
    }

    /// Removes a value. Says whether there was one, and who knows of it.
    pub async fn invalidate<Q>(&self, key: &Q) -> Mutated
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &self.cache.inner;
        let Some(second) = &inner.second else { return self.cache.invalidate(key) };
        let (key, timer) = (key.to_owned(), self.tasks.timer(inner));
        self.cache.invalidate_in_both((second, &timer), &key).await
    }

    /// Removes everything, table by table. O(entries). Says who knows of it.
    pub async fn clear(&self) -> Reach {
        let inner = &self.cache.inner;
        let Some(second) = &inner.second else { return self.cache.clear() };
        let timer = self.tasks.timer(inner);
        self.cache.clear_both((second, &timer)).await
    }

    /// Makes every value with this tag stale from now on. O(1) in the number of entries. Says who
    /// knows of it.
    pub async fn expire_tag(&self, tag: &str) -> Reach {
        self.change_tag(tag, TagChange::Expire).await
    }

    /// Removes every value with this tag. O(1) in the number of entries. Says who knows of it.
    pub async fn invalidate_tag(&self, tag: &str) -> Reach {
        self.change_tag(tag, TagChange::Invalidate).await
    }

    async fn change_tag(&self, tag: &str, change: TagChange) -> Reach {
        let inner = &self.cache.inner;
        inner.change_tag(&self.tasks.timer(inner), tag, change).await
    }
}

impl<K, V, R, S> Cache<K, V, R, S> {
    /// All entries as bytes; see [`sync::Cache::snapshot`]. To write and read them blocks.
    pub fn snapshot<C>(&self, codec: C) -> Snapshot<'_, K, V, C, S> {
        self.cache.snapshot(codec)
    }
}

impl<K, V, R, S> fmt::Debug for Cache<K, V, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cache").field(&self.cache).finish()
    }
}

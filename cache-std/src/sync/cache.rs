//! The cache itself: everything that starts no load.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use cache_core::shard::{At, Spare};
use cache_core::{Contract, Entry, Explanation, Freshness, Instant, Loaded, Policy, Put, Stats};

use super::bay::{Bay, Leaving};
use super::builder::{Builder, DefaultHasher, ServeOld, Weigher};
use crate::pool::Pool;
use crate::time::Time;

/// Positions that each write sweeps for what has passed.
pub(super) const SWEEP: usize = 8;

/// A bounded cache for threads. Clones share it.
///
/// A read hashes its key once, takes one small lock, and clones the value: keep `Clone` cheap, with
/// an `Arc` around what is large. See [the module](super) for an example and [`Builder`] for the
/// settings.
pub struct Cache<K, V, S = DefaultHasher> {
    pub(super) inner: Arc<Inner<K, V, S>>,
}

pub(super) struct Inner<K, V, S> {
    pub(super) bays: Box<[Bay<K, V>]>,
    pub(super) policy: Policy,
    pub(super) hasher: S,
    pub(super) time: Arc<dyn Time>,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) serve_old: Option<ServeOld>,
    pub(super) max_loads: usize,
    pub(super) max_waiters: usize,
    pub(super) loads: AtomicUsize,
    pub(super) waiters: AtomicUsize,
    pub(super) pool: OnceLock<Arc<Pool>>,
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V, S> From<Inner<K, V, S>> for Cache<K, V, S> {
    fn from(inner: Inner<K, V, S>) -> Self {
        Self { inner: Arc::new(inner) }
    }
}

impl<K, V> Cache<K, V> {
    /// Starts building a cache.
    pub fn builder() -> Builder<K, V> {
        Builder::new()
    }
}

impl<K: Eq, V, S: BuildHasher> Inner<K, V, S> {
    pub(super) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The bay of a hash: by bits that the tables do not use.
    pub(super) fn bay(&self, hash: u64) -> &Bay<K, V> {
        let n = (hash >> 40) as usize & (self.bays.len() - 1);
        &self.bays[n]
    }

    pub(super) fn now(&self) -> Instant {
        self.time.now()
    }

    pub(super) fn weigh(&self, key: &K, loaded: &Loaded<V>) -> u32 {
        let weigher = self.weigher.as_ref().zip(loaded.as_value());
        weigher.map_or(1, |(weigher, value)| weigher(key, value))
    }

    /// The fast way to a value: one lock, one comparison of time.
    pub(super) fn hit<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        self.bay(hash).lock().shard.hit(At { hash, key, now }).map(|hit| hit.value.clone())
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// A copy of the fresh value. Starts no load.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        let mut leaving = Leaving::new();
        let mut bay = self.inner.bay(hash).lock();
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let value = bay.shard.get(At { hash, key, now }, &Contract::new(), out).cloned();
        drop(bay);
        value
    }

    /// Stores a value: a plain one with the cache's windows, or a [`Loaded`] with its own ttl, tags
    /// or etag. Loads under way for the key will not land.
    pub fn put(&self, key: K, loaded: impl Into<Loaded<V>>) -> Put<V> {
        self.store(key, loaded.into(), false)
    }

    /// Stores a value unless a fresh one is there.
    pub fn put_if_absent(&self, key: K, loaded: impl Into<Loaded<V>>) -> Put<V> {
        self.store(key, loaded.into(), true)
    }

    fn store(&self, key: K, loaded: Loaded<V>, if_absent: bool) -> Put<V> {
        let inner = &*self.inner;
        let (hash, now, weight) = (inner.hash(&key), inner.now(), inner.weigh(&key, &loaded));
        let mut spare = Spare::storing(key.clone(), &loaded);
        let mut leaving = Leaving::new();
        let mut bay = inner.bay(hash).lock();
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let put = if if_absent {
            bay.shard.put_if_absent(At { hash, key: &key, now }, &mut spare, loaded, weight, out)
        } else {
            bay.shard.put(At { hash, key: &key, now }, &mut spare, loaded, weight, out)
        };
        bay.shard.tick(now, SWEEP, out);
        drop(bay);
        put
    }

    /// Makes a value stale from now on and keeps it as fallback. `true` if there was one.
    pub fn expire<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        let mut spare = Spare::one(key.to_owned());
        let mut leaving = Leaving::new();
        let mut bay = self.inner.bay(hash).lock();
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let found = bay.shard.expire(At { hash, key, now }, &mut spare, out);
        drop(bay);
        found
    }

    /// Removes a value. `true` if there was one.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        let mut leaving = Leaving::new();
        let mut bay = self.inner.bay(hash).lock();
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let found = bay.shard.invalidate(At { hash, key, now }, out);
        drop(bay);
        found
    }

    /// Removes everything, shard by shard. O(entries).
    pub fn clear(&self) {
        for bay in &self.inner.bays {
            let mut leaving = Leaving::new();
            let mut bay = bay.lock();
            bay.shard.clear(&mut |cause, key, value| leaving.take(cause, key, value));
            drop(bay);
        }
    }

    /// Makes every value with this tag stale from now on. O(shards).
    pub fn expire_tag(&self, tag: &str) {
        let now = self.inner.now();
        self.inner.bays.iter().for_each(|bay| bay.lock().shard.expire_tag(tag, now));
    }

    /// Removes every value with this tag. O(shards).
    pub fn invalidate_tag(&self, tag: &str) {
        self.inner.bays.iter().for_each(|bay| bay.lock().shard.invalidate_tag(tag));
    }

    /// Removes what has passed, now, and says how many entries went. Writes do a little of this all
    /// the time; nobody needs to call it. Takes each shard's lock for 256 positions at a time.
    pub fn purge_expired(&self) -> usize {
        let now = self.inner.now();
        self.inner.bays.iter().map(|bay| Self::purge_bay(bay, now)).sum()
    }

    fn purge_bay(bay: &Bay<K, V>, now: Instant) -> usize {
        let mut removed = 0;
        loop {
            let mut leaving = Leaving::new();
            let out = &mut |cause, key, value| leaving.take(cause, key, value);
            let mut inner = bay.lock();
            removed += inner.shard.tick(now, 256, out);
            let more = inner.shard.is_due(now);
            drop(inner);
            if !more {
                return removed;
            }
        }
    }

    /// Whether [`get`](Self::get) would answer. Counts as no use.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        self.inner.bay(hash).lock().shard.peek(At { hash, key, now }).is_some()
    }

    /// A copy of the fresh value. Counts as no use.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        self.inner.bay(hash).lock().shard.peek(At { hash, key, now }).cloned()
    }

    /// The entry while anything may serve it: a copy of the value, with its windows. Counts as no
    /// use. The instants in it are the cache's own clock's.
    pub fn entry<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        let bay = self.inner.bay(hash).lock();
        bay.shard.entry(At { hash, key, now }).map(|entry| entry.map(Clone::clone))
    }

    /// How fresh the entry is; `None` when nothing may serve. Counts as no use.
    pub fn freshness<Q>(&self, key: &Q) -> Option<Freshness>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.explain(key).freshness
    }

    /// What is known of the key, and what a read would do. Counts as no use.
    pub fn explain<Q>(&self, key: &Q) -> Explanation
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        self.inner.bay(hash).lock().shard.explain(At { hash, key, now })
    }

    /// Entries held, whatever their freshness. O(shards).
    pub fn len(&self) -> usize {
        self.inner.bays.iter().map(|bay| bay.lock().shard.len()).sum()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries held. O(shards).
    pub fn weight(&self) -> u64 {
        self.inner.bays.iter().map(|bay| bay.lock().shard.weight()).sum()
    }

    /// The counters. O(shards).
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.inner.bays.iter().for_each(|bay| sum += bay.lock().shard.stats());
        sum
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// The clock.
    pub fn time(&self) -> &Arc<dyn Time> {
        &self.inner.time
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("shards", &self.inner.bays.len())
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}

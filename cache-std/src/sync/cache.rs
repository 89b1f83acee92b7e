//! The cache itself: everything that starts no load.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use cache_core::shard::Spare;
use cache_core::store::TagChange;
use cache_core::{Contract, Entry, Explanation, Freshness, Instant, Loaded, Policy, Put, Stats};

use super::audience::Audience;
use super::both::Mutated;
use super::builder::{Builder, DefaultHasher, ServeOld, Threads, Weigher};
use super::chore::{Chore, Renewer};
use super::listener::Listener;
use super::place::Places;
use super::tables::{Plain, Tables};
use crate::pool::Pool;
use crate::second::{Reach, Second, ThreadTimer};
use crate::time::{TickTime, Time};

/// A bounded cache for threads. Clones share it.
///
/// A read hashes its key once, takes one small lock, and clones the value: keep `Clone` cheap, with
/// an `Arc` around what is large. See [the module](super) for an example and [`Builder`] for the
/// settings.
pub struct Cache<K, V, S = DefaultHasher> {
    pub(crate) inner: Arc<Inner<K, V, S>>,
}

pub(crate) struct Inner<K, V, S> {
    pub(super) tables: Tables<K, V>,
    /// Who changes it holds `finer`.
    pub(crate) policy: ArcSwap<Policy>,
    /// The tick that a policy of later has asked for.
    pub(crate) finer: Mutex<Option<TickTime>>,
    pub(crate) hasher: S,
    pub(crate) time: Arc<dyn Time>,
    /// The time is the shared tick, which is read without asking `time`.
    pub(crate) ticks: bool,
    /// Reads take nothing from memory.
    pub(crate) bypassed: AtomicBool,
    /// The one and not the other, so that hits ask for both at once.
    pub(crate) ticks_unbypassed: AtomicBool,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) serve_old: Option<ServeOld>,
    pub(crate) places: Places,
    pub(crate) max_waiters: usize,
    pub(crate) max_waiters_per_key: usize,
    pub(crate) waiters: AtomicUsize,
    /// Values that no table had room for.
    pub(crate) not_kept: AtomicU64,
    pub(crate) pool: OnceLock<Arc<Pool>>,
    pub(super) sweeper: OnceLock<Chore>,
    /// Removes what is in doubt from the store, once there was any.
    pub(super) mender: OnceLock<Option<Chore>>,
    /// Renews leases of loads that run on threads.
    pub(super) renewer: OnceLock<Renewer<K>>,
    /// The store behind the memory.
    pub(crate) second: Option<Box<Second<K, V>>>,
    /// Tasks that load: they end with the cache.
    pub(crate) tasks: Audience,
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
        Builder::new(Threads)
    }
}

impl<K, V, S> Inner<K, V, S> {
    #[inline(always)]
    pub(crate) fn is_bypassed(&self) -> bool {
        self.bypassed.load(Ordering::Relaxed)
    }

    /// What a read of this cache accepts if it says nothing else.
    pub(crate) fn contract(&self) -> Contract {
        Contract::new().bypass(self.is_bypassed())
    }
}

impl<K: Eq, V, S: BuildHasher> Inner<K, V, S> {
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        if self.ticks { TickTime::latest() } else { self.time.now() }
    }

    /// A value that needs no decision, for a read that may load: a stale one, under refresh, as well.
    #[inline(always)]
    pub(crate) fn hit<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        if let Some(tables) = self.tables.quick()
            && let Some(value) = tables.hot_or_stale(hash, key, now)
        {
            return Some(value);
        }
        if Plain::<K, V>::MAY_BE {
            return self.hit_slowly(hash, key, now);
        }
        if self.is_bypassed() { None } else { self.tables.hit(hash, key, now) }
    }

    /// The same for all who are not told at once, where there are such who are: out of their way.
    #[cold]
    #[inline(never)]
    fn hit_slowly<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        if self.is_bypassed() { None } else { self.tables.hit(hash, key, now) }
    }

    /// How every read that may load begins: the value, where no decision is needed, or else the hash
    /// and the time to go on with.
    #[inline(always)]
    pub(crate) fn begin<Q>(&self, key: &Q) -> Result<V, (u64, Instant)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let hash = self.hash(key);
        if let Some(tables) = self.tables.quick()
            && let Some(value) = tables.hot_or_stale(hash, key, TickTime::latest())
        {
            return Ok(value);
        }
        let now = self.now();
        match if self.is_bypassed() { None } else { self.tables.hit(hash, key, now) } {
            Some(value) => Ok(value),
            None => Err((hash, now)),
        }
    }

    /// A copy of a value that is fresh for certain. `None` says nothing.
    pub(crate) fn fresh_hit<Q>(&self, hash: u64, key: &Q, now: Instant) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        V: Clone,
    {
        if self.is_bypassed() { None } else { self.tables.fresh_hit(hash, key, now) }
    }

    /// Makes a value in memory stale; `true` if there was one.
    pub(crate) fn expire<Q>(&self, hash: u64, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (now, mut spare) = (self.now(), Spare::one(key.to_owned()));
        let mut leaving = self.tables.leaving();
        let mut desk = self.tables.desk(hash);
        let found = desk.expire(key, now, &mut spare, &mut leaving);
        desk.close(&mut leaving);
        found
    }

    /// What became of a value that a table stored, or handed back.
    #[inline]
    fn put_of(&self, refused: Option<V>) -> Put<V> {
        let Some(value) = refused else { return Put::Stored };
        self.not_kept.fetch_add(1, Ordering::Relaxed);
        Put::NotKept(value)
    }

    pub(crate) fn weigh(&self, key: &K, loaded: &Loaded<V>) -> u32 {
        loaded.as_value().map_or(1, |value| self.weigh_value(key, value))
    }

    pub(crate) fn weigh_value(&self, key: &K, value: &V) -> u32 {
        self.weigher.as_ref().map_or(1, |weigher| weigher(key, value))
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
{
    /// Stores a value: a plain one with the cache's windows, or a [`Loaded`] with its own ttl, tags
    /// or etag. Loads under way for the key will not land.
    pub fn put(&self, key: K, loaded: impl Into<Loaded<V>>) -> Put<V> {
        if let Some(second) = &self.inner.second {
            return self.store_here(second, key, loaded.into(), false);
        }
        match loaded.into().into_plain() {
            Ok(value) => self.store_plain(key, value),
            Err(loaded) => self.store((self.inner.hash(&key), key), loaded, false),
        }
    }

    /// Stores a value unless a fresh one is there.
    pub fn put_if_absent(&self, key: K, loaded: impl Into<Loaded<V>>) -> Put<V> {
        match &self.inner.second {
            Some(second) => self.store_here(second, key, loaded.into(), true),
            None => self.store((self.inner.hash(&key), key), loaded.into(), true),
        }
    }

    /// In the store as well.
    #[cold]
    fn store_here(
        &self,
        second: &Second<K, V>,
        key: K,
        loaded: Loaded<V>,
        if_absent: bool,
    ) -> Put<V> {
        let timer = ThreadTimer::new(&*self.inner.time);
        timer.block_on(self.store_in_both((second, &timer), key, loaded, if_absent))
    }

    /// A plain value under one small lock, where no record is concerned.
    #[inline]
    fn store_plain(&self, key: K, value: V) -> Put<V> {
        let inner = &*self.inner;
        let (hash, now) = (inner.hash(&key), inner.now());
        match inner.tables.put((hash, key), value, now) {
            Ok(refused) => inner.put_of(refused),
            Err((key, value)) => self.store_elsewhere((hash, key), value, now),
        }
    }

    /// The same where values are weighed, tables are arranged otherwise, or a record is concerned: out
    /// of the way of what needs only one look.
    #[inline(never)]
    fn store_elsewhere(&self, (hash, key): (u64, K), value: V, now: Instant) -> Put<V> {
        let inner = &*self.inner;
        let weight = inner.weigher.as_ref().map_or(1, |weigher| weigher(&key, &value));
        match inner.tables.put_elsewhere((hash, key), (value, weight), now) {
            Ok(refused) => inner.put_of(refused),
            Err((key, value)) => self.store((hash, key), Loaded::value(value), false),
        }
    }

    #[inline(never)]
    pub(crate) fn store(
        &self,
        (hash, key): (u64, K),
        loaded: Loaded<V>,
        if_absent: bool,
    ) -> Put<V> {
        let weight = self.inner.weigh(&key, &loaded);
        let kept = self.keep(hash, &mut Some((key, loaded)), (weight, if_absent), u64::MAX);
        kept.0.unwrap_or(Put::Stored)
    }

    /// Makes a value stale from now on and keeps it as fallback. Says whether there was one, and who
    /// knows of it.
    pub fn expire<Q>(&self, key: &Q) -> Mutated
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(second) = &inner.second {
            let timer = ThreadTimer::new(&*inner.time);
            return timer.block_on(self.expire_in_both((second, &timer), &key.to_owned()));
        }
        Mutated::here(inner.expire(inner.hash(key), key))
    }

    /// Removes a value. Says whether there was one, and who knows of it.
    pub fn invalidate<Q>(&self, key: &Q) -> Mutated
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(second) = &inner.second {
            let timer = ThreadTimer::new(&*inner.time);
            return timer.block_on(self.invalidate_in_both((second, &timer), &key.to_owned()));
        }
        Mutated::here(inner.tables.invalidate(inner.hash(key), key, inner.now()))
    }

    /// Removes everything, table by table. O(entries). Says who knows of it.
    pub fn clear(&self) -> Reach {
        let inner = &*self.inner;
        if let Some(second) = &inner.second {
            let timer = ThreadTimer::new(&*inner.time);
            return timer.block_on(self.clear_both((second, &timer)));
        }
        inner.tables.clear();
        Reach::Everywhere
    }

    /// Makes every value with this tag stale from now on. O(1) in the number of entries. Says who
    /// knows of it.
    pub fn expire_tag(&self, tag: &str) -> Reach {
        self.change_tag(tag, TagChange::Expire)
    }

    /// Removes every value with this tag. O(1) in the number of entries. Says who knows of it.
    pub fn invalidate_tag(&self, tag: &str) -> Reach {
        self.change_tag(tag, TagChange::Invalidate)
    }

    fn change_tag(&self, tag: &str, change: TagChange) -> Reach {
        let inner = &*self.inner;
        let timer = ThreadTimer::new(&*inner.time);
        timer.block_on(inner.change_tag(&timer, tag, change))
    }

    /// Removes some of what has passed, and says how many entries went: goes on where the last call
    /// ended, and looks at up to `budget` entries. Writes do a little of this all the time; who
    /// writes seldom may call it from a timer. O(`budget`).
    pub fn maintain(&self, budget: usize) -> usize {
        self.inner.tables.maintain(self.inner.now(), budget)
    }

    /// Removes all that has passed, and says how many entries went. O(entries), but no lock is held
    /// for more than 256 of them; [`maintain`](Self::maintain) is the same in pieces.
    pub fn purge_expired(&self) -> usize {
        self.inner.tables.purge(self.inner.now())
    }

    /// Whether [`get`](Self::get) would answer, the cache not being bypassed. Counts as no use.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        self.inner.tables.desk(hash).peek(key, now).is_some()
    }

    /// A copy of the fresh value. Counts as no use.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        self.inner.tables.desk(hash).peek(key, now).cloned()
    }

    /// The entry while anything may serve it: a copy of the value, with its windows. Counts as no
    /// use. The instants in it are the cache's own clock's.
    pub fn entry<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (hash, now) = (self.inner.hash(key), self.inner.now());
        let desk = self.inner.tables.desk(hash);
        desk.entry(key, now).map(|entry| entry.map(Clone::clone))
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
        let contract = self.inner.contract().room(self.inner.places.is_free());
        self.inner.tables.desk(hash).explain(key, now, &contract)
    }

    /// Entries held, whatever their freshness. O(capacity / 32): takes every small lock in turn.
    pub fn len(&self) -> usize {
        self.inner.tables.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight of all entries held. Costs what [`len`](Self::len) does.
    pub fn weight(&self) -> u64 {
        self.inner.tables.weight()
    }

    /// The counters. Costs what [`len`](Self::len) does.
    pub fn stats(&self) -> Stats {
        let mut stats = self.inner.tables.stats();
        stats.lost_events += self.inner.tables.listener().map_or(0, Listener::lost);
        if let Some(second) = &self.inner.second {
            second.add_counts(&mut stats);
        }
        stats.not_kept += self.inner.not_kept.load(Ordering::Relaxed);
        stats
    }

    /// The policy as it is now; see [`Control::change_policy`](super::Control::change_policy).
    pub fn policy(&self) -> Arc<Policy> {
        self.inner.policy.load_full()
    }

    /// The clock.
    pub fn time(&self) -> &Arc<dyn Time> {
        &self.inner.time
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("tables", &self.inner.tables.count())
            .field("policy", &self.inner.policy.load())
            .finish_non_exhaustive()
    }
}

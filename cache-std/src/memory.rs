//! A store in this process's memory: the simplest of all stores, bounded, for tests and as a
//! stand-in where a shared store is optional.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use cache_core::shard::{At, Book, Limits, Shard, Spare, TagVerdict, View};
use cache_core::store::{
    Backplane, HeldLease, Leases, Mutation, Receiver, SharedStore, Station, Store, StoreError,
    Stored, TagChange,
};
use cache_core::table::{Bound, HashPlaces, HashTable, LocalTable, Table};
use cache_core::{Contract, Instant, Lifetime, Policy, Put, Record};

use crate::receivers::Receivers;

/// Entries in memory, at most `capacity` of them; a full store evicts what was not used lately.
///
/// Counts time by its callers' `now`. Also grants [`Leases`], at most as many as entries.
///
/// ```
/// use std::time::Duration;
/// use cache_std::{Clock, Lifetime, ManualTime, MemoryStore};
/// use cache_std::store::Store;
///
/// let (time, store) = (ManualTime::new(), MemoryStore::<String, u32>::new(1_000));
/// let minute = Lifetime::fresh_for(Duration::from_secs(60));
/// store.put("answer", &42, minute, time.now())?;
/// time.advance(Duration::from_secs(20));
/// let stored = store.get("answer", time.now())?.expect("still fresh");
/// assert_eq!((stored.value, stored.lifetime.age), (42, Duration::from_secs(20)));
/// # Ok::<(), cache_std::store::StoreError>(())
/// ```
pub struct MemoryStore<K, V> {
    kept: Mutex<Kept<K, V>>,
    leases: Mutex<Held<K>>,
    hasher: RandomState,
    capacity: usize,
    receivers: Receivers<K>,
}

/// The entries and their records.
struct Kept<K, V> {
    table: HashTable<K, V, RandomState>,
    book: Book<K, HashPlaces<K, Record>>,
}

impl<K: Eq, V> Kept<K, V> {
    const fn shard(
        &mut self,
    ) -> Shard<'_, K, V, HashTable<K, V, RandomState>, HashPlaces<K, Record>> {
        Shard::new(&mut self.table, &mut self.book)
    }

    const fn view(&self) -> View<'_, K, V, HashTable<K, V, RandomState>, HashPlaces<K, Record>> {
        View::new(&self.table, &self.book)
    }
}

impl<K: Clone + Eq, V> Kept<K, V> {
    /// Whether it was stored.
    fn put<Q>(&mut self, at: At<'_, Q>, stored: Stored<V>, gone: &mut Vec<(Option<K>, V)>) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ToOwned<Owned = K> + ?Sized,
    {
        let loaded = stored.into_loaded();
        let mut spare = Spare::storing(at.key.to_owned(), &loaded);
        let out = &mut |_, key, value| gone.push((key, value));
        matches!(self.shard().put(at, &mut spare, loaded, 1, out), Put::Stored)
    }
}

/// Lets go of the locks, and then of the keys that went with records.
fn leave<K, V>(mut kept: MutexGuard<'_, Kept<K, V>>, held: impl Sized) {
    let dropped = kept.book.take_dropped();
    drop((kept, held));
    drop(dropped);
}

/// The leases that are out.
struct Held<K> {
    by_key: HashMap<K, Lease>,
    last_fence: u64,
}

struct Lease {
    token: [u8; 16],
    until: Instant,
}

impl<K: Eq + Hash, V> MemoryStore<K, V> {
    /// An empty store of at most `capacity` entries; 0 keeps none.
    pub fn new(capacity: usize) -> Self {
        let hasher = RandomState::new();
        let table = HashTable::new(Bound::Entries(capacity), hasher.clone());
        // Every entry brings its own windows, so the policy supplies nothing that is used.
        #[allow(clippy::expect_used)]
        let policy = Policy::forever().build().expect("`forever` alone contradicts nothing");
        let book = Book::new(table.records(), policy, Limits::default(), 0);
        Self {
            kept: Mutex::new(Kept { table, book }),
            leases: Mutex::new(Held { by_key: HashMap::new(), last_fence: 0 }),
            hasher,
            capacity,
            receivers: Receivers::default(),
        }
    }

    /// Entries held, whatever their age.
    pub fn len(&self) -> usize {
        self.lock().table.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Kept<K, V>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at<'a, Q: Hash + ?Sized>(&self, key: &'a Q, now: Instant) -> At<'a, Q> {
        At { hash: self.hasher.hash_one(key), key, now }
    }

    fn held(&self) -> MutexGuard<'_, Held<K>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V, Q> Store<Q, V> for MemoryStore<K, V>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    V: Clone,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    Self: Sync,
{
    fn get(&self, key: &Q, now: Instant) -> Result<Option<Stored<V>>, StoreError> {
        let at = self.at(key, now);
        let kept = self.lock();
        let entry = kept.view().entry(at);
        let stored = entry.map(|entry| Stored::new(entry.value.clone(), entry.lifetime(now)));
        let explained = kept.view().explain(self.at(key, now), &Contract::default());
        Ok(stored.map(|stored| stored.tagged(explained.tag_hashes().iter().copied())))
    }

    fn put(&self, key: &Q, value: &V, lifetime: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.mutate(key, Mutation::put(value, lifetime), Station::NOBODY, now).map(drop)
    }

    fn remove(&self, key: &Q, now: Instant) -> Result<bool, StoreError> {
        self.mutate(key, Mutation::Remove, Station::NOBODY, now)
    }

    fn put_if_absent(
        &self,
        key: &Q,
        value: &V,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let mut gone = Vec::new();
        let mut held = self.held();
        let mut kept = self.lock();
        let there = kept.view().entry(self.at(key, now));
        if there.is_some_and(|entry| entry.lifetime(now).is_present()) {
            return Ok(false);
        }
        let stored = Stored::new(value.clone(), lifetime);
        let stored = kept.put(self.at(key, now), stored, &mut gone);
        held.by_key.remove(key);
        leave(kept, held);
        self.receivers.tell(Station::NOBODY, |to| to.changed(key.to_owned()));
        Ok(stored)
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        SharedStore::<Q, V>::clear_all(self, Station::NOBODY, now)
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        let (mut removed, mut gone) = (0, Vec::new());
        let out = &mut |_, key, value| gone.push((key, value));
        let mut kept = self.lock();
        while removed < budget && kept.view().is_due(now) {
            removed += kept.shard().tick(now, (budget - removed).min(64), out);
        }
        leave(kept, ());
        Ok(removed)
    }

    fn shared(&self) -> Option<&(dyn SharedStore<Q, V> + Sync)> {
        Some(self)
    }
}

impl<K, V, Q> SharedStore<Q, V> for MemoryStore<K, V>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    V: Clone,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn mutate(
        &self,
        key: &Q,
        mutation: Mutation<'_, V>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let (at, mut gone) = (self.at(key, now), Vec::new());
        let mut held = self.held();
        let mut kept = self.lock();
        if let Some(lease) = mutation.lease()
            && !held.by_key.get(key).is_some_and(|held| held.is(lease, now))
        {
            return Ok(false);
        }
        held.by_key.remove(key);
        let since_lease = match &mutation {
            Mutation::Fill { tags, lease, .. } => kept.book.tags_since(tags, lease.tags_seen()),
            _ => TagVerdict::Untouched,
        };
        if since_lease == TagVerdict::Invalidated {
            return Ok(false);
        }
        let tell: fn(&dyn Receiver<K>, K) = match mutation {
            Mutation::Expire => |to, key| to.expired(key),
            Mutation::Fill { .. } => |to, key| to.filled(key),
            _ => |to, key| to.changed(key),
        };
        let done = match mutation {
            Mutation::Put { value, lifetime, tags, .. }
            | Mutation::Fill { value, lifetime, tags, .. } => {
                let lifetime = match since_lease {
                    TagVerdict::Expired(at) => {
                        let passed = now.saturating_since(at);
                        lifetime.stale_since(lifetime.age.saturating_sub(passed))
                    }
                    _ => lifetime,
                };
                let stored = Stored::new(value.clone(), lifetime);
                kept.put(at, stored.tagged(tags.iter().copied()), &mut gone);
                true
            }
            Mutation::Expire => {
                let mut spare = Spare::one(key.to_owned());
                kept.shard().expire(at, &mut spare, &mut |_, key, value| gone.push((key, value)))
            }
            Mutation::Remove | Mutation::Vacate { .. } => {
                let there =
                    kept.shard().invalidate(at, &mut |_, key, value| gone.push((key, value)));
                // Its lease was in force, and that is all that a vacation needs.
                there || matches!(mutation, Mutation::Vacate { .. })
            }
            _ => return Err(StoreError::unsupported("mutate")),
        };
        leave(kept, held);
        self.receivers.tell(by, |to| tell(to, key.to_owned()));
        Ok(done)
    }

    fn clear_all(&self, by: Station, _: Instant) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        let mut held = self.held();
        held.by_key.clear();
        let mut kept = self.lock();
        kept.shard().clear(&mut |_, key, value| gone.push((key, value)));
        leave(kept, held);
        self.receivers.tell(by, |to| to.cleared());
        Ok(())
    }

    fn keeps_tags(&self) -> bool {
        true
    }

    fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        by: Station,
        now: Instant,
    ) -> Result<(), StoreError> {
        match change {
            TagChange::Expire => self.lock().book.expire_tag(tag, now),
            TagChange::Invalidate => self.lock().book.invalidate_tag(tag),
        }
        self.receivers.tell(by, |to| match change {
            TagChange::Expire => to.tag_expired(tag),
            TagChange::Invalidate => to.tag_invalidated(tag),
        });
        Ok(())
    }
}

/// Tells each cache of this process that listens, at once.
impl<K, V> Backplane<K> for MemoryStore<K, V> {
    fn attach(&self, receiver: Weak<dyn Receiver<K>>) -> Station {
        self.receivers.attach(receiver)
    }
}

impl<K, V, Q> Leases<Q> for MemoryStore<K, V>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    fn acquire(
        &self,
        key: &Q,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        let owned = key.to_owned();
        let mut held = self.held();
        if held.by_key.get(key).is_some_and(|lease| !now.has_reached(lease.until)) {
            return Ok(None);
        }
        if held.by_key.len() >= self.capacity {
            held.by_key.retain(|_, lease| !now.has_reached(lease.until));
        }
        if held.by_key.len() >= self.capacity {
            return Err(StoreError::unavailable("as many leases are out as the store may hold"));
        }
        held.last_fence += 1;
        let (token, fence) = (self.token(held.last_fence), held.last_fence);
        held.by_key.insert(owned, Lease { token, until: now + ttl });
        Ok(Some(HeldLease::new(token, fence).after_tags(self.lock().book.tag_changes())))
    }

    fn renew(
        &self,
        key: &Q,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let mut held = self.held();
        let mine = held.by_key.get_mut(key).filter(|held| held.is(lease, now));
        Ok(mine.map(|held| held.until = now + ttl).is_some())
    }

    fn release(&self, key: &Q, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        let mut held = self.held();
        let mine = held.by_key.get(key).is_some_and(|held| held.is(&lease, now));
        if mine {
            held.by_key.remove(key);
        }
        Ok(mine)
    }
}

impl<K: Eq + Hash, V> MemoryStore<K, V> {
    /// Sixteen bytes that nobody can guess who does not know this store's hash keys.
    fn token(&self, fence: u64) -> [u8; 16] {
        let (low, high) = (self.hasher.hash_one((fence, 0)), self.hasher.hash_one((fence, 1)));
        ((u128::from(high) << 64) | u128::from(low)).to_le_bytes()
    }
}

impl Lease {
    fn is(&self, lease: &HeldLease, now: Instant) -> bool {
        self.token == *lease.token() && !now.has_reached(self.until)
    }
}

impl<K: Eq + Hash, V> fmt::Debug for MemoryStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

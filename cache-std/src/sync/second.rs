//! The store behind a cache's memory.

use core::hash::Hash;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::store::{Store, StoreError, Stored};
use cache_core::{Freshness, Instant, Lifetime, Loaded, Policy, Stats};

/// Keys that change at a time, at most.
const TURNS: usize = 1_024;
/// Most keys that are in doubt at a time.
const DOUBTS: usize = 10_000;

/// A store that may be shared by threads.
pub(super) type SharedStore<K, V> = Arc<dyn Store<K, V> + Send + Sync>;

/// The store behind a cache's memory, and what keeps the two in step:
///
/// - Memory and store change for a key in one [turn](Self::turn), so that neither keeps what the
///   other has lost.
/// - Within it, a mutation changes the store first. A flight that read the store before that is voided
///   by the change in memory; one that begins later finds the store changed.
/// - A key whose mutation did not reach the store is in doubt: it is not read from there until
///   something else was written.
pub(super) struct Second<K, V> {
    store: SharedStore<K, V>,
    turns: Box<[Mutex<()>]>,
    doubts: Mutex<Doubts<K>>,
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

struct Doubts<K> {
    keys: HashSet<K>,
    /// There were too many to remember: until the store is cleared.
    all: bool,
}

/// What is to become of a key's entry in the store.
pub(super) enum Change<V> {
    /// It stays.
    Keep,
    Put(V, Lifetime),
    Remove,
}

/// A change to the store has ended.
pub(super) struct Turn<'a> {
    _held: MutexGuard<'a, ()>,
}

impl<V: Clone> Change<V> {
    /// What an answer means for the store. What has tags stays in memory: nobody else would hear
    /// of the end of a tag.
    pub(super) fn by(loaded: &Loaded<V>, policy: &Policy) -> Self {
        let lifetime = loaded.lifetime(policy).filter(|_| !loaded.is_tagged());
        match (loaded.as_value(), lifetime) {
            _ if loaded.is_not_modified() => Self::Keep,
            (Some(value), Some(lifetime)) => Self::Put(value.clone(), lifetime),
            _ => Self::Remove,
        }
    }
}

/// An entry of the store as a loader's answer, with all of its windows.
pub(super) fn loaded<V>(stored: Stored<V>) -> Loaded<V> {
    let Lifetime { age, ttl, swr, sie, .. } = stored.lifetime;
    Loaded::value(stored.value).ttl(ttl).stale_while_revalidate(swr).stale_if_error(sie).age(age)
}

impl<K: Clone + Eq + Hash, V> Second<K, V> {
    pub(super) fn new(store: SharedStore<K, V>) -> Self {
        Self {
            store,
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            doubts: Mutex::new(Doubts { keys: HashSet::new(), all: false }),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// Waits until nobody else changes the key.
    pub(super) fn turn(&self, hash: u64) -> Turn<'_> {
        let turn = &self.turns[(hash >> 32) as usize % TURNS];
        Turn { _held: turn.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// What the store has for a key, if that can be trusted.
    pub(super) fn get(&self, key: &K, now: Instant) -> Option<Stored<V>> {
        let found = if self.is_doubtful(key) { None } else { self.ask(|s| s.get(key, now))? };
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// The same for many keys.
    pub(super) fn get_many(&self, keys: &[&K], now: Instant) -> Vec<Option<Stored<V>>> {
        let mut found: Vec<_> = keys.iter().map(|_| None).collect();
        let take = &mut |at: usize, stored| {
            if let Some(place) = found.get_mut(at) {
                *place = Some(stored);
            }
        };
        let answer = self.ask(|store| store.get_many(keys, now, take));
        for (stored, key) in found.iter_mut().zip(keys) {
            *stored = stored.take().filter(|_| !self.is_doubtful(key));
            let count = if stored.is_some() { &self.hits } else { &self.misses };
            count.fetch_add(u64::from(answer.is_some() || stored.is_some()), Ordering::Relaxed);
        }
        found
    }

    /// Follows a load that has landed. If that fails, what the store has is older, and no less true.
    pub(super) fn follow(&self, key: &K, change: &Change<V>, now: Instant) {
        if self.apply(key, change, now) {
            self.trust(key);
        }
    }

    /// Follows a mutation, before it is done in memory.
    pub(super) fn change(&self, key: &K, change: &Change<V>, now: Instant) {
        if matches!(change, Change::Keep) {
            return;
        }
        if self.apply(key, change, now) || self.apply(key, &Change::Remove, now) {
            self.trust(key);
        } else {
            self.doubt(key);
        }
    }

    /// Makes the store's value stale. What is there in doubt was written over, and goes.
    pub(super) fn expire(&self, key: &K, now: Instant) {
        if self.is_doubtful(key) {
            return self.change(key, &Change::Remove, now);
        }
        match self.ask(|store| store.get(key, now)) {
            Some(None) => {}
            Some(Some(stored)) => {
                let mut lifetime = stored.lifetime;
                lifetime.ttl = lifetime.ttl.min(lifetime.age);
                self.change(key, &Change::Put(stored.value, lifetime), now);
            }
            None => self.change(key, &Change::Remove, now),
        }
    }

    /// Empties the store; meanwhile nobody changes any key.
    pub(super) fn clear(&self, now: Instant, clear_memory: impl FnOnce()) {
        let turns =
            self.turns.iter().map(|turn| turn.lock().unwrap_or_else(PoisonError::into_inner));
        let _held: Vec<_> = turns.collect();
        let cleared = self.ask(|store| store.clear(now)).is_some();
        let mut doubts = self.doubts();
        doubts.all = !cleared;
        doubts.keys.clear();
        drop(doubts);
        clear_memory();
    }

    pub(super) fn add_counts(&self, stats: &mut Stats) {
        stats.store_hits += self.hits.load(Ordering::Relaxed);
        stats.store_misses += self.misses.load(Ordering::Relaxed);
        stats.store_errors += self.errors.load(Ordering::Relaxed);
    }

    /// Whether it is done. A landed load that finds nothing to change is.
    fn apply(&self, key: &K, change: &Change<V>, now: Instant) -> bool {
        match change {
            Change::Keep => false,
            Change::Remove => self.ask(|store| store.remove(key, now)).is_some(),
            Change::Put(value, lifetime) => {
                self.ask(|store| store.put(key, value, *lifetime, now)).is_some()
            }
        }
    }

    /// An error, or a panic of the store, is counted; the cache goes on without.
    fn ask<T>(&self, ask: impl FnOnce(&SharedStore<K, V>) -> Result<T, StoreError>) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| ask(&self.store))) {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_)) | Err(_) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    fn doubts(&self) -> MutexGuard<'_, Doubts<K>> {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_doubtful(&self, key: &K) -> bool {
        let doubts = self.doubts();
        doubts.all || doubts.keys.contains(key)
    }

    fn doubt(&self, key: &K) {
        let mut doubts = self.doubts();
        doubts.keys.insert(key.clone());
        if doubts.keys.len() > DOUBTS {
            *doubts = Doubts { keys: HashSet::new(), all: true };
        }
    }

    fn trust(&self, key: &K) {
        self.doubts().keys.remove(key);
    }
}

/// Whether what a store has is as good as what the origin would answer.
pub(super) fn is_fresh<V>(stored: &Stored<V>) -> bool {
    stored.lifetime.freshness() == Freshness::Fresh
}

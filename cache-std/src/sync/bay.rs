//! One lock's worth of a cache: a shard of the algorithm and the flights of its keys.

use core::hash::BuildHasherDefault;
use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::shard::{Limits, Shard};
use cache_core::table::{Bound, HashTable};
use cache_core::{Cause, FlightId, Policy};

use crate::flight::Flight;

/// The memory of a shard. It is never asked to hash: hashes come in from outside the lock.
type Table<K, V> = HashTable<K, V, BuildHasherDefault<DefaultHasher>>;

pub(super) struct Bay<K, V> {
    inner: Mutex<Inner<K, V>>,
}

pub(super) struct Inner<K, V> {
    pub(super) shard: Shard<K, V, Table<K, V>>,
    pub(super) flights: HashMap<FlightId, Arc<Flight<V>>>,
}

impl<K: Eq, V> Bay<K, V> {
    pub(super) fn new(bound: Bound, policy: Policy, limits: Limits, seed: u64) -> Self {
        let table = HashTable::new(bound, BuildHasherDefault::new());
        let shard = Shard::new(table, policy, limits, seed);
        Self { inner: Mutex::new(Inner { shard, flights: HashMap::new() }) }
    }

    /// The key's `Eq` or the value's `Clone` may panic under this lock; what they leave behind is
    /// whole, so poison means nothing.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys and values that leave a shard under its lock, to be dropped after it.
pub(super) struct Leaving<K, V>(Vec<(Cause, Option<K>, V)>);

impl<K, V> Leaving<K, V> {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn take(&mut self, cause: Cause, key: Option<K>, value: V) {
        self.0.push((cause, key, value));
    }
}

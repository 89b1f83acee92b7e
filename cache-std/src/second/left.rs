//! Leases that may be in force though nobody loads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::HeldLease;

/// Most leases that are remembered: where there are more, the oldest end by themselves.
const MOST: usize = 1_000;

/// Leases that are to be ended.
pub(super) struct Left<K>(Mutex<VecDeque<Leftover<K>>>);

/// A lease that could not be given back.
pub(super) struct Leftover<K> {
    pub(super) key: K,
    pub(super) lease: HeldLease,
    /// What the store has was to be replaced under it.
    pub(super) outdated: bool,
    /// How often it was tried to end it.
    pub(super) tries: u8,
}

impl<K> Default for Left<K> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<K> Left<K> {
    pub(super) fn add(&self, leftover: Leftover<K>) {
        let mut left = self.lock();
        left.push_back(leftover);
        let oldest = if left.len() > MOST { left.pop_front() } else { None };
        drop(left);
        drop(oldest); // whose key may run any code
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn take(&self) -> Option<Leftover<K>> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Leftover<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

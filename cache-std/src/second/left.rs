//! Leases of loads that have ended without an end.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::HeldLease;

/// Most leases that are remembered: others end by themselves.
const MOST: usize = 1_000;

/// Leases that are to be given back.
pub(super) struct Left<K>(Mutex<VecDeque<(K, HeldLease)>>);

impl<K> Default for Left<K> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<K> Left<K> {
    pub(super) fn add(&self, key: K, lease: HeldLease) {
        let mut left = self.lock();
        if left.len() < MOST {
            left.push_back((key, lease));
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    pub(super) fn take(&self) -> Option<(K, HeldLease)> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(K, HeldLease)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

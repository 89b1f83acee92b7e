//! Leases that may be in force though nobody loads.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::HeldLease;

/// Most leases that are remembered: others end by themselves.
const MOST: usize = 1_000;

/// Leases that are to be ended. Without the lease itself, a fill took it along, and it is not known how
/// far that came.
pub(super) struct Left<K>(Mutex<Leases<K>>);

type Leases<K> = VecDeque<(K, Option<HeldLease>)>;

impl<K> Default for Left<K> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }
}

impl<K> Left<K> {
    pub(super) fn add(&self, key: K, lease: Option<HeldLease>) {
        let mut left = self.lock();
        if left.len() < MOST {
            left.push_back((key, lease));
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    pub(super) fn take(&self) -> Option<(K, Option<HeldLease>)> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Leases<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

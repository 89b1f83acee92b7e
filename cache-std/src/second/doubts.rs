//! Keys of which a store may have what it should not.

use core::hash::Hash;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most keys that are in doubt at a time.
const MOST: usize = 10_000;

/// Keys whose mutation may not have reached the store. They are not read from there until they have
/// been removed from it, or something else was written.
pub(crate) struct Doubts<K> {
    state: Mutex<State<K>>,
    /// How many there are, to be asked without the lock.
    count: AtomicUsize,
}

struct State<K> {
    /// Each key's number.
    keys: HashMap<K, u64>,
    /// The keys in the order in which they came.
    order: BTreeMap<u64, K>,
    next: u64,
    /// There were too many to remember: until the store is cleared.
    all: bool,
}

impl<K: Clone + Eq + Hash> State<K> {
    fn new(all: bool) -> Self {
        Self { keys: HashMap::new(), order: BTreeMap::new(), next: 0, all }
    }

    /// The last who comes waits longest, also who was there.
    fn add(&mut self, key: &K) {
        self.remove(key);
        self.next += 1;
        self.keys.insert(key.clone(), self.next);
        self.order.insert(self.next, key.clone());
        if self.keys.len() > MOST {
            *self = Self::new(true);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(number) = self.keys.remove(key) {
            self.order.remove(&number);
        }
    }
}

/// What is to be removed from the store, so that nothing is in doubt.
pub(crate) enum Doubted<K> {
    Nothing,
    Keys(Vec<K>),
    All,
}

impl<K: Clone + Eq + Hash> Doubts<K> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::new(false)), count: AtomicUsize::new(0) }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    pub(crate) fn has(&self, key: &K) -> bool {
        self.any() && {
            let state = self.lock();
            state.all || state.keys.contains_key(key)
        }
    }

    pub(crate) fn add(&self, key: &K) {
        self.change(|state| state.add(key));
    }

    pub(crate) fn remove(&self, key: &K) {
        if self.any() {
            self.change(|state| state.remove(key));
        }
    }

    /// The store was cleared, or could not be.
    pub(crate) fn cleared(&self, cleared: bool) {
        self.change(|state| *state = State::new(!cleared));
    }

    /// Up to so many of them, those first that have been there longest.
    pub(crate) fn some(&self, most: usize) -> Doubted<K> {
        let state = self.lock();
        if state.all {
            return Doubted::All;
        }
        let keys: Vec<_> = state.order.values().take(most).cloned().collect();
        if keys.is_empty() { Doubted::Nothing } else { Doubted::Keys(keys) }
    }

    fn change(&self, change: impl FnOnce(&mut State<K>)) {
        let mut state = self.lock();
        change(&mut state);
        self.count.store(state.keys.len() + usize::from(state.all), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_are_a_doubt_of_all_until_the_store_is_cleared() {
        let doubts = Doubts::new();
        assert!(!doubts.any() && matches!(doubts.some(1), Doubted::Nothing));
        (0..MOST).for_each(|key| doubts.add(&key));
        assert!(doubts.has(&0) && !doubts.has(&MOST));
        assert!(matches!(doubts.some(2), Doubted::Keys(keys) if keys == [0, 1]));
        doubts.remove(&0);
        assert!(!doubts.has(&0));
        (0..=MOST).for_each(|key| doubts.add(&key));
        assert!(doubts.has(&usize::MAX) && matches!(doubts.some(1), Doubted::All));
        doubts.remove(&1);
        assert!(doubts.has(&1), "one is not all");
        doubts.cleared(true);
        assert!(!doubts.any() && !doubts.has(&1));
    }
}

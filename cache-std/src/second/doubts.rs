//! Keys of which a store may have what it should not.

use core::hash::Hash;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most keys that are in doubt at a time.
const MOST: usize = 10_000;

/// Keys whose mutation may not have reached the store. They are not read from there until they have
/// been removed from it, or something else was written.
pub(crate) struct Doubts<K> {
    state: Mutex<State<K>>,
    /// How many there are, to be asked without the lock.
    count: AtomicUsize,
    /// The number of the last that came, likewise.
    next: AtomicU64,
}

/// A moment among those in which keys came into doubt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

struct State<K> {
    /// Each key's number.
    keys: HashMap<K, u64>,
    /// The keys, with their hashes, in the order in which they came.
    order: BTreeMap<u64, (u64, K)>,
    next: u64,
    /// There were too many to remember, and of this number: until the store is cleared.
    all: Option<u64>,
}

impl<K: Clone + Eq + Hash> State<K> {
    fn new() -> Self {
        Self { keys: HashMap::new(), order: BTreeMap::new(), next: 0, all: None }
    }

    fn add_all(&mut self) {
        self.next += 1;
        self.all = Some(self.next);
        self.keys.clear();
        self.order.clear();
    }

    /// The last who comes waits longest, also who was there.
    fn add(&mut self, hash: u64, key: &K) {
        self.remove(key);
        self.next += 1;
        self.keys.insert(key.clone(), self.next);
        self.order.insert(self.next, (hash, key.clone()));
        if self.keys.len() > MOST {
            self.add_all();
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
    /// With their hashes.
    Keys(Vec<(u64, K)>),
    All,
}

impl<K: Clone + Eq + Hash> Doubts<K> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::new()),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(0),
        }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    pub(crate) fn has(&self, key: &K) -> bool {
        self.any() && {
            let state = self.lock();
            state.all.is_some() || state.keys.contains_key(key)
        }
    }

    pub(crate) fn add(&self, hash: u64, key: &K) {
        self.change(|state| state.add(hash, key));
    }

    /// Up to where doubts have come: for who asks the store now, and knows later what was so.
    pub(crate) fn mark(&self) -> Mark {
        // Who comes into doubt does so for what was sent before, or for what will be.
        Mark(self.next.load(Ordering::Acquire))
    }

    /// The store has of a key what it should, as of a mark. A younger doubt stays.
    pub(crate) fn settle(&self, key: &K, as_of: Mark) {
        if self.any() {
            self.change(|state| {
                if state.keys.get(key).is_some_and(|number| *number <= as_of.0) {
                    state.remove(key);
                }
            });
        }
    }

    /// The store was cleared, as of a mark.
    pub(crate) fn cleared(&self, as_of: Mark) {
        self.change(|state| {
            state.all = state.all.filter(|number| *number > as_of.0);
            let younger = state.order.split_off(&(as_of.0 + 1));
            state.keys.retain(|_, number| *number > as_of.0);
            state.order = younger;
        });
    }

    /// The store may have anything.
    pub(crate) fn add_all(&self) {
        self.change(State::add_all);
    }

    /// Up to so many of them, those first that have been there longest.
    pub(crate) fn some(&self, most: usize) -> Doubted<K> {
        let state = self.lock();
        if state.all.is_some() {
            return Doubted::All;
        }
        let keys: Vec<_> = state.order.values().take(most).cloned().collect();
        if keys.is_empty() { Doubted::Nothing } else { Doubted::Keys(keys) }
    }

    fn change(&self, change: impl FnOnce(&mut State<K>)) {
        let mut state = self.lock();
        change(&mut state);
        self.count.store(state.keys.len() + usize::from(state.all.is_some()), Ordering::Release);
        self.next.store(state.next, Ordering::Release);
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
        (0..MOST).for_each(|key| doubts.add(9, &key));
        assert!(doubts.has(&0) && !doubts.has(&MOST));
        assert!(matches!(doubts.some(2), Doubted::Keys(keys) if keys == [(9, 0), (9, 1)]));
        doubts.settle(&0, doubts.mark());
        assert!(!doubts.has(&0));
        (0..=MOST).for_each(|key| doubts.add(9, &key));
        assert!(doubts.has(&usize::MAX) && matches!(doubts.some(1), Doubted::All));
        doubts.settle(&1, doubts.mark());
        assert!(doubts.has(&1), "one is not all");
        doubts.cleared(doubts.mark());
        assert!(!doubts.any() && !doubts.has(&1));
    }

    #[test]
    fn what_was_asked_before_settles_no_younger_doubt() {
        let doubts = Doubts::new();
        doubts.add(9, &1);
        let before = doubts.mark();
        doubts.add(9, &1);
        doubts.add(9, &2);
        doubts.settle(&1, before);
        assert!(doubts.has(&1), "it came again");
        doubts.cleared(before);
        assert!(doubts.has(&1) && doubts.has(&2));
        let before = doubts.mark();
        doubts.add_all();
        doubts.cleared(before);
        assert!(doubts.has(&3));
        doubts.cleared(doubts.mark());
        assert!(!doubts.any());
    }
}

//! What happened to tags, and others were not told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::TagChange;
use cache_core::tag_hash;

/// Most changes that are remembered.
const MOST: usize = 1_000;

/// Changes of tags that others are to be told of, in their order.
#[derive(Default)]
pub(super) struct Untold(Mutex<State>);

#[derive(Default)]
struct State {
    changes: VecDeque<Change>,
    last: u64,
    /// How many were told.
    told: u64,
    /// The tags of the last of those, as hashes.
    lately: VecDeque<u64>,
}

/// What happened to a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) number: u64,
    pub(super) tag: Box<str>,
    pub(super) change: TagChange,
}

/// Most that are remembered after they were told.
const LATELY: usize = 64;

impl State {
    /// Whether one of these tags was told of since so many were, or may have been.
    fn has_told(&self, tags: &[u64], before: u64) -> bool {
        let since = usize::try_from(self.told.saturating_sub(before)).unwrap_or(usize::MAX);
        let mut lately = self.lately.iter().rev().take(since);
        since > self.lately.len() || lately.any(|tag| tags.contains(tag))
    }
}

impl Untold {
    /// One more, and its number; `None` if there are too many: then all are forgotten.
    pub(super) fn add(&self, tag: &str, change: TagChange) -> Option<u64> {
        let mut state = self.lock();
        if state.changes.len() >= MOST {
            state.changes.clear();
            return None;
        }
        state.last += 1;
        let number = state.last;
        state.changes.push_back(Change { number, tag: tag.into(), change });
        Some(number)
    }

    /// How many were told, for who asks the store now.
    pub(super) fn told_so_far(&self) -> u64 {
        self.lock().told
    }

    /// Whether what the store has answered may have a tag, of those with these hashes, that it had not been told
    /// the end of: one is untold still, or some were told since it was asked. Without tags, this costs nothing.
    pub(super) fn has(&self, tags: &[u64], told: u64) -> bool {
        !tags.is_empty() && {
            let state = self.lock();
            let is_one = |change: &Change| tags.contains(&tag_hash(&change.tag));
            state.has_told(tags, told) || state.changes.iter().any(is_one)
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.lock().changes.is_empty()
    }

    /// The first that is left, of those up to a number.
    pub(super) fn first(&self, most: u64) -> Option<Change> {
        self.lock().changes.front().filter(|change| change.number <= most).cloned()
    }

    /// The store was told of this one, which needs no more to be told. Others may have been meanwhile.
    pub(super) fn told(&self, number: u64, tag: &str) {
        let mut state = self.lock();
        state.changes.retain(|change| change.number != number);
        state.told += 1;
        state.lately.push_back(tag_hash(tag));
        if state.lately.len() > LATELY {
            state.lately.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_their_order_and_there_are_not_too_many() {
        let untold = Untold::default();
        let [a, b] = ["a", "b"].map(|tag| untold.add(tag, TagChange::Expire).unwrap());
        let first = |most| untold.first(most).map(|change| change.number);
        assert_eq!((first(b), first(a)), (Some(a), Some(a)));
        untold.told(a, "a");
        untold.told(a, "a"); // by another, who told it too
        assert_eq!((first(b), first(a)), (Some(b), None));
        assert!((1..MOST).all(|_| untold.add("c", TagChange::Expire).is_some()));
        assert!(untold.add("d", TagChange::Expire).is_none() && !untold.any());
    }

    #[test]
    fn what_was_told_since_matters_for_its_own_tag_as_long_as_it_is_remembered() {
        let untold = Untold::default();
        let [a, b] = ["a", "b"].map(tag_hash);
        let number = untold.add("a", TagChange::Invalidate).unwrap();
        let before = untold.told_so_far();
        assert!(untold.has(&[b, a], before) && !untold.has(&[b], before), "untold");
        untold.told(number, "a");
        let after = untold.told_so_far();
        assert!(untold.has(&[a], before) && !untold.has(&[b], before), "told since");
        assert!(!untold.has(&[a], after) && !untold.has(&[], before));
        (0..LATELY).for_each(|_| untold.told(number, "c"));
        assert!(untold.has(&[b], before), "it is not known any more what was told");
        assert!(!untold.has(&[b], after));
    }
}

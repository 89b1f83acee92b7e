//! What happened to tags, and others were not told.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::TagChange;

/// Most changes that are remembered.
const MOST: usize = 1_000;

type Changes = VecDeque<(Box<str>, TagChange)>;

/// Changes of tags that others are to be told of, in their order.
#[derive(Default)]
pub(super) struct Untold(Mutex<Changes>);

impl Untold {
    /// One more; `false` if there are too many.
    pub(super) fn add(&self, tag: &str, change: TagChange) -> bool {
        let mut changes = self.lock();
        if changes.len() >= MOST {
            changes.clear();
            return false;
        }
        changes.push_back((tag.into(), change));
        true
    }

    pub(super) fn first(&self) -> Option<(Box<str>, TagChange)> {
        self.lock().front().cloned()
    }

    pub(super) fn told_first(&self) {
        self.lock().pop_front();
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_their_order_and_there_are_not_too_many() {
        let untold = Untold::default();
        assert!(untold.add("a", TagChange::Expire) && untold.add("b", TagChange::Invalidate));
        untold.told_first();
        assert_eq!(untold.first(), Some(("b".into(), TagChange::Invalidate)));
        assert!((1..MOST).all(|_| untold.add("c", TagChange::Expire)));
        assert!(!untold.add("d", TagChange::Expire) && untold.first().is_none());
    }
}

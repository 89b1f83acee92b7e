//! The limit on loads under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Places for loads, of which there are so many.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// One of the places, given back when it is dropped. The keys of one batch share one.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<AtomicUsize>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Whether one is free just now.
    pub(super) fn is_free(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < self.most
    }

    pub(super) fn take(&self) -> Option<Arc<Place>> {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Arc::new(Place { taken: Arc::clone(&self.taken) }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_shared_is_free_when_the_last_lets_go() {
        let places = Places::new(1);
        let place = places.take().unwrap();
        let shared = Arc::clone(&place);
        assert!(places.take().is_none() && !places.is_free());
        drop(place);
        assert!(places.take().is_none());
        drop(shared);
        assert!(places.take().is_some() && places.is_free());
    }
}

//! The limit on loads under way, and their end.

use core::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::primitives::{AtomicUsize, Mutex, MutexGuard, PoisonError};
use crate::time::Signal;

/// Places for loads, of which there are so many.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    taken: Arc<Taken>,
    most: usize,
}

/// One of the places, given back when it is dropped. The keys of one batch share one.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many, and whether they are [`CLOSED`].
    state: AtomicUsize,
    /// Who waits for the last to be given back.
    watchers: Mutex<Vec<Weak<Signal>>>,
    /// Who is told when they are closed.
    told: Mutex<Vec<Weak<Signal>>>,
}

/// No more places are given.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most: most.min(CLOSED - 1) }
    }

    /// Whether one is free just now.
    pub(crate) fn is_free(&self) -> bool {
        self.taken.state.load(Ordering::Relaxed) < self.most
    }

    pub(crate) fn take(&self) -> Option<Arc<Place>> {
        let more = |state| (state < self.most).then_some(state + 1);
        self.taken.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Arc::new(Place { taken: Arc::clone(&self.taken) }))
    }

    /// Gives no more places.
    pub(crate) fn close(&self) {
        self.taken.state.fetch_or(CLOSED, Ordering::Relaxed);
        let told = core::mem::take(&mut *self.told());
        told.iter().filter_map(Weak::upgrade).for_each(|signal| signal.set());
    }

    /// Sets `signal`, if somebody still holds it, when no more places are given.
    pub(crate) fn tell_when_closed(&self, signal: &Arc<Signal>) {
        let mut told = self.told();
        told.retain(|signal| signal.strong_count() > 0);
        told.push(Arc::downgrade(signal));
        drop(told);
        if self.is_closed() {
            signal.set();
        }
    }

    fn told(&self) -> MutexGuard<'_, Vec<Weak<Signal>>> {
        self.taken.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.taken.state.load(Ordering::Relaxed) >= CLOSED
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.state.load(Ordering::Acquire) & !CLOSED
    }

    /// A signal that is set when, after [`close`](Self::close), the last place has been given back.
    pub(crate) fn watch(&self) -> Arc<Signal> {
        let signal = Arc::new(Signal::new());
        if self.taken() == 0 {
            signal.set();
            return signal;
        }
        let mut watchers = self.taken.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|signal| signal.strong_count() > 0);
        watchers.push(Arc::downgrade(&signal));
        drop(watchers);
        if self.taken() == 0 {
            signal.set();
        }
        signal
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Ordered, so that who sees the last place free sees what was done in it.
        if self.taken.state.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1 {
            let mut watchers = self.taken.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            let watchers = core::mem::take(&mut *watchers);
            watchers.iter().filter_map(Weak::upgrade).for_each(|signal| signal.set());
        }
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

    #[test]
    fn who_wants_to_know_is_told_that_places_are_closed() {
        let places = Places::new(1);
        let signals = [(); 3].map(|()| Arc::new(Signal::new()));
        signals.iter().for_each(|signal| places.tell_when_closed(signal));
        assert!(!signals.iter().any(|signal| signal.is_set()));
        places.close();
        assert!(signals.iter().all(|signal| signal.is_set()));
        let late = Arc::new(Signal::new());
        places.tell_when_closed(&late);
        assert!(late.is_set());
        drop(late);
        places.tell_when_closed(&signals[0]);
        assert_eq!(places.told().len(), 1, "who has gone is forgotten");
    }

    #[test]
    fn closed_places_are_given_back_and_not_taken() {
        let places = Places::new(9);
        let (one, two) = (places.take().unwrap(), places.take().unwrap());
        places.close();
        assert!(places.take().is_none() && !places.is_free() && places.is_closed());
        let signal = places.watch();
        drop(one);
        assert!((places.taken(), signal.is_set()) == (1, false));
        drop(two);
        assert!(signal.is_set() && places.watch().is_set());
        assert!(places.taken.watchers.lock().unwrap().is_empty(), "nobody is left to tell");
    }
}

/// Under a scheduler that tries many interleavings; without its rule, a variant is caught.
#[cfg(all(test, shuttle))]
mod models {
    use super::*;
    use shuttle::thread;

    fn closes(watch: fn(&Places) -> Arc<Signal>) {
        let model = move || {
            let places = Places::new(2);
            let (one, two) = (places.take(), places.take());
            let leaving = [one, two].map(|place| thread::spawn(move || drop(place)));
            places.close();
            watch(&places).block();
            assert_eq!(places.taken(), 0);
            leaving.into_iter().for_each(|thread| thread.join().unwrap());
        };
        shuttle::check_random(model, 3_000);
    }

    /// Rule: who watches looks again once it is known to watch.
    #[test]
    fn who_watches_while_the_last_leaves_is_told() {
        closes(Places::watch);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn who_looks_only_before_it_watches_waits_for_ever() {
        closes(|places| {
            let signal = Arc::new(Signal::new());
            if places.taken() == 0 {
                signal.set();
            }
            places.taken.watchers.lock().unwrap().push(Arc::downgrade(&signal));
            signal
        });
    }
}

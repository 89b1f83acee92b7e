//! How many refreshes run at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::time::Signal;

/// Most refreshes that wait for their turn; never more than half of the loads that a cache may have: the
/// others are for those that somebody waits for.
const QUEUE: usize = 1_024;

/// Turns for refreshes. Loads that somebody waits for need none.
#[derive(Debug)]
pub(super) struct Refreshes {
    state: Mutex<State>,
    most: usize,
    queue: usize,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: VecDeque<Arc<Signal>>,
}

/// A refresh that runs, or waits to: its signal is set when it may run.
#[derive(Debug)]
pub(super) struct Turn {
    refreshes: Arc<Refreshes>,
    signal: Arc<Signal>,
}

impl Refreshes {
    pub(super) fn new(most: usize, max_loads: usize) -> Arc<Self> {
        let queue = QUEUE.min(max_loads.div_ceil(2));
        Arc::new(Self { state: Mutex::default(), most, queue })
    }

    /// A turn, now or later; `None` where too many wait already.
    pub(super) fn turn(self: &Arc<Self>) -> Option<Turn> {
        let signal = Arc::new(Signal::new());
        let mut state = self.lock();
        if state.running < self.most {
            state.running += 1;
            signal.set();
        } else if state.waiting.len() < self.queue {
            state.waiting.push_back(Arc::clone(&signal));
        } else {
            return None;
        }
        drop(state);
        Some(Turn { refreshes: Arc::clone(self), signal })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Set when the refresh may run; also by who needs it before its turn.
    pub(super) const fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.refreshes.lock();
        let is_this = |signal: &Arc<Signal>| Arc::ptr_eq(signal, &self.signal);
        if let Some(at) = state.waiting.iter().position(is_this) {
            // It never had its turn: it was dropped before, or somebody could not wait for that.
            state.waiting.remove(at);
            return;
        }
        let next = state.waiting.pop_front();
        state.running -= usize::from(next.is_none());
        drop(state);
        if let Some(next) = next {
            next.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_from_one_to_the_next_and_their_queue_is_bounded() {
        let refreshes = Refreshes::new(2, usize::MAX);
        let mut turns: Vec<_> = (0..4).map(|_| refreshes.turn().unwrap()).collect();
        let set =
            |turns: &[Turn]| turns.iter().map(|turn| turn.signal.is_set()).collect::<Vec<_>>();
        assert_eq!(set(&turns), [true, true, false, false]);
        drop(turns.remove(0));
        assert_eq!(set(&turns), [true, true, false]);
        turns[2].signal().set(); // somebody could not wait
        drop(turns.remove(2));
        assert_eq!(refreshes.lock().running, 2, "its turn had not come");
        turns.extend((0..QUEUE).map(|_| refreshes.turn().unwrap()));
        assert!(refreshes.turn().is_none());
        let few = Refreshes::new(1, 5);
        assert_eq!((0..9).map_while(|_| few.turn()).collect::<Vec<_>>().len(), 1 + 3);
        drop(turns.split_off(9));
        drop(turns);
        let state = refreshes.lock();
        assert_eq!((state.running, state.waiting.len()), (0, 0));
    }
}

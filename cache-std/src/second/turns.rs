//! Who changes a key in a store and in memory, one after another.

use core::future::poll_fn;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::primitives::{Mutex, MutexGuard, PoisonError};
use crate::time::Signal;

/// Keys that change at a time, at most.
const PLACES: usize = 1_024;

/// Turns to change a key, so that a store and the memory before it change in the same order. Keys
/// share turns by their hash.
pub(crate) struct Turns(Box<[Mutex<Place>]>);

#[derive(Default)]
struct Place {
    taken: bool,
    /// Others have changed the store since the turn was taken.
    voided: bool,
    waiting: VecDeque<Arc<Signal>>,
}

/// A turn, given on when it is dropped.
pub(crate) struct Turn<'a>(&'a Mutex<Place>);

/// Waits for a turn. Dropped before it comes, it gives it on.
struct Seat<'a> {
    place: &'a Mutex<Place>,
    signal: Option<Arc<Signal>>,
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| Mutex::default()).collect())
    }

    fn place(&self, hash: u64) -> &Mutex<Place> {
        &self.0[(hash >> 32) as usize % PLACES]
    }

    /// Waits until nobody else changes the key.
    pub(crate) async fn turn(&self, hash: u64) -> Turn<'_> {
        take(self.place(hash)).await
    }

    /// Waits until nobody changes any key.
    pub(crate) async fn all(&self) -> Vec<Turn<'_>> {
        let mut turns = Vec::with_capacity(PLACES);
        for place in &self.0 {
            turns.push(take(place).await);
        }
        turns
    }

    /// Others have changed the key in the store: who changes it now must not keep in memory what it
    /// wrote.
    pub(crate) fn void(&self, hash: u64) {
        lock(self.place(hash)).voided = true;
    }

    /// The same for all keys.
    pub(crate) fn void_all(&self) {
        self.0.iter().for_each(|place| lock(place).voided = true);
    }
}

async fn take(place: &Mutex<Place>) -> Turn<'_> {
    let mut seat = {
        let mut held = lock(place);
        if !held.taken {
            (held.taken, held.voided) = (true, false);
            return Turn(place);
        }
        let signal = Arc::new(Signal::new());
        held.waiting.push_back(Arc::clone(&signal));
        Seat { place, signal: Some(signal) }
    };
    poll_fn(|context| match &seat.signal {
        Some(signal) => signal.poll(context).map(drop),
        None => core::task::Poll::Ready(()),
    })
    .await;
    seat.signal = None;
    Turn(place)
}

impl Turn<'_> {
    /// Changes memory, unless others have changed the store since the turn was taken; those who tell
    /// of it wait meanwhile, and change memory after it.
    pub(crate) fn unless_void<T>(&self, change: impl FnOnce() -> T) -> Option<T> {
        let place = lock(self.0);
        (!place.voided).then(change)
    }
}

/// Gives the turn to the next.
fn give_on(place: &Mutex<Place>) {
    let mut held = lock(place);
    held.voided = false;
    match held.waiting.pop_front() {
        // Under the lock, so that who gives up waiting knows whether it has the turn.
        Some(next) => next.set(),
        None => held.taken = false,
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        give_on(self.0);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Some(signal) = self.signal.take() else { return };
        let mut held = lock(self.place);
        let waits = held.waiting.iter().position(|other| Arc::ptr_eq(other, &signal));
        if let Some(at) = waits {
            held.waiting.remove(at);
            return;
        }
        drop(held);
        give_on(self.place);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use core::pin::{Pin, pin};
    use core::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn now<F: Future>(future: F) -> F::Output {
        match poll(pin!(future)) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_turn_goes_from_one_to_the_next_past_those_who_have_left() {
        let turns = Turns::new();
        let first = now(turns.turn(1));
        let _other = now(turns.turn(1 << 40));
        let (mut second, mut third) = (Box::pin(turns.turn(1)), Box::pin(turns.turn(1)));
        assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
        drop(first);
        drop(second); // it had the turn, and never knew
        let Poll::Ready(third) = poll(third.as_mut()) else { panic!("the turn was lost") };
        let mut fourth = Box::pin(turns.turn(1));
        assert!(poll(fourth.as_mut()).is_pending());
        drop(fourth);
        drop(third);
        drop(now(turns.turn(1)));
    }

    #[test]
    fn what_others_change_during_a_turn_voids_it_and_not_the_next() {
        let turns = Turns::new();
        turns.void(1);
        let first = now(turns.turn(1));
        assert_eq!(first.unless_void(|| 7), Some(7), "that was before");
        turns.void(1);
        let mut next = Box::pin(turns.turn(1));
        assert!(poll(next.as_mut()).is_pending());
        assert_eq!(first.unless_void(|| 7), None);
        drop(first);
        let Poll::Ready(next) = poll(next.as_mut()) else { panic!("the turn was lost") };
        assert_eq!(next.unless_void(|| 7), Some(7));
        turns.void_all();
        assert_eq!(next.unless_void(|| 7), None);
    }
}

/// Under a scheduler that tries many interleavings; without its rule, a variant is caught.
#[cfg(all(test, shuttle))]
mod models {
    use core::pin::Pin;
    use core::task::{Context, Waker};

    use shuttle::future::block_on;
    use shuttle::sync::atomic::{AtomicUsize, Ordering};
    use shuttle::thread;

    use super::*;

    type Waits = Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Two take a turn, while a third comes to wait and leaves.
    fn somebody_leaves(leave: fn(Waits)) {
        let model = move || {
            let (turns, inside) = (Arc::new(Turns::new()), Arc::new(AtomicUsize::new(0)));
            let take = || {
                let (turns, inside) = (Arc::clone(&turns), Arc::clone(&inside));
                async move {
                    let _turn = turns.turn(1).await;
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            };
            let takers = [take(), take()].map(|take| thread::spawn(move || block_on(take)));
            let waits = {
                let turns = Arc::clone(&turns);
                async move { drop(turns.turn(1).await) }
            };
            let leaver = thread::spawn(move || {
                let mut waits: Waits = Box::pin(waits);
                if waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    thread::yield_now();
                    leave(waits);
                }
            });
            takers.into_iter().chain([leaver]).for_each(|thread| thread.join().unwrap());
            drop(block_on(turns.turn(1)));
        };
        shuttle::check_random(model, 500);
    }

    /// Rule: who leaves without having known of its turn gives it on.
    #[test]
    fn a_turn_is_never_lost() {
        somebody_leaves(drop);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn who_leaves_without_a_word_keeps_the_turn() {
        somebody_leaves(core::mem::forget);
    }
}

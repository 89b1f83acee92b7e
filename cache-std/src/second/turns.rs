//! Who changes a key in a store and in memory, one after another.

use core::future::poll_fn;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::primitives::{Mutex, MutexGuard, PoisonError};
use crate::time::Signal;

/// Turns to change a key, so that a store and the memory before it change in the same order. Keys
/// share turns by their hash.
pub(crate) struct Turns(Box<[Mutex<Place>]>);

#[derive(Default)]
struct Place {
    /// The number of the turn that is taken; 0 for none.
    holder: u64,
    last: u64,
    /// Others have changed the store since the turn was taken.
    voided: bool,
    waiting: VecDeque<Arc<Waits>>,
}

/// One who waits for a turn.
#[derive(Default)]
struct Waits {
    signal: Signal,
    /// The number of the turn that it was given, once it was.
    given: Mutex<u64>,
}

/// A turn, given on when it is dropped.
pub(crate) struct Turn<'a> {
    place: &'a Mutex<Place>,
    number: u64,
}

/// Waits for a turn. Dropped before it comes, it gives it on.
struct Seat<'a> {
    place: &'a Mutex<Place>,
    waits: Option<Arc<Waits>>,
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turns {
    /// Keys that change at a time, at most.
    pub(crate) const PLACES: usize = 1_024;

    pub(crate) fn new() -> Self {
        Self((0..Self::PLACES).map(|_| Mutex::default()).collect())
    }

    const fn number(hash: u64) -> usize {
        (hash >> 32) as usize % Self::PLACES
    }

    /// Waits until nobody else changes the key.
    pub(crate) async fn turn(&self, hash: u64) -> Turn<'_> {
        self.at(Self::number(hash)).await
    }

    /// Waits until nobody changes a key of this place.
    pub(crate) async fn at(&self, place: usize) -> Turn<'_> {
        take(&self.0[place]).await
    }

    /// Takes a turn from whoever has it: what that one keeps in memory is void.
    pub(crate) fn take_over(&self, hash: u64) -> Turn<'_> {
        self.take_over_at(Self::number(hash))
    }

    /// The same for a place.
    pub(crate) fn take_over_at(&self, place: usize) -> Turn<'_> {
        let place = &self.0[place];
        let number = lock(place).begin();
        Turn { place, number }
    }

    /// Others have changed the key in the store: who changes it now must not keep in memory what it
    /// wrote.
    pub(crate) fn void(&self, hash: u64) {
        lock(&self.0[Self::number(hash)]).voided = true;
    }

    /// The same for all keys.
    pub(crate) fn void_all(&self) {
        self.0.iter().for_each(|place| lock(place).voided = true);
    }
}

impl Place {
    /// The next turn, and its number.
    const fn begin(&mut self) -> u64 {
        self.last += 1;
        (self.holder, self.voided) = (self.last, false);
        self.last
    }

    /// Gives the turn of this number to the next, if nobody has taken it over.
    fn end(&mut self, number: u64) {
        if self.holder != number {
            return;
        }
        self.holder = 0;
        if let Some(next) = self.waiting.pop_front() {
            // All under the lock, so that who gives up waiting knows whether it has the turn.
            *lock(&next.given) = self.begin();
            next.signal.set();
        }
    }
}

async fn take(place: &Mutex<Place>) -> Turn<'_> {
    let waits = Arc::new(Waits::default());
    {
        let mut held = lock(place);
        if held.holder == 0 {
            let number = held.begin();
            return Turn { place, number };
        }
        held.waiting.push_back(Arc::clone(&waits));
    }
    let mut seat = Seat { place, waits: Some(Arc::clone(&waits)) };
    poll_fn(|context| waits.signal.poll(context).map(drop)).await;
    seat.waits = None;
    let number = *lock(&waits.given);
    Turn { place, number }
}

impl Turn<'_> {
    /// Changes memory, unless others have changed the store since the turn was taken, or have taken it
    /// over; those who tell of it wait meanwhile, and change memory after it. Nothing may be dropped in
    /// `change` whose code is another's.
    pub(crate) fn unless_void<T>(&self, change: impl FnOnce() -> T) -> Option<T> {
        let place = lock(self.place);
        (place.holder == self.number && !place.voided).then(change)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(self.place).end(self.number);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Some(waits) = self.waits.take() else { return };
        let mut held = lock(self.place);
        let at = held.waiting.iter().position(|other| Arc::ptr_eq(other, &waits));
        if let Some(at) = at {
            held.waiting.remove(at);
            return;
        }
        let number = *lock(&waits.given);
        held.end(number);
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
    fn a_turn_can_be_taken_from_who_is_not_polled_any_more() {
        let turns = Turns::new();
        let first = now(turns.turn(1));
        let mut second = Box::pin(turns.turn(1));
        assert!(poll(second.as_mut()).is_pending());
        let taken = turns.take_over(1);
        assert_eq!((first.unless_void(|| 7), taken.unless_void(|| 7)), (None, Some(7)));
        drop(first); // which gives nothing on
        assert!(poll(second.as_mut()).is_pending());
        drop(taken);
        // It has the turn now, and is not polled: nor does that hold up anybody.
        let taken = turns.take_over(1);
        let Poll::Ready(second) = poll(second.as_mut()) else { panic!("it was given one") };
        assert_eq!((second.unless_void(|| 7), taken.unless_void(|| 7)), (None, Some(7)));
        drop((second, taken));
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

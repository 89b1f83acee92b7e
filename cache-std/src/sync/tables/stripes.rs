//! A number that many threads add to, each in a place of its own.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Threads that have a place of their own at a time; all others share one more.
const OWN: usize = 31;

/// Which of the places are taken, process-wide: one bit each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A thread that has not asked for a place yet.
const UNKNOWN: usize = usize::MAX;
const SHARED: usize = OWN;

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static TENANCY: Tenancy = Tenancy::begin();
}

/// Adding costs a thread with a place of its own no locked instruction, and no line that others
/// write.
pub(super) struct Stripes(Box<[Stripe; OWN + 1]>);

#[derive(Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

impl Stripes {
    pub(super) fn new() -> Self {
        Self(Box::new(core::array::from_fn(|_| Stripe::default())))
    }

    /// Adds one.
    #[inline(always)]
    pub(super) fn increment(&self) {
        let place = PLACE.get();
        if place >= SHARED {
            return self.increment_shared(place);
        }
        let Stripe(count) = &self.0[place];
        // Nobody else writes here, so nothing is lost in between.
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn increment_shared(&self, place: usize) {
        let place = if place == UNKNOWN { find_place() } else { place };
        self.0[place].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.iter().map(|Stripe(count)| count.load(Ordering::Relaxed)).sum()
    }
}

/// A thread's place, from now on. One that is ending and has given its place back shares.
fn find_place() -> usize {
    let place = TENANCY.try_with(|tenancy| tenancy.0).unwrap_or(SHARED);
    PLACE.set(place);
    place
}

/// Has a place until the thread ends.
struct Tenancy(usize);

impl Tenancy {
    fn begin() -> Self {
        let free = |taken: u32| (taken.trailing_ones() as usize).min(OWN);
        let take = |taken| Some(taken | 1 << free(taken)).filter(|_| free(taken) < OWN);
        // Acquire: what the last tenant has counted is seen, and added to.
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, take);
        Self(taken.map_or(SHARED, free))
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        PLACE.set(SHARED);
        if self.0 < OWN {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn nothing_is_lost_with_more_threads_than_places_and_threads_that_follow_others() {
        let stripes = Stripes::new();
        for _ in 0..3 {
            let all = Barrier::new(OWN + 9);
            thread::scope(|scope| {
                for _ in 0..OWN + 9 {
                    scope.spawn(|| {
                        stripes.increment();
                        all.wait();
                        (1..1_000).for_each(|_| stripes.increment());
                    });
                }
            });
        }
        assert_eq!(stripes.sum(), 3 * (OWN as u64 + 9) * 1_000);
    }
}

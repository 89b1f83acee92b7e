//! Numbers that many threads add to, each in a place of its own.

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

/// So many numbers. Adding to them costs a thread with a place of its own no locked instruction, and
/// no line that others write.
pub(super) struct Stripes<const N: usize>(Box<[Stripe<N>; OWN + 1]>);

/// The numbers of one place.
#[repr(align(64))]
pub(super) struct Stripe<const N: usize>([AtomicU64; N]);

impl<const N: usize> Stripe<N> {
    /// Adds one to a number. To be called by the thread alone whose place this is.
    #[inline(always)]
    pub(super) fn increment<const WHICH: usize>(&self) {
        let count = &self.0[WHICH];
        // Nobody else writes here, so nothing is lost in between.
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

impl<const N: usize> Stripes<N> {
    pub(super) fn new() -> Self {
        let stripe = |_| Stripe([const { AtomicU64::new(0) }; N]);
        Self(Box::new(core::array::from_fn(stripe)))
    }

    /// This thread's own place, if it has one.
    #[inline(always)]
    pub(super) fn own(&self) -> Option<&Stripe<N>> {
        let place = PLACE.get();
        (place < SHARED).then(|| &self.0[place])
    }

    /// Adds one to a number, wherever this thread counts.
    pub(super) fn increment<const WHICH: usize>(&self) {
        if let Some(own) = self.own() {
            return own.increment::<WHICH>();
        }
        let place = match PLACE.get() {
            UNKNOWN => find_place(),
            place => place,
        };
        self.0[place].0[WHICH].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sum<const WHICH: usize>(&self) -> u64 {
        self.0.iter().map(|Stripe(counts)| counts[WHICH].load(Ordering::Relaxed)).sum()
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
        let stripes = Stripes::<2>::new();
        for _ in 0..3 {
            let all = Barrier::new(OWN + 9);
            thread::scope(|scope| {
                for _ in 0..OWN + 9 {
                    scope.spawn(|| {
                        stripes.increment::<1>();
                        all.wait();
                        (1..1_000).for_each(|_| stripes.increment::<1>());
                    });
                }
            });
        }
        assert_eq!(stripes.sum::<0>(), 0);
        assert_eq!(stripes.sum::<1>(), 3 * (OWN as u64 + 9) * 1_000);
    }
}

//! Numbers that many threads add to, each in a place of its own.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Threads that have a place of their own at a time; all others share one more.
const OWN: usize = 31; // and a mask

/// A thread keeps its place's number times what a place takes: a hit need not multiply.
const SCALE: usize = 64;

/// Which of the places are taken, process-wide: one bit each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A thread that has not asked for a place yet.
const UNKNOWN: usize = usize::MAX;
const SHARED: usize = OWN * SCALE;

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static TENANCY: Tenancy = Tenancy::begin();
}

/// So many numbers. Adding to them costs a thread with a place of its own no locked instruction, and
/// no line that others write.
pub(super) struct Stripes<const N: usize> {
    places: Box<[Stripe<N>; OWN + 1]>,
    /// Places from here on are not lent out by [`own`](Self::own).
    lent: AtomicUsize,
}

/// The numbers of one place, which takes as many bytes as [`SCALE`] says.
#[repr(align(64))]
struct Stripe<const N: usize>([AtomicU64; N]);

/// A thread's own place, times [`SCALE`].
#[derive(Clone, Copy)]
pub(super) struct Own(usize);

impl<const N: usize> Stripes<N> {
    pub(super) fn new() -> Self {
        const { assert!(size_of::<Stripe<N>>() == SCALE) }
        let stripe = |_| Stripe([const { AtomicU64::new(0) }; N]);
        Self { places: Box::new(core::array::from_fn(stripe)), lent: AtomicUsize::new(SHARED) }
    }

    /// This thread's own place, if it has one, and places are lent.
    #[inline(always)]
    pub(super) fn own(&self) -> Option<Own> {
        let place = PLACE.get();
        (place < self.lent.load(Ordering::Relaxed)).then_some(Own(place))
    }

    /// Adds one to a number, by the thread whose place this is.
    #[inline(always)]
    pub(super) fn increment_own<const WHICH: usize>(&self, Own(place): Own) {
        // Places that are lent are below the last: the mask spares a test.
        let count = &self.places[(place / SCALE) & OWN].0[WHICH];
        // Nobody else writes here, so nothing is lost in between.
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Lends places out, or no longer: whoever needs one to go the fast way then does not.
    pub(super) fn lend(&self, lend: bool) {
        self.lent.store(if lend { SHARED } else { 0 }, Ordering::Relaxed);
    }

    /// Adds one to a number, wherever this thread counts.
    pub(super) fn increment<const WHICH: usize>(&self) {
        if let Some(own) = self.own() {
            return self.increment_own::<WHICH>(own);
        }
        let place = match PLACE.get() {
            UNKNOWN => find_place(),
            place => place,
        };
        self.places[place / SCALE].0[WHICH].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sum<const WHICH: usize>(&self) -> u64 {
        self.places.iter().map(|Stripe(counts)| counts[WHICH].load(Ordering::Relaxed)).sum()
    }
}

/// A thread's place, from now on. One that is ending and has given its place back shares.
fn find_place() -> usize {
    let place = TENANCY.try_with(|tenancy| tenancy.0 * SCALE).unwrap_or(SHARED);
    PLACE.set(place);
    place
}

/// Has the place of this number until the thread ends.
struct Tenancy(usize);

impl Tenancy {
    fn begin() -> Self {
        let free = |taken: u32| (taken.trailing_ones() as usize).min(OWN);
        let take = |taken| Some(taken | 1 << free(taken)).filter(|_| free(taken) < OWN);
        // Acquire: what the last tenant has counted is seen, and added to.
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, take);
        Self(taken.map_or(OWN, free))
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

    #[test]
    fn while_no_place_is_lent_everything_is_counted_all_the_same() {
        let stripes = Stripes::<1>::new();
        stripes.increment::<0>();
        stripes.lend(false);
        assert!(stripes.own().is_none());
        stripes.increment::<0>();
        stripes.lend(true);
        stripes.increment::<0>();
        assert_eq!(stripes.sum::<0>(), 3);
    }
}

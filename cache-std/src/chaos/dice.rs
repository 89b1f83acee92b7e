//! Chance that repeats itself.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

/// The calls of one loader, store or clock, in order.
#[derive(Debug)]
pub(super) struct Calls {
    seed: u64,
    next: AtomicU64,
}

/// What is drawn for one call.
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
}

impl Calls {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        Self { seed: mixed(mixed(seed) ^ number), next: AtomicU64::new(0) }
    }

    pub(super) fn next(&self) -> Dice {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        Dice { state: mixed(self.seed ^ mixed(call)) }
    }
}

impl Dice {
    /// `true` so many times in a hundred.
    pub(super) fn chance(&mut self, percent: u8) -> bool {
        self.draw() % 100 < u64::from(percent)
    }

    /// Up to `most`, and not zero unless that is.
    pub(super) fn span(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.draw().checked_rem(most).map_or(0, |span| span + 1))
    }

    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Every bit of the answer depends on every bit of `x`: the finalizer of SplitMix64.
const fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_as_often_as_they_say() {
        let calls = Calls::new(7, 0);
        for percent in [0, 1, 20, 99, 100, 255] {
            let hits = (0..10_000).filter(|_| calls.next().chance(percent)).count();
            let expected = 100 * usize::from(percent.min(100));
            assert!(hits.abs_diff(expected) <= 150, "{hits} at {percent} %");
            assert!(![0, 100, 255].contains(&percent) || hits == expected);
        }
    }

    #[test]
    fn spans_reach_from_almost_nothing_to_the_most() {
        let (calls, most) = (Calls::new(7, 0), Duration::from_nanos(10));
        let spans = || (0..1_000).map(|_| calls.next().span(most));
        assert_eq!((spans().min(), spans().max()), (Some(most / 10), Some(most)));
        assert_eq!(calls.next().span(Duration::ZERO), Duration::ZERO);
        assert!(calls.next().span(Duration::MAX) > Duration::from_secs(1));
    }
}

//! What every table keeps for the algorithm besides its entries: counts, and where its sweep stands.

use core::ops::AddAssign;

use crate::stats::Stats;
use crate::time::Instant;

/// What happened to the entries of a table. Plain numbers: they change under the table's own lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub(crate) hits: u64,
    pub(crate) stale_hits: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
}

impl AddAssign<Tally> for Stats {
    fn add_assign(&mut self, tally: Tally) {
        self.hits += tally.hits;
        self.stale_hits += tally.stale_hits;
        self.misses += tally.misses;
        self.evictions += tally.evictions;
        self.expirations += tally.expirations;
    }
}

/// The algorithm's own part of a table, opaque to who implements one: it starts as `default()` and
/// is only handed out.
#[derive(Clone, Copy, Debug, Default)]
pub struct House {
    pub(crate) tally: Tally,
    pub(crate) sweep: Sweep,
}

impl House {
    /// To be told whenever an entry changes its position, so that no sweep misses it.
    pub fn moved(&mut self, from: usize, to: usize) {
        self.sweep.moved(from, to);
    }

    /// Whether an entry may have to go at `now`.
    pub const fn is_due(&self, now: Instant) -> bool {
        self.sweep.is_due(now)
    }

    /// When an entry may have to go next: a lower bound; [`Instant::FAR_FUTURE`] for never.
    pub const fn poll_at(&self) -> Instant {
        self.sweep.low
    }
}

/// A pass over positions, a few at a time, and when the next pass is worth while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    cursor: usize,
    /// Nothing goes before this.
    low: Instant,
    /// The same for what the present pass has seen so far.
    pass_low: Instant,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { cursor: 0, low: Instant::FAR_FUTURE, pass_low: Instant::FAR_FUTURE }
    }
}

impl Sweep {
    /// Something may go at `at`.
    pub(crate) fn expect(&mut self, at: Instant) {
        self.low = self.low.min(at);
        self.pass_low = self.pass_low.min(at);
    }

    /// What is seen in a pass counts for the next one.
    pub(crate) fn saw(&mut self, at: Instant) {
        self.pass_low = self.pass_low.min(at);
    }

    /// An entry that the present pass had still to see is now where it has been: one more pass.
    fn moved(&mut self, from: usize, to: usize) {
        if to < self.cursor && from >= self.cursor {
            self.saw(self.low);
        }
    }

    /// Positions may have changed in any way: one more pass.
    pub(crate) fn disturb(&mut self) {
        if self.cursor != 0 {
            self.saw(self.low);
        }
    }

    pub(crate) const fn low(&self) -> Instant {
        self.low
    }

    /// Whether a pass is under way or should begin.
    pub(crate) const fn is_due(&self, now: Instant) -> bool {
        self.cursor != 0 || now.has_reached(self.low)
    }

    /// The position to look at; `None` when the pass has ended with the last of `slots`.
    pub(crate) const fn position(&mut self, slots: usize) -> Option<usize> {
        if self.cursor == 0 {
            self.pass_low = Instant::FAR_FUTURE;
        }
        if self.cursor >= slots {
            self.cursor = 0;
            self.low = self.pass_low;
            return None;
        }
        Some(self.cursor)
    }

    /// Goes on to the next position: what was at this one stays.
    pub(crate) const fn advance(&mut self) {
        self.cursor += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_visits_every_position_once_and_remembers_what_comes_next() {
        let mut sweep = Sweep::default();
        let (soon, later) = (Instant::from_secs(1), Instant::from_secs(5));
        assert!(!sweep.is_due(later));
        sweep.expect(soon);
        assert!(sweep.is_due(soon) && !sweep.is_due(Instant::ORIGIN));
        for expected in [Some(0), Some(1), Some(2), None] {
            assert_eq!(sweep.position(3), expected);
            if expected.is_some() {
                sweep.saw(later);
                sweep.advance();
            }
        }
        assert_eq!(sweep.low(), later);
        assert!(!sweep.is_due(soon) && sweep.is_due(later));
    }

    #[test]
    fn who_moves_behind_a_passs_back_is_seen_in_the_next() {
        let mut sweep = Sweep::default();
        sweep.expect(Instant::from_secs(1));
        assert_eq!(sweep.position(9), Some(0));
        sweep.advance();
        sweep.moved(8, 5);
        sweep.moved(5, 0);
        while sweep.position(8).is_some() {
            sweep.advance();
        }
        assert_eq!(sweep.low(), Instant::from_secs(1));
    }

    #[test]
    fn what_is_expected_during_a_pass_is_not_forgotten_at_its_end() {
        let mut sweep = Sweep::default();
        sweep.expect(Instant::ORIGIN);
        assert_eq!(sweep.position(2), Some(0));
        sweep.advance();
        sweep.expect(Instant::from_secs(3));
        sweep.advance();
        assert_eq!(sweep.position(2), None);
        assert_eq!(sweep.low(), Instant::from_secs(3));
    }
}

//! An entry at rest: its value and one number.

use crate::time::Instant;

/// A value as tables keep it: with one 64-bit word for its deadline and a few bits.
///
/// The deadline is the entry's *next decision*: before it, a read looks nowhere else. All other
/// windows follow from it and the policy, or stand in the key's record.
#[derive(Debug)]
pub struct Resting<V> {
    pub(crate) value: V,
    pub(crate) mark: Mark,
}

impl<V> Resting<V> {
    pub(crate) const fn new(value: V, mark: Mark) -> Self {
        Self { value, mark }
    }

    /// The value.
    pub const fn value(&self) -> &V {
        &self.value
    }

    /// The value, without the rest.
    pub fn into_value(self) -> V {
        self.value
    }

    /// How often the entry was used lately, 0 to 3: for a table's choice of victim. Sets count uses
    /// elsewhere.
    pub const fn uses(&self) -> u8 {
        self.mark.uses()
    }

    /// Forgets one of the uses, as a choice of victims passes the entry over.
    pub const fn forget_a_use(&mut self) {
        self.mark.forget_a_use();
    }

    /// Counts a use, up to 3. Writes only if that changes something: lines of hot entries stay
    /// clean.
    pub(crate) const fn note_use(&mut self) {
        if self.mark.0 & UNUSED != 0 {
            self.mark.0 -= 1;
        }
    }
}

/// Deadline in the upper 58 bits, in steps of 64 ns over the whole range of [`Instant`]; below it
/// two bits that say how many uses would still count (so that a hit on a hot entry tests for zero)
/// and one each for "has a record", "stale meanwhile", "is in the main queue" and "has times of its
/// own".
///
/// Opaque, but for who reads a `Set` without its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

const UNUSED: u64 = 0b00_0011;
const RECORD: u64 = 0b00_0100;
const STALE: u64 = 0b00_1000;
const MAIN: u64 = 0b01_0000;
const OWN: u64 = 0b10_0000;
const BITS: u64 = 63;

impl Mark {
    /// Of an entry that has gone: no read is answered from it, whatever the time.
    pub const DEAD: Self = Self(0);

    pub(crate) const fn new(deadline: Instant) -> Self {
        Self(deadline.as_nanos() & !BITS | UNUSED)
    }

    pub(crate) const fn deadline(self) -> Instant {
        let nanos = self.0 & !BITS;
        if nanos == !BITS { Instant::FAR_FUTURE } else { Instant::from_nanos(nanos) }
    }

    pub(crate) const fn uses(self) -> u8 {
        (UNUSED - (self.0 & UNUSED)) as u8
    }

    pub(crate) const fn forget_a_use(&mut self) {
        if self.0 & UNUSED != UNUSED {
            self.0 += 1;
        }
    }

    #[cfg(any(feature = "hashbrown", feature = "heapless"))]
    pub(crate) const fn forget_uses(&mut self) {
        self.0 |= UNUSED;
    }

    /// Whether the table has the entry in its main queue; see `table::s3fifo`.
    #[cfg(any(feature = "hashbrown", feature = "heapless"))]
    pub(crate) const fn is_main(self) -> bool {
        self.0 & MAIN != 0
    }

    #[cfg(any(feature = "hashbrown", feature = "heapless"))]
    pub(crate) const fn set_main(&mut self, main: bool) {
        if main {
            self.0 |= MAIN;
        } else {
            self.0 &= !MAIN;
        }
    }

    /// The same bits of use and queue with another deadline and other flags.
    #[must_use]
    pub(crate) const fn moved(self, deadline: Instant, record: bool, stale: bool) -> Self {
        let mut word = (deadline.as_nanos() & !BITS) | (self.0 & (UNUSED | MAIN));
        if record {
            word |= RECORD;
        }
        if stale {
            word |= STALE;
        }
        Self(word)
    }

    /// Whether a read at `now` can be answered without looking anywhere else.
    pub(crate) const fn covers(self, now: Instant) -> bool {
        // With all low bits of `now` set, the word's own low bits do not count: one comparison.
        now.as_nanos() | BITS < self.0
    }

    /// Whether a read of a fresh value at `now` can be answered from the entry alone.
    #[inline]
    pub const fn answers(self, now: Instant) -> bool {
        self.covers(now) && !self.is_stale()
    }

    /// The same for a read that takes a stale value as well: something is being done about it.
    #[inline]
    pub const fn answers_even_stale(self, now: Instant) -> bool {
        self.covers(now)
    }

    /// Says that the entry's times stand in the table: they are not what the policy would give it.
    #[must_use]
    pub(crate) const fn with_own_times(self) -> Self {
        Self(self.0 | OWN)
    }

    pub(crate) const fn has_own_times(self) -> bool {
        self.0 & OWN != 0
    }

    /// Whether its deadline alone does not tell when it goes: its times stand elsewhere.
    pub(crate) const fn has_times_elsewhere(self) -> bool {
        self.0 & (OWN | RECORD) != 0
    }

    pub(crate) const fn has_record(self) -> bool {
        self.0 & RECORD != 0
    }

    /// Whether the value is stale, and a read that may load need not do anything about it.
    #[inline]
    pub const fn is_stale(self) -> bool {
        self.0 & STALE != 0
    }
}

/// When a value was stored and until when it is fresh, for an entry whose ttl or age is its own.
/// Opaque: tables only hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub(crate) stored_at: Instant,
    pub(crate) fresh_until: Instant,
}

impl Times {
    /// Whatever: for places that are not in use.
    pub const UNSET: Self = Self { stored_at: Instant::ORIGIN, fresh_until: Instant::ORIGIN };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_uses_do_not_disturb_the_deadline() {
        let deadline = Instant::from_millis(1_234);
        let mut resting = Resting::new((), Mark::new(deadline).moved(deadline, true, true));
        for _ in 0..9 {
            resting.note_use();
        }
        assert_eq!(resting.uses(), 3);
        assert_eq!(resting.mark.deadline(), deadline);
        assert!(resting.mark.has_record() && resting.mark.is_stale());
        for _ in 0..9 {
            resting.forget_a_use();
        }
        assert_eq!((resting.uses(), resting.mark.deadline()), (0, deadline));
    }

    #[test]
    fn whole_milliseconds_are_kept_exactly_and_never_is_kept() {
        for millis in [0, 1, 59_999, 1 << 40] {
            let at = Instant::from_millis(millis);
            assert_eq!(Mark::new(at).deadline(), at);
        }
        assert_eq!(Mark::new(Instant::FAR_FUTURE).deadline(), Instant::FAR_FUTURE);
        assert!(Mark::new(Instant::FAR_FUTURE).covers(Instant::from_secs(1 << 34)));
    }

    #[test]
    fn a_deadline_covers_what_comes_before_it_whatever_the_other_bits() {
        let deadline = Instant::from_nanos(640);
        for mark in [Mark::new(deadline), Mark(Mark::new(deadline).0 | BITS)] {
            let covered = |nanos| mark.covers(Instant::from_nanos(nanos));
            assert!(covered(0) && covered(639) && !covered(640) && !covered(641));
        }
        assert!(!Mark::new(Instant::ORIGIN).covers(Instant::ORIGIN));
    }
}

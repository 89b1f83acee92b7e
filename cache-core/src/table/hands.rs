//! S3-FIFO for the few entries of a set, in bits: the same policy as [`s3fifo`](super::s3fifo), with
//! two hands in the place of two linked queues.
//!
//! Every position of a set has a bit in each of a few words. A queue is the positions that have a
//! bit, in order from its hand on, round about; what takes its victim's place is the queue's newest,
//! as the hand goes on behind it (CLOCK; Corbató 1968). So the next victim is found by a few
//! operations on words, however many entries are passed over.
//!
//! What differs from linked queues: who moves from the small queue to the main one keeps its
//! position, and so comes in at any place of the order; and who takes a place that another queue had
//! does, too. In the small queue that would matter, so its newest entry goes last. And where most of the
//! main queue is in use, who leaves it leaves a ghost, too; to linked queues, counting the used would be
//! long work.

/// Entries that the small queue keeps of a full set.
const SMALL: u32 = 2;
/// Main entries that a returning entry looks at. It has to find one that is unused: on skewed traffic
/// this saves a set's few places for what is read often.
const TRIES: usize = 3;
/// Where so many main entries were used lately, half of them, who has to go from there leaves a ghost.
const BUSY: u32 = 13;
/// Ghosts of a set.
const GHOSTS: usize = 24;

/// How often each of up to 32 entries was used lately, 0 to 3: two planes of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    low: u32,
    high: u32,
}

impl Uses {
    /// Those that [`to_bits`](Self::to_bits) told.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // both halves are taken
    pub const fn from_bits(bits: u64) -> Self {
        Self { low: bits as u32, high: (bits >> 32) as u32 }
    }

    /// All of them as one number.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.low as u64 | (self.high as u64) << 32
    }

    /// The entries of which no further use counts.
    #[inline]
    pub const fn full(self) -> u32 {
        self.low & self.high
    }

    /// With one more use of an entry.
    #[must_use]
    #[inline]
    pub const fn noted(self, at: usize) -> Self {
        let counts = (1 << at) & !self.full();
        Self { low: self.low ^ counts, high: self.high | self.low & counts }
    }

    const fn any(self) -> u32 {
        self.low | self.high
    }

    const fn is_used(self, at: usize) -> bool {
        self.any() >> at & 1 != 0
    }

    /// One use less for each of these entries, which must all be used.
    const fn forget(&mut self, these: u32) {
        *self = Self { low: self.low ^ these, high: self.high & !(these & !self.low) };
    }

    pub(super) const fn clear(&mut self, at: usize) {
        *self = Self { low: self.low & !(1 << at), high: self.high & !(1 << at) };
    }
}

/// The order of a set's entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hands {
    /// The positions whose entries are in the main queue.
    main: u32,
    main_hand: u8,
    small_hand: u8,
    /// The newest entry of the small queue, or [`NOBODY`].
    newest: u8,
}

/// No position of a set.
const NOBODY: u8 = 31;

/// An entry that has to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) at: usize,
    /// Its fingerprint is to be kept: it never came to the main queue, or that is [`BUSY`], and it was
    /// not much worse than the others. (With the fingerprints of all who leave the main queue, a loop
    /// that is longer than the cache would find nothing that stays.)
    pub(super) leaves_ghost: bool,
}

impl Hands {
    pub(super) const fn new() -> Self {
        Self { main: 0, main_hand: 0, small_hand: 0, newest: NOBODY }
    }

    /// Takes up an entry at a position that nobody has.
    #[allow(clippy::cast_possible_truncation)] // a position of a set
    pub(super) const fn admit(&mut self, at: usize, main: bool) {
        if main {
            self.main |= 1 << at;
        } else {
            self.newest = at as u8;
        }
    }

    /// Lets go of an entry that leaves its set.
    pub(super) const fn release(&mut self, at: usize) {
        self.main &= !(1 << at);
        if self.newest as usize == at {
            self.newest = NOBODY;
        }
    }

    /// The same for one whose place is taken at once: the hand goes on behind it.
    pub(super) const fn supplant(&mut self, at: usize) {
        if self.main >> at & 1 != 0 {
            self.main_hand = after(at);
        } else {
            self.small_hand = after(at);
        }
        self.release(at);
    }

    /// Whether a returning entry may go to the main queue of a full set. Main entries that were used
    /// lately are spared for it, and lose a use.
    pub(super) fn is_welcome(&mut self, live: u32, uses: &mut Uses) -> bool {
        // A small queue that is too long gives its place away, not the main queue.
        if (live & !self.main).count_ones() > SMALL {
            return true;
        }
        for _ in 0..TRIES {
            let Some(at) = next(self.main, self.main_hand) else { return true };
            if !uses.is_used(at) {
                return true;
            }
            uses.forget(1 << at);
            self.main_hand = after(at);
        }
        false
    }

    /// The position among the `live` that has to go next; it still belongs to its queue. `None` where
    /// nobody lives. O(entries), and mostly O(1).
    #[inline(always)] // the uses would have to lie in memory for a call
    pub(super) fn victim(&mut self, live: u32, uses: &mut Uses) -> Option<Victim> {
        loop {
            let small = live & !self.main;
            const { assert!(SMALL == 2, "two bits, or more, are tested for") };
            let is_short = small & small.wrapping_sub(1) == 0;
            if is_short && self.main != 0 {
                return self.main_victim(uses);
            }
            let at = self.oldest_small(small)?;
            if !uses.is_used(at) {
                return Some(Victim { at, leaves_ghost: true });
            }
            // Each round moves one entry, so there are at most as many as entries.
            uses.clear(at);
            self.small_hand = after(at);
            self.release(at);
            self.main |= 1 << at;
        }
    }

    fn oldest_small(&self, small: u32) -> Option<usize> {
        next(small & !(1 << self.newest), self.small_hand).or_else(|| next(small, self.small_hand))
    }

    /// The first unused one from the hand on; those that it passes over lose a use.
    fn main_victim(&self, uses: &mut Uses) -> Option<Victim> {
        let leaves_ghost = (self.main & uses.any()).count_ones() >= BUSY;
        loop {
            let Some(at) = next(self.main & !uses.any(), self.main_hand) else {
                if self.main == 0 {
                    return None;
                }
                // All were used, at most three times: a whole round, at most three rounds.
                uses.forget(self.main);
                continue;
            };
            uses.forget(self.main & between(self.main_hand, at));
            return Some(Victim { at, leaves_ghost });
        }
    }
}

/// The position behind this one.
#[allow(clippy::cast_possible_truncation)] // below 32
const fn after(at: usize) -> u8 {
    (at as u8 + 1) % 32
}

/// The first of these positions from a hand on, round about.
const fn next(these: u32, hand: u8) -> Option<usize> {
    if these == 0 {
        return None;
    }
    let steps = these.rotate_right(hand as u32).trailing_zeros() as usize;
    Some((hand as usize + steps) % 32)
}

/// The positions from a hand on that come before this one, round about.
const fn between(hand: u8, at: usize) -> u32 {
    let steps = (at as u32).wrapping_sub(hand as u32) % 32;
    ((1 << steps) - 1_u32).rotate_left(hand as u32)
}

/// The fingerprints of what left a set, one byte each, without chains: where two have one place, the
/// later is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ghosts([u8; GHOSTS]);

impl Ghosts {
    pub(super) const fn new() -> Self {
        Self([0; GHOSTS])
    }

    /// Whether the entry under a hash left lately; it is forgotten now.
    pub(super) fn recall(&mut self, hash: u64) -> bool {
        let (place, print) = self.place(hash);
        let known = *place == print;
        if known {
            *place = 0;
        }
        known
    }

    /// Notes that the entry under a hash left.
    pub(super) fn remember(&mut self, hash: u64) {
        let (place, print) = self.place(hash);
        *place = print;
    }

    /// The place of a hash, and its fingerprint: one byte of the hash, 1 to 255, as 0 says that there is
    /// none. One miss in some 255 takes a stranger for a ghost. Both bytes of the hash count for the
    /// place, whatever a caller's hashes have in common. (Multiplier: 2^32 divided by the golden ratio;
    /// Knuth, TAOCP 3, 6.4.)
    fn place(&mut self, hash: u64) -> (&mut u8, u8) {
        let [print, upper, ..] = hash.to_le_bytes();
        let both = u32::from(u16::from_le_bytes([print, upper]));
        let spread = both.wrapping_mul(0x9e37_79b1) >> 16;
        let place = (spread as usize * GHOSTS) >> 16;
        (&mut self.0[place], print.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn used(times: &[usize]) -> Uses {
        let noted = |uses: Uses, at: &usize| uses.noted(*at);
        times.iter().fold(Uses::default(), noted)
    }

    #[test]
    fn three_uses_count_and_are_forgotten_one_by_one() {
        let mut uses = used(&[3, 3, 3, 3, 5, 5]);
        assert_eq!((uses.full(), uses.any()), (1 << 3, 1 << 3 | 1 << 5));
        assert_eq!(Uses::from_bits(uses.to_bits()), uses);
        uses.forget(1 << 3 | 1 << 5);
        uses.forget(1 << 3 | 1 << 5);
        assert_eq!(uses, used(&[3]));
        uses.clear(3);
        assert_eq!(uses, Uses::default());
    }

    #[test]
    fn the_small_queue_lets_its_oldest_go_and_its_newest_last() {
        let mut hands = Hands::new();
        for at in [4, 9, 2] {
            hands.admit(at, false);
        }
        let mut live = 1 << 4 | 1 << 9 | 1 << 2;
        let mut left = vec![];
        while let Some(victim) = hands.victim(live, &mut Uses::default()) {
            assert!(victim.leaves_ghost);
            hands.release(victim.at);
            live &= !(1 << victim.at);
            left.push(victim.at);
        }
        assert_eq!(left, [4, 9, 2]);
    }

    #[test]
    fn who_is_used_moves_to_the_main_queue_and_goes_when_its_uses_are_spent() {
        let mut hands = Hands::new();
        (0..4).for_each(|at| hands.admit(at, false));
        let mut uses = used(&[0, 1, 1]);
        // 0 and 1 move on, 2 goes.
        assert_eq!(
            hands.victim(0b1111, &mut uses).map(|v| (v.at, v.leaves_ghost)),
            Some((2, true))
        );
        hands.supplant(2);
        hands.admit(2, true);
        uses = used(&[0, 1, 1, 1, 2]);
        // One small entry is left, so the main queue gives: its hand passes 0 and 1.
        let mut after = uses;
        assert_eq!(hands.victim(0b1111, &mut after).map(|v| v.at), Some(0));
        assert_eq!(after, used(&[1, 1]), "a round cost each a use");
    }

    #[test]
    fn ghosts_have_many_places_though_their_upper_byte_is_the_same() {
        for upper in [0, 0x1200, 0xff00] {
            let mut ghosts = Ghosts::new();
            (0..256).for_each(|print| ghosts.remember(upper | print));
            let taken = ghosts.0.iter().filter(|print| **print != 0).count();
            assert_eq!(taken, GHOSTS);
        }
    }

    #[test]
    fn a_ghost_is_recalled_once() {
        let mut ghosts = Ghosts::new();
        ghosts.remember(0x0000_4321);
        assert!(!ghosts.recall(0x0000_4322) && !ghosts.recall(0x0000_8321));
        assert!(ghosts.recall(0x0000_4321));
        assert!(!ghosts.recall(0x0000_4321));
    }

    proptest! {
        /// Next to counting one by one.
        #[test]
        fn the_main_queue_passes_over_the_used_as_a_clock_does(
            main in 1..1_u32 << 28, notes in prop::collection::vec(0..28_usize, 0..90), hand in 0..32_u8,
        ) {
            let mut hands = Hands { main, main_hand: hand, small_hand: 0, newest: NOBODY };
            let mut counts = [0_u8; 32];
            let mut uses = Uses::default();
            for at in notes.into_iter().filter(|at| main >> at & 1 != 0) {
                uses = uses.noted(at);
                counts[at] = (counts[at] + 1).min(3);
            }
            let used_before = counts.iter().filter(|count| **count > 0).count();
            let mut at = usize::from(hand);
            while main >> at & 1 == 0 || counts[at] > 0 {
                counts[at] = counts[at].saturating_sub(1);
                at = (at + 1) % 32;
            }
            let victim = hands.victim(main, &mut uses).unwrap();
            prop_assert_eq!((victim.at, victim.leaves_ghost), (at, used_before >= 13));
            let left: Vec<_> = (0..32).flat_map(|at| vec![at; counts[at].into()]).collect();
            prop_assert_eq!(uses, used(&left));
        }
    }
}

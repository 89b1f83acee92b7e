//! The CLOCK choice of victims, shared by the tables that lend their positions.

/// Most positions that the hand passes for one victim.
pub(super) const STEPS: usize = 256;
/// Most victims of one insertion. What needs more room is handed back, and finds more next time.
#[cfg(feature = "hashbrown")]
pub(super) const VICTIMS: usize = 256;

/// Moves `hand` over `slots` positions to the first entry without a use; if none comes within the
/// bound, takes the least used one passed. `pass` gives an entry's uses before the hand took one
/// away, or `None` for an empty position.
pub(super) fn victim(
    hand: &mut usize,
    slots: usize,
    mut pass: impl FnMut(usize) -> Option<u8>,
) -> Option<usize> {
    let mut best: Option<(u8, usize)> = None;
    for _ in 0..STEPS.min(slots.saturating_mul(4)) {
        if *hand >= slots {
            *hand = 0;
        }
        let at = *hand;
        *hand += 1;
        let Some(uses) = pass(at) else { continue };
        if uses == 0 {
            return Some(at);
        }
        if best.is_none_or(|(least, _)| uses < least) {
            best = Some((uses, at));
        }
    }
    best.map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hand_spares_what_was_used_and_comes_back_for_it() {
        let mut uses = [2u8, 0, 1];
        let mut hand = 0;
        let mut next = |uses: &mut [u8; 3]| {
            victim(&mut hand, 3, |at| {
                let before = uses[at];
                uses[at] = before.saturating_sub(1);
                Some(before)
            })
        };
        assert_eq!(next(&mut uses), Some(1));
        assert_eq!(next(&mut uses), Some(1));
        assert_eq!(next(&mut uses), Some(2));
    }

    #[test]
    fn it_gives_up_in_an_empty_table_and_settles_in_a_busy_one() {
        let mut hand = 5;
        assert_eq!(victim(&mut hand, 0, |_| None), None);
        assert_eq!(victim(&mut hand, 1_000, |_| None), None);
        let mut passed = 0;
        let found = victim(&mut hand, 1_000, |_| {
            passed += 1;
            Some(3)
        });
        assert!(found.is_some() && passed <= STEPS);
    }
}

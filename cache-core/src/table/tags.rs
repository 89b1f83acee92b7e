//! Which positions of a set may have a key, by one byte of their hashes each.

use wide::{bytemuck, u8x16, u16x8};

use super::WAYS;

/// Of the two lowest bytes of a hash, the one that a position compares first, and the other; or from those
/// back to the hash's. They take turns, the lower comes first at even positions: processors repeat two bytes
/// in fewer steps than one.
#[inline]
pub(super) const fn in_turn(at: usize, [low, high]: [u8; 2]) -> [u8; 2] {
    if at.is_multiple_of(2) { [low, high] } else { [high, low] }
}

/// One bit for each of `tags` that equals its byte of `pair`, whose first is for even positions.
#[inline]
pub(super) fn equal(tags: &[u8; WAYS], pair: [u8; 2]) -> u32 {
    const APART: usize = WAYS - 16;
    const { assert!(APART.is_multiple_of(2)) }
    let (Some(low), Some(high)) = (tags.first_chunk(), tags.last_chunk()) else { return 0 };
    let wanted: u8x16 = bytemuck::cast(u16x8::splat(u16::from_ne_bytes(pair)));
    let mask = |part: &[u8; 16]| u8x16::new(*part).simd_eq(wanted).to_bitmask();
    // The two parts overlap, and say the same of what they share.
    mask(low) | (mask(high) << APART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_compares_the_byte_whose_turn_it_is_and_keeps_both() {
        let (hash, other) = ([3, 7], [3, 9]);
        for at in 0..WAYS {
            let mut tags = [0; WAYS];
            let [first, second] = in_turn(at, hash);
            tags[at] = first;
            assert_eq!(equal(&tags, hash), 1 << at);
            assert_eq!(
                equal(&tags, other) != 0,
                at.is_multiple_of(2),
                "the lower at even positions"
            );
            assert_eq!(in_turn(at, [first, second]), hash);
        }
    }
}

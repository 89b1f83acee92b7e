//! When an entry was written, and since when it is stale, by the server's clock: what stands before its envelope.
//!
//! The script that writes an entry puts it there, so no process's clock is in it. Three numbers of 64 bits,
//! big-endian: the microsecond of the write, that from which it is stale by decree or 0, and the sum of both, by
//! which a changed bit is found.

use core::time::Duration;

use cache_core::Lifetime;

use crate::clock::Micros;

/// Bytes of a stamp.
pub(crate) const STAMP: usize = 24;

/// By so much a stamp may be ahead of the server's time: a replica that was promoted has a clock of its own.
const AHEAD: Micros = 1_000_000;

/// See the [module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    written: Micros,
    stale_from: Option<Micros>,
}

/// An entry's life as of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(crate) lifetime: Lifetime,
    /// Whether it says that it was written later than now: somebody has set the clock back. How old it is cannot
    /// be told then, and it counts as stale.
    pub(crate) misdated: bool,
}

impl Stamp {
    /// The stamp, and what stands behind it. `None` where there is no stamp.
    pub(crate) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (written, rest) = number(bytes)?;
        let (stale, rest) = number(rest)?;
        let (sum, rest) = number(rest)?;
        let whole = written.checked_add(stale) == Some(sum);
        let stale_from = (stale != 0).then_some(stale);
        whole.then_some((Self { written, stale_from }, rest))
    }

    /// When it was written.
    pub(crate) const fn written(self) -> Micros {
        self.written
    }

    /// Stale from this time on, or from an earlier one.
    pub(crate) fn stale_from(self, from: Micros) -> Self {
        let from = self.stale_from.map_or(from, |before| before.min(from));
        Self { stale_from: Some(from), ..self }
    }

    /// What has become of the life that it had when it was written.
    pub(crate) fn age(self, lifetime: Lifetime, now: Micros) -> Aged {
        let age_at = |at: Micros| {
            lifetime.age.saturating_add(Duration::from_micros(at.saturating_sub(self.written)))
        };
        let misdated = self.written > now.saturating_add(AHEAD);
        let decreed = self.stale_from.map(age_at);
        let Some(end) = decreed.or_else(|| misdated.then_some(lifetime.age)) else {
            return Aged { lifetime: lifetime.aged(age_at(now)), misdated };
        };
        Aged { lifetime: lifetime.aged(age_at(now)).stale_since(end), misdated }
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (eight, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*eight), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cache_core::Freshness;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const NOW: Micros = 1_800_000_000_000_000;

    fn micros(span: Duration) -> Micros {
        u64::try_from(span.as_micros()).unwrap()
    }

    fn bytes(numbers: [u64; 3]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn written(ago: Duration) -> Stamp {
        Stamp { written: NOW - micros(ago), stale_from: None }
    }

    #[test]
    fn the_time_since_it_was_written_is_added_to_its_age() {
        let hour = Lifetime::fresh_for(MINUTE * 60).aged(MINUTE);
        let Aged { lifetime, misdated } = written(MINUTE * 9).age(hour, NOW);
        assert_eq!((lifetime, misdated), (hour.aged(MINUTE * 10), false));
    }

    #[test]
    fn its_windows_begin_where_it_was_made_stale() {
        let for_ever = Lifetime::fresh_for(Duration::MAX).stale_if_error(MINUTE * 3);
        for life in [for_ever, Lifetime::fresh_for(MINUTE * 60).stale_if_error(MINUTE * 3)] {
            let stamp = Stamp { stale_from: Some(NOW - micros(MINUTE)), ..written(MINUTE * 9) };
            let found = stamp.age(life, NOW).lifetime;
            assert_eq!(found.freshness(), Freshness::Expired);
            assert_eq!((found.age, found.remaining()), (MINUTE * 9, MINUTE * 2));
        }
        let over = Lifetime::fresh_for(MINUTE * 2).stale_if_error(MINUTE * 8);
        let stamp = Stamp { stale_from: Some(NOW), ..written(MINUTE * 9) };
        assert_eq!(stamp.age(over, NOW).lifetime.remaining(), MINUTE, "it was stale before");
    }

    #[test]
    fn an_entry_of_tomorrow_is_stale_and_told() {
        let life = Lifetime::fresh_for(Duration::MAX).stale_while_revalidate(MINUTE);
        let tomorrow = Stamp { written: NOW + 86_400_000_000, stale_from: None };
        let Aged { lifetime, misdated } = tomorrow.age(life, NOW);
        assert_eq!((lifetime.freshness(), misdated), (Freshness::Stale, true));
        let soon = Stamp { written: NOW + AHEAD, stale_from: None };
        assert_eq!(soon.age(life, NOW), Aged { lifetime: life, misdated: false });
    }

    /// What is stored today must be readable by every later version.
    #[test]
    fn the_form_is_fixed() {
        let with_rest = [bytes([0x0102, 0, 0x0102]), b"rest".to_vec()].concat();
        let stamp = Stamp { written: 0x0102, stale_from: None };
        assert_eq!(Stamp::read(&with_rest), Some((stamp, &b"rest"[..])));
        let stale = Stamp { written: 1, stale_from: Some(2) };
        assert_eq!(Stamp::read(&bytes([1, 2, 3])), Some((stale, &[][..])));
        assert_eq!(Stamp::read(&with_rest[..STAMP - 1]), None);
        assert_eq!(Stamp::read(&bytes([u64::MAX, 1, 0])), None);
    }

    proptest! {
        #[test]
        fn no_bit_may_change(written: u64, stale in 0..NOW, at in 0..STAMP, bit in 0..8_u8) {
            let written = written >> 2;
            let mut bytes = bytes([written, stale, written + stale]);
            prop_assert!(Stamp::read(&bytes).is_some());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Stamp::read(&bytes), None);
        }

        #[test]
        fn nothing_becomes_younger_or_lives_longer(
            spans in any::<[u64; 4]>(), numbers in any::<[u64; 3]>(),
        ) {
            let [ttl, swr, sie, age] = spans.map(Duration::from_nanos);
            let life = Lifetime::fresh_for(ttl).stale_while_revalidate(swr).stale_if_error(sie);
            let life = life.aged(age);
            let [written, stale, now] = numbers;
            let stamp = Stamp { written, stale_from: (stale != 0).then_some(stale) };
            let found = stamp.age(life, now).lifetime;
            prop_assert!(found.age >= age && found.remaining() <= life.remaining());
            prop_assert!(stale == 0 || found.freshness() != Freshness::Fresh);
        }
    }
}

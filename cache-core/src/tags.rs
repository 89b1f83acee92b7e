//! The log of invalidated tags: invalidation writes one number, entries compare it when read.

use crate::time::Instant;

/// The hash under which a tag is known (FNV-1a, spread): the same in every process and version. A
/// collision invalidates too much, never too little. O(length).
#[cfg(feature = "alloc")]
pub fn tag_hash(tag: &str) -> u64 {
    crate::policy::mix(crate::table::fnv1a(tag.as_bytes()))
}

/// What the log says about an entry's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // nothing else can have happened
pub enum Verdict {
    /// None of them has changed.
    Untouched,
    /// Stale since then.
    #[cfg_attr(not(feature = "alloc"), allow(dead_code))]
    Expired(Instant),
    /// One was invalidated, or may have been.
    #[cfg_attr(not(feature = "alloc"), allow(dead_code))]
    Invalidated,
}

#[cfg(feature = "alloc")]
pub(crate) use log::TagLog;

#[cfg(not(feature = "alloc"))]
pub(crate) use none::TagLog;

#[cfg(feature = "alloc")]
mod log {
    use super::Verdict;
    use crate::time::Instant;
    use alloc::collections::BTreeMap;

    /// What happened to one tag: the sequence number of its latest invalidation, and its latest
    /// expirations with their time, newest first. The last of them stands for all before it as well:
    /// with its own number, and the time of the first.
    #[derive(Clone, Copy, Debug, Default)]
    struct Marks {
        invalidated: u64,
        expired: [(u64, Instant); 4],
    }

    impl Marks {
        fn verdict(&self, since: u64) -> Verdict {
            if self.invalidated > since {
                return Verdict::Invalidated;
            }
            let later = self.expired.iter().take_while(|(sequence, _)| *sequence > since);
            later.last().map_or(Verdict::Untouched, |(_, at)| Verdict::Expired(*at))
        }

        fn expire(&mut self, sequence: u64, now: Instant) {
            let [newest, .., oldest] = &mut self.expired;
            if newest.0 > 0 && newest.1 == now {
                newest.0 = sequence;
                return;
            }
            let first = *oldest;
            self.expired.rotate_right(1);
            let [newest, .., oldest] = &mut self.expired;
            *newest = (sequence, now);
            if first.0 > 0 {
                // Who came between the two is stale for longer than it should be.
                oldest.1 = first.1;
            }
        }
    }

    /// Tags by hash in two generations of at most `LIMIT` each. When the young one is full, the
    /// old one is forgotten, and what was last checked before then counts as invalidated.
    #[derive(Debug, Default)]
    pub(crate) struct TagLog {
        sequence: u64,
        forgotten: u64,
        turned_at: u64,
        young: BTreeMap<u64, Marks>,
        old: BTreeMap<u64, Marks>,
    }

    impl TagLog {
        /// Tags in one generation.
        pub(crate) const LIMIT: usize = 2_048;

        pub(crate) const fn sequence(&self) -> u64 {
            self.sequence
        }

        pub(crate) fn expire(&mut self, tag: u64, now: Instant) {
            let (sequence, marks) = self.mark(tag);
            marks.expire(sequence, now);
        }

        pub(crate) fn invalidate(&mut self, tag: u64) {
            let (sequence, marks) = self.mark(tag);
            marks.invalidated = sequence;
        }

        fn mark(&mut self, tag: u64) -> (u64, &mut Marks) {
            self.sequence += 1;
            if self.young.len() >= Self::LIMIT && !self.young.contains_key(&tag) {
                self.old = core::mem::take(&mut self.young);
                self.forgotten = self.turned_at;
                self.turned_at = self.sequence - 1;
            }
            let known = self.old.get(&tag).copied().unwrap_or_default();
            (self.sequence, self.young.entry(tag).or_insert(known))
        }

        /// What happened to any of `tags` after `since`: the worst of it.
        pub(crate) fn verdict(&self, tags: &[u64], since: u64) -> Verdict {
            if tags.is_empty() || since == self.sequence {
                return Verdict::Untouched;
            }
            if since < self.forgotten {
                return Verdict::Invalidated;
            }
            let marks = |tag| self.young.get(tag).or_else(|| self.old.get(tag));
            let verdicts = tags.iter().filter_map(marks).map(|marks| marks.verdict(since));
            verdicts.fold(Verdict::Untouched, worse)
        }
    }

    fn worse(one: Verdict, other: Verdict) -> Verdict {
        match (one, other) {
            (Verdict::Invalidated, _) | (_, Verdict::Invalidated) => Verdict::Invalidated,
            (Verdict::Expired(a), Verdict::Expired(b)) => Verdict::Expired(a.min(b)),
            (Verdict::Untouched, verdict) | (verdict, Verdict::Untouched) => verdict,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Snapshots hold them: they must mean the same to every later version.
        #[test]
        fn hashes_are_what_they_always_were() {
            assert_eq!(super::super::tag_hash("tenant:7"), 0xbc5f_65f1_5e19_ccd8);
            assert_eq!(super::super::tag_hash(""), 0xf52a_15e9_a9b5_e89b);
        }

        #[test]
        fn only_what_came_later_counts() {
            let mut log = TagLog::default();
            log.invalidate(1);
            let seen = log.sequence();
            assert_eq!(log.verdict(&[1], 0), Verdict::Invalidated);
            assert_eq!(log.verdict(&[1], seen), Verdict::Untouched);
            let at = Instant::from_secs(1);
            log.expire(1, at);
            assert_eq!(log.verdict(&[1], seen), Verdict::Expired(at));
            assert_eq!(log.verdict(&[1], 0), Verdict::Invalidated);
            assert_eq!(log.verdict(&[2], 0), Verdict::Untouched);
            assert_eq!(log.verdict(&[2, 1], seen), Verdict::Expired(at));
        }

        #[test]
        fn the_first_expiration_that_concerns_an_entry_counts() {
            let mut log = TagLog::default();
            let at = Instant::from_secs;
            for n in 1..=9 {
                log.expire(1, at(n));
            }
            assert_eq!(log.verdict(&[1], 8), Verdict::Expired(at(9)));
            assert_eq!(log.verdict(&[1], 6), Verdict::Expired(at(7)));
            assert_eq!(log.verdict(&[1], 0), Verdict::Expired(at(1)));
            assert_eq!(log.verdict(&[1], 2), Verdict::Expired(at(1)), "two too early: forgotten");
        }

        #[test]
        fn expirations_at_one_instant_are_one() {
            let mut log = TagLog::default();
            let at = Instant::from_secs;
            log.expire(1, at(1));
            (0..9).for_each(|_| log.expire(1, at(5)));
            let seen = log.sequence();
            assert_eq!(log.verdict(&[1], 0), Verdict::Expired(at(1)));
            assert_eq!(log.verdict(&[1], 3), Verdict::Expired(at(5)));
            assert_eq!(log.verdict(&[1], seen), Verdict::Untouched);
        }

        #[test]
        fn memory_is_bounded_and_what_was_forgotten_counts_as_invalidated() {
            let mut log = TagLog::default();
            let limit = TagLog::LIMIT as u64;
            for tag in 0..limit * 2 {
                log.invalidate(tag);
            }
            let seen = log.sequence();
            for tag in 0..limit * 4 {
                log.invalidate(1_000_000 + tag);
                assert!(log.young.len() + log.old.len() <= 2 * TagLog::LIMIT);
            }
            assert_eq!(log.verdict(&[3], seen), Verdict::Invalidated);
            assert_eq!(log.verdict(&[3], log.sequence() - 1), Verdict::Untouched);
        }

        #[test]
        fn turning_a_generation_loses_nothing_that_is_still_held() {
            let mut log = TagLog::default();
            log.invalidate(7);
            for tag in 100..100 + TagLog::LIMIT as u64 {
                log.expire(tag, Instant::ORIGIN);
            }
            assert_eq!(log.verdict(&[7], 0), Verdict::Invalidated);
            assert_eq!(log.verdict(&[8], 0), Verdict::Untouched);
        }
    }
}

#[cfg(not(feature = "alloc"))]
mod none {
    use super::Verdict;

    /// Without a heap there are no tags.
    #[derive(Debug, Default)]
    pub(crate) struct TagLog {}

    impl TagLog {
        pub(crate) const fn sequence(&self) -> u64 {
            0
        }

        pub(crate) const fn verdict(&self, _tags: &[u64], _since: u64) -> Verdict {
            Verdict::Untouched
        }
    }
}

//! What gives an entry without a record its windows.

use crate::entry::Windows;
use crate::policy::{Policy, Spans, SpansOf, deadline};
use crate::resting::{Mark, Times};
use crate::time::{Instant, STEP_MASK};

/// What gives an entry without a record its windows: the policy, and the seed that decides which
/// keys' ttls jitter shortens by how much.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) policy: Policy,
    timing: Timing,
}

impl Rules {
    /// The rules that a book made of the same policy and seed goes by.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self { timing: Timing::new(&policy.spans(), seed), policy }
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Another policy with the same seed.
    #[must_use]
    pub fn with_policy(&self, policy: Policy) -> Self {
        Self::new(policy, self.timing.seed)
    }

    pub(super) const fn keeps_anything(&self) -> bool {
        self.policy.freshness().is_some()
    }

    /// What of these rules a table goes by that is asked without its book.
    pub const fn timing(&self) -> Timing {
        self.timing
    }

    /// See [`Timing::spread`].
    pub(super) const fn spread(&self, hash: u64) -> u64 {
        self.timing.spread(hash)
    }

    /// The windows of an entry without a record, given what the table keeps of its times.
    pub(super) fn windows(&self, mark: Mark, times: Option<Times>, hash: u64) -> Windows {
        match times.filter(|_| mark.has_own_times()) {
            Some(Times { stored_at, fresh_until }) => {
                let (swr, sie) = (self.policy.swr(), self.policy.sie());
                Windows { stored_at, fresh_until, swr, sie }
            }
            None => self.policy.windows_of_resting(mark.deadline(), self.spread(hash)),
        }
    }
}

/// What gives an entry without a record its instants: a few numbers, which a driver that changes
/// them while it goes on may keep as [words](Self::to_words).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Of the policy, if that has nothing else to say: the ttl, the longest cut, and how long an
    /// entry is kept after its ttl. For other policies, the same with what is needed beyond.
    spans: [u64; 3],
    seed: u64,
    kind: u64,
}

/// Kinds of timing: nothing is kept; for ever; a ttl; one so short that a value may be gone at once, as
/// deadlines are counted in steps; one with a percentage, to be added, for early refreshes.
const NOTHING: u64 = 0;
const FOREVER: u64 = 1;
const TTL: u64 = 2;
const SHORT_TTL: u64 = 3;
const EARLY: u64 = 4;

impl Timing {
    fn new(spans: &Spans, seed: u64) -> Self {
        let kind = match (spans.life, spans.early_percent) {
            (SpansOf::Nothing, _) => NOTHING,
            (SpansOf::Forever, _) => FOREVER,
            (SpansOf::Ttl, None) if spans.ttl - spans.longest_cut <= 2 * STEP_MASK => SHORT_TTL,
            (SpansOf::Ttl, None) => TTL,
            (SpansOf::Ttl, Some(percent)) => EARLY + u64::from(percent),
        };
        Self { spans: [spans.ttl, spans.longest_cut, spans.kept], seed, kind }
    }

    fn spans(&self) -> Spans {
        let [ttl, longest_cut, kept] = self.spans;
        let life = match self.kind {
            NOTHING => SpansOf::Nothing,
            FOREVER => SpansOf::Forever,
            _ => SpansOf::Ttl,
        };
        let early = self.kind.checked_sub(EARLY).and_then(|percent| percent.try_into().ok());
        Spans { life, ttl, longest_cut, kept, early_percent: early }
    }

    /// Whether a value is kept for certain, and a resting entry's instants follow from its deadline by
    /// additions alone.
    const fn is_plain(&self) -> bool {
        self.kind == TTL
    }

    /// What jitter goes by: the upper bits count most, and a multiplication spreads hashes over them.
    /// (Multiplier: the first of `policy::mix`.)
    const fn spread(&self, hash: u64) -> u64 {
        (hash ^ self.seed).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// How a plain value stored at `now` rests; `None` where nothing would be kept.
    #[inline(always)]
    pub fn rest(&self, now: Instant, hash: u64) -> Option<Rest> {
        let hash = self.spread(hash);
        let [ttl, longest_cut, kept] = self.spans;
        if self.is_plain() {
            return Some(Rest { until: deadline(now, ttl, longest_cut, hash), kept });
        }
        Self::rest_slowly(ttl, longest_cut, kept, self.kind, now, hash)
    }

    /// For values that stay for ever, are refreshed early, or may be gone at once. (Of a whole timing,
    /// every put would make a copy in memory, to lend it here.)
    #[cold]
    #[inline(never)]
    fn rest_slowly(
        ttl: u64,
        longest_cut: u64,
        kept: u64,
        kind: u64,
        now: Instant,
        hash: u64,
    ) -> Option<Rest> {
        let spans = Self { spans: [ttl, longest_cut, kept], seed: 0, kind }.spans();
        if spans.life == SpansOf::Nothing {
            return None;
        }
        let windows = spans.windows(now, hash);
        let rest = Rest::new(spans.resting_deadline(&windows), windows.gone_at());
        (!now.has_reached(rest.gone_at())).then_some(rest)
    }

    /// When nothing may serve an entry without a record any more.
    pub(super) fn gone_at(&self, mark: Mark, times: Option<Times>, hash: u64) -> Instant {
        let [.., kept] = self.spans;
        match times.filter(|_| mark.has_own_times()) {
            Some(times) => times.fresh_until.saturating_add_nanos(kept),
            None if self.is_plain() => mark.deadline().saturating_add_nanos(kept),
            None => self.spans().windows_of_resting(mark.deadline(), self.spread(hash)).gone_at(),
        }
    }

    /// The same as numbers.
    pub const fn to_words(self) -> [u64; 5] {
        let [ttl, longest_cut, kept] = self.spans;
        [ttl, longest_cut, kept, self.seed, self.kind]
    }

    /// Undoes [`to_words`](Self::to_words). Words that are not of one timing make one that is of no
    /// use, and nothing worse.
    #[inline]
    pub const fn from_words([ttl, longest_cut, kept, seed, kind]: [u64; 5]) -> Self {
        Self { spans: [ttl, longest_cut, kept], seed, kind }
    }
}

/// The instants of a plain value: its next decision, and when nothing may serve it any more.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// The next decision, not yet in the steps of a mark.
    until: Instant,
    /// How long after that it is kept, in nanoseconds.
    kept: u64,
}

impl Rest {
    const fn new(deadline: Instant, gone_at: Instant) -> Self {
        let never = gone_at.as_nanos() == Instant::FAR_FUTURE.as_nanos();
        let kept = gone_at.as_nanos().saturating_sub(deadline.as_nanos());
        Self { until: deadline, kept: if never { u64::MAX } else { kept } }
    }

    /// The mark of a value that begins so.
    #[inline]
    pub(super) const fn mark(self) -> Mark {
        Mark::new(self.until)
    }

    /// The next decision.
    #[inline]
    pub(super) const fn deadline(self) -> Instant {
        self.until.floor()
    }

    /// When nothing may serve the value any more.
    #[inline]
    pub const fn gone_at(self) -> Instant {
        self.deadline().saturating_add_nanos(self.kept)
    }

    /// Whether a mark's deadline lies behind this one's.
    #[inline]
    pub(super) const fn is_sooner_than(self, mark: Mark) -> bool {
        mark.covers(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    proptest! {
        /// The short way to an entry's instants and the long one agree.
        #[test]
        fn what_rests_without_a_record_rests_as_its_windows_say(
            now in 0..u64::MAX / 2, ttl in prop_oneof![1..u64::MAX / 4, 1..200u64],
            kept in prop_oneof![any::<u64>(), 0..100u64],
            percent in 0..=50u8, hash in any::<u64>(), early in prop::option::of(1..100u8),
        ) {
            let policy = Policy::ttl(Duration::from_nanos(ttl));
            let policy = policy.stale_if_error(Duration::from_nanos(kept)).jitter_percent(percent);
            let policy = early.into_iter().fold(policy, |p, early| p.early_refresh_percent(early));
            let Ok(policy) = policy.build() else { return Ok(()) };
            let (rules, now) = (Rules::new(policy.clone(), 7), Instant::from_nanos(now));
            let timing = Timing::from_words(rules.timing().to_words());
            prop_assert_eq!(timing, rules.timing());
            let windows = policy.windows(now, rules.spread(hash)).unwrap();
            let deadline = policy.resting_deadline(&windows);
            let rest = timing.rest(now, hash).map(|rest| (rest.deadline(), rest.gone_at()));
            let is_kept = !now.has_reached(windows.gone_at());
            prop_assert_eq!(rest, is_kept.then_some((deadline, windows.gone_at())));
            let mark = Mark::new(deadline);
            prop_assert_eq!(timing.gone_at(mark, None, hash), rules.windows(mark, None, hash).gone_at());
        }
    }
}

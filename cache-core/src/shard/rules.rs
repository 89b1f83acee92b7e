//! What gives an entry without a record its windows.

use crate::entry::Windows;
use crate::policy::{Policy, Spans};
use crate::resting::{Mark, Times};
use crate::time::Instant;

/// What gives an entry without a record its windows: the policy, and the seed that decides which
/// keys' ttls jitter shortens by how much.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) policy: Policy,
    seed: u64,
    spans: Option<Spans>,
}

impl Rules {
    /// The rules that a book made of the same policy and seed goes by.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self { spans: policy.spans(), policy, seed }
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What jitter goes by: only the upper half counts, and a multiplication spreads hashes over it.
    /// (Multiplier: the first of `policy::mix`.)
    pub(super) const fn spread(&self, hash: u64) -> u64 {
        (hash ^ self.seed).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    /// How a plain value stored at `now` rests; `None` where nothing would be kept.
    #[inline]
    pub fn rest(&self, now: Instant, hash: u64) -> Option<Rest> {
        let rest = self.rest_of(now, self.spread(hash))?;
        (!now.has_reached(rest.gone_at)).then_some(rest)
    }

    #[inline]
    fn rest_of(&self, now: Instant, hash: u64) -> Option<Rest> {
        if let Some(spans) = self.spans {
            let deadline = spans.deadline(now, hash);
            return Some(Rest { deadline, gone_at: spans.gone_at(deadline) });
        }
        self.rest_slowly(now, hash)
    }

    /// For values that stay for ever, or are refreshed early.
    #[cold]
    #[inline(never)]
    fn rest_slowly(&self, now: Instant, hash: u64) -> Option<Rest> {
        let windows = self.policy.windows(now, hash)?;
        let deadline = self.policy.resting_deadline(&windows);
        Some(Rest { deadline, gone_at: windows.gone_at() })
    }

    /// When nothing may serve an entry without a record any more.
    pub(super) fn gone_at(&self, mark: Mark, times: Option<Times>, hash: u64) -> Instant {
        match self.spans.filter(|_| !mark.has_own_times()) {
            Some(spans) => spans.gone_at(mark.deadline()),
            None => self.windows(mark, times, hash).gone_at(),
        }
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

/// The instants of a plain value: its next decision, and when nothing may serve it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub(super) deadline: Instant,
    pub(super) gone_at: Instant,
}

impl Rest {
    /// When nothing may serve the value any more.
    pub const fn gone_at(self) -> Instant {
        self.gone_at
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
            now in 0..u64::MAX / 2, ttl in 1..u64::MAX / 4, kept in any::<u64>(),
            percent in 0..=50u8, hash in any::<u64>(), early in prop::option::of(1..100u8),
        ) {
            let policy = Policy::ttl(Duration::from_nanos(ttl));
            let policy = policy.stale_if_error(Duration::from_nanos(kept)).jitter_percent(percent);
            let policy = early.into_iter().fold(policy, |p, early| p.early_refresh_percent(early));
            let Ok(policy) = policy.build() else { return Ok(()) };
            let (rules, now) = (Rules::new(policy.clone(), 7), Instant::from_nanos(now));
            let windows = policy.windows(now, rules.spread(hash)).unwrap();
            let deadline = policy.resting_deadline(&windows);
            let rest = Rest { deadline, gone_at: windows.gone_at() };
            prop_assert_eq!(rules.rest(now, hash), Some(rest));
            let mark = Mark::new(deadline);
            prop_assert_eq!(rules.gone_at(mark, None, hash), rules.windows(mark, None, hash).gone_at());
        }
    }
}

//! What a cache was asked to do with every entry: windows, jitter, cool-down, time-outs.

use core::time::Duration;

use crate::entry::{Windows, early_part};
use crate::time::{Instant, STEP_MASK, nanos};

mod builder;
pub use builder::{PolicyBuilder, PolicyError};

/// How long values stay fresh, what happens afterwards, and how failures are treated.
///
/// Made by a [`PolicyBuilder`]; every default stands in the table of its methods.
///
/// ```
/// use core::time::Duration;
/// use cache_core::Policy;
///
/// let policy = Policy::ttl(Duration::from_secs(60))
///     .stale_while_revalidate(Duration::from_secs(30))
///     .stale_if_error(Duration::from_secs(3_600))
///     .build()?;
/// assert_eq!(policy.swr(), Duration::from_secs(30));
///
/// let error = Policy::ttl(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.field(), "ttl");
/// # Ok::<(), cache_core::PolicyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder", into = "PolicyBuilder"))]
pub struct Policy {
    life: Life,
    swr: Duration,
    sie: Duration,
    jitter_percent: u8,
    early_percent: Option<u8>,
    missing_ttl: Duration,
    cool_down: CoolDown,
    fail_fast: bool,
    lease: Duration,
    soft: Duration,
    hard: Duration,
    /// What was asked for, so that a policy can be shown and written down as it was given.
    given: PolicyBuilder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
enum Life {
    Unset,
    Ttl(Duration),
    Forever,
    NoStore,
}

/// Back-off after failed loads: `initial`, then times `factor` each, up to `maximum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct CoolDown {
    pub(crate) initial: Duration,
    pub(crate) factor: u32,
    pub(crate) maximum: Duration,
}

impl CoolDown {
    const DEFAULT: Self =
        Self { initial: Duration::from_secs(1), factor: 2, maximum: Duration::from_secs(30) };

    /// The wait after `failures` failures in a row, before jitter.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        let mut wait = self.initial;
        for _ in 1..failures.min(64) {
            wait = wait.saturating_mul(self.factor);
            if wait >= self.maximum {
                break;
            }
        }
        wait.min(self.maximum)
    }
}

/// How far in the past a value that never ends must lie before its age is forgotten: 146 years.
const FOREVER_SPAN: Duration = Duration::from_nanos(1 << 62);

impl Policy {
    /// Starts a policy under which values stay fresh for `ttl`.
    pub const fn ttl(ttl: Duration) -> PolicyBuilder {
        PolicyBuilder::new().ttl(ttl)
    }

    /// Starts a policy under which values stay fresh until they are expired or removed.
    pub const fn forever() -> PolicyBuilder {
        PolicyBuilder::new().forever()
    }

    /// Starts a policy under which nothing is kept; loads are still shared by those who wait.
    pub const fn no_store() -> PolicyBuilder {
        PolicyBuilder::new().no_store()
    }

    /// Time that values stay fresh: `None` for no-store, [`Duration::MAX`] for ever.
    pub const fn freshness(&self) -> Option<Duration> {
        match self.life {
            Life::Ttl(ttl) => Some(ttl),
            Life::Forever => Some(Duration::MAX),
            Life::NoStore | Life::Unset => None,
        }
    }

    /// Stale-while-revalidate, counted from the end of freshness.
    pub const fn swr(&self) -> Duration {
        self.swr
    }

    /// Stale-if-error, counted from the end of freshness.
    pub const fn sie(&self) -> Duration {
        self.sie
    }

    /// How long a key known to be missing is remembered; zero for not at all.
    pub const fn missing_ttl(&self) -> Duration {
        self.missing_ttl
    }

    /// Whether a cold key whose load failed is held back, too, while it cools down.
    pub const fn fails_fast(&self) -> bool {
        self.fail_fast
    }

    /// How long a flight keeps others from loading.
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// How long a caller with an old value waits; [`Duration::MAX`] when switched off.
    pub const fn soft_timeout(&self) -> Duration {
        self.soft
    }

    /// How long any caller waits for a flight; [`Duration::MAX`] when switched off.
    pub const fn hard_timeout(&self) -> Duration {
        self.hard
    }

    /// The shortest span that anything is measured by: windows that are not zero, time-outs, the
    /// lease, the first cool-down.
    pub fn shortest_window(&self) -> Duration {
        let ttl = self.freshness().unwrap_or(Duration::MAX);
        let spans = [
            ttl,
            self.swr,
            self.sie,
            self.missing_ttl,
            self.lease,
            self.soft,
            self.hard,
            self.cool_down.initial,
        ];
        let spans = spans.into_iter().filter(|span| !span.is_zero());
        spans.min().unwrap_or(Duration::MAX)
    }

    pub(crate) const fn early_percent(&self) -> Option<u8> {
        self.early_percent
    }

    /// The cool-down after `failures` failures in a row, shortened by up to a tenth.
    pub(crate) fn cool_down(&self, failures: u32, hash: u64) -> Duration {
        shorten(self.cool_down.after(failures), 10, mix(hash.wrapping_add(u64::from(failures))))
    }

    /// The longest cool-down, after which a failure is forgotten.
    pub(crate) const fn longest_cool_down(&self) -> Duration {
        self.cool_down.maximum
    }

    /// The windows of a value of this cache's own ttl stored at `now`; `None` for no-store.
    pub(crate) fn windows(&self, now: Instant, hash: u64) -> Option<Windows> {
        self.freshness()?;
        Some(self.with_own_windows(self.spans().windows(now, hash)))
    }

    /// The numbers from which a resting entry's instants follow.
    pub(crate) fn spans(&self) -> Spans {
        let ttl = self.freshness().map_or(u64::MAX, nanos);
        let percent = if let Life::Ttl(_) = self.life { self.jitter_percent } else { 0 };
        let longest_cut = u128::from(ttl) * u128::from(percent) / 100;
        Spans {
            life: match self.life {
                Life::Ttl(_) => SpansOf::Ttl,
                Life::Forever => SpansOf::Forever,
                Life::NoStore | Life::Unset => SpansOf::Nothing,
            },
            ttl,
            longest_cut: u64::try_from(longest_cut).unwrap_or(u64::MAX),
            kept: nanos(self.swr.max(self.sie)),
            early_percent: self.early_percent,
        }
    }

    /// The number that a resting entry with these windows keeps: its next decision.
    pub(crate) fn resting_deadline(&self, windows: &Windows) -> Instant {
        self.spans().resting_deadline(windows)
    }

    /// Undoes [`resting_deadline`](Self::resting_deadline): all windows, from the one number.
    pub(crate) fn windows_of_resting(&self, deadline: Instant, hash: u64) -> Windows {
        self.with_own_windows(self.spans().windows_of_resting(deadline, hash))
    }

    const fn with_own_windows(&self, windows: Windows) -> Windows {
        Windows { swr: self.swr, sie: self.sie, ..windows }
    }

    /// The windows that an entry has under this policy, given those that it had under another: a new
    /// ttl counts from when the value was stored, unless its ttl is its own.
    pub(crate) fn carry_over(&self, old: &Self, windows: Windows, hash: u64) -> Windows {
        let by_policy = old.windows(windows.stored_at, hash) == Some(windows);
        if let Some(new) = self.windows(windows.stored_at, hash).filter(|_| by_policy) {
            return new;
        }
        self.follow(old, windows)
    }

    /// The same for a ttl that is the entry's own.
    pub(crate) fn follow(&self, old: &Self, windows: Windows) -> Windows {
        let usual = (windows.swr, windows.sie) == (old.swr, old.sie);
        if usual { self.with_own_windows(windows) } else { windows }
    }
}

/// What of a policy decides when an entry of the cache's own ttl is stale and when it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) life: SpansOf,
    pub(crate) ttl: u64,
    pub(crate) longest_cut: u64,
    pub(crate) kept: u64,
    pub(crate) early_percent: Option<u8>,
}

/// Whose spans they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpansOf {
    Ttl,
    Forever,
    Nothing,
}

impl Spans {
    /// The windows of a value stored at `now`, as far as these tell: the longer of swr and sie is
    /// both.
    pub(crate) fn windows(&self, now: Instant, hash: u64) -> Windows {
        let kept = Duration::from_nanos(self.kept);
        Windows::new(now, self.jittered_ttl(hash), kept, kept)
    }

    /// Jitter only shortens, and depends on the key alone, so that it need not be stored.
    pub(crate) fn jittered_ttl(&self, hash: u64) -> Duration {
        match self.life {
            SpansOf::Ttl => {
                Duration::from_nanos(self.ttl.saturating_sub(cut(self.longest_cut, hash)))
            }
            SpansOf::Forever | SpansOf::Nothing => Duration::MAX,
        }
    }

    pub(crate) fn resting_deadline(&self, windows: &Windows) -> Instant {
        match self.life {
            SpansOf::Forever => (windows.stored_at + FOREVER_SPAN).floor(),
            SpansOf::Ttl | SpansOf::Nothing => windows.early_at(self.early_percent),
        }
    }

    pub(crate) fn windows_of_resting(&self, deadline: Instant, hash: u64) -> Windows {
        let ttl = self.jittered_ttl(hash);
        let offset = match (self.life, self.early_percent) {
            (SpansOf::Forever, _) => FOREVER_SPAN,
            (_, Some(percent)) => early_part(step(ttl), percent),
            (_, None) => ttl,
        };
        self.windows(deadline - step(offset), hash)
    }
}

/// The deadline of a value stored at `now` with a ttl and nothing else to it; to be rounded down to a
/// step. `longest_cut` is at most the ttl.
#[inline]
pub(crate) const fn deadline(now: Instant, ttl: u64, longest_cut: u64, hash: u64) -> Instant {
    // In steps, as `Windows::new` counts. No clock reads the end of time, which has no step.
    let now = now.as_nanos() & !STEP_MASK;
    Instant::from_nanos(now.saturating_add(ttl.wrapping_sub(cut(longest_cut, hash))))
}

/// The part of the longest cut that falls to a key, by its spread hash, the upper bits first.
const fn cut(longest: u64, hash: u64) -> u64 {
    ((longest as u128 * hash as u128) >> 64) as u64
}

/// `span` in the steps of resting deadlines.
fn step(span: Duration) -> Duration {
    Duration::from_nanos(Instant::from_nanos(nanos(span)).floor().as_nanos())
}

/// `span` less up to `percent` of it; how much depends on `hash`. Nanoseconds, so that steps agree.
pub(crate) fn shorten(span: Duration, percent: u8, hash: u64) -> Duration {
    let whole = nanos(span);
    let most = u128::from(whole) * u128::from(percent) / 100;
    let longest = u64::try_from(most).unwrap_or(u64::MAX);
    Duration::from_nanos(whole.saturating_sub(cut(longest, hash)))
}

/// Spreads the bits of a hash (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) const fn mix(hash: u64) -> u64 {
    let x = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests;

//! What a cache was asked to do with every entry: windows, jitter, cool-down, time-outs.

use core::fmt;
use core::time::Duration;

use crate::entry::{Windows, early_part};
use crate::time::{Instant, nanos};

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

    pub(crate) const fn early_percent(&self) -> Option<u8> {
        self.early_percent
    }

    /// The cool-down after `failures` failures in a row, shortened by up to a tenth.
    pub(crate) fn cool_down(&self, failures: u32, hash: u64) -> Duration {
        shorten(self.cool_down.after(failures), 10, hash.wrapping_add(u64::from(failures)))
    }

    /// The longest cool-down, after which a failure is forgotten.
    pub(crate) const fn longest_cool_down(&self) -> Duration {
        self.cool_down.maximum
    }

    /// The windows of a value of this cache's own ttl stored at `now`; `None` for no-store.
    pub(crate) fn windows(&self, now: Instant, hash: u64) -> Option<Windows> {
        self.freshness()?;
        Some(Windows::new(now, self.jittered_ttl(hash), self.swr, self.sie))
    }

    /// Jitter only shortens, and depends on the key alone, so that it need not be stored.
    fn jittered_ttl(&self, hash: u64) -> Duration {
        match self.life {
            Life::Ttl(ttl) => shorten(ttl, self.jitter_percent, hash),
            _ => Duration::MAX,
        }
    }

    /// The number that a resting entry with these windows keeps: its next decision.
    pub(crate) fn resting_deadline(&self, windows: &Windows) -> Instant {
        match self.life {
            Life::Forever => (windows.stored_at + FOREVER_SPAN).floor(),
            _ => windows.early_at(self.early_percent),
        }
    }

    /// Undoes [`resting_deadline`](Self::resting_deadline): all windows, from the one number.
    pub(crate) fn windows_of_resting(&self, deadline: Instant, hash: u64) -> Windows {
        let ttl = self.jittered_ttl(hash);
        let offset = match (self.life, self.early_percent) {
            (Life::Forever, _) => FOREVER_SPAN,
            (_, Some(percent)) => early_part(step(ttl), percent),
            (_, None) => ttl,
        };
        let stored_at = deadline - step(offset);
        Windows::new(stored_at, ttl, self.swr, self.sie)
    }
}

/// `span` in the steps of resting deadlines.
fn step(span: Duration) -> Duration {
    Duration::from_nanos(Instant::from_nanos(nanos(span)).floor().as_nanos())
}

/// `span` less up to `percent` of it; how much depends on `hash`. Nanoseconds, so that steps agree.
fn shorten(span: Duration, percent: u8, hash: u64) -> Duration {
    let whole = nanos(span);
    let most = u128::from(whole) * u128::from(percent) / 100;
    let cut = (most * u128::from(mix(hash) >> 32)) >> 32;
    Duration::from_nanos(whole.saturating_sub(u64::try_from(cut).unwrap_or(u64::MAX)))
}

/// Spreads the bits of a hash (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) const fn mix(hash: u64) -> u64 {
    let x = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Builds a [`Policy`].
///
/// | setting | default |
/// |---|---|
/// | ttl, `forever` or `no_store` | none: one of the three must be said |
/// | `stale_while_revalidate`, `stale_if_error` | off |
/// | `jitter_percent` | 10: a ttl lies between 90 % and 100 % of what was asked |
/// | `early_refresh_percent` | off |
/// | `missing_ttl` | the ttl, at most 10 s |
/// | `cool_down` | 1 s, doubling up to 30 s |
/// | `fail_fast` | no |
/// | `lease` | 30 s |
/// | `soft_timeout` | 1 s |
/// | `hard_timeout` | 30 s |
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[must_use = "a builder does nothing until `build`"]
pub struct PolicyBuilder {
    life: Life,
    swr: Option<Duration>,
    sie: Option<Duration>,
    jitter_percent: Option<u8>,
    early_percent: Option<u8>,
    missing_ttl: Option<Duration>,
    forget_missing: bool,
    cool_down: Option<CoolDown>,
    fail_fast: bool,
    lease: Option<Duration>,
    soft: Option<Duration>,
    hard: Option<Duration>,
}

impl Default for PolicyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl PolicyBuilder {
    /// A builder with nothing said.
    pub const fn new() -> Self {
        Self {
            life: Life::Unset,
            swr: None,
            sie: None,
            jitter_percent: None,
            early_percent: None,
            missing_ttl: None,
            forget_missing: false,
            cool_down: None,
            fail_fast: false,
            lease: None,
            soft: None,
            hard: None,
        }
    }

    /// Values stay fresh for `ttl`.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.life = Life::Ttl(ttl);
        self
    }

    /// Values stay fresh until they are expired or removed.
    pub const fn forever(mut self) -> Self {
        self.life = Life::Forever;
        self
    }

    /// Nothing is kept.
    pub const fn no_store(mut self) -> Self {
        self.life = Life::NoStore;
        self
    }

    /// Extra time after freshness in which the old value is served at once while one refresh runs.
    pub const fn stale_while_revalidate(mut self, swr: Duration) -> Self {
        self.swr = Some(swr);
        self
    }

    /// Extra time after freshness in which the old value is served when the load fails or is late.
    pub const fn stale_if_error(mut self, sie: Duration) -> Self {
        self.sie = Some(sie);
        self
    }

    /// Shortens each ttl by up to `percent` of it, so that entries stored together do not expire
    /// together. 0 switches jitter off.
    pub const fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = Some(percent);
        self
    }

    /// Refreshes a value that is read after `percent` of its ttl, before it is stale.
    pub const fn early_refresh_percent(mut self, percent: u8) -> Self {
        self.early_percent = Some(percent);
        self
    }

    /// How long a key that the origin does not know is remembered as missing.
    pub const fn missing_ttl(mut self, ttl: Duration) -> Self {
        self.missing_ttl = Some(ttl);
        self
    }

    /// Missing keys are not remembered: each read asks the origin.
    pub const fn forget_missing(mut self) -> Self {
        self.forget_missing = true;
        self
    }

    /// Time after a failed load in which no other starts while an old value can be served: at
    /// first `initial`, then times `factor` for each further failure, up to `maximum`.
    pub const fn cool_down(mut self, initial: Duration, factor: u32, maximum: Duration) -> Self {
        self.cool_down = Some(CoolDown { initial, factor, maximum });
        self
    }

    /// With `true`, the cool-down holds back loads of cold keys, too: callers fail at once.
    pub const fn fail_fast(mut self, on: bool) -> Self {
        self.fail_fast = on;
        self
    }

    /// How long a flight keeps others from loading the same key. Each take-over doubles it.
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long a caller who could have an old value waits before it takes that.
    /// [`Duration::MAX`] switches it off.
    pub const fn soft_timeout(mut self, soft: Duration) -> Self {
        self.soft = Some(soft);
        self
    }

    /// How long any caller waits for a flight before it is told that it timed out.
    /// [`Duration::MAX`] switches it off.
    pub const fn hard_timeout(mut self, hard: Duration) -> Self {
        self.hard = Some(hard);
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// A setting that is zero, contradicts another, or is not said: the error names the field and
    /// how to mend it.
    pub fn build(self) -> Result<Policy, PolicyError> {
        self.check_life()?;
        self.check_ranges()?;
        self.check_cool_down()?;
        let hard = self.hard.unwrap_or(Duration::from_secs(30));
        let soft = self.soft.unwrap_or_else(|| Duration::from_secs(1).min(hard));
        if soft > hard && self.soft != Some(Duration::MAX) {
            let mend = "make it at most hard_timeout, or Duration::MAX to switch it off";
            return Err(PolicyError::contradictory("soft_timeout", mend));
        }
        Ok(Policy {
            life: self.life,
            swr: self.swr.unwrap_or_default(),
            sie: self.sie.unwrap_or_default(),
            jitter_percent: self.jitter_percent.unwrap_or(10),
            early_percent: self.early_percent,
            missing_ttl: self.resolved_missing_ttl(),
            cool_down: self.cool_down.unwrap_or(CoolDown::DEFAULT),
            fail_fast: self.fail_fast,
            lease: self.lease.unwrap_or(Duration::from_secs(30)),
            soft,
            hard,
            given: self,
        })
    }

    fn resolved_missing_ttl(&self) -> Duration {
        let most = Duration::from_secs(10);
        match (self.missing_ttl, self.life) {
            _ if self.forget_missing => Duration::ZERO,
            (Some(ttl), _) => ttl,
            (None, Life::Ttl(ttl)) => ttl.min(most),
            (None, Life::Forever) => most,
            (None, _) => Duration::ZERO,
        }
    }

    fn check_life(&self) -> Result<(), PolicyError> {
        let unused = "leave it out: nothing is kept under no_store()";
        match self.life {
            Life::Unset => Err(PolicyError::missing("ttl", "say ttl(..), forever() or no_store()")),
            Life::Ttl(Duration::ZERO) => {
                Err(PolicyError::zero("ttl", "say no_store() or forever(), or a longer time"))
            }
            Life::Ttl(Duration::MAX) => {
                Err(PolicyError::contradictory("ttl", "say forever() for values that never end"))
            }
            Life::Forever if self.early_percent.is_some() => Err(PolicyError::contradictory(
                "early_refresh_percent",
                "leave it out, or give a ttl(..): forever() has no fraction",
            )),
            Life::NoStore if self.swr.is_some() => {
                Err(PolicyError::contradictory("stale_while_revalidate", unused))
            }
            Life::NoStore if self.sie.is_some() => {
                Err(PolicyError::contradictory("stale_if_error", unused))
            }
            Life::NoStore if self.early_percent.is_some() => {
                Err(PolicyError::contradictory("early_refresh_percent", unused))
            }
            Life::NoStore if self.missing_ttl.is_some() => {
                Err(PolicyError::contradictory("missing_ttl", unused))
            }
            _ => Ok(()),
        }
    }

    fn check_ranges(&self) -> Result<(), PolicyError> {
        for (field, span) in [
            ("stale_while_revalidate", self.swr),
            ("stale_if_error", self.sie),
            ("lease", self.lease),
            ("soft_timeout", self.soft),
            ("hard_timeout", self.hard),
        ] {
            if span == Some(Duration::ZERO) {
                return Err(PolicyError::zero(field, "leave it out, or give a longer time"));
            }
        }
        if self.missing_ttl == Some(Duration::ZERO) {
            return Err(PolicyError::zero("missing_ttl", "say forget_missing()"));
        }
        if self.missing_ttl.is_some() && self.forget_missing {
            return Err(PolicyError::contradictory("missing_ttl", "leave out forget_missing()"));
        }
        if self.jitter_percent.is_some_and(|percent| percent > 100) {
            return Err(PolicyError::out_of_range("jitter_percent", "give 0 to 100"));
        }
        if self.early_percent.is_some_and(|percent| percent == 0 || percent > 99) {
            return Err(PolicyError::out_of_range("early_refresh_percent", "give 1 to 99"));
        }
        Ok(())
    }

    fn check_cool_down(&self) -> Result<(), PolicyError> {
        let Some(cool_down) = self.cool_down else { return Ok(()) };
        let field = "cool_down";
        if cool_down.initial.is_zero() {
            return Err(PolicyError::zero(field, "give an initial time of at least 1 ns"));
        }
        if cool_down.factor == 0 {
            return Err(PolicyError::zero(field, "give a factor of at least 1"));
        }
        if cool_down.initial > cool_down.maximum {
            let mend = "make the initial time at most the maximum";
            return Err(PolicyError::contradictory(field, mend));
        }
        Ok(())
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}

impl From<Policy> for PolicyBuilder {
    fn from(policy: Policy) -> Self {
        policy.given
    }
}

/// A setting that cannot be; names the field and the mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyError {
    field: &'static str,
    problem: &'static str,
    mend: &'static str,
}

impl PolicyError {
    /// The setting that is wrong, by the name of its builder method.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        self.mend
    }

    const fn zero(field: &'static str, mend: &'static str) -> Self {
        Self { field, problem: "is zero", mend }
    }

    const fn missing(field: &'static str, mend: &'static str) -> Self {
        Self { field, problem: "is not set", mend }
    }

    const fn contradictory(field: &'static str, mend: &'static str) -> Self {
        Self { field, problem: "contradicts another setting", mend }
    }

    const fn out_of_range(field: &'static str, mend: &'static str) -> Self {
        Self { field, problem: "is out of range", mend }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.field, self.problem, self.mend)
    }
}

impl core::error::Error for PolicyError {}

#[cfg(test)]
mod tests;

//! Builds a policy, or says which setting cannot be.

use core::fmt;
use core::time::Duration;

use super::{CoolDown, Life, Policy};

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

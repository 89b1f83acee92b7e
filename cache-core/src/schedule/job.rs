//! One background job: how often it runs, and what follows a failed or a late run.

use core::fmt;
use core::time::Duration;

use crate::policy::{CoolDown, mix, shorten};
use crate::time::{Instant, nanos};

/// What becomes of regular ticks that pass while a job is late or still running. The words are
/// those of tokio's intervals.
///
/// A tick that is due is always run, however late; the three differ in the ticks after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissedTick {
    /// Each tick gets its run, one directly after the other until the job has caught up.
    Burst,
    /// The next tick comes one period after the start of the latest run.
    #[default]
    Delay,
    /// Ticks keep to multiples of the period; those that have passed get no run.
    Skip,
}

/// What a background job was asked to do. Made by a [`JobBuilder`].
///
/// ```
/// use core::time::Duration;
/// use cache_core::schedule::Job;
///
/// let job = Job::every(Duration::from_secs(300)).valid_for(Duration::from_secs(600)).build()?;
/// assert_eq!(job.period(), Duration::from_secs(300));
///
/// // A value that would expire first shortens the period.
/// let job = Job::every(Duration::from_secs(300)).valid_for(Duration::from_secs(80)).build()?;
/// assert_eq!(job.period(), Duration::from_secs(70));
///
/// let error = Job::every(Duration::ZERO).build().unwrap_err();
/// assert_eq!(error.field(), "every");
/// # Ok::<(), cache_core::schedule::JobError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    period: Duration,
    run_immediately: bool,
    missed: MissedTick,
    back_off: CoolDown,
    jitter_percent: u8,
    seed: u64,
}

impl Job {
    /// Starts a job that runs each `interval`. With [`Duration::MAX`] it runs once, and then only
    /// when triggered.
    pub const fn every(interval: Duration) -> JobBuilder {
        JobBuilder {
            interval,
            run_immediately: true,
            valid_for: None,
            missed: MissedTick::Delay,
            back_off: None,
            jitter_percent: 0,
            seed: 0,
        }
    }

    /// Time between two regular runs, before jitter: the interval, unless the values' ttl made it
    /// shorter.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// The first tick of a job that is added at `now`.
    pub(super) fn first_tick(&self, now: Instant) -> Instant {
        if self.run_immediately { now } else { now + self.period_after(0) }
    }

    /// The period that follows the run with this number, jitter taken off. One without end stays.
    pub(super) fn period_after(&self, run: u64) -> Duration {
        match self.jitter_percent {
            0 => self.period,
            _ if nanos(self.period) == u64::MAX => self.period,
            percent => shorten(self.period, percent, mix(self.seed ^ mix(run.wrapping_add(1)))),
        }
    }

    /// The tick that follows a run begun at `now`, when `tick` was the next. A run before its tick
    /// leaves the tick where it is, except under `Delay`.
    pub(super) fn tick_after(&self, tick: Instant, now: Instant, period: Duration) -> Instant {
        match self.missed {
            MissedTick::Delay => now + period,
            _ if !now.has_reached(tick) => tick,
            MissedTick::Burst => tick + period,
            MissedTick::Skip => {
                let periods = periods_between(tick, now, period).saturating_add(1);
                tick + Duration::from_nanos(nanos(period).saturating_mul(periods))
            }
        }
    }

    /// Ticks that a run begun at `now` leaves without a run of their own.
    pub(super) fn missed(&self, tick: Instant, now: Instant, period: Duration) -> u64 {
        match self.missed {
            MissedTick::Burst => 0,
            MissedTick::Delay | MissedTick::Skip => periods_between(tick, now, period),
        }
    }

    /// When a run that failed at `now` is tried again: after the back-off, and not after the next
    /// tick. A tick that passed while the run went on does not shorten the back-off.
    pub(super) fn retry_at(&self, failures: u32, tick: Instant, now: Instant) -> Instant {
        let retry_at = now + self.back_off.after(failures);
        if now.has_reached(tick) { retry_at } else { retry_at.min(tick) }
    }
}

fn periods_between(tick: Instant, now: Instant, period: Duration) -> u64 {
    nanos(now.saturating_since(tick)) / nanos(period).max(1)
}

/// Builds a [`Job`].
///
/// | setting | default |
/// |---|---|
/// | `run_immediately` | yes |
/// | `valid_for` | unknown: the period is the interval |
/// | `missed` | [`MissedTick::Delay`] |
/// | `back_off` | 1 s, doubling up to 30 s; neither more than the period |
/// | `jitter_percent`, `seed` | 0, 0: every period is the same |
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a builder does nothing until `build`"]
pub struct JobBuilder {
    interval: Duration,
    run_immediately: bool,
    valid_for: Option<Duration>,
    missed: MissedTick,
    back_off: Option<CoolDown>,
    jitter_percent: u8,
    seed: u64,
}

/// The shortest ttl for which an eighth of it exceeds what rounding to 64 ns steps can take away.
const SHORTEST_TTL: Duration = Duration::from_micros(10);

impl JobBuilder {
    /// With `false`, the first run comes one period after the job was added, not at once.
    pub const fn run_immediately(mut self, on: bool) -> Self {
        self.run_immediately = on;
        self
    }

    /// The ttl of the values that the job loads. The next run must come before such a value can
    /// expire, so the period becomes at most 7/8 of the ttl, counted from the start of a run.
    /// The eighth that is left is for the run itself, and covers a jitter of up to 10 %.
    /// [`Duration::MAX`] is for ever.
    pub const fn valid_for(mut self, ttl: Duration) -> Self {
        self.valid_for = Some(ttl);
        self
    }

    /// What becomes of ticks that pass while the job is late or running.
    pub const fn missed(mut self, missed: MissedTick) -> Self {
        self.missed = missed;
        self
    }

    /// Wait after a failed run: at first `initial`, then times `factor` for each further failure
    /// in a row, up to `maximum`. A retry never comes later than the next regular run.
    pub const fn back_off(mut self, initial: Duration, factor: u32, maximum: Duration) -> Self {
        self.back_off = Some(CoolDown { initial, factor, maximum });
        self
    }

    /// Shortens each period by up to `percent` of it, so that jobs started together do not run
    /// together. By how much follows from the [`seed`](Self::seed) and the number of the run.
    pub const fn jitter_percent(mut self, percent: u8) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// What the jitter of this job follows from: a hash of its name, say.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The job.
    ///
    /// # Errors
    /// A setting that is zero, too small, or contradicts another: the error names the field and
    /// how to mend it.
    pub fn build(self) -> Result<Job, JobError> {
        if self.interval.is_zero() {
            return Err(JobError::new("every", "is zero", "give an interval of at least 1 ns"));
        }
        if self.jitter_percent > 99 {
            return Err(JobError::new("jitter_percent", "is out of range", "give 0 to 99"));
        }
        self.check_ttl()?;
        self.check_back_off()?;
        let period = self.period();
        let Self { run_immediately, missed, jitter_percent, seed, .. } = self;
        let back_off = self.back_off.unwrap_or_else(|| default_back_off(period));
        Ok(Job { period, run_immediately, missed, back_off, jitter_percent, seed })
    }

    fn period(&self) -> Duration {
        match self.valid_for {
            None | Some(Duration::MAX) => self.interval,
            Some(ttl) => self.interval.min(ttl / 8 * 7),
        }
    }

    fn check_ttl(&self) -> Result<(), JobError> {
        let field = "valid_for";
        match self.valid_for {
            Some(Duration::ZERO) => {
                Err(JobError::new(field, "is zero", "leave it out, or give the values' ttl"))
            }
            Some(ttl) if ttl < SHORTEST_TTL => {
                Err(JobError::new(field, "is out of range", "give a ttl of at least 10 µs"))
            }
            _ => Ok(()),
        }
    }

    fn check_back_off(&self) -> Result<(), JobError> {
        let Some(back_off) = self.back_off else { return Ok(()) };
        let (problem, mend) = if back_off.initial.is_zero() {
            ("is zero", "give an initial time of at least 1 ns")
        } else if back_off.factor == 0 {
            ("is zero", "give a factor of at least 1")
        } else if back_off.initial > back_off.maximum {
            ("contradicts itself", "make the initial time at most the maximum")
        } else {
            return Ok(());
        };
        Err(JobError::new("back_off", problem, mend))
    }
}

fn default_back_off(period: Duration) -> CoolDown {
    CoolDown {
        initial: Duration::from_secs(1),
        factor: 2,
        maximum: Duration::from_secs(30).min(period),
    }
}

/// A setting that cannot be; names the field and the mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobError {
    field: &'static str,
    problem: &'static str,
    mend: &'static str,
}

impl JobError {
    const fn new(field: &'static str, problem: &'static str, mend: &'static str) -> Self {
        Self { field, problem, mend }
    }

    /// The setting that is wrong, by the name of its builder method.
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What to do about it.
    pub const fn mend(&self) -> &'static str {
        self.mend
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.field, self.problem, self.mend)
    }
}

impl core::error::Error for JobError {}

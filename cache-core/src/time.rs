//! Time as the cache sees it: an opaque reading of one clock, and arithmetic that saturates.

use core::cell::Cell;
use core::ops::{Add, Sub};
use core::time::Duration;

/// A reading of one clock: nanoseconds since that clock's arbitrary origin.
///
/// The range is 584 years. Every operation saturates: nothing overflows or panics. A reading means
/// nothing outside the process (or outside the clock) that made it, so it can neither be serialised
/// nor made from wall-clock time; what travels is [`Lifetime`](crate::Lifetime), made of durations.
///
/// [`Instant::FAR_FUTURE`] is never reached by any clock, so "never" needs no special case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// Resting entries keep their deadline in steps of this many nanoseconds (see `resting`).
pub(crate) const STEP_MASK: u64 = 63;

impl Instant {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);
    /// An instant that no clock reaches: "never".
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// An instant `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// An instant `micros` microseconds after the clock's origin, saturating.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// An instant `millis` milliseconds after the clock's origin, saturating.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// An instant `secs` seconds after the clock's origin, saturating.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether a clock that reads `self` has come to `at`; never for [`Instant::FAR_FUTURE`].
    pub const fn has_reached(self, at: Self) -> bool {
        self.0 >= at.0 && at.0 != u64::MAX
    }

    /// The time since `earlier`, zero when `earlier` lies ahead.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time from `now` until `self`: zero when reached, [`Duration::MAX`] when never.
    pub const fn remaining_at(self, now: Self) -> Duration {
        if self.0 == u64::MAX { Duration::MAX } else { self.saturating_since(now) }
    }

    /// So many nanoseconds later, or the end of time.
    pub(crate) const fn saturating_add_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The same instant rounded down to the step in which resting entries keep deadlines.
    pub(crate) const fn floor(self) -> Self {
        if self.0 == u64::MAX { self } else { Self(self.0 & !STEP_MASK) }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates to [`Instant::FAR_FUTURE`].
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates to [`Instant::ORIGIN`]; "never" less anything is still never.
    fn sub(self, span: Duration) -> Self {
        if self.0 == u64::MAX { self } else { Self(self.0.saturating_sub(nanos(span))) }
    }
}

/// Nanoseconds of `span`, saturating at 584 years.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Where drivers get the time; the algorithm itself never calls it.
///
/// A clock must be monotonic, must not overflow and must not fail. The cache tolerates breaches
/// (ages saturate at zero) but cannot then promise exact windows.
///
/// ```
/// use cache_core::{Clock, Instant};
///
/// struct Uptime;
/// impl Clock for Uptime {
///     fn now(&self) -> Instant {
///         Instant::from_millis(1_234) // a hardware counter in real life
///     }
/// }
/// let clock: &dyn Clock = &Uptime;
/// assert_eq!(clock.now().as_nanos(), 1_234_000_000);
/// ```
pub trait Clock {
    /// The current reading.
    fn now(&self) -> Instant;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }
}

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
impl<C: Clock + ?Sized> Clock for alloc::sync::Arc<C> {
    fn now(&self) -> Instant {
        (**self).now()
    }
}

/// A clock that moves only when told to, for tests and simulations on one thread.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Cell<Instant>,
}

impl ManualClock {
    /// A clock that reads `start`.
    pub const fn starting_at(start: Instant) -> Self {
        Self { now: Cell::new(start) }
    }

    /// Moves the clock forwards by `span`, saturating.
    pub fn advance(&self, span: Duration) {
        self.now.set(self.now.get() + span);
    }

    /// Sets the clock, backwards too: that is how tests show that a bad clock harms nothing.
    pub fn set(&self, now: Instant) {
        self.now.set(now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.now.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Starts near zero and near the maximum, where arithmetic goes wrong, and anything between.
    fn edges() -> impl Strategy<Value = u64> {
        prop_oneof![0..1_000u64, any::<u64>(), (u64::MAX - 1_000)..=u64::MAX]
    }

    proptest! {
        #[test]
        fn addition_never_goes_back(start in edges(), span in edges()) {
            let start = Instant::from_nanos(start);
            prop_assert!(start + Duration::from_nanos(span) >= start);
        }

        #[test]
        fn since_undoes_add_unless_saturated(start in edges(), span in edges()) {
            let later = Instant::from_nanos(start) + Duration::from_nanos(span);
            if later != Instant::FAR_FUTURE {
                let back = later.saturating_since(Instant::from_nanos(start));
                prop_assert_eq!(back, Duration::from_nanos(span));
            }
        }

        #[test]
        fn rounding_down_loses_less_than_a_step(start in edges()) {
            let at = Instant::from_nanos(start);
            prop_assert!(at.floor() <= at);
            prop_assert!(at.saturating_since(at.floor()) < Duration::from_nanos(64));
        }
    }

    #[test]
    fn never_is_not_reached_even_by_a_clock_at_its_end() {
        assert!(!Instant::FAR_FUTURE.has_reached(Instant::FAR_FUTURE));
        assert!(Instant::FAR_FUTURE.has_reached(Instant::from_nanos(u64::MAX - 1)));
        assert_eq!(Instant::FAR_FUTURE - Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Instant::FAR_FUTURE.remaining_at(Instant::ORIGIN), Duration::MAX);
    }

    #[test]
    fn huge_durations_saturate() {
        assert_eq!(Instant::ORIGIN + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Instant::from_secs(u64::MAX), Instant::FAR_FUTURE);
        assert_eq!(Instant::from_secs(1) - Duration::MAX, Instant::ORIGIN);
    }
}

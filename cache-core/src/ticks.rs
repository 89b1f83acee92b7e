//! Clocks made of hardware counters.

use core::cell::Cell;

use crate::time::{Clock, Instant};

/// Turns readings of a 32-bit counter that wraps into instants that do not.
///
/// A counter of milliseconds wraps every 49.7 days. The adaptor must see at least one reading in
/// each wrap; a main loop that reads the time at all does that. Cost: a few integer operations.
///
/// ```
/// use cache_core::{Instant, WrappingTicks};
///
/// let mut ticks = WrappingTicks::per_second(1_000);
/// assert_eq!(ticks.observe(u32::MAX), Instant::from_millis(u64::from(u32::MAX)));
/// assert_eq!(ticks.observe(0), Instant::from_millis(u64::from(u32::MAX) + 1)); // it wrapped
/// ```
#[derive(Clone, Copy, Debug)]
pub struct WrappingTicks {
    total: u64,
    last: u32,
    per_second: u32,
}

impl WrappingTicks {
    /// An adaptor for a counter with `per_second` ticks a second that starts at zero. Zero ticks a
    /// second is taken as one.
    pub const fn per_second(per_second: u32) -> Self {
        let per_second = if per_second == 0 { 1 } else { per_second };
        Self { total: 0, last: 0, per_second }
    }

    /// The instant of the counter's reading `ticks`, which must not be older than the last one.
    pub fn observe(&mut self, ticks: u32) -> Instant {
        self.total = self.total.saturating_add(u64::from(ticks.wrapping_sub(self.last)));
        self.last = ticks;
        let nanos = u128::from(self.total) * 1_000_000_000 / u128::from(self.per_second);
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A [`Clock`] over a function that reads a wrapping 32-bit counter.
#[derive(Debug)]
pub struct TickClock<F> {
    read: F,
    ticks: Cell<WrappingTicks>,
}

impl<F: Fn() -> u32> TickClock<F> {
    /// A clock that calls `read`, whose counter makes `per_second` ticks a second.
    pub const fn new(per_second: u32, read: F) -> Self {
        Self { read, ticks: Cell::new(WrappingTicks::per_second(per_second)) }
    }
}

impl<F: Fn() -> u32> Clock for TickClock<F> {
    fn now(&self) -> Instant {
        let mut ticks = self.ticks.get();
        let now = ticks.observe((self.read)());
        self.ticks.set(ticks);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_of_milliseconds_is_a_year() {
        let mut ticks = WrappingTicks::per_second(1_000);
        let day: u64 = 24 * 3_600 * 1_000;
        for n in 0..=365 {
            let now = ticks.observe((n * day) as u32);
            assert_eq!(now, Instant::from_millis(n * day));
        }
    }

    #[test]
    fn rates_that_do_not_divide_a_second_do_not_drift() {
        let mut ticks = WrappingTicks::per_second(32_768);
        for second in 1..=1_000_000u64 {
            let now = ticks.observe((second * 32_768) as u32);
            assert_eq!(now, Instant::from_secs(second));
        }
    }

    #[test]
    fn a_clock_reads_its_counter() {
        let counter = Cell::new(u32::MAX);
        let clock = TickClock::new(1_000, || counter.get());
        let before = clock.now();
        counter.set(9);
        assert_eq!(clock.now().saturating_since(before), core::time::Duration::from_millis(10));
    }
}

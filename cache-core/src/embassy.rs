//! The clock of embassy firmware.

use crate::time::{Clock, Instant};

/// Reads `embassy_time::Instant::now()`.
///
/// The feature enables neither a time driver nor a tick rate; the firmware chooses both.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // a unit struct by design: there is nothing to configure
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        // Ticks times nanoseconds per tick: `Duration::from_ticks` would overflow near the maximum.
        let ticks = u128::from(embassy_time::Instant::now().as_ticks());
        let nanos = ticks * 1_000_000_000 / u128::from(embassy_time::TICK_HZ);
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_driver() {
        let driver = embassy_time::MockDriver::get();
        let before = EmbassyClock.now();
        driver.advance(embassy_time::Duration::from_millis(1_500));
        let passed = EmbassyClock.now().saturating_since(before);
        assert_eq!(passed, core::time::Duration::from_millis(1_500));
    }
}

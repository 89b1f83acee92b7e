//! The system's coarse clock.

use std::sync::Arc;

use cache_core::{Clock, Instant};
use rustix::time::{ClockId, clock_gettime};

use super::{HEAD_START, MonotonicTime, Signal, Time};

/// Linux's `CLOCK_MONOTONIC_COARSE`: the time of the kernel's last tick, 1 to 10 ms ago. Reading it
/// costs a few nanoseconds, and no thread is needed for it.
#[derive(Clone, Copy, Debug)]
pub struct CoarseTime {
    precise: MonotonicTime,
    origin: core::time::Duration,
}

fn since_boot() -> core::time::Duration {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    core::time::Duration::new(seconds, u32::try_from(nanos).unwrap_or(0))
}

impl CoarseTime {
    /// A clock that starts now.
    pub fn new() -> Self {
        Self { precise: MonotonicTime::new(), origin: since_boot() }
    }
}

impl Default for CoarseTime {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for CoarseTime {
    fn now(&self) -> Instant {
        Instant::ORIGIN + HEAD_START + since_boot().saturating_sub(self.origin)
    }
}

impl Time for CoarseTime {
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        // The coarse clock is behind the precise one by up to a tick: who is woken too early for it
        // waits on.
        while !self.now().has_reached(until) {
            let left = until.remaining_at(self.now());
            if self.precise.wait(signal, self.precise.now() + left) {
                return true;
            }
        }
        signal.is_set()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn it_goes_on_and_who_waited_finds_the_instant_reached() {
        let clock = CoarseTime::new();
        for _ in 0..3 {
            let at = clock.now() + Duration::from_millis(2);
            clock.sleep_until(at);
            assert!(clock.now().has_reached(at));
        }
        let signal = Arc::new(Signal::new());
        signal.set();
        assert!(clock.wait(&signal, Instant::FAR_FUTURE));
    }
}

//! A clock on which nobody waits.

use std::sync::Arc;

use cache_core::{Clock, Instant};

use super::{Alarm, ManualTime, Signal, Time};

/// A [`ManualTime`] for those who would wait on it with nobody there to move it: they move it to the
/// end of their own wait, and wake others whose time has come. Made by [`ManualTime::leaping`].
///
/// A loader that takes five seconds of virtual time and none of the test's:
///
/// ```
/// use std::time::Duration;
/// use cache_std::sync::Cache;
/// use cache_std::{Clock, ManualTime, Time};
///
/// let (second, time) = (Duration::from_secs(1), ManualTime::new());
/// let cache = Cache::builder().ttl(60 * second).time(time.clone()).build()?;
/// let (slow, start) = (time.leaping(), time.now());
/// let answer = cache.get_or_load_here(&1, || {
///     slow.sleep_until(start + 5 * second);
///     Ok::<_, std::io::Error>("slow")
/// })?;
/// assert_eq!((answer, time.now()), ("slow", start + 5 * second));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct LeapingTime {
    time: ManualTime,
}

impl ManualTime {
    /// The same clock, moved by who waits on it.
    pub fn leaping(&self) -> LeapingTime {
        LeapingTime { time: self.clone() }
    }
}

impl Clock for LeapingTime {
    fn now(&self) -> Instant {
        self.time.now()
    }
}

impl Time for LeapingTime {
    /// A wait for ever is for the signal alone.
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        if signal.is_set() || until == Instant::FAR_FUTURE {
            return self.time.wait(signal, until);
        }
        self.time.change(|now| now.max(until));
        signal.is_set()
    }

    /// A task that waits moves the clock as well.
    fn alarm(&self, signal: &Arc<Signal>, until: Instant) -> Option<Alarm> {
        if !signal.is_set() && until != Instant::FAR_FUTURE {
            self.time.change(|now| now.max(until));
        }
        self.time.alarm(signal, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use std::thread;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_sleeps_moves_the_clock_and_wakes_others() {
        let time = ManualTime::new();
        let (leaping, start) = (time.leaping(), time.now());
        let sleeper = time.clone();
        let other = thread::spawn(move || sleeper.sleep_until(start + SECOND));
        time.until_parked(1);
        leaping.sleep_until(start + SECOND * 2);
        other.join().unwrap();
        leaping.sleep_until(start);
        assert_eq!(time.now(), start + SECOND * 2, "it never goes back");
    }

    #[test]
    fn a_signal_that_is_set_is_not_waited_for() {
        let time = ManualTime::new();
        let (signal, start) = (Arc::new(Signal::new()), time.now());
        assert!(!time.leaping().wait(&signal, start + SECOND));
        signal.set();
        assert!(time.leaping().wait(&signal, Instant::FAR_FUTURE));
        assert_eq!(time.now(), start + SECOND);
    }
}

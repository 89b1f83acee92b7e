//! What the server's clock says, without asking it for every read.
//!
//! Each heartbeat asks for the time. The answer was true at some moment between question and answer, so it bounds
//! how far the server's clock is ahead of ours, from both sides (Cristian, "Probabilistic clock
//! synchronization", 1989). The bound that is used is the upper one: what is told of the server's time is never too
//! early, and at most one trip too late, so that nothing seems younger than it is.

use core::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Microseconds since 1970, by a server's clock.
pub(crate) type Micros = u64;

/// An answer to `TIME`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    pub(crate) told: Micros,
}

/// The clock of the server at the other end of a connection.
#[derive(Debug)]
pub(crate) struct ServerClock {
    origin: Instant,
    /// Microseconds by which it is ahead of the time since the origin, at most.
    ahead: AtomicI64,
    /// When that was corrected.
    corrected: Mutex<Option<Instant>>,
}

/// Two clocks that nobody sets drift apart by less than one part in so many: 244 in a million.
const DRIFT: u32 = 12;

impl ServerClock {
    pub(crate) const fn new(origin: Instant) -> Self {
        Self { origin, ahead: AtomicI64::new(0), corrected: Mutex::new(None) }
    }

    /// Goes by this reading alone: it may be another server's.
    pub(crate) fn set(&self, reading: Reading) {
        let mut corrected = self.corrected.lock().unwrap_or_else(PoisonError::into_inner);
        self.ahead.store(self.bounds(reading)[1], Relaxed);
        *corrected = Some(reading.asked);
    }

    /// The closer of what was known and this reading. Where they do not agree the clock was set, and the
    /// reading counts.
    pub(crate) fn correct(&self, reading: Reading) {
        let mut corrected = self.corrected.lock().unwrap_or_else(PoisonError::into_inner);
        let [least, most] = self.bounds(reading);
        let since = corrected.replace(reading.asked).unwrap_or(self.origin);
        let passed = micros(reading.asked.saturating_duration_since(since).as_micros());
        let known = self.ahead.load(Relaxed).saturating_add(passed >> DRIFT);
        self.ahead.store(if known < least { most } else { known.min(most) }, Relaxed);
    }

    /// As [`now`](Self::now); `None` before the first reading.
    pub(crate) fn known(&self) -> Option<Micros> {
        let read = self.corrected.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        read.then(|| self.now())
    }

    /// What it shows now, or a little less than a trip later.
    pub(crate) fn now(&self) -> Micros {
        let ahead = self.ahead.load(Relaxed);
        self.since(Instant::now()).saturating_add(ahead).max(0).cast_unsigned()
    }

    /// How far it is ahead, at least and at most.
    fn bounds(&self, Reading { asked, answered, told }: Reading) -> [i64; 2] {
        let told = micros(told.into());
        [answered, asked].map(|at| told.saturating_sub(self.since(at)))
    }

    fn since(&self, at: Instant) -> i64 {
        micros(at.saturating_duration_since(self.origin).as_micros())
    }
}

fn micros(span: u128) -> i64 {
    i64::try_from(span).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    const BASE: Micros = 1_800_000_000_000_000;

    fn after(origin: Instant, micros: u64) -> Instant {
        origin + Duration::from_micros(micros)
    }

    /// A question asked `at`, that arrives after `there` and is answered after `back`, by a clock that is
    /// ahead by `ahead`.
    fn reading(origin: Instant, [at, there, back]: [u64; 3], ahead: u64) -> Reading {
        let asked = after(origin, at);
        Reading { asked, answered: after(asked, there + back), told: ahead + at + there }
    }

    fn ahead(clock: &ServerClock) -> u64 {
        clock.ahead.load(Relaxed).cast_unsigned()
    }

    proptest! {
        #[test]
        fn it_is_never_early_and_at_most_one_trip_late(
            trips in prop::collection::vec((0..500_000_u64, 0..50_000_u64, 0..50_000_u64), 1..20),
        ) {
            let origin = Instant::now();
            let clock = ServerClock::new(origin);
            let mut at = 0;
            for (number, (pause, there, back)) in trips.into_iter().enumerate() {
                at += pause;
                let reading = reading(origin, [at, there, back], BASE);
                if number == 0 { clock.set(reading) } else { clock.correct(reading) }
                let late = ahead(&clock).checked_sub(BASE);
                prop_assert!(late.is_some_and(|late| late <= there + back), "{late:?}");
                at += there + back;
            }
        }
    }

    #[test]
    fn a_slow_answer_does_not_spoil_what_a_quick_one_told() {
        let origin = Instant::now();
        let clock = ServerClock::new(origin);
        clock.set(reading(origin, [0, 50, 50], BASE));
        clock.correct(reading(origin, [250_000, 90_000, 10], BASE));
        assert_eq!(ahead(&clock), BASE + 50 + (250_000 >> DRIFT));
        clock.correct(reading(origin, [500_000, 20, 20], BASE));
        assert_eq!(ahead(&clock), BASE + 20);
    }

    #[test]
    fn a_clock_that_is_set_is_followed_at_once() {
        let origin = Instant::now();
        let clock = ServerClock::new(origin);
        clock.set(reading(origin, [0, 50, 50], BASE));
        for other in [BASE + 3_600_000_000, BASE - 3_600_000_000] {
            clock.correct(reading(origin, [250_000, 50, 50], other));
            assert_eq!(ahead(&clock), other + 50);
        }
    }

    #[test]
    fn no_answer_makes_it_panic() {
        let origin = Instant::now();
        let clock = ServerClock::new(origin);
        for told in [0, 1, u64::MAX] {
            for set in [ServerClock::set, ServerClock::correct] {
                set(&clock, Reading { asked: origin, answered: after(origin, 7), told });
                let _ = clock.now();
            }
        }
    }
}

//! A clock that goes wrong on purpose.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::{Clock, Instant};

use super::Chaos;
use super::counts::Kind;
use crate::time::{Alarm, Signal, Time};

/// A clock that leaps, stands still and is set back by a plan; made by [`Chaos::clock`]. Clones share
/// the clock.
///
/// Who waits on it waits as long by the true clock as was left by this one when the wait began; then
/// this one has come there, too.
#[derive(Clone, Debug)]
pub struct ChaosTime<T> {
    time: T,
    chaos: Chaos,
    drift: Arc<Mutex<Drift>>,
}

/// How a clock is off.
#[derive(Debug, Default)]
struct Drift {
    ahead: Duration,
    behind: Duration,
    /// What it reads, and until when by the true clock.
    stall: Option<(Instant, Instant)>,
}

impl<T: Time> ChaosTime<T> {
    pub(super) fn new(time: T, chaos: Chaos) -> Self {
        Self { time, chaos, drift: Arc::default() }
    }

    /// The true clock.
    pub const fn inner(&self) -> &T {
        &self.time
    }

    fn drift(&self) -> MutexGuard<'_, Drift> {
        self.drift.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens before a reading. Everything is drawn, wanted or not.
    fn go_wrong(&self, drift: &mut Drift, now: Instant) {
        let (rates, mut dice) = (self.chaos.rates, self.chaos.calls.next());
        self.chaos.note(Kind::Call);
        let mut draw = |(percent, most), kind| {
            let (happens, span) = (dice.chance(percent), dice.span(most));
            if happens {
                self.chaos.note(kind);
            }
            happens.then_some(span)
        };
        let jump = draw(rates.jumps, Kind::Jump).unwrap_or_default();
        drift.ahead = drift.ahead.saturating_add(jump);
        let setback = draw(rates.setbacks, Kind::Setback).unwrap_or_default();
        drift.behind = drift.behind.saturating_add(setback);
        if let Some(span) = draw(rates.stalls, Kind::Stall) {
            drift.stall = Some((drift.reading(now), now + span));
        }
    }
}

impl Drift {
    fn reading(&self, now: Instant) -> Instant {
        match self.stall {
            Some((reading, until)) if !now.has_reached(until) => reading,
            _ => now + self.ahead - self.behind,
        }
    }

    /// Has the clock come to `until`, at least.
    fn catch_up(&mut self, now: Instant, until: Instant) {
        if !self.reading(now).has_reached(until) {
            self.stall = None;
            let left = until.saturating_since(self.reading(now));
            self.ahead = self.ahead.saturating_add(left);
        }
    }
}

impl<T: Time> Clock for ChaosTime<T> {
    fn now(&self) -> Instant {
        let now = self.time.now();
        let mut drift = self.drift();
        self.go_wrong(&mut drift, now);
        drift.reading(now)
    }
}

impl<T: Time> Time for ChaosTime<T> {
    fn wait(&self, signal: &Arc<Signal>, until: Instant) -> bool {
        let now = self.time.now();
        let left = until.remaining_at(self.drift().reading(now));
        if self.time.wait(signal, now + left) {
            return true;
        }
        self.drift().catch_up(self.time.now(), until);
        false
    }

    fn alarm(&self, signal: &Arc<Signal>, until: Instant) -> Option<Alarm> {
        let now = self.time.now();
        let left = until.remaining_at(self.drift().reading(now));
        self.time.alarm(signal, now + left)
    }
}

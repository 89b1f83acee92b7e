//! The clock of one job.

use core::time::Duration;

use cache_std::{Clock, Instant};

use crate::TokioTime;

/// Tokio's clock, which goes on where it was when the job moves to a runtime whose clock is behind:
/// paused time is each runtime's own.
pub(super) struct JobClock {
    time: TokioTime,
    ahead: Duration,
    /// What the job was last told.
    latest: Instant,
}

impl JobClock {
    pub(super) fn new() -> Self {
        let time = TokioTime::new();
        Self { time, ahead: Duration::ZERO, latest: time.now() }
    }

    /// The time, which never goes backwards.
    pub(super) fn now(&self) -> Instant {
        self.read().max(self.latest)
    }

    /// The time, for the job itself, whose runtime this must be called on.
    pub(super) fn tick(&mut self) -> Instant {
        self.latest = self.now();
        self.latest
    }

    /// A time that has come by every clock that the job may be driven by.
    pub(super) const fn latest(&self) -> Instant {
        self.latest
    }

    /// The job is driven by the caller's runtime from now on.
    pub(super) fn move_here(&mut self) {
        if !self.read().has_reached(self.latest) {
            self.time = TokioTime::new();
            self.ahead = self.latest.saturating_since(self.time.now());
        }
    }

    fn read(&self) -> Instant {
        self.time.now() + self.ahead
    }
}

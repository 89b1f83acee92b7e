//! When to connect, when to ask whether the connection lives, and when to give it up: a state machine
//! without I/O. What happened goes in with the time, what to do comes out.
//!
//! A connection that answers nothing any more looks alive to TCP where a proxy or a stopped process still
//! takes bytes. So it is asked at every heartbeat, and given up after two misses, or after many operations
//! in a row that were not answered. While it is down, operations fail at once; a new connection is tried
//! after delays that double and are drawn evenly from nothing up to the whole ("full jitter"), so
//! that many clients do not come back in step.

use core::time::Duration;

use cache_core::Instant;

use crate::error::ServerError;
use crate::random::Spread;

/// What a supervisor goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// From one heartbeat to the next.
    pub(crate) heartbeat: Duration,
    /// Heartbeats in a row without an answer, after which the connection is given up.
    pub(crate) misses: u32,
    /// Operations in a row without an answer, after which the connection is given up.
    pub(crate) timeouts: u32,
    /// The longest first delay.
    pub(crate) first_delay: Duration,
    /// The longest delay.
    pub(crate) last_delay: Duration,
    /// The longest delay after a wrong password and the like, which does not mend itself.
    pub(crate) settings_delay: Duration,
}

impl Terms {
    pub(crate) const DEFAULT: Self = Self {
        heartbeat: Duration::from_millis(250),
        misses: 2,
        timeouts: 20,
        first_delay: Duration::from_millis(25),
        last_delay: Duration::from_millis(500),
        settings_delay: Duration::from_secs(5),
    };
}

/// Which connection, counted from 1. What is told late of an earlier one is no news of this one.
pub(crate) type Epoch = u64;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The connection that was to be made answers.
    Connected,
    /// It was not made.
    NotConnected(ServerError),
    /// A heartbeat was answered.
    Alive(Epoch),
    /// A heartbeat was not answered.
    Missed(Epoch),
    /// An operation was answered.
    Answered(Epoch),
    /// An operation ended like this.
    Failed(Epoch, ServerError),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make a connection.
    Connect,
    /// Ask whether this connection lives.
    Heartbeat(Epoch),
}

/// Whether operations may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// No connection was tried yet: wait for the first.
    Starting,
    /// On this connection.
    Open(Epoch),
    /// No, for this reason.
    Shut(ServerError),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Connecting { since_start: bool, reason: ServerError },
    Waiting { until: Instant, reason: ServerError },
    Up(Up),
}

#[derive(Clone, Copy, Debug)]
struct Up {
    beat_at: Instant,
    /// Whether a heartbeat is on its way.
    asking: bool,
    misses: u32,
    timeouts: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Supervisor {
    terms: Terms,
    spread: Spread,
    state: State,
    /// Whether the action of the state was given out.
    given: bool,
    epoch: Epoch,
    failures: u32,
    /// How often a connection was given up.
    lost: u64,
}

impl Supervisor {
    pub(crate) const fn new(terms: Terms, seed: u64) -> Self {
        Self {
            terms,
            spread: Spread::new(seed),
            state: State::Connecting { since_start: true, reason: ServerError::Down },
            given: false,
            epoch: 0,
            failures: 0,
            lost: 0,
        }
    }

    pub(crate) const fn gate(&self) -> Gate {
        match self.state {
            State::Connecting { since_start: true, .. } => Gate::Starting,
            State::Connecting { reason, .. } | State::Waiting { reason, .. } => Gate::Shut(reason),
            State::Up(_) => Gate::Open(self.epoch),
        }
    }

    /// Begins anew where nobody does what is given out any more. Epochs go on; a connection that was up has ended.
    pub(crate) const fn restart(&mut self) {
        if matches!(self.state, State::Up(_)) {
            self.lost = self.lost.saturating_add(1);
        }
        self.state = State::Connecting { since_start: true, reason: ServerError::Down };
        self.given = false;
    }

    /// The epoch of the connection that is made next.
    pub(crate) const fn next_epoch(&self) -> Epoch {
        self.epoch + 1
    }

    /// How often a connection was given up.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// What is to be done now. An action is given out once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        match &mut self.state {
            State::Connecting { .. } if !self.given => {
                self.given = true;
                Some(Action::Connect)
            }
            State::Waiting { until, reason } if now.has_reached(*until) => {
                self.state = State::Connecting { since_start: false, reason: *reason };
                self.given = true;
                Some(Action::Connect)
            }
            State::Up(up) if !up.asking && now.has_reached(up.beat_at) => {
                up.asking = true;
                // From one question to the next, however long the answer takes.
                up.beat_at = now + self.terms.heartbeat;
                Some(Action::Heartbeat(self.epoch))
            }
            _ => None,
        }
    }

    /// When there is something to do, unless something happens before; `None` while an action is under way.
    pub(crate) const fn poll_at(&self) -> Option<Instant> {
        match self.state {
            State::Connecting { .. } if self.given => None,
            State::Connecting { .. } => Some(Instant::ORIGIN),
            State::Waiting { until, .. } => Some(until),
            State::Up(up) if up.asking => None,
            State::Up(up) => Some(up.beat_at),
        }
    }

    pub(crate) fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected if self.is_connecting() => self.come_up(now),
            Event::NotConnected(reason) if self.is_connecting() => self.back_off(reason, now),
            Event::Connected | Event::NotConnected(_) => {}
            Event::Alive(epoch) => self.beat(epoch, false, now),
            Event::Missed(epoch) => self.beat(epoch, true, now),
            Event::Answered(epoch) => {
                if let Some(up) = self.up(epoch) {
                    up.timeouts = 0;
                }
            }
            Event::Failed(epoch, error) => self.fail(epoch, error, now),
        }
    }

    const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting { .. })
    }

    /// What is known of the connection, if it is the one in use.
    const fn up(&mut self, epoch: Epoch) -> Option<&mut Up> {
        match &mut self.state {
            State::Up(up) if epoch == self.epoch => Some(up),
            _ => None,
        }
    }

    fn come_up(&mut self, now: Instant) {
        self.epoch += 1;
        let beat_at = now + self.terms.heartbeat;
        self.state = State::Up(Up { beat_at, asking: false, misses: 0, timeouts: 0 });
    }

    fn beat(&mut self, epoch: Epoch, missed: bool, now: Instant) {
        let misses = self.terms.misses;
        let Some(up) = self.up(epoch) else { return };
        up.asking = false;
        if missed {
            up.misses = up.misses.saturating_add(1);
            if up.misses >= misses {
                self.give_up(ServerError::Down, now);
            }
        } else {
            up.misses = 0;
            self.failures = 0;
        }
    }

    fn fail(&mut self, epoch: Epoch, error: ServerError, now: Instant) {
        let limit = self.terms.timeouts;
        let Some(up) = self.up(epoch) else { return };
        match error {
            ServerError::TimedOut => {
                up.timeouts = up.timeouts.saturating_add(1);
                if up.timeouts >= limit {
                    self.give_up(ServerError::Down, now);
                }
            }
            ServerError::Broken | ServerError::Protocol => self.give_up(ServerError::Down, now),
            // A replica stays one; behind the same address another may take writes by now.
            error if error.is_of_the_connection() => self.give_up(error, now),
            _ => up.timeouts = 0,
        }
    }

    fn give_up(&mut self, reason: ServerError, now: Instant) {
        self.lost = self.lost.saturating_add(1);
        self.back_off(reason, now);
    }

    fn back_off(&mut self, reason: ServerError, now: Instant) {
        let Terms { first_delay, last_delay, settings_delay, .. } = self.terms;
        let longest = match reason {
            reason if reason.is_of_the_settings() => settings_delay,
            _ => first_delay.saturating_mul(1 << self.failures.min(16)).min(last_delay),
        };
        self.failures = self.failures.saturating_add(1);
        let until = now + self.spread.within(longest);
        self.state = State::Waiting { until, reason };
        self.given = false;
    }
}

#[cfg(test)]
mod tests;

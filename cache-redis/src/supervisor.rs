//! When to connect, when to ask whether the connection lives, and when to give it up: a state machine
//! without I/O. What happened goes in with the time, what to do comes out.
//!
//! A connection that answers nothing any more looks alive to TCP where a proxy or a stopped process still
//! takes bytes. So it is asked at every heartbeat, and given up after two misses, or after many operations
//! in a row that were not answered. While it is down, operations fail at once; a new connection is tried
//! after delays that double and are drawn evenly from nothing up to the whole ("full jitter"), so
//! that many clients do not come back in step.
//!
//! What swallows bytes swallows those of a new connection too, and goes on to do so when the path to the
//! server is well again. So while one is being made, another is begun beside it before long.

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
    /// After so long at least another connection is begun beside one that is being made; after the longest
    /// delay at most.
    pub(crate) beside: Duration,
}

impl Terms {
    pub(crate) const DEFAULT: Self = Self {
        heartbeat: Duration::from_millis(250),
        misses: 2,
        timeouts: 20,
        first_delay: Duration::from_millis(25),
        last_delay: Duration::from_millis(400),
        settings_delay: Duration::from_secs(5),
        beside: Duration::from_millis(100),
    };
}

/// So many connections are being made at once, at most.
const ATTEMPTS: u32 = 2;

/// Which connection, counted from 1 as they are begun. What is told late of an earlier one is no news of
/// this one.
pub(crate) type Epoch = u64;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// This connection is made, and answers.
    Connected(Epoch),
    /// One of those that were to be made was not.
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
    /// Make this connection, beside another that may be under way. When one is made, the other is not
    /// needed any more.
    Connect(Epoch),
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
    Down(Down),
    Up(Up),
}

#[derive(Clone, Copy, Debug)]
struct Down {
    /// Whether none was tried to its end yet.
    since_start: bool,
    reason: ServerError,
    /// Connections that are being made.
    under_way: u32,
    /// When the latest was begun.
    begun_at: Instant,
    /// When the next may be begun.
    next_at: Instant,
}

impl Down {
    const START: Self = Self {
        since_start: true,
        reason: ServerError::Down,
        under_way: 0,
        begun_at: Instant::ORIGIN,
        next_at: Instant::ORIGIN,
    };
}

#[derive(Clone, Copy, Debug)]
struct Up {
    epoch: Epoch,
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
    /// Connections that were begun.
    begun: Epoch,
    failures: u32,
    /// How often a connection was given up.
    lost: u64,
}

impl Supervisor {
    pub(crate) const fn new(terms: Terms, seed: u64) -> Self {
        Self {
            terms,
            spread: Spread::new(seed),
            state: State::Down(Down::START),
            begun: 0,
            failures: 0,
            lost: 0,
        }
    }

    pub(crate) const fn gate(&self) -> Gate {
        match self.state {
            State::Down(Down { since_start: true, .. }) => Gate::Starting,
            State::Down(Down { reason, .. }) => Gate::Shut(reason),
            State::Up(Up { epoch, .. }) => Gate::Open(epoch),
        }
    }

    /// Begins anew where nobody does what is given out any more. Epochs go on; a connection that was up has ended.
    pub(crate) const fn restart(&mut self) {
        if matches!(self.state, State::Up(_)) {
            self.lost = self.lost.saturating_add(1);
        }
        self.state = State::Down(Down::START);
    }

    /// How often a connection was given up.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }

    /// What is to be done now. An action is given out once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        if !self.poll_at().is_some_and(|at| now.has_reached(at)) {
            return None;
        }
        match &mut self.state {
            State::Down(down) => {
                self.begun += 1;
                down.under_way += 1;
                down.begun_at = now;
                let Terms { beside, last_delay, .. } = self.terms;
                let more = self.spread.within(last_delay.saturating_sub(beside));
                down.next_at = now + beside + more;
                Some(Action::Connect(self.begun))
            }
            State::Up(up) => {
                up.asking = true;
                // From one question to the next, however long the answer takes.
                up.beat_at = now + self.terms.heartbeat;
                Some(Action::Heartbeat(up.epoch))
            }
        }
    }

    /// When there is something to do, unless something happens before; `None` while all that may be under
    /// way is.
    pub(crate) const fn poll_at(&self) -> Option<Instant> {
        match self.state {
            State::Down(Down { under_way: ATTEMPTS.., .. })
            | State::Up(Up { asking: true, .. }) => None,
            State::Down(Down { next_at, .. }) => Some(next_at),
            State::Up(Up { beat_at, .. }) => Some(beat_at),
        }
    }

    pub(crate) fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected(epoch) => self.come_up(epoch, now),
            Event::NotConnected(reason) => self.miss(reason, now),
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

    /// What is known of the connection, if it is the one in use.
    const fn up(&mut self, epoch: Epoch) -> Option<&mut Up> {
        match &mut self.state {
            State::Up(up) if epoch == up.epoch => Some(up),
            _ => None,
        }
    }

    fn come_up(&mut self, epoch: Epoch, now: Instant) {
        if let State::Down(Down { under_way: 1.., .. }) = self.state {
            let beat_at = now + self.terms.heartbeat;
            self.state = State::Up(Up { epoch, beat_at, asking: false, misses: 0, timeouts: 0 });
        }
    }

    /// A connection was not made. Another that is under way says itself when the next is due, unless this
    /// one has found out what does not mend itself.
    fn miss(&mut self, reason: ServerError, now: Instant) {
        let State::Down(Down { under_way: under_way @ 1.., begun_at, next_at, .. }) = self.state
        else {
            return;
        };
        let of_the_settings = reason.is_of_the_settings();
        // Its own time is a part of the delay.
        let drawn = self.draw(reason, if of_the_settings { now } else { begun_at });
        let next_at = if under_way > 1 && !of_the_settings { next_at } else { drawn };
        let under_way = under_way - 1;
        self.state = State::Down(Down { since_start: false, reason, under_way, begun_at, next_at });
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
        let next_at = self.draw(reason, now);
        self.state = State::Down(Down { since_start: false, reason, next_at, ..Down::START });
    }

    /// When the next connection is tried, where delays count from an instant.
    fn draw(&mut self, reason: ServerError, from: Instant) -> Instant {
        let Terms { first_delay, last_delay, settings_delay, .. } = self.terms;
        let longest = match reason {
            reason if reason.is_of_the_settings() => settings_delay,
            _ => first_delay.saturating_mul(1 << self.failures.min(16)).min(last_delay),
        };
        self.failures = self.failures.saturating_add(1);
        from + self.spread.within(longest)
    }
}

#[cfg(test)]
mod tests;

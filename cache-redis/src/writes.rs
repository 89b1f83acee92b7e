//! Writes to a server without memory: a state machine without I/O. While the server refuses them, they
//! fail at once, and need not be sent; one after each delay is, to see whether it has memory again.
//! Reads, and what frees memory, always go.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use cache_core::Instant;
use redis::{Arg, Cmd};

use crate::error::ServerError;
use crate::random::{self, Spread};
use crate::script;
use crate::supervisor::Terms;

#[derive(Debug)]
struct Breaker {
    terms: Terms,
    spread: Spread,
    /// When the next write may go, if not all may.
    next: Option<Instant>,
    tried: u32,
}

impl Breaker {
    const fn new(terms: Terms, seed: u64) -> Self {
        Self { terms, spread: Spread::new(seed), next: None, tried: 0 }
    }

    fn admits(&mut self, now: Instant) -> bool {
        match self.next {
            None => true,
            Some(next) if now.has_reached(next) => {
                self.pause(now);
                true
            }
            Some(_) => false,
        }
    }

    /// Of many that were on their way, the first counts.
    fn refused(&mut self, now: Instant) {
        if self.next.is_none() {
            self.pause(now);
        }
    }

    const fn done(&mut self) {
        self.next = None;
        self.tried = 0;
    }

    fn pause(&mut self, now: Instant) {
        let Terms { first_delay, last_delay, .. } = self.terms;
        let longest = first_delay.saturating_mul(1 << self.tried.min(16)).min(last_delay);
        self.tried = self.tried.saturating_add(1);
        self.next = Some(now + self.spread.within(longest));
    }
}

/// The writes to one server.
pub(crate) struct Writes {
    breaker: Mutex<Breaker>,
    /// Whether some are not sent.
    shut: AtomicBool,
}

impl Writes {
    pub(crate) fn new(terms: Terms) -> Self {
        let breaker = Mutex::new(Breaker::new(terms, random::seed()));
        Self { breaker, shut: AtomicBool::new(false) }
    }

    /// Whether a write may be sent.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), ServerError> {
        if !self.shut.load(Relaxed) || self.with(|breaker| breaker.admits(now)) {
            return Ok(());
        }
        Err(ServerError::OutOfMemory)
    }

    /// Tells how a write ended.
    pub(crate) fn note(&self, error: Option<ServerError>, now: Instant) {
        match error {
            Some(ServerError::OutOfMemory) => {
                self.with(|breaker| breaker.refused(now));
                self.shut.store(true, Relaxed);
            }
            None if self.shut.load(Relaxed) => {
                self.with(Breaker::done);
                self.shut.store(false, Relaxed);
            }
            _ => {}
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Breaker) -> T) -> T {
        work(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a command writes a value. One whose life is over is none. Leases and clears, which write a few bytes,
/// are always sent.
pub(crate) fn is_write(command: &Cmd) -> bool {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(bytes) => bytes,
        _ => &[],
    });
    match words.next() {
        Some(b"SET") => true,
        Some(b"EVAL" | b"EVALSHA") => {
            // The number of names, two names, channel, message and bytes stand before the expiry.
            words.next().is_some_and(script::writes_a_value) && words.nth(6) != Some(b"0")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const START: Instant = Instant::from_secs(1_000);

    #[test]
    fn one_in_each_delay_goes_while_there_is_no_memory() {
        let mut breaker = Breaker::new(Terms::DEFAULT, 1);
        assert!(breaker.admits(START) && breaker.admits(START));
        (0..100).for_each(|_| breaker.refused(START));
        let mut sent = 0;
        for millis in 0..10_000 {
            let now = START + Duration::from_millis(millis);
            if breaker.admits(now) {
                sent += 1;
                breaker.refused(now);
            }
        }
        assert!((20..=100).contains(&sent), "{sent} in ten seconds, two a second at least");
        breaker.done();
        assert!(breaker.admits(START) && breaker.admits(START));
    }

    #[test]
    fn only_a_write_that_was_done_lets_all_go() {
        let writes = Writes::new(Terms::DEFAULT);
        writes.note(Some(ServerError::TimedOut), START);
        assert_eq!(writes.admit(START), Ok(()));
        writes.note(Some(ServerError::OutOfMemory), START);
        assert_eq!(writes.admit(START), Err(ServerError::OutOfMemory));
        writes.note(Some(ServerError::Broken), START);
        assert_eq!(writes.admit(START), Err(ServerError::OutOfMemory));
        writes.note(None, START);
        assert_eq!(writes.admit(START), Ok(()));
    }

    #[test]
    fn what_reads_or_frees_is_no_write() {
        let is = |name| is_write(&redis::cmd(name));
        assert!(is("SET") && !is("GETRANGE") && !is("UNLINK") && !is("EVALSHA"));
    }

    #[test]
    fn scripts_that_keep_a_value_are_writes_unless_its_life_is_over() {
        let is = |script: &script::Script, whole, expiry: &[u8]| {
            let mut commands = redis::Pipeline::new();
            let given: [&[u8]; 5] = [b"channel", b"message", b"0", expiry, b"token"];
            script.add(whole, &[b"entry", b"lease"], &given, &mut commands);
            commands.cmd_iter().all(is_write)
        };
        for whole in [false, true] {
            for script in [&script::PUT, &script::ADD, &script::FILL] {
                assert!(is(script, whole, b"10") && !is(script, whole, b"0"));
            }
            for script in [&script::VACATE, &script::REMOVE, &script::EXPIRE, &script::RELEASE] {
                assert!(!is(script, whole, b"10"));
            }
        }
    }
}

//! What the scenarios share: keys and values, spans of time, a watchdog, and the drivers.

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

mod driver;
mod hand;
mod tasks;
mod threads;

pub(crate) use driver::{Answer, Driver, Key, Origin, Reply, Setup, Told, Value};
pub(crate) use hand::Hand;
pub(crate) use tasks::{Tasks, on_paused_time, paused, settled};
pub(crate) use threads::Threads;

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// All caches of the process share its workers. Tests that take them all run alone, in a process of
/// their own: workers that were all taken need a moment to be free again.
static WORKERS: RwLock<()> = RwLock::new(());
/// Refreshes run on few workers, two on the smallest machine: tests that hold refreshes up take
/// turns, or two of them could wait for each other's.
static REFRESHERS: Mutex<()> = Mutex::new(());

/// Runs a test and fails it, rather than hang, when it does not end. The minute is real time and
/// far more than any test takes: all waiting in them is for virtual time or for an event.
pub(crate) fn within_a_minute(body: impl FnOnce() + Send + 'static) {
    let _shared = WORKERS.read().unwrap_or_else(PoisonError::into_inner);
    watch(body);
}

/// As [`within_a_minute`], for tests that hold refreshes up: at most two at a time.
pub(crate) fn holding_refreshes(body: impl FnOnce() + Send + 'static) {
    let _shared = WORKERS.read().unwrap_or_else(PoisonError::into_inner);
    let _turn = REFRESHERS.lock().unwrap_or_else(PoisonError::into_inner);
    watch(body);
}

/// As [`within_a_minute`], with no other test at the same time.
pub(crate) fn alone(body: impl FnOnce() + Send + 'static) {
    let _alone = WORKERS.write().unwrap_or_else(PoisonError::into_inner);
    watch(body);
}

fn watch(body: impl FnOnce() + Send + 'static) {
    let (ended, end) = channel();
    let thread = thread::spawn(move || {
        body();
        let _ = ended.send(());
    });
    if end.recv_timeout(secs(60)) == Err(RecvTimeoutError::Timeout) {
        panic!("hangs: not over after a minute");
    }
    if let Err(payload) = thread.join() {
        resume_unwind(payload);
    }
}

/// Panics without a report on the standard error.
pub(crate) fn panic_quietly(message: &'static str) -> ! {
    resume_unwind(Box::new(message))
}

/// What a panic said.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    payload.downcast_ref::<&str>().copied().unwrap_or("no text")
}

/// A hasher for the drivers' keys, the same in every cache. It reads bytes only one by one, so that
/// the seed that a builder makes by hashing a text is the same by hand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyHash(u64);

impl BuildHasher for KeyHash {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self::default()
    }
}

impl Hasher for KeyHash {
    fn write(&mut self, _: &[u8]) {}

    fn write_u8(&mut self, byte: u8) {
        self.0 = self.0.wrapping_add(u64::from(byte) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 31)
    }
}

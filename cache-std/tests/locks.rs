//! Locks in memory: the rules for locks, and threads that wait.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cache_core::conformance::{self, Harness, LockHarness};
use cache_std::store::{AcquireError, Lock, LockOptions, Locks, Released};
use cache_std::{Clock, Instant, ManualTime, MemoryLocks, Time};

const MINUTE: Duration = Duration::from_secs(60);

/// A clock that who waits moves.
#[derive(Default)]
struct Virtual(ManualTime);

impl Harness for Virtual {
    type Key = str;

    fn key(&self, n: u64) -> String {
        n.to_string()
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.0.advance(span);
        self.0.now()
    }
}

impl LockHarness for Virtual {
    type Locks = MemoryLocks;

    fn make(&self) -> MemoryLocks {
        MemoryLocks::with_time(self.0.leaping())
    }

    fn take_away(&self, locks: &MemoryLocks, name: &str) -> bool {
        locks.take_away(name)
    }
}

#[test]
fn the_locks_in_memory_conform() {
    let report =
        conformance::locks(&Virtual::default()).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(report.not_applicable().count(), 0, "{report}");
}

#[test]
fn who_waits_has_it_when_it_is_released_and_no_earlier() {
    let time = ManualTime::new();
    let locks = MemoryLocks::with_time(time.clone());
    let held = locks.acquire("a", LockOptions::new(MINUTE).renew()).unwrap();
    let other = locks.clone();
    let waits =
        thread::spawn(move || other.acquire("a", LockOptions::new(MINUTE).wait(10 * MINUTE)));
    time.until_parked(1);
    time.advance(5 * MINUTE); // renewed meanwhile
    assert!(time.parked() == 1 && !held.valid_for().is_zero());
    let fence = held.fence();
    assert_eq!(held.release().unwrap(), Released::Released);
    assert!(waits.join().unwrap().unwrap().fence() > fence);
}

#[test]
fn who_waited_in_vain_is_told() {
    let time = ManualTime::new();
    let locks = MemoryLocks::with_time(time.clone());
    let _held = locks.acquire("a", LockOptions::new(MINUTE).renew()).unwrap();
    let other = locks.clone();
    let waits = thread::spawn(move || other.acquire("a", LockOptions::new(MINUTE).wait(MINUTE)));
    time.until_parked(1);
    time.advance(MINUTE);
    assert!(matches!(waits.join().unwrap(), Err(AcquireError::Held)));
}

#[test]
fn what_is_taken_away_is_over_at_once() {
    let locks = MemoryLocks::new();
    let held = locks.acquire("a", LockOptions::new(MINUTE)).unwrap();
    assert!(!locks.take_away("b") && locks.take_away("a") && !locks.take_away("a"));
    assert_eq!(held.valid_for(), Duration::ZERO);
    let next = locks.acquire("a", LockOptions::new(MINUTE)).unwrap();
    drop(held); // which ends no other's
    assert!(!next.valid_for().is_zero());
    assert_eq!(next.release().unwrap(), Released::Released);
}

/// Real time, and more threads than locks.
#[test]
fn one_at_a_time_has_it() {
    let locks = MemoryLocks::new();
    let inside = Arc::new(std::sync::Mutex::new(()));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let options = LockOptions::new(10 * MINUTE).wait(10 * MINUTE);
                    let lock = locks.acquire("a", options).unwrap();
                    drop(inside.try_lock().expect("nobody else is here"));
                    assert_eq!(lock.release().unwrap(), Released::Released);
                }
            });
        }
    });
}

#[test]
fn a_clock_that_goes_back_ends_nothing() {
    let time = ManualTime::new();
    let locks = MemoryLocks::with_time(time.clone());
    let held = locks.acquire("a", LockOptions::new(MINUTE).renew()).unwrap();
    time.set(Instant::ORIGIN);
    assert!(!held.valid_for().is_zero());
    time.sleep_until(Instant::ORIGIN);
    time.set(Instant::FAR_FUTURE);
    let _ = (
        held.valid_for(),
        held.extend(Duration::MAX),
        locks.acquire("b", LockOptions::new(Duration::MAX)),
    );
    assert!(matches!(
        locks.acquire("b", LockOptions::new(Duration::ZERO)),
        Ok(_) | Err(AcquireError::Held)
    ));
}

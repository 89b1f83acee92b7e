//! The primitives under the two-lock memory: the standard library's, or, in models, those of a
//! scheduler that tries many interleavings (`cargo xtask test models`).

#[cfg(all(test, shuttle))]
pub(super) use shuttle::sync::TryLockError;
#[cfg(not(all(test, shuttle)))]
pub(super) use std::sync::TryLockError;

pub(super) use crate::primitives::{AtomicUsize, Mutex, MutexGuard, PoisonError};

pub(super) use core::sync::atomic::Ordering;

#[cfg(not(any(all(test, shuttle), all(test, loom))))]
pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, fence};

#[cfg(all(test, loom))]
pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(all(test, shuttle))]
pub(super) use shuttle::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Attempts before a waiting thread gives its core away. A holder runs a few dozen instructions, so
/// who waits longer than this waits for a holder that has lost its core.
#[cfg(not(any(all(test, shuttle), all(test, loom))))]
const SPINS: usize = 256;

/// Waits a little before the next attempt.
#[cfg(not(any(all(test, shuttle), all(test, loom))))]
pub(super) fn pause(attempt: usize) {
    if attempt < SPINS {
        core::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

#[cfg(all(test, shuttle))]
pub(super) fn pause(_: usize) {
    shuttle::thread::yield_now();
}

#[cfg(all(test, loom))]
pub(super) fn pause(_: usize) {
    loom::thread::yield_now();
}
